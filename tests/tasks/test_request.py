"""``self.request``: every field, for a message, for an eager run, and for none."""
# ruff: noqa: FBT002 - tasks as people write them

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from umbel import Task
from umbel.context import Context
from umbel.message import Delivery, Message

# Recorded from celery.app.task.Context of Celery 5.7.
DEFAULTS = {
    "args": None,
    "callbacks": None,
    "called_directly": True,
    "chain": None,
    "chord": None,
    "correlation_id": None,
    "delivery_info": None,
    "errbacks": None,
    "eta": None,
    "expires": None,
    "group": None,
    "group_index": None,
    "headers": None,
    "hostname": None,
    "id": None,
    "ignore_result": False,
    "is_eager": False,
    "kwargs": None,
    "logfile": None,
    "loglevel": None,
    "origin": None,
    "parent_id": None,
    "properties": None,
    "retries": 0,
    "reply_to": None,
    "replaced_task_nesting": 0,
    "root_id": None,
    "shadow": None,
    "taskset": None,
    "timelimit": None,
    "time_limit": None,
    "soft_time_limit": None,
    "utc": None,
    "stamped_headers": None,
    "stamps": None,
}


def context_of(headers=None, *, deliveries=1, embed=None, **message):
    """The request of a message with these headers."""
    message = Message("i", {"id": "i", "task": "t", **(headers or {})}, b"", **message)
    delivery = Delivery(message, 1, 1, "o", "celery", deliveries=deliveries)
    return Context.of(delivery, message, ([1], {"k": 2}, embed or {}), "worker@here")


@pytest.fixture
def seen(site, app):
    """Runs a call and returns the request its body saw."""
    requests = []

    @app.task(bind=True, shared=False, name="t.see")
    def see(self, *args, **kwargs):
        requests.append(self.request)

    def run(*args, options=None, **kwargs):
        see.apply_async(args, kwargs, **(options or {}))
        site.drain(app, queues=("celery", "other"))
        return requests.pop()

    run.task = see
    return run


@pytest.mark.parametrize(("name", "value"), DEFAULTS.items())
def test_a_request_has_the_default(name, value):
    """Reading a field never fails, whether or not a message has set it."""
    assert getattr(Context(), name) == value
    assert getattr(Task().request, name) == value


def test_a_task_that_does_not_run_has_an_empty_request(app):
    """Its own, so that setting a field of it touches no other task."""
    one, two = (app.task(name=n, shared=False)(lambda: None) for n in ("one", "two"))
    one.request.update(called_directly=False)
    assert two.request.called_directly
    assert one.request is one.request


def test_a_directly_called_task_has_a_request_of_its_own(app):
    """With its arguments, and without an id."""

    @app.task(bind=True, shared=False)
    def see(self, *args, **kwargs):
        request = self.request
        return request.args, request.kwargs, request.called_directly, request.id

    assert see(1, k=2) == ((1,), {"k": 2}, True, None)


def test_the_request_tells_of_the_message(seen):
    """Everything the message says is there, in the fields Celery's users know."""
    request = seen(
        1,
        k=2,
        options={
            "task_id": "the-id",
            "priority": 3,
            "shadow": "alias",
            "expires": 3600,
            "time_limit": 30,
            "soft_time_limit": 20,
            "headers": {"own": {"x": 1}},
            "ignore_result": True,
            "group_id": "g",
            "group_index": 4,
            "reply_to": "somebody",
            "queue": "other",
        },
    )
    assert request.id == request.root_id == request.correlation_id == "the-id"
    assert request.task == "t.see"
    assert (list(request.args), request.kwargs) == ([1], {"k": 2})
    assert request.argsrepr == "(1,)"
    assert request.kwargsrepr == "{'k': 2}"
    assert request.called_directly is False
    assert request.is_eager is False
    assert request.hostname == "worker@here"
    assert request.shadow == "alias"
    assert request.retries == 0
    assert request.timelimit == [30, 20]
    assert (request.time_limit, request.soft_time_limit) == (30, 20)
    assert datetime.fromisoformat(request.expires) > datetime.now(UTC)
    assert request.group == request.taskset == "g"
    assert request.group_index == 4
    assert request.ignore_result is True
    assert request.reply_to == "somebody"
    assert request.parent_id is None
    assert request.lang == "py"
    assert "@" in request.origin
    assert request.headers == {"own": {"x": 1}}
    assert request.properties["reply_to"] == "somebody"
    assert request.delivery_info == {
        "exchange": "",
        "routing_key": "other",
        "priority": 3,
        "redelivered": False,
    }
    assert request.deliveries == 1
    assert (request.callbacks, request.errbacks, request.chain, request.chord) == (None,) * 4


