"""``self.retry()`` and ``autoretry_for``: when, how often, with what."""
# ruff: noqa: N818, TRY301 - tasks as people write them

from __future__ import annotations

import random
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from umbel import Task
from umbel.exceptions import MaxRetriesExceededError, Reject, Retry
from umbel.outcome import Failed, Rejected, Retrying, Succeeded


class Flaky(Exception):
    """What goes wrong."""


class Other(Exception):
    """What else goes wrong."""


def retrying(app, *, name="t.retrying", asks=None, **options):
    """A task that retries as ``asks`` says, for ever."""

    @app.task(bind=True, shared=False, name=name, **options)
    def body(self, *args, **kwargs):
        raise self.retry(**(asks or {}))

    return body


def due_in(message):
    return message.due_at - time.time()


# -- when ----------------------------------------------------------------------------------


def test_a_retry_waits_for_the_default_delay(site, app):
    """180 seconds, unless the task says otherwise."""
    retrying(app).delay()
    site.drain(app)
    (message,) = site.waiting()
    assert due_in(message) == pytest.approx(180, abs=5)
    assert site.drain(app) == []
    site.pass_time(181)
    assert len(site.drain(app, most=1)) == 1


def test_default_retry_delay_is_an_attribute(site, app):
    """In seconds."""
    retrying(app, default_retry_delay=7).delay()
    site.drain(app)
    assert due_in(site.waiting()[0]) == pytest.approx(7, abs=5)


def test_countdown_says_in_how_many_seconds(site, app):
    """0 is at once."""
    retrying(app, asks={"countdown": 30}).delay()
    site.drain(app)
    assert due_in(site.waiting()[0]) == pytest.approx(30, abs=5)
    retrying(app, name="at.once", asks={"countdown": 0}, max_retries=1).delay()
    assert len(site.drain(app)) == 2


@pytest.mark.parametrize("zone", [UTC, None])
def test_eta_says_when(site, app, zone):
    """As a datetime, or as text."""
    eta = (datetime.now(UTC) + timedelta(seconds=50)).replace(tzinfo=zone)
    for name, moment in (("one", eta), ("two", eta.isoformat())):
        retrying(app, name=name, asks={"eta": moment}).delay()
    site.drain(app)
    assert [due_in(message) for message in site.waiting()] == pytest.approx([50, 50], abs=5)


# -- the same task -------------------------------------------------------------------------


def test_a_retry_is_the_same_task_again(site, app):
    """Its id, lineage, limits, callbacks, headers and stamps; one more retry."""
    retrying(app).apply_async(
        (1,),
        {"k": 2},
        task_id="x",
        root_id="root",
        parent_id="parent",
        group_id="g",
        group_index=3,
        shadow="alias",
        expires=3600,
        time_limit=20,
        soft_time_limit=10,
        headers={"own": 1},
        priority=6,
        queue="other",
        ignore_result=True,
        reply_to="me",
        link=app.signature("a.link"),
        link_error=app.signature("an.errback"),
        chain=[app.signature("next")],
        stamped_headers=["mark"],
        mark="stamp",
    )
    (first,) = site.waiting("other")
    site.drain(app, queues=("other",))
    (again,) = site.waiting("other")
    changed = {key for key in first.headers if first.headers[key] != again.headers[key]}
    assert changed == {"retries", "eta"}
    assert again.headers["retries"] == 1
    assert again.id == "x"
    assert (again.priority, again.queue, again.body) == (6, "other", first.body)
    assert again.properties == {**first.properties, "expiration": again.properties["expiration"]}
    assert again.expires_at == pytest.approx(first.expires_at, abs=0.001)


def test_a_first_task_becomes_its_own_parent(site, app):
    """The message is sent from inside the task, as in Celery."""
    retrying(app).apply_async(task_id="x")
    site.drain(app)
    headers = site.waiting()[0].headers
    assert (headers["root_id"], headers["parent_id"]) == ("x", "x")


def test_a_retry_waits_in_the_queue_it_came_from(site):
    """Through its exchange it would reach every other queue that is bound there once more."""
    from umbel import Queue
    from umbel.exchanges import Exchange

    news = Exchange("news", "topic")
    queues = [Queue("n", news, "news.#"), Queue("other", news, "#")]
    app = site.app(task_queues=[Queue("celery"), *queues])
    retrying(app).apply_async(exchange="news", routing_key="news.sport")
    site.drain(app, queues=("n",))
    (again,) = site.waiting("n")
    assert (again.exchange, again.routing_key) == ("", "n")
    assert [message.headers["retries"] for message in site.waiting("other")] == [0]


