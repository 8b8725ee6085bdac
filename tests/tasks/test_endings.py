"""How an attempt ends, and what is made durable of it.

That handlers and signals come in Celery's order with Celery's values is in test_as_celery.
"""
# ruff: noqa: N818 - tasks as people write them

from __future__ import annotations

import gc
import logging
import weakref

import pytest

from umbel import Task, attempt, serialization, signals
from umbel.context import Context
from umbel.exceptions import (
    EncodeError,
    Ignore,
    Reject,
    RemoteError,
    SoftTimeLimitExceeded,
    TimeLimitExceeded,
    WorkerLostError,
)
from umbel.loading import Loader
from umbel.message import Delivery
from umbel.outcome import Expired, Failed, Ignored, Rejected, Revoked, Succeeded, Undeliverable


class Boom(Exception):
    pass


class Known(Exception):
    """Declared in ``throws``."""


class KnownBelow(Known):
    """Of a class below."""


class Deep(BaseException):
    """Not even an Exception."""


class Unprintable(Exception):
    def __str__(self):
        raise ValueError("no")

    __repr__ = __str__


class Twoargs(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def raising(app, error, **options):
    @app.task(shared=False, name="t.raising", **options)
    def body():
        raise error

    return body


def returning(app, value, **options):
    return app.task(shared=False, name="t.returning", **options)(lambda: value)


# -- success and failure -------------------------------------------------------------------


def test_a_returned_value_is_stored(site, app):
    """State SUCCESS, the value, and when."""
    result = returning(app, {"a": [1]}).delay()
    (one,) = site.drain(app)
    assert one.outcome == Succeeded({"a": [1]})
    assert (result.state, result.get()) == ("SUCCESS", {"a": [1]})
    assert result.date_done is not None
    assert site.waiting() == []


def test_a_raised_exception_is_stored_with_its_traceback(site, app):
    """State FAILURE; the traceback starts with the task's own frame."""
    result = raising(app, Boom("why", 5)).delay()
    site.drain(app)
    assert result.state == "FAILURE"
    assert result.result.args == ("why", 5)
    lines = result.traceback.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert "in body" in lines[1]
    assert lines[-1].endswith("Boom: ('why', 5)")


def test_the_traceback_leaves_out_what_is_around_the_body(site, app):
    """Retries, models and calls of our own do not push the user's frames down."""

    class Calling(Task):
        def __call__(self, *args, **kwargs):
            return super().__call__(*args, **kwargs)

    @app.task(shared=False, pydantic=True, autoretry_for=(Boom,), max_retries=0)
    def body(x: int):
        raise Boom("x")

    result = body.delay(1)
    site.drain(app)
    assert "in body" in result.traceback.splitlines()[1]


@pytest.mark.parametrize(
    "error", [Unprintable("x"), Twoargs(1, 2), Boom(object()), Boom({"a": {1}}), Deep("x")]
)
def test_any_exception_can_be_stored(site, app, error):
    """One that cannot be printed, built again, encoded, or is no Exception at all."""
    result = raising(app, error).delay()
    site.drain(app)
    assert result.state == "FAILURE"
    assert result.traceback
    with pytest.raises(Exception):  # noqa: B017, PT011 - whichever stands for it
        result.get()


def test_what_would_end_the_caller_arrives_as_an_ordinary_error(site, app):
    """Waiting for a result never raises what is no Exception."""
    result = raising(app, Deep("x")).delay()
    site.drain(app)
    with pytest.raises(RemoteError) as caught:
        result.get()
    assert caught.value.exc_type == "Deep"


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt()])
def test_what_ends_the_process_passes_through(app, error):
    """It is the worker's to decide about, and no outcome of the task."""
    task = raising(app, error)
    with pytest.raises(type(error)):
        attempt.run(attempt.Plan.of(task), Context(id="x", args=(), kwargs={}))


