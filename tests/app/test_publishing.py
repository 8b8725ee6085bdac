"""How messages reach the broker: within a deadline, in threads and in event loops alike."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from contextlib import closing, contextmanager

import pytest

from patience import DEADLINE, Background, wait_until
from umbel import signals
from umbel.exceptions import EncodeError, ImproperlyConfigured, OperationalError
from umbel.publisher import Publisher

SLACK = 1.0
"""Seconds by which a busy machine may be late."""


@contextmanager
def locked(path="locked.db"):
    """Another connection holds the file's write lock."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield other


@pytest.fixture
def stuck(make):
    """An application whose file exists."""
    app = make(broker="sqlite:///locked.db")
    app.send_task("before")
    app.control.purge()
    return app


def timed(call):
    """The error that ``call`` raises, and how long it took."""
    began = time.monotonic()
    with pytest.raises(OperationalError) as raised:
        call()
    return raised.value, time.monotonic() - began


def test_a_locked_file_is_an_error_within_the_deadline(stuck):
    with locked():
        error, took = timed(lambda: stuck.send_task("a"))
    assert "locked" in str(error)
    assert 1.9 <= took <= 2.0 + SLACK


def test_a_locked_file_is_an_error_within_the_deadline_at_the_first_use_too(make):
    """Opening the file counts, and so does making its tables."""
    app = make(broker="sqlite:///locked.db")
    with locked():
        _, took = timed(lambda: app.send_task("a"))
    assert took <= 2.0 + SLACK


def test_a_locked_file_is_an_error_within_the_deadline_in_an_event_loop(stuck):
    async def main():
        began = time.monotonic()
        done = await asyncio.gather(
            *(stuck.asend_task("a") for _ in range(20)), return_exceptions=True
        )
        return done, time.monotonic() - began

    with locked():
        errors, took = asyncio.run(main())
    assert {type(error) for error in errors} == {OperationalError}
    assert 1.9 <= took <= 2.0 + SLACK


def test_the_loop_goes_on_while_the_file_is_locked(stuck):
    async def main():
        sending = asyncio.create_task(stuck.asend_task("a", timeout=0.5))
        turns = 0
        while not sending.done():
            await asyncio.sleep(0.01)
            turns += 1
        return turns, sending.exception()

    with locked():
        turns, error = asyncio.run(main())
    assert turns > 10
    assert isinstance(error, OperationalError)


def test_the_deadline_is_a_setting_and_an_option(stuck):
    stuck.conf.publish_timeout = 0.3
    with locked():
        _, by_setting = timed(lambda: stuck.send_task("a"))
        _, by_option = timed(lambda: stuck.send_task("a", timeout=0.1))
    assert 0.25 <= by_setting <= 0.3 + SLACK
    assert 0.05 <= by_option <= 0.1 + SLACK


def test_without_a_deadline_it_waits_until_the_file_is_free(stuck):
    stuck.conf.publish_timeout = None
    with locked() as other:
        sending = Background(stuck.send_task, "a").start()
        time.sleep(0.05)
        other.execute("ROLLBACK")
        sending.__exit__()
    wait_until(lambda: stuck.broker.browse("celery"))


def test_a_message_is_stored_as_soon_as_the_file_is_free(stuck):
    with locked() as other, Background(stuck.send_task, "a"):
        time.sleep(0.05)
        other.execute("ROLLBACK")
    assert [each.message.task for each in stuck.broker.browse("celery")] == ["a"]


def test_each_asynchronous_caller_has_a_deadline_of_its_own(stuck):
    """One whose time is up does not take the others with it."""

    async def main():
        short = asyncio.create_task(stuck.asend_task("short", timeout=0.2))
        long = asyncio.create_task(stuck.asend_task("long", timeout=DEADLINE))
        done, _ = await asyncio.wait([short, long], return_when=asyncio.FIRST_COMPLETED)
        assert done == {short}
        other.execute("ROLLBACK")
        await long
        return short.exception()

    with locked() as other:
        error = asyncio.run(main())
    assert isinstance(error, OperationalError)
    assert [each.message.task for each in stuck.broker.browse("celery")] == ["long"]


