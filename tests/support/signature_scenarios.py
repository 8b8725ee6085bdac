"""What can be done with a signature, in Celery and Umbel alike; each gives plain data."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any


def plain(value: Any) -> Any:
    """A signature as JSON would carry it."""
    return json.loads(json.dumps(value))


def link_twice(task: Any) -> Any:
    made = task.s(1)
    first, second = task.s(2), task.s(2)
    returned = made.link(first), made.link(second), made.link_error(task.s(3))
    same = [returned[0] is first, returned[1] is second, made.on_error(task.s(4)) is made]
    return [same, plain(made)]


def set_things(task: Any) -> Any:
    made = task.s(1)
    returned = made.set(immutable=True, countdown=5, queue="q")
    made.set(queue="r")
    return [returned is made, plain(made)]


def replace_parts(task: Any) -> Any:
    made = task.s(1, y=2).set(countdown=3)
    parts = made.replace(args=(7,)), made.replace(kwargs={"z": 1}), made.replace(options={"a": 1})
    return [plain(part) for part in parts] + [plain(made)]


def freeze_it(task: Any) -> Any:
    made = task.s(1)
    result = made.freeze(
        "the-id", group_id="g", root_id="r", parent_id="p", group_index=2, chord=task.s()
    )
    again = made.freeze("other")
    data = plain(made)
    data["options"]["reply_to"] = bool(data["options"]["reply_to"])
    return [result.id, again.id, made.id, made.root_id, made.parent_id, data]


def copy_it(task: Any) -> Any:
    made = task.s(1, y={"a": []}).set(link=[task.s(5)])
    copied = made.clone()
    copied.options["link"].append(1)
    copied.kwargs["new"] = 1
    deep = copy.deepcopy(made)
    pickled = pickle.loads(pickle.dumps(made))
    return [plain(made), plain(copied), plain(deep), type(pickled).__name__, pickled == made]


def merge_options(task: Any) -> Any:
    made = task.s(1).set(countdown=1, group_id="old", queue="q")
    return [plain(made.clone(countdown=2, group_id="new", priority=None))]


def merge_stamps(task: Any) -> Any:
    made = task.s(1).set(stamped_headers=["a"], a=1)
    return [plain(made.clone(stamped_headers=["a", "b"], a=2, b=3))]


def list_options(task: Any) -> Any:
    made = task.s()
    made.append_to_list_option("link", task.s(1))
    made.extend_list_option("link", [task.s(1), task.s(2)])
    made.extend_list_option("other", task.s(3))
    return plain(made)


def flattened(task: Any) -> Any:
    inner = task.s(2)
    inner.link(task.s(3))
    made = task.s(1)
    made.link(inner)
    return [plain(one)["args"] for one in made.flatten_links()]


def run_here(task: Any) -> Any:
    return [task.s(1)(2), task.si(1, 2)(9), task.s(1).apply((2,)).get(), task.s(1, y=5)()]


SIGNATURES: dict[str, Any] = {
    "plain": lambda task: plain(task.s(1, y=2)),
    "immutable": lambda task: plain(task.si(1)),
    "with options": lambda task: plain(task.signature((1,), {"y": 2}, countdown=5, immutable=True)),
    "options argument": lambda task: plain(
        task.signature((1,), options={"queue": "q"}, priority=1)
    ),
    "subtask": lambda task: plain(task.subtask((1,), {"y": 2})),
    "clone with arguments": lambda task: plain(task.s(1, y=2).clone((9,), {"z": 3}, queue="q")),
    "clone over keywords": lambda task: plain(task.s(1, y=2).clone(kwargs={"y": 3})),
    "partial": lambda task: plain(task.s(1).partial((9,))),
    "clone of an immutable": lambda task: plain(task.si(1).clone((9,), {"z": 3}, queue="q")),
    "set": set_things,
    "set_immutable": lambda task: [task.s().set_immutable(True), plain(task.s())],
    "links": link_twice,
    "replace": replace_parts,
    "freeze": freeze_it,
    "copies": copy_it,
    "merged options": merge_options,
    "merged stamps": merge_stamps,
    "list options": list_options,
    "flatten_links": flattened,
    "repr": lambda task: [repr(task.s(1, "a", y=None)), repr(task.s()), repr(task.si(1))],
    "reprcall": lambda task: task.s(1, y=2).reprcall(9, z="x"),
    "here": run_here,
    "equality": lambda task: [
        task.s(1) == task.s(1),
        task.s(1) == {**task.s(1)},
        task.s(1) == task.s(2),
        task.s(1) == task.si(1),
    ],
    "properties": lambda task: [
        task.s(1).task,
        task.s(1).name,
        list(task.s(1).args),
        task.s(1).kwargs,
        task.s(1).options,
        task.s(1).subtask_type,
        task.s(1).immutable,
        task.s(1).id,
    ],
    "json": lambda task: json.loads(json.dumps(task.s(1, y=2).__json__())),
}


def functions(
    signature: Any, maybe_signature: Any, cls: Any, task: Any, app: Any
) -> dict[str, Any]:
    """What the functions of the module make of different things."""
    made = task.s(1)
    return {
        "from name": plain(signature("a.name", (1,), {"k": 2}, app=app, countdown=1)),
        "from task": plain(signature(task, (1,))),
        "from dict": plain(signature(dict(made), app=app)),
        "from signature": [signature(made) == made, signature(made) is made],
        "of class": plain(cls("n", (1,), {"k": 2}, {"a": 1}, b=2)),
        "of class by dict": plain(cls(dict(made))),
        "maybe none": maybe_signature(None),
        "maybe signature": maybe_signature(made, app=app) is made,
        "maybe clone": maybe_signature(made, app=app, clone=True) is made,
        "maybe dict": [
            type(maybe_signature(dict(made), app=app)).__name__,
            plain(maybe_signature(dict(made), app=app)),
        ],
        "type": signature("t.add", app=app).type.name,
    }


def linked(task: Any) -> Any:
    made = task.s(1)
    made.link(task.s(2))
    made.link(task.si(3))
    made.link_error(task.s(4))
    return made


def stamps(visitor_base: Any, task: Any) -> dict[str, Any]:
    """Signatures stamped in every way, with and without a visitor."""

    class Plain(visitor_base):
        def on_signature(self, sig: Any, **headers: Any) -> dict[str, Any]:
            return {"by": "visitor", "seen": sorted(headers)}

    class Chosen(visitor_base):
        def on_signature(self, sig: Any, **headers: Any) -> dict[str, Any]:
            return {"by": 1, "header": 2, "stamped_headers": ["by"]}

    class Links(Plain):
        def on_callback(self, callback: Any, **headers: Any) -> dict[str, Any]:
            return {"called": True}

        def on_errback(self, errback: Any, **headers: Any) -> dict[str, Any]:
            return {"failed": True}

    class Nothing(visitor_base):
        def on_signature(self, sig: Any, **headers: Any) -> None:
            return None

    def twice(**options: Any) -> Any:
        return plain(task.s(1).stamp(a=1, b=1).stamp(a=2, **options))

    made = task.s(1)
    return {
        "keywords": plain(task.s(1).stamp(a=1, b="x")),
        "returns itself": made.stamp(a=1) is made,
        "nothing": plain(task.s(1).stamp()),
        "newest wins": twice(),
        "appended": twice(append_stamps=True),
        "appended thrice": plain(
            task.s(1).stamp(a=1).stamp(a=2, append_stamps=True).stamp(a=3, append_stamps=True)
        ),
        "appended lists": plain(task.s(1).stamp(a=[1, 2]).stamp(a=[3], append_stamps=True)),
        "visitor": plain(task.s(1).stamp(Plain())),
        "visitor over keywords": plain(task.s(1).stamp(Plain(), by="keyword", other=1)),
        "visitor appended": plain(task.s(1).stamp(by=0).stamp(Plain(), append_stamps=True)),
        "chosen": plain(task.s(1).stamp(Chosen())),
        "none": plain(task.s(1).stamp(Nothing(), a=1)),
        "links": plain(linked(task).stamp(a=1)),
        "links by visitor": plain(linked(task).stamp(Links(), a=1)),
        "links of plain visitor": plain(linked(task).stamp(Plain())),
        "stamp_links": plain(linked(task).stamp_links(Links(), a=1)),
    }