def test_a_value_that_cannot_be_encoded_fails_the_task(site, app):
    """Nobody is told of a success that is none, and error callbacks are called."""
    told = []

    class Telling(Task):
        def on_success(self, *args):
            told.append("success")

        def on_failure(self, exc, *args):
            told.append(type(exc))

    errback = app.task(name="errback", shared=False)(lambda task_id: told.append(task_id) and None)
    task = returning(app, object(), base=Telling)
    result = task.apply_async(task_id="x", link_error=errback.s(), link=errback.s())
    first, _ = site.drain(app)
    assert isinstance(first.outcome, Failed)
    assert isinstance(first.outcome.error, EncodeError)
    assert told == [EncodeError, "x"]
    assert result.state == "FAILURE"
    assert "cannot be encoded" in str(result.result)


def test_a_callback_that_cannot_get_the_value_fails_the_task(site, app):
    """As in Celery: what follows is part of the success."""
    errors = []
    errback = app.task(name="errback", shared=False)(lambda r, e, t: errors.append(type(e)))
    result = returning(app, {1}, ignore_result=True).apply_async(
        link=app.signature("somewhere"), link_error=errback.s()
    )
    (one,) = site.drain(app)
    assert isinstance(one.outcome, Failed)
    assert errors == [EncodeError]
    assert result.state == "PENDING"


def test_a_failing_task_leaves_no_garbage(site, app):
    """The frames of the body, and what they hold, go with the attempt."""
    held = []

    class Big:
        pass

    @app.task(shared=False)
    def body():
        big = Big()
        held.append(weakref.ref(big))
        raise Boom("x")

    gc.disable()
    try:
        body.delay()
        site.drain(app)
        assert held[0]() is None
    finally:
        gc.enable()


# -- expected errors -----------------------------------------------------------------------


@pytest.mark.parametrize("throws", [Known, (Known,), [Known, Boom]])
def test_errors_in_throws_are_expected(site, app, throws):
    """They fail the task like others, and are told as expected."""
    result = raising(app, KnownBelow("x"), throws=throws).delay()
    (one,) = site.drain(app)
    assert one.outcome.expected
    assert attempt.is_quiet(one.outcome)
    assert result.state == "FAILURE"


def test_other_errors_are_unexpected(site, app):
    """They are told as errors."""
    raising(app, Boom("x"), throws=(Known,)).delay()
    (one,) = site.drain(app)
    assert not one.outcome.expected
    assert not attempt.is_quiet(one.outcome)


# -- Ignore and Reject ---------------------------------------------------------------------


def test_ignore_stores_nothing(site, app):
    """The message is done with, and the task says itself what became of it."""

    @app.task(bind=True, shared=False)
    def body(self):
        self.update_state(state="MINE", meta=1)
        raise Ignore

    result = body.delay()
    (one,) = site.drain(app)
    assert isinstance(one.outcome, Ignored)
    assert (result.state, result.info) == ("MINE", 1)
    assert site.waiting() == site.dead() == []


def test_reject_goes_to_the_dead_letters_and_fails(site, app):
    """With its reason; whoever waits is told."""
    result = raising(app, Reject("broken", requeue=False)).delay()
    (one,) = site.drain(app)
    assert isinstance(one.outcome, Rejected)
    (letter,) = site.dead()
    assert letter.reason == "rejected"
    assert "broken" in letter.detail
    assert letter.message.id == result.id
    assert result.state == "FAILURE"
    assert isinstance(result.result, Reject)


def test_reject_and_requeue_puts_the_message_back(site, app):
    """At the end of its queue, and nothing is stored."""
    task = raising(app, Reject("not now", requeue=True))
    result = task.delay()
    other = returning(app, 1).delay()
    first, second = site.drain(app, most=2)
    assert isinstance(first.outcome, Rejected)
    assert second.request.id == other.id
    assert [message.id for message in site.waiting()] == [result.id]
    assert result.state == "PENDING"


def test_reject_after_early_acknowledgement_only_fails(site, app):
    """The message is gone already."""
    result = raising(app, Reject("too late"), acks_late=False).delay()
    site.drain(app)
    assert site.dead() == site.waiting() == []
    assert result.state == "FAILURE"


# -- acknowledging failures ----------------------------------------------------------------


