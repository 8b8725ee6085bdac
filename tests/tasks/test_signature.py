"""Signatures: what Celery's do, and how they are sent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from signature_scenarios import SIGNATURES, functions, plain, stamps
from umbel import Signature, maybe_signature, signature, subtask
from umbel.canvas import StampingVisitor, maybe_subtask
from umbel.exceptions import NotRegistered

CELERY = json.loads((Path(__file__).parent / "celery_tasks.json").read_text())["signatures"]

INSTEAD = {
    # A stamp given later is a stamp, and no property of the message.
    "merged stamps": [
        {
            **CELERY["merged stamps"][0],
            "options": {"stamped_headers": ["a", "b"], "a": 1, "b": 3},
        }
    ],
}


@pytest.fixture
def add(app):
    app.set_current()
    return app.task(name="t.add", shared=False)(lambda x, y=2: x + y)


# Celery stamps with a set of names, so their order is any.
def in_order(data):
    if isinstance(data, dict):
        return {k: sorted(v) if k == "stamped_headers" else in_order(v) for k, v in data.items()}
    return [in_order(one) for one in data] if isinstance(data, list) else data


@pytest.mark.parametrize("name", CELERY["stamps"])
def test_stamps_are_those_of_celery(add, name):
    """By keyword or by a visitor, replaced or appended, on the links too."""
    made = stamps(StampingVisitor, add)
    assert in_order(plain(made[name])) == in_order(CELERY["stamps"][name])


def test_a_stamp_arrives_in_the_request(site, app):
    """And in those of its callbacks."""
    seen = []

    @app.task(bind=True, shared=False, name="see")
    def see(self, *_):
        seen.append(self.request.stamps)

    first = see.s()
    first.link(see.s())
    first.stamp(customer=5).delay()
    site.drain(app)
    assert seen == [{"customer": 5}] * 2


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_signature_does_what_celerys_does(add, name):
    """Made, merged, linked, copied, frozen, shown and run."""
    assert plain(SIGNATURES[name](add)) == INSTEAD.get(name, CELERY[name])


def test_the_functions_do_what_celerys_do(app, add):
    """``signature``, ``maybe_signature`` and the class, given anything."""
    made = functions(signature, maybe_signature, Signature, add, app)
    for name, value in CELERY["functions"].items():
        assert made[name] == value, name
    assert (subtask, maybe_subtask) == (signature, maybe_signature)


def test_a_name_without_an_application_belongs_to_the_current_one(app, add):
    """As in a module that knows no application."""
    assert signature("t.add", (1,)).delay().id
    assert signature("t.add").app is app


def test_sending_puts_arguments_in_front_and_options_on_top(site, app, add):
    """Keyword arguments of the call win; options that are None are not given."""
    made = add.s(10).set(queue="slow", priority=3)
    made.apply_async((1,), queue="fast", priority=None)
    (message,) = site.waiting("fast")
    assert message.priority == 3
    assert message.headers["argsrepr"] == "(1, 10)"


def test_an_immutable_signature_takes_options_only(site, app, add):
    """Its arguments are its own."""
    add.si(1, 2).apply_async((9,), {"z": 1}, queue="fast")
    assert site.waiting("fast")[0].headers["argsrepr"] == "(1, 2)"


def test_a_frozen_signature_is_sent_under_its_id(site, app, add):
    """Its result is known before; sent twice it is the same task."""
    made = add.s(1, 2)
    result = made.freeze()
    assert made.delay().id == made.delay().id == result.id
    site.drain(app)
    assert result.get() == 3


def test_a_name_nobody_knows_is_sent_all_the_same(site, app):
    """By ``send_task``; only ``type`` needs the task."""
    made = app.signature("elsewhere", (1,), queue="other")
    made.delay(0)
    assert site.waiting("other")[0].headers["argsrepr"] == "(0, 1)"
    with pytest.raises(NotRegistered):
        made.type  # noqa: B018 - it is the look that counts


def test_inverting_waits_for_the_result(site, app, add, monkeypatch):
    """``~sig`` is ``sig.apply_async().get()``."""
    app.conf.task_always_eager = True
    assert ~add.s(1, 2) == 3


def test_a_signature_travels_as_an_argument(site, app, add):
    """As plain data, of which `maybe_signature` makes one again."""
    got = []

    @app.task(shared=False)
    def take(sig):
        got.append(maybe_signature(sig, app=app))

    take.delay(add.s(1, y=2))
    site.drain(app)
    assert got == [plain(add.s(1, y=2))]
    assert isinstance(got[0], Signature)
    assert got[0]() == 3


def test_registered_types_are_made_of_dictionaries(app, monkeypatch):
    """``register_type`` and ``from_dict``: whatever a message holds becomes the right class."""
    monkeypatch.setattr(Signature, "TYPES", {})

    @Signature.register_type("special")
    class Special(Signature):
        @classmethod
        def from_dict(cls, data, app=None):
            return cls(dict(data), app=app)

    @Signature.register_type()
    class Named(Signature):
        pass

    data = {"task": "x", "args": (), "kwargs": {}, "options": {}, "subtask_type": "special"}
    assert type(signature(data, app=app)) is Special
    assert type(signature({**data, "subtask_type": None}, app=app)) is Signature
    assert Signature.TYPES["Named"] is Named


def test_the_result_of_a_signature_by_id(site, app, add):
    """Through the task where it is known."""
    add.s(1, 2).apply_async(task_id="x")
    site.drain(app)
    assert add.s().AsyncResult("x").get() == 3
    assert app.signature("elsewhere").AsyncResult("x").id == "x"