def test_the_time_limits_are_hard_then_soft():
    """As in the message; updating the pair sets both."""
    request = Context(timelimit=[10, 5])
    assert (request.time_limit, request.soft_time_limit) == (10, 5)
    request.update(timelimit=(4, 2))
    assert (request.time_limit, request.soft_time_limit) == (4, 2)


@pytest.mark.parametrize("limits", [5, "10", [1], [1, 2, 3], {}])
def test_a_message_with_senseless_time_limits_has_none(limits):
    """A header of another kind is no error of the task."""
    request = context_of({"timelimit": limits})
    assert (request.time_limit, request.soft_time_limit) == (None, None)


def test_only_headers_of_the_users_own_are_in_headers():
    """None where there are none."""
    assert context_of({"lang": "py", "retries": 1}).headers is None
    assert context_of({"lang": "py", "trace": "abc"}).headers == {"trace": "abc"}


def test_a_header_of_the_users_own_is_an_attribute_too():
    """As in Celery, ``request.trace`` finds it."""
    request = context_of({"trace": "abc"})
    assert request.trace == "abc"
    assert request.get("trace") == "abc"
    with pytest.raises(AttributeError, match="has no field 'other'"):
        request.other  # noqa: B018 - it is the look that counts


@pytest.mark.parametrize(
    "name", ["get", "update", "children", "is_eager", "called_directly", "again", "sealed", "post"]
)
def test_a_header_never_takes_the_place_of_a_field(name):
    """Whoever sends messages cannot change how the request behaves."""
    request = context_of({name: "hijacked"})
    assert getattr(request, name) != "hijacked"
    assert request.headers == {name: "hijacked"}


@pytest.mark.parametrize("name", ["callbacks", "errbacks", "chain", "chord", "args", "hostname"])
def test_a_header_named_like_a_part_of_the_body_is_not_that_part(name):
    """What the body says comes from the body."""
    assert getattr(context_of({name: "hijacked"}), name) != "hijacked"


def test_the_body_brings_callbacks_errbacks_chain_and_chord():
    """And nothing else, whatever else is in it."""
    embed = {"callbacks": [1], "errbacks": [2], "chain": [3], "chord": 4, "post": 5, "id": 6}
    request = context_of(embed=embed)
    assert (request.callbacks, request.errbacks) == ([1], [2])
    assert (request.chain, request.chord) == ([3], 4)
    assert (request.post, request.id) == (None, "i")


def test_a_second_delivery_is_redelivered():
    """``deliveries`` counts, ``redelivered`` says."""
    request = context_of(deliveries=3)
    assert request.deliveries == 3
    assert request.delivery_info["redelivered"] is True


def test_clear_goes_back_to_the_defaults():
    """And forgets the message."""
    request = context_of({"retries": 3})
    request.clear()
    assert (request.retries, request.id, request.delivery_info) == (0, None, None)


def test_get_has_a_default():
    """As of a dictionary."""
    assert Context(id="x").get("id") == "x"
    assert Context().get("nothing", 5) == 5


def test_the_repr_shows_the_fields():
    """``<Context: {…}>``."""
    assert repr(Context(id="x")) == "<Context: {'id': 'x'}>"
    assert "_message" not in repr(context_of())


def test_a_request_as_options_sends_the_same_again():
    """Every option with which the message was sent, and the stamps."""
    request = context_of(
        {
            "root_id": "r",
            "parent_id": "p",
            "group": "g",
            "group_index": 1,
            "shadow": "s",
            "expires": "2030-01-01T00:00:00+00:00",
            "timelimit": [9, 8],
            "retries": 2,
            "replaced_task_nesting": 1,
            "origin": "gen1@x",
            "ignore_result": True,
            "stamped_headers": ["mark"],
            "stamps": {"mark": 5},
            "own": 1,
            "compression": "application/x-gzip",
        },
        embed={"callbacks": [1], "errbacks": [2], "chain": [3], "chord": 4},
        properties={"reply_to": "q"},
        content_type="application/x-yaml",
    )
    assert request.as_execution_options() == {
        "task_id": "i",
        "root_id": "r",
        "parent_id": "p",
        "group_id": "g",
        "group_index": 1,
        "shadow": "s",
        "chord": 4,
        "chain": [3],
        "link": [1],
        "link_error": [2],
        "expires": "2030-01-01T00:00:00+00:00",
        "soft_time_limit": 8,
        "time_limit": 9,
        "headers": {"own": 1},
        "retries": 2,
        "reply_to": "q",
        "replaced_task_nesting": 1,
        "origin": "gen1@x",
        "stamped_headers": ["mark"],
        "mark": 5,
        "ignore_result": True,
        "compression": "application/x-gzip",
        "serializer": "application/x-yaml",
    }