FAILURES = {
    "failure": Boom("x"),
    "timeout": TimeLimitExceeded(5),
}


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, set()),
        ({"acks_on_failure_or_timeout": False}, {"failure", "timeout"}),
        ({"acks_on_failure": False}, {"failure"}),
        ({"acks_on_timeout": False}, {"timeout"}),
        ({"acks_on_failure_or_timeout": False, "acks_on_failure": True}, {"timeout"}),
        ({"acks_on_failure_or_timeout": False, "acks_on_timeout": True}, {"failure"}),
    ],
)
@pytest.mark.parametrize("kind", FAILURES)
def test_messages_of_failed_attempts_are_kept_where_asked(site, app, options, kept, kind):
    """``acks_on_failure``, ``acks_on_timeout``, then both in one; kept means a dead letter."""
    result = raising(app, FAILURES[kind], **options).delay()
    site.drain(app)
    assert len(site.dead()) == (kind in kept)
    assert result.state == "FAILURE"
    assert site.waiting() == []


# -- what is stored ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of_task", "of_call", "stored"),
    [
        (None, None, True),
        (True, None, False),
        (False, None, True),
        (True, False, True),
        (False, True, False),
        (True, True, False),
    ],
)
def test_the_call_decides_over_the_task_whether_results_are_kept(
    site, app, of_task, of_call, stored
):
    """``ignore_result`` of ``apply_async`` wins both ways."""
    options = {} if of_task is None else {"ignore_result": of_task}
    call = {} if of_call is None else {"ignore_result": of_call}
    result = returning(app, 1, **options).apply_async(**call)
    site.drain(app)
    assert result.ignored is not stored
    assert app.AsyncResult(result.id).state == ("SUCCESS" if stored else "PENDING")
    assert result.get() == (1 if stored else None)


def test_the_setting_decides_where_nobody_else_does(site):
    """``task_ignore_result``."""
    app = site.app(task_ignore_result=True)
    result = returning(app, 1).delay()
    site.drain(app)
    assert app.AsyncResult(result.id).state == "PENDING"


def test_errors_are_stored_even_if_results_are_ignored(site, app):
    """``store_errors_even_if_ignored``: failures and retries, and nothing else."""
    options = {"ignore_result": True, "store_errors_even_if_ignored": True}
    failed = raising(app, Boom("x"), **options).delay()
    succeeded = returning(app, 1, **options).delay()

    @app.task(bind=True, shared=False, **options)
    def again(self):
        raise self.retry(exc=Boom("y"))

    retried = again.delay()
    site.drain(app)
    states = [app.AsyncResult(result.id).state for result in (failed, succeeded, retried)]
    assert states == ["FAILURE", "PENDING", "RETRY"]


def test_started_is_stored_where_it_is_tracked(site, app):
    """``track_started``: with the process and the worker."""
    seen = []

    @app.task(bind=True, shared=False, track_started=True)
    def body(self):
        seen.append(app.backend.get(self.request.id))

    body.delay()
    site.drain(app)
    assert seen[0]["status"] == "STARTED"
    assert set(seen[0]["result"]) == {"pid", "hostname"}


def test_custom_states_are_stored_and_are_not_the_end(site, app):
    """``update_state`` with any state and data; ``get`` goes on waiting."""
    seen = []

    @app.task(bind=True, shared=False)
    def body(self):
        self.update_state(state="PROGRESS", meta={"done": 5, "of": 10})
        result = self.AsyncResult(self.request.id)
        seen.append((result.state, result.info, result.ready()))
        self.update_state("another", "MARKED", "x")
        return 1

    result = body.delay()
    site.drain(app)
    assert seen == [("PROGRESS", {"done": 5, "of": 10}, False)]
    assert app.AsyncResult("another").state == "MARKED"
    assert result.get() == 1


def test_update_state_needs_a_task_and_a_state(app):
    """Outside a task an id must be given."""
    task = app.task(shared=False)(lambda: None)
    with pytest.raises(ValueError, match="needs a task id"):
        task.update_state(state="X")
    with pytest.raises(ValueError, match="needs a state"):
        task.update_state("id")


def test_a_state_that_cannot_be_encoded_is_the_tasks_own_error(site, app):
    """Raised where it was asked for."""

    @app.task(bind=True, shared=False)
    def body(self):
        self.update_state(state="X", meta=object())

    body.delay()
    (one,) = site.drain(app)
    assert isinstance(one.outcome.error, EncodeError)