# -- trying again --------------------------------------------------------------------------


class Unreliable:
    """Stands before a broker and fails some times first."""

    def __init__(self, broker, failures, error=None):
        self.broker, self.failures, self.calls = broker, failures, 0
        self.error = error or OperationalError("out of reach")

    def __getattr__(self, name):
        return getattr(self.broker, name)

    def publish(self, messages, *, timeout=None):
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error
        self.broker.publish(messages, timeout=timeout)


@pytest.fixture
def unreliable(app):
    """Puts something unreliable before the application's broker."""

    def put(failures, **options):
        found = Unreliable(app.broker, failures, **options)
        app.connections.__dict__["write_broker"] = found
        return found

    yield put
    app.connections.__dict__.pop("write_broker", None)


def test_publishing_is_tried_again(app, unreliable, waiting):
    broker = unreliable(3)
    app.send_task("a")
    assert broker.calls == 4
    assert len(waiting()) == 1


def test_publishing_is_given_up_after_some_times(app, unreliable):
    broker = unreliable(100)
    with pytest.raises(OperationalError, match="out of reach"):
        app.send_task("a")
    assert broker.calls == 4


def test_publishing_is_not_tried_again_if_so_asked(app, unreliable):
    broker = unreliable(100)
    with pytest.raises(OperationalError):
        app.send_task("a", retry=False)
    assert broker.calls == 1
    app.conf.task_publish_retry = False
    unreliable_again = unreliable(100)
    with pytest.raises(OperationalError):
        app.send_task("a")
    assert unreliable_again.calls == 1


def test_the_policy_of_a_call_goes_before_that_of_the_settings(app, unreliable):
    broker = unreliable(100)
    with pytest.raises(OperationalError):
        app.send_task("a", retry_policy={"max_retries": 1, "interval_start": 0})
    assert broker.calls == 2


def test_a_wrong_policy_is_refused_before_anything_is_sent(app, unreliable):
    broker = unreliable(0)
    with pytest.raises(ImproperlyConfigured, match="max_retrys"):
        app.send_task("a", retry_policy={"max_retrys": 1})
    assert broker.calls == 0


def test_other_errors_may_be_tried_again_too(app, unreliable, waiting):
    unreliable(2, error=LookupError("odd"))
    with pytest.raises(LookupError):
        app.send_task("a")
    unreliable(2, error=LookupError("odd"))
    app.send_task("a", retry_policy={"retry_errors": (LookupError,), "interval_step": 0})
    assert len(waiting()) == 1


def test_asynchronous_callers_are_tried_again_each_in_their_own_way(app, unreliable, waiting):
    async def main():
        return await asyncio.gather(
            app.asend_task("a", retry=False), app.asend_task("b"), return_exceptions=True
        )

    unreliable(2)
    refused, sent = asyncio.run(main())
    assert isinstance(refused, OperationalError)
    assert sent.id == waiting()[0].id


# -- asynchronous callers ------------------------------------------------------------------


def test_concurrent_callers_share_batches(app):
    """What gathers while a batch is under way becomes the next one; each gets its own through."""
    batches = []
    broker = app.broker
    submitted = threading.Semaphore(0)
    publisher = app.client.publisher
    submit = publisher.submit

    def counting(*args):
        future = submit(*args)
        submitted.release()
        return future

    class Slow:
        capabilities = broker.capabilities

        def publish(self, messages, *, timeout=None):
            if not batches:
                for _ in range(1000):
                    assert submitted.acquire(timeout=30)
            batches.append(len(messages))
            broker.publish(messages, timeout=timeout)

    publisher.submit = counting
    app.connections.__dict__["write_broker"] = Slow()

    async def main():
        calls = (app.asend_task("a", (n,), timeout=60) for n in range(1000))
        return await asyncio.gather(*calls)

    results = asyncio.run(main())
    app.connections.__dict__.pop("write_broker")
    assert len({result.id for result in results}) == 1000
    assert sum(batches) == 1000
    assert len(batches) <= 3
    assert len(broker.browse("celery", limit=2000)) == 1000