def test_serializer_and_compression_stay(site):
    """The next attempt travels as this one did."""
    app = site.app(accept_content=["json", "yaml"])
    retrying(app).apply_async((1,), serializer="yaml", compression="gzip")
    site.drain(app)
    (again,) = site.waiting()
    assert again.content_type == "application/x-yaml"
    assert again.headers["compression"] == "application/x-gzip"


def test_options_of_the_retry_win(site, app):
    """Any option of ``apply_async``, over what the request had."""
    retrying(app, asks={"countdown": 5, "queue": "slow", "priority": 9, "shadow": "again"}).delay()
    site.drain(app)
    (again,) = site.waiting("slow")
    assert (again.priority, again.headers["shadow"]) == (9, "again")


# -- how often -----------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "attempts"), [(0, 1), (1, 2), (3, 4)])
def test_max_retries_bounds_the_attempts(site, app, limit, attempts):
    """One attempt more than retries."""
    result = retrying(app, asks={"countdown": 0}, max_retries=limit).delay()
    assert len(site.drain(app)) == attempts
    assert result.state == "FAILURE"


def test_max_retries_none_is_for_ever(site, app):
    """Nothing bounds the attempts."""
    retrying(app, asks={"countdown": 0}, max_retries=None).delay()
    assert len(site.drain(app, most=30)) == 30


def test_max_retries_of_the_call_counts_for_this_call(site, app):
    """More or fewer than the attribute says."""
    retrying(app, asks={"countdown": 0, "max_retries": 1}).delay()
    assert len(site.drain(app)) == 2
    retrying(app, name="more", asks={"countdown": 0, "max_retries": 5}, max_retries=1).delay()
    assert len(site.drain(app)) == 6


def test_used_up_retries_raise_an_error_that_names_the_call(site, app):
    """The task, its id and its arguments."""
    task = retrying(app, asks={"countdown": 0}, max_retries=0)
    result = task.apply_async((1,), {"k": 2}, task_id="x")
    (attempt,) = site.drain(app)
    error = attempt.outcome.error
    assert isinstance(error, MaxRetriesExceededError)
    assert isinstance(error, task.MaxRetriesExceededError)
    assert (list(error.task_args), error.task_kwargs) == ([1], {"k": 2})
    for part in ("t.retrying", "x", "(1,)", "{'k': 2}"):
        assert part in str(error)
    with pytest.raises(MaxRetriesExceededError):
        result.get()


def test_used_up_retries_raise_exc_where_it_is_given(site, app):
    """Chained to what is being handled."""

    @app.task(bind=True, shared=False, max_retries=0)
    def body(self):
        try:
            raise Other("cause")
        except Other:
            raise self.retry(exc=Flaky("told"))  # noqa: B904 - chained by retry itself

    body.delay()
    (attempt,) = site.drain(app)
    assert repr(attempt.outcome.error) == "Flaky('told')"
    assert isinstance(attempt.outcome.error.__cause__, Other)


# -- what is raised and stored -------------------------------------------------------------


def test_retry_is_stored_with_the_original_exception(site, app):
    """State RETRY, the exception that led to it, and its traceback."""
    result = retrying(app, asks={"exc": Flaky("why")}).delay()
    (attempt,) = site.drain(app)
    assert isinstance(attempt.outcome, Retrying)
    assert result.state == "RETRY"
    assert repr(result.result) == "Flaky('why')"
    assert "retry" in result.traceback
    assert not result.ready()


@pytest.mark.parametrize(
    ("retry", "text"),
    [
        (Retry(exc=KeyError("x"), when=180), "Retry in 180s: KeyError('x')"),
        (Retry(exc=KeyError("x")), "Retry at None: KeyError('x')"),
        (Retry(when=5), "Retry in 5s"),
        (Retry("said", exc=KeyError("x"), when=5), "said"),
    ],
)
def test_a_retry_says_when_and_why(retry, text):
    """In Celery's words."""
    assert str(retry) == text


def test_the_retry_knows_its_signature(site, app):
    """``when``, ``exc``, ``sig``, ``is_eager``."""
    seen = []

    @app.task(bind=True, shared=False)
    def body(self):
        retry = self.retry(exc=Flaky("x"), countdown=9, throw=False)
        seen.append(retry)

    body.apply_async((), task_id="x")
    site.drain(app)
    (retry,) = seen
    assert (retry.when, repr(retry.exc), retry.is_eager) == (9, "Flaky('x')", False)
    assert retry.sig.id == "x"
    assert retry.sig.options["retries"] == 1


def test_without_throwing_the_task_goes_on(site, app):
    """And ends in its own way, with the next attempt sent all the same."""

    @app.task(bind=True, shared=False)
    def body(self, fail):
        if not self.request.retries:
            self.retry(throw=False, countdown=0)
            if fail:
                raise Flaky("after all")
        return "done"

    for fail, kind in ((False, Succeeded), (True, Failed)):
        body.delay(fail)
        first, second = site.drain(app)
        assert isinstance(first.outcome, kind)
        assert isinstance(second.outcome, Succeeded)