# -- handlers and receivers ----------------------------------------------------------------


def test_what_a_handler_raises_is_logged_and_changes_nothing(site, app, caplog):
    """The log names handler and task; the task ends as it ended."""

    class Broken(Task):
        def on_success(self, *args):
            raise Boom("handler")

        def after_return(self, *args):
            raise Boom("last handler")

    result = returning(app, 1, base=Broken).delay()
    site.drain(app)
    assert result.get() == 1
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [
        f"on_success of t.returning[{result.id}] failed",
        f"after_return of t.returning[{result.id}] failed",
    ]
    assert all(record.exc_info[0] is Boom for record in caplog.records)


def test_what_a_receiver_raises_is_logged_and_changes_nothing(site, app, caplog):
    """And the receivers after it are called."""
    called = []

    def broken(**_):
        raise Boom("receiver")

    def after(**_):
        called.append(1)

    for signal in (signals.task_prerun, signals.task_success, signals.task_postrun):
        signal.connect(broken)
        signal.connect(after)
    try:
        result = returning(app, 1).delay()
        site.drain(app)
    finally:
        for signal in (signals.task_prerun, signals.task_success, signals.task_postrun):
            signal.disconnect(broken)
            signal.disconnect(after)
    assert result.get() == 1
    assert called == [1, 1, 1]
    assert len(caplog.records) == 3


def test_handlers_run_within_the_request(site, app):
    """``self.request`` is the task's own in every one of them."""
    seen = []

    class Looking(Task):
        def before_start(self, task_id, *args):
            seen.append(("before_start", self.request.id == task_id))

        def on_success(self, retval, task_id, *args):
            seen.append(("on_success", self.request.id == task_id))

        def on_failure(self, exc, task_id, *args):
            seen.append(("on_failure", self.request.id == task_id))

        def on_retry(self, exc, task_id, *args):
            seen.append(("on_retry", self.request.id == task_id))

        def after_return(self, status, retval, task_id, *args):
            seen.append(("after_return", self.request.id == task_id))

    @app.task(bind=True, base=Looking, shared=False, max_retries=1)
    def body(self):
        raise self.retry(countdown=0)

    body.delay()
    returning(app, 1, base=Looking).delay()
    site.drain(app)
    assert [name for name, _ in seen] == [
        *("before_start", "on_retry"),
        *("before_start", "on_success", "after_return"),
        *("before_start", "on_failure", "after_return"),
    ]
    assert all(same for _, same in seen)


def test_handlers_of_coroutines_are_called_too(site, app):
    """On the loop, in the same order."""
    seen = []

    class Telling(Task):
        def before_start(self, *args):
            seen.append("before_start")

        def on_success(self, *args):
            seen.append("on_success")

        def after_return(self, *args):
            seen.append("after_return")

    @app.task(base=Telling, shared=False)
    async def body():
        seen.append("body")

    body.delay()
    site.drain(app)
    assert seen == ["before_start", "body", "on_success", "after_return"]


def test_einfo_carries_exception_and_traceback(site, app):
    """Of failures and retries; ``after_return`` gets none."""
    seen = []

    class Keeping(Task):
        def on_failure(self, exc, task_id, args, kwargs, einfo):
            seen.append((einfo.exception is exc, einfo.type, "in body" in einfo.traceback))
            assert einfo.tb is not None

    raising(app, Boom("x"), base=Keeping).delay()
    site.drain(app)
    assert seen == [(True, Boom, True)]


def test_the_loader_is_told_of_every_task(site):
    """``on_task_init`` before it, ``on_process_cleanup`` after it."""
    told = []

    class Watching(Loader):
        def on_task_init(self, task_id, task):
            told.append((task_id, task.name))

        def on_process_cleanup(self):
            told.append("cleanup")
            raise Boom("changes nothing")

    app = site.app(loader=Watching)
    result = returning(app, 1).apply_async(task_id="x")
    site.drain(app)
    assert told == [("x", "t.returning"), "cleanup"]
    assert result.get() == 1


