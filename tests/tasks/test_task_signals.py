"""Signals about tasks: who sends them, with what.

Their order among handlers is in test_as_celery.
"""

from __future__ import annotations

import pytest

from umbel import signals
from umbel.exceptions import NotRegistered, Reject, Retry, TaskRevokedError
from umbel.message import Message


class Boom(Exception):  # noqa: N818 - as short as what it stands for
    pass


@pytest.fixture
def heard():
    """Connects to a signal and returns what it was sent with."""
    connected = []

    def hear(name, **options):
        calls = []

        def receiver(sender, signal, **named):
            # The dictionaries may be changed until the message is sent.
            kept = {k: dict(v) if isinstance(v, dict) else v for k, v in named.items()}
            calls.append((sender, kept))

        signal = getattr(signals, name)
        signal.connect(receiver, weak=False, **options)
        connected.append((signal, receiver, options.get("sender")))
        return calls

    yield hear
    for signal, receiver, sender in connected:
        signal.disconnect(receiver, sender=sender)


@pytest.fixture
def add(app):
    return app.task(name="t.add", shared=False)(lambda x, y: x + y)


@pytest.fixture
def fail(app):
    @app.task(name="t.fail", shared=False)
    def fail(*args):
        raise Boom("x")

    return fail


def same(task, sender):
    return task._get_current_object() is sender


# -- publishing ----------------------------------------------------------------------------