def test_a_swallowed_retry_still_happens(site, app):
    """A bare except around ``retry`` does not undo it, as in Celery."""

    @app.task(bind=True, shared=False)
    def body(self):
        if not self.request.retries:
            with suppress(Exception):
                self.retry(countdown=0)

    body.delay()
    assert len(site.drain(app)) == 2


def test_asking_twice_is_one_next_attempt(site, app):
    """The last word counts."""

    @app.task(bind=True, shared=False)
    def body(self, value):
        if not self.request.retries:
            self.retry((1,), throw=False, countdown=0)
            self.retry((2,), throw=False, countdown=0)
        return value

    body.delay(0)
    attempts = site.drain(app)
    assert [attempt.outcome.value for attempt in attempts] == [0, 2]


def test_the_next_attempt_is_sent_in_the_step_that_ends_this_one(site, app):
    """There is never none of the two, nor both."""
    retrying(app, asks={"countdown": 0}).delay()
    (attempt,) = site.drain(app, most=1)
    assert attempt.settlement.delivery is not None
    assert [message.headers["retries"] for message in attempt.settlement.follow] == [1]


def test_arguments_that_cannot_travel_reject_the_task(site, app):
    """The next attempt cannot be sent, so the message goes to the dead letters."""
    result = retrying(app, asks={"args": (object(),)}).delay()
    (attempt,) = site.drain(app)
    assert isinstance(attempt.outcome, Rejected)
    assert attempt.outcome.reason.requeue is False
    assert "cannot be encoded" in str(attempt.outcome.reason)
    assert [letter.reason for letter in site.dead()] == ["rejected"]
    assert result.state == "FAILURE"


def test_a_retry_without_a_message_raises_the_error_itself(app):
    """Called directly there is nothing to retry."""

    @app.task(bind=True, shared=False)
    def body(self, exc=None, handled=None):
        if handled is None:
            raise self.retry(exc=exc)
        try:
            raise handled
        except Flaky:
            self.retry(exc=exc)

    with pytest.raises(Other, match="given"):
        body(Other("given"))
    with pytest.raises(Retry, match="can be retried"):
        body()
    with pytest.raises(Flaky, match="same"):
        body(same := Flaky("same"), same)
    with pytest.raises(Other) as caught:
        body(Other("given"), Flaky("cause"))
    assert isinstance(caught.value.__cause__, Flaky)


# -- arguments anew (the cases recorded from Celery are in test_as_celery) ------------------


@pytest.mark.parametrize(
    ("given", "asked", "then"),
    [
        (((1, 2), {}), {}, (1, 2, 3)),
        (((1, 2), {}), {"args": (9,)}, (9, 2, 3)),
        (((1,), {"b": 5, "c": 6}), {"args": (9, 8)}, (9, 8, 6)),
        (((1, 5), {"c": 6}), {"kwargs": {"c": 7}}, (1, 5, 7)),
        (((1, 5), {"c": 6}), {"kwargs": {"b": 7}}, (1, 7, 3)),
        (((), {"a": 1, "b": 5}), {"kwargs": {"a": 9}}, (9, 2, 3)),
        (((1, 5), {}), {"args": (), "kwargs": {"a": 3}}, (3, 2, 3)),
    ],
)
def test_half_of_the_arguments_may_be_new(site, app, given, asked, then):
    """New positional ones stand for old keywords; new keywords replace old positional ones."""
    got = []

    @app.task(bind=True, shared=False)
    def body(self, a, b=2, c=3):
        if self.request.retries:
            got.append((a, b, c))
        else:
            raise self.retry(countdown=0, **asked)

    body.apply_async(*given)
    site.drain(app)
    assert got == [then]


# -- autoretry -----------------------------------------------------------------------------


def failing(app, error, **options):
    @app.task(shared=False, name="t.failing", **{"max_retries": 2, **options})
    def body():
        raise error

    return body


def states_of(site, app, task):
    result = task.delay()
    attempts = site.drain(app)
    return len(attempts), result.state, attempts[-1].outcome


def test_autoretry_retries_on_what_it_names(site, app):
    """Until the retries are used up; then the original exception is the end."""
    task = failing(app, Flaky("x"), autoretry_for=(Flaky,), retry_kwargs={"countdown": 0})
    count, state, outcome = states_of(site, app, task)
    assert (count, state) == (3, "FAILURE")
    assert repr(outcome.error) == "Flaky('x')"