# -- ends from outside ---------------------------------------------------------------------


def test_an_expired_task_is_revoked_and_not_run(site, app):
    """State REVOKED, and it has not failed."""
    ran = []
    task = app.task(shared=False)(lambda: ran.append(1))
    result = task.apply_async(expires=-5)
    (one,) = site.drain(app)
    assert isinstance(one.outcome, Expired)
    assert (result.state, result.failed(), ran) == ("REVOKED", False, [])


@pytest.mark.parametrize(
    "outcome",
    [
        Failed(TimeLimitExceeded(5), None),
        Failed(WorkerLostError("gone"), None),
        Undeliverable("crashed", "too often", WorkerLostError("gone")),
    ],
)
def test_errbacks_are_told_of_ends_from_outside(site, app, outcome):
    """Hard limits, lost workers, and tasks that crash every worker."""
    told = []
    errback = app.task(name="errback", shared=False)(lambda r, e, t: told.append((r.id, type(e))))
    task = returning(app, 1)
    task.apply_async(task_id="x", link_error=errback.s())
    conclude_with(site, app, task, outcome)
    assert told == [("x", type(outcome.error))]


@pytest.mark.parametrize("outcome", [Expired(), Revoked("asked for"), Ignored()])
def test_errbacks_are_not_told_of_revoked_and_ignored_tasks(site, app, outcome):
    """These have not failed."""
    told = []
    errback = app.task(name="errback", shared=False)(lambda r, e, t: told.append(1))
    task = returning(app, 1)
    task.apply_async(task_id="x", link_error=errback.s())
    settlement = conclude_with(site, app, task, outcome)
    assert told == []
    assert settlement.follow == ()


def conclude_with(site, app, task, outcome):
    (message,) = site.waiting()
    parts = serialization.loads(message.body, message.content_type, accept=["json"])
    delivery = Delivery(message, 1, 1, "o", "celery")
    request = Context.of(delivery, message, tuple(parts), "here")
    return attempt.conclude(attempt.Plan.of(task), request, delivery, outcome)


def test_a_soft_limit_in_the_body_is_the_bodys(site, app):
    """It may be caught; uncaught it fails the task."""
    result = raising(app, SoftTimeLimitExceeded(1)).delay()
    site.drain(app)
    assert isinstance(result.result, SoftTimeLimitExceeded)


def test_a_soft_limit_after_the_body_changes_nothing(site, app):
    """It came too late: the task has succeeded."""

    class Late(Task):
        def on_success(self, *args):
            raise SoftTimeLimitExceeded(1)

    result = returning(app, 1, base=Late).delay()
    site.drain(app)
    assert result.get() == 1


def test_a_redelivered_message_of_a_done_task_is_not_run_again(site, caplog):
    """``worker_deduplicate_successful_tasks``: callbacks are sent, the body is not called."""
    caplog.set_level(logging.INFO, "umbel")
    app = site.app(worker_deduplicate_successful_tasks=True)
    ran = []
    task = app.task(shared=False, name="once")(lambda: ran.append(1) or len(ran))
    task.apply_async(task_id="x", link=app.signature("follow", queue="other"))
    site.broker.enroll("dead", 30)
    (delivery,) = site.broker.reserve("dead", ["celery"], limit=1, wait=0)
    app.backend.put("x", 5, "SUCCESS")
    site.broker.release([delivery], crashed=True)
    site.broker.enroll("dead", 30)
    site.drain(app)
    assert ran == []
    assert app.AsyncResult("x").get() == 5
    assert len(site.waiting("other")) == 1
    assert "already completed" in caplog.text


def test_without_the_setting_it_runs_again(site, app):
    """At least once means: perhaps twice."""
    ran = []
    task = app.task(shared=False, name="twice")(lambda: ran.append(1))
    task.apply_async(task_id="x")
    site.broker.enroll("dead", 30)
    (delivery,) = site.broker.reserve("dead", ["celery"], limit=1, wait=0)
    app.backend.put("x", 5, "SUCCESS")
    site.broker.release([delivery], crashed=True)
    site.drain(app)
    assert ran == [1]