def test_one_bad_message_does_not_fail_the_others_of_its_batch(app, unreliable):
    class Fussy:
        capabilities = app.broker.capabilities

        def publish(self, messages, *, timeout=None):
            if any(message.task == "bad" for message in messages):
                raise EncodeError("too big")

    app.connections.__dict__["write_broker"] = Fussy()

    async def main():
        return await asyncio.gather(
            *(app.asend_task(name) for name in ("good", "bad", "fine")), return_exceptions=True
        )

    first, bad, last = asyncio.run(main())
    assert isinstance(bad, EncodeError)
    assert not isinstance(first, Exception)
    assert not isinstance(last, Exception)


def test_a_caller_that_was_cancelled_before_its_turn_sends_nothing(app, waiting):
    inside, go_on = threading.Event(), threading.Event()
    broker = app.broker

    class Slow:
        capabilities = broker.capabilities

        def publish(self, messages, *, timeout=None):
            inside.set()
            assert go_on.wait(DEADLINE)
            broker.publish(messages, timeout=timeout)

    app.connections.__dict__["write_broker"] = Slow()

    async def main():
        first = asyncio.create_task(app.asend_task("first"))
        await asyncio.to_thread(inside.wait, DEADLINE)
        second = asyncio.create_task(app.asend_task("second"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.wait([second])
        go_on.set()
        await first
        assert second.cancelled()

    asyncio.run(main())
    app.connections.__dict__.pop("write_broker")
    assert [each.task for each in waiting()] == ["first"]


def test_publish_many_has_an_asynchronous_twin(app, waiting):
    async def main():
        return await app.apublish_many(app.signature("a", (n,)) for n in range(3))

    results = asyncio.run(main())
    assert [each.id for each in waiting()] == [result.id for result in results]


def test_tasks_have_asynchronous_twins(app, waiting):
    add = app.task(name="add")(lambda x, y: x + y)

    async def main():
        return [await add.adelay(1, 2), await add.aapply_async((3, 4), queue="celery")]

    results = asyncio.run(main())
    assert [each.id for each in waiting()] == [result.id for result in results]


def test_closing_publishes_what_waits_and_ends_the_thread():
    stored = []
    publisher = Publisher(lambda messages, _until, _options: stored.extend(messages))
    futures = [publisher.submit([n], time.monotonic() + 5, {}) for n in range(10)]
    publisher.close()
    assert stored == list(range(10))
    assert all(future.done() for future in futures)
    assert not [thread for thread in threading.enumerate() if thread.name == "umbel-publisher"]


def test_a_publisher_that_was_closed_works_again():
    stored = []
    publisher = Publisher(lambda messages, _until, _options: stored.extend(messages))
    publisher.close()
    publisher.submit([1], time.monotonic() + 5, {}).result(DEADLINE)
    publisher.close()
    assert stored == [1]


# -- signals -------------------------------------------------------------------------------


@pytest.fixture
def listen():
    """Connects receivers for the time of a test."""
    connected = []

    def connect(signal, receiver, **options):
        signal.connect(receiver, weak=False, **options)
        connected.append((signal, receiver, options))

    yield connect
    for signal, receiver, options in connected:
        signal.disconnect(receiver, sender=options.get("sender"))


@pytest.fixture(params=["send_task", "asend_task"])
def send(request, app):
    """Sends a call by name, in a thread or in an event loop."""

    def send_now(*args, **options):
        if request.param == "send_task":
            return app.send_task(*args, **options)
        return asyncio.run(app.asend_task(*args, **options))

    return send_now


def test_before_and_after_are_told_of_every_message(send, listen):
    told = []
    listen(signals.before_task_publish, lambda **named: told.append(("before", named)))
    listen(signals.after_task_publish, lambda **named: told.append(("after", named)))
    result = send("a", (1,), {"b": 2}, queue="q", declare=["x"], retry_policy={"max_retries": 1})
    (first, before), (second, after) = told
    assert (first, second) == ("before", "after")
    assert (before["sender"], after["sender"]) == ("a", "a")
    assert before["headers"]["id"] == after["headers"]["id"] == result.id
    assert before["properties"]["correlation_id"] == result.id
    assert (before["exchange"], before["routing_key"]) == ("", "q")
    assert (after["exchange"], after["routing_key"]) == ("", "q")
    assert (before["declare"], before["retry_policy"]) == (["x"], {"max_retries": 1})
    for named in (before, after):
        args, kwargs, follows = named["body"]
        assert (list(args), kwargs, follows["callbacks"]) == ([1], {"b": 2}, None)


@pytest.mark.parametrize("serializer", ["pickle", "yaml", "msgpack"])
def test_receivers_see_bodies_of_every_serializer(app, listen, serializer):
    told = []
    listen(signals.before_task_publish, lambda body, **_: told.append(body))
    app.send_task("a", (1,), serializer=serializer, compression="gzip")
    assert list(told[0][0]) == [1]


def test_receivers_may_be_connected_to_the_name_of_a_task(send, listen):
    told = []
    listen(signals.before_task_publish, lambda **_: told.append(1), sender="a")
    send("a")
    send("b")
    assert told == [1]


def test_before_may_change_headers_and_properties(send, listen, waiting):
    def change(headers, properties, **_):
        headers["trace"] = "t"
        properties["app_id"] = "shop"

    listen(signals.before_task_publish, change)
    send("a")
    send("a")
    for message in waiting():
        assert message.headers["trace"] == "t"
        assert message.properties["app_id"] == "shop"


def test_changes_concern_one_message_alone(app, listen, waiting):
    def change(headers, **_):
        headers["trace"] = headers.get("trace", 0) + 1

    listen(signals.before_task_publish, change)
    app.send_task("a")
    app.send_task("a")
    assert [each.headers["trace"] for each in waiting()] == [1, 1]


def test_before_sees_the_expiration_in_seconds_and_may_change_it(send, listen, waiting):
    seen = []

    def change(properties, **_):
        seen.append(properties["expiration"])
        properties["expiration"] = 500

    listen(signals.before_task_publish, change)
    before = time.time()
    send("a", expires=60)
    assert 59 <= seen[0] <= 60
    [message] = waiting()
    assert message.properties["expiration"] == "500000"
    assert before + 500 <= message.expires_at <= time.time() + 500


def test_an_expiration_that_nobody_changes_stays(app, listen, waiting):
    listen(signals.before_task_publish, lambda **_: None)
    app.send_task("a", expires=60)
    [message] = waiting()
    assert 59_000 <= int(message.properties["expiration"]) <= 60_000
    assert message.headers["expires"] is not None


def test_after_is_not_told_of_what_was_not_stored(app, unreliable, listen):
    told = []
    listen(signals.after_task_publish, lambda **_: told.append(1))
    unreliable(100)
    with pytest.raises(OperationalError):
        app.send_task("a", retry=False)
    assert told == []


def test_a_receiver_that_raises_stops_nothing(app, listen, waiting, caplog):
    def fails(**_):
        raise LookupError("mine")

    listen(signals.before_task_publish, fails)
    app.send_task("a")
    assert len(waiting()) == 1
    assert "mine" in caplog.text


def test_many_messages_have_more_time_than_one(app):
    """The limit is for a thousand: a bulk is not refused because it is large."""
    app.conf.publish_timeout = 2.0
    given = []

    class Noting:
        capabilities = app.broker.capabilities

        def publish(self, messages, *, timeout=None):
            given.append(timeout)

    app.connections.__dict__["write_broker"] = Noting()
    signature = app.signature("a", (1,))
    for count in (1, 1000, 1001, 10_000):
        app.publish_many([signature] * count)
    app.publish_many([signature] * 1001, timeout=0.5)
    app.connections.__dict__.pop("write_broker")
    bounds = (2, 2, 4, 20, 0.5)
    assert [0 < left <= bound for left, bound in zip(given, bounds, strict=True)] == [True] * 5
    assert given[2] > 2
    assert given[3] > 10