def test_before_task_publish_has_the_name_as_sender(heard, add):
    """And all that is about to be sent; the body as it was before it was encoded."""
    calls = heard("before_task_publish", sender="t.add")
    others = heard("before_task_publish", sender="t.other")
    add.apply_async((1, 2), task_id="x", priority=3, expires=60)
    ((sender, named),) = calls
    assert sender == "t.add"
    assert set(named) == {
        *("body", "exchange", "routing_key", "headers", "properties", "declare", "retry_policy"),
    }
    args, kwargs, embed = named["body"]
    assert (list(args), kwargs) == ([1, 2], {})
    assert embed == {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    assert named["headers"]["id"] == "x"
    assert named["properties"]["priority"] == 3
    assert named["properties"]["expiration"] == pytest.approx(60, abs=1)
    assert (named["exchange"], named["routing_key"]) == ("", "celery")
    assert others == []


def test_receivers_may_change_headers_and_properties(site, add):
    """As tracing libraries do."""

    def receiver(headers, properties, **_):
        headers["trace"] = "abc"
        properties["app_id"] = "me"

    signals.before_task_publish.connect(receiver)
    add.delay(1, 2)
    signals.before_task_publish.disconnect(receiver)
    (message,) = site.waiting()
    assert message.headers["trace"] == "abc"
    assert message.properties["app_id"] == "me"


def test_after_task_publish_follows(site, heard, add):
    """With what was sent, once it is stored."""
    stored = []

    def receiver(**_):
        stored.append(len(site.waiting()))

    signals.after_task_publish.connect(receiver)
    calls = heard("after_task_publish", sender="t.add")
    add.apply_async((1, 2), task_id="x")
    signals.after_task_publish.disconnect(receiver)
    ((sender, named),) = calls
    assert set(named) == {"headers", "body", "exchange", "routing_key"}
    assert (sender, named["headers"]["id"]) == ("t.add", "x")
    assert stored == [1]


# -- running -------------------------------------------------------------------------------


def test_task_prerun_and_postrun_surround_a_task(site, app, heard, add):
    """Sent with the task itself."""
    before, after = heard("task_prerun"), heard("task_postrun")
    add.apply_async((1,), {"y": 2}, task_id="x")
    site.drain(app)
    ((sender, named),) = before
    assert same(add, sender)
    assert same(add, named["task"])
    assert (named["task_id"], list(named["args"]), named["kwargs"]) == ("x", [1], {"y": 2})
    ((sender, named),) = after
    assert same(add, sender)
    assert (named["retval"], named["state"], named["task_id"]) == (3, "SUCCESS", "x")
    assert set(named) == {"task_id", "task", "args", "kwargs", "retval", "state"}


def test_the_sender_is_the_task_and_not_its_name(site, app, heard, add):
    """``sender=add`` matches, a name does not; the stand-in counts as its task."""
    by_task, by_name = heard("task_success", sender=add), heard("task_success", sender="t.add")
    other = app.task(name="other", shared=False)(lambda: None)
    add.delay(1, 2)
    other.delay()
    site.drain(app)
    assert (len(by_task), len(by_name)) == (1, 0)


def test_task_success_has_result_and_runtime(site, app, heard, add):
    """In seconds."""
    calls = heard("task_success")
    add.delay(1, 2)
    site.drain(app)
    ((_, named),) = calls
    assert named["result"] == 3
    assert 0 <= named["runtime"] < 10
    assert set(named) == {"result", "runtime"}


def test_task_failure_has_exception_traceback_and_einfo(site, app, heard, fail):
    """Everything error trackers ask for."""
    calls = heard("task_failure")
    fail.apply_async((1,), task_id="x")
    site.drain(app)
    ((sender, named),) = calls
    assert same(fail, sender)
    assert set(named) == {"task_id", "exception", "args", "kwargs", "traceback", "einfo"}
    assert (named["task_id"], repr(named["exception"])) == ("x", "Boom('x')")
    assert named["traceback"] is not None
    assert "Boom" in str(named["einfo"])


def test_task_retry_has_request_reason_and_einfo(site, app, heard):
    """The reason is the `Retry`."""
    calls = heard("task_retry")

    @app.task(bind=True, shared=False)
    def body(self):
        raise self.retry(exc=Boom("x"))

    body.apply_async(task_id="x")
    site.drain(app)
    ((sender, named),) = calls
    assert same(body, sender)
    assert set(named) == {"request", "reason", "einfo"}
    assert named["request"].id == "x"
    assert isinstance(named["reason"], Retry)
    assert isinstance(named["einfo"].exception, Boom)


def test_task_internal_error_tells_of_what_went_wrong_around_a_task(site, app, heard):
    """Not of what its body raised."""
    calls = heard("task_internal_error")
    task = app.task(name="t", shared=False)(lambda: 1)
    task.apply_async(task_id="x", link={"task": "t", "args": 5, "kwargs": {}, "options": {}})
    (one,) = site.drain(app)
    ((sender, named),) = calls
    assert same(task, sender)
    assert set(named) == {
        *("task_id", "args", "kwargs", "request", "exception", "traceback", "einfo"),
    }
    assert named["task_id"] == "x"
    assert isinstance(named["exception"], TypeError)
    assert app.AsyncResult("x").state == "FAILURE"
    assert isinstance(one.outcome.error, TypeError)


def test_eager_runs_send_the_same(heard, add, fail):
    """With ``apply``."""
    names = ("task_prerun", "task_postrun", "task_success", "task_failure")
    calls = {name: heard(name) for name in names}
    add.apply((1, 2))
    fail.apply()
    assert [len(calls[name]) for name in names] == [2, 2, 1, 1]


# -- seen by the worker --------------------------------------------------------------------


def test_task_revoked_tells_of_an_expired_task(site, app, heard, add):
    """``expired`` says why; the request is there."""
    calls = heard("task_revoked")
    add.apply_async((1, 2), task_id="x", expires=-1)
    site.drain(app)
    ((sender, named),) = calls
    assert same(add, sender)
    assert (named["terminated"], named["signum"], named["expired"]) == (False, None, True)
    request = named["request"]
    assert (request.id, request.name, request.task_name) == ("x", "t.add", "t.add")
    assert isinstance(app.AsyncResult("x").result, TaskRevokedError)


def test_task_unknown_tells_of_a_name_nobody_knows(site, app, heard):
    """With message, error, name and id."""
    calls = heard("task_unknown")
    app.send_task("t.unknown", task_id="x")
    site.drain(app)
    ((_, named),) = calls
    assert set(named) == {"message", "exc", "name", "id"}
    assert (named["name"], named["id"]) == ("t.unknown", "x")
    assert isinstance(named["exc"], NotRegistered)
    assert isinstance(named["message"], Message)


def test_task_rejected_tells_of_a_message_that_is_refused(site, app, heard):
    """With message and error."""
    calls = heard("task_rejected")
    app.task(name="t", shared=False)(lambda: None).apply_async(serializer="pickle")
    site.drain(app)
    ((_, named),) = calls
    assert set(named) == {"message", "exc"}
    assert "pickle" in str(named["exc"]) or "python-serialize" in str(named["exc"])


def test_task_failure_tells_of_a_rejected_task(site, app, heard):
    """It has failed for whoever waits."""
    calls = heard("task_failure")

    @app.task(shared=False)
    def body():
        raise Reject("no")

    body.delay()
    site.drain(app)
    assert isinstance(calls[0][1]["exception"], Reject)