@pytest.mark.parametrize("named", [Flaky, [Flaky], (Flaky,), (Exception,)])
def test_autoretry_takes_one_class_or_several(site, app, named):
    """In any form."""
    task = failing(app, Flaky("x"), autoretry_for=named, retry_kwargs={"countdown": 0})
    assert states_of(site, app, task)[0] == 3


def test_autoretry_leaves_other_errors_alone(site, app):
    """They fail at once."""
    assert states_of(site, app, failing(app, Other("x"), autoretry_for=(Flaky,)))[0] == 1


def test_dont_autoretry_for_excepts(site, app):
    """From a wider class."""
    task = failing(app, Flaky("x"), autoretry_for=(Exception,), dont_autoretry_for=(Flaky,))
    assert states_of(site, app, task)[0] == 1


@pytest.mark.parametrize("error", [Retry("x"), Reject("x")])
def test_what_says_how_a_task_ends_is_no_reason_to_retry(site, app, error):
    """``Ignore``, ``Retry`` and ``Reject`` pass."""
    assert states_of(site, app, failing(app, error, autoretry_for=(Exception,)))[0] == 1


def test_retry_kwargs_are_arguments_of_the_retry(site, app):
    """``max_retries``, ``countdown`` and the like."""
    task = failing(
        app, Flaky("x"), autoretry_for=(Flaky,), retry_kwargs={"max_retries": 5, "countdown": 0}
    )
    assert states_of(site, app, task)[0] == 6


def test_backoff_doubles_from_its_factor_to_its_cap(site, app):
    """1, 2, 4, … seconds times ``retry_backoff``, at most ``retry_backoff_max``."""
    task = failing(
        app,
        Flaky("x"),
        autoretry_for=(Flaky,),
        retry_backoff=3,
        retry_backoff_max=20,
        retry_jitter=False,
        max_retries=None,
        retry_kwargs={"countdown": 99},
    )
    task.delay()
    waits = []
    for _ in range(5):
        (attempt,) = site.drain(app, most=1)
        waits.append(attempt.outcome.reason.when)
        site.pass_time(30)
    assert waits == [3, 6, 12, 20, 20]


def test_backoff_true_starts_with_a_second(site, app):
    """A factor of 1."""
    task = failing(app, Flaky("x"), autoretry_for=(Flaky,), retry_backoff=True, retry_jitter=False)
    task.delay()
    (attempt,) = site.drain(app)
    assert attempt.outcome.reason.when == 1


def test_jitter_chooses_from_the_whole_range(site, app):
    """A whole number of seconds from 0 to what the backoff says; never less."""
    random.seed(1)
    task = failing(app, Flaky("x"), autoretry_for=(Flaky,), retry_backoff=8, max_retries=None)
    found = set()
    for _ in range(100):
        task.delay()
    for attempt in site.drain(app, most=100):
        found.add(attempt.outcome.reason.when)
    assert found == set(range(9))


def test_a_limit_of_the_body_counts_for_autoretry_around_it(site, app):
    """``self.retry(max_retries=…)`` inside a task that also retries by itself is not undone."""

    @app.task(
        bind=True,
        shared=False,
        autoretry_for=(Flaky,),
        max_retries=9,
        retry_kwargs={"countdown": 0},
    )
    def body(self):
        raise self.retry(exc=Flaky("x"), max_retries=1, countdown=0)

    body.delay()
    assert len(site.drain(app)) == 2


def test_autoretry_works_for_coroutines(site, app):
    """The same on the loop."""

    @app.task(shared=False, autoretry_for=(Flaky,), retry_kwargs={"countdown": 0}, max_retries=2)
    async def body():
        raise Flaky("x")

    result = body.delay()
    assert len(site.drain(app)) == 3
    assert result.state == "FAILURE"


def test_autoretry_works_for_classes(site, app):
    """As attributes of the class; a subclass is not wrapped twice."""

    class Base(Task):
        autoretry_for = (Flaky,)
        retry_kwargs = {"countdown": 0}  # noqa: RUF012 - as people write it
        max_retries = 1

        def run(self):
            raise Flaky("x")

    class Sub(Base):
        name = "sub"

    app.register_task(Base())
    task = app.register_task(Sub())
    app.register_task(task)
    task.delay()
    assert len(site.drain(app)) == 2


def test_called_directly_autoretry_raises_the_error(app):
    """There is nothing to retry."""
    with pytest.raises(Flaky):
        failing(app, Flaky("x"), autoretry_for=(Flaky,))()


def test_an_eager_task_retries_by_itself_at_once(app):
    """Countdowns are not waited for."""
    runs = []

    @app.task(bind=True, shared=False, autoretry_for=(Flaky,), retry_backoff=True)
    def body(self):
        runs.append(self.request.retries)
        if self.request.retries < 2:
            raise Flaky("x")
        return "done"

    assert body.apply().get() == "done"
    assert runs == [0, 1, 2]