def test_headers_of_a_dead_letter_are_not_sent_again():
    """What RabbitMQ says about a message's death stays with that message."""
    request = context_of({"x-death": [1], "x-first-death-queue": "q", "own": 1})
    assert request.headers["x-death"] == [1]
    assert request.as_execution_options()["headers"] == {"own": 1}


def test_children_are_the_results_of_tasks_it_starts(site, app):
    """In the order of starting; stored with the result."""

    @app.task(shared=False)
    def child():
        pass

    @app.task(bind=True, shared=False)
    def parent(self):
        child.delay()
        child.apply_async(add_to_parent=False)
        app.send_task(child.name)
        return [one.id for one in self.request.children]

    result = parent.delay()
    site.drain(app)
    ids = result.get()
    assert len(ids) == 2
    assert [one.id for one in result.children] == ids


def test_a_task_without_trail_remembers_no_children(site, app):
    """``trail=False``."""
    child = app.task(name="child", shared=False)(lambda: None)
    parent = app.task(name="parent", shared=False, trail=False)(lambda: child.delay() and None)
    result = parent.delay()
    site.drain(app)
    assert result.children == []


def test_pushed_requests_are_seen_until_they_are_popped(app):
    """For tests of task bodies: ``push_request`` and ``pop_request`` nest."""
    task = app.task(bind=True, shared=False)(lambda self: None)
    task.push_request(id="outer", called_directly=False)
    task.push_request(id="inner")
    assert (task.request.id, len(task.request_stack)) == ("inner", 2)
    task.pop_request()
    assert task.request.id == task.request_stack.top.id == "outer"
    task.pop_request()
    assert task.request.id is None
    assert task.request_stack.top is None
    assert task.request_stack.pop() is None


def test_nested_calls_see_their_own_requests(site, app):
    """A task called by another, or by itself, has its own request meanwhile."""
    seen = []

    @app.task(bind=True, shared=False, name="inner")
    def inner(self):
        seen.append(("inner", self.request.id))

    @app.task(bind=True, shared=False, name="outer")
    def outer(self, again=True):
        seen.append(("outer", self.request.id))
        inner()
        if again:
            outer(again=False)
        seen.append(("outer", self.request.id))

    outer.apply_async(task_id="x")
    site.drain(app)
    assert seen == [
        ("outer", "x"),
        ("inner", None),
        ("outer", None),
        ("inner", None),
        ("outer", None),
        ("outer", "x"),
    ]


def test_concurrent_coroutines_see_their_own_requests(app):
    """Many at once on one loop, each with its own."""

    @app.task(bind=True, shared=False)
    async def see(self, value):
        for _ in range(3):
            await asyncio.sleep(0)
        return self.request.args == (value,)

    async def run_all():
        return await asyncio.gather(*(see(n) for n in range(20)))

    assert all(asyncio.run(run_all()))


def test_a_parents_root_and_id_are_the_lineage_of_its_children(site, app):
    """``root_id`` is the first task's, ``parent_id`` that of whoever sent it."""
    lines = {}

    @app.task(bind=True, shared=False)
    def see(self, depth):
        request = self.request
        lines[depth] = (request.id, request.root_id, request.parent_id)
        if depth < 2:
            see.apply_async((depth + 1,), task_id=f"id{depth + 1}")

    see.apply_async((0,), task_id="id0")
    site.drain(app)
    assert lines == {0: ("id0", "id0", None), 1: ("id1", "id0", "id0"), 2: ("id2", "id0", "id1")}


def test_the_fields_are_those_that_celery_sets():
    """No field that a Celery worker gives its tasks is missing."""
    recorded = json.loads((Path(__file__).parent / "celery_tasks.json").read_text())
    missing = [name for name in recorded["request"] if not hasattr(context_of(), name)]
    assert missing == []
