"""Waiting for a result: in threads and in event loops, with every argument of ``get``."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest

from patience import DEADLINE, Background, wait_until
from umbel import exceptions, states
from umbel.canvas import signature
from umbel.result import (
    AsyncResult,
    allow_join_result,
    assert_will_not_block,
    denied_join_result,
    task_join_will_block,
)


def soon(call, *args):
    """Calls from another thread, a moment later."""
    timer = threading.Timer(0.05, call, args)
    timer.start()
    return timer


def test_get_returns_a_value_that_is_there(kept):
    kept.backend.put("id", {"a": [1]}, "SUCCESS")
    assert kept.AsyncResult("id").get() == {"a": [1]}
    assert kept.AsyncResult("id").wait() == {"a": [1]}


def test_get_wakes_on_the_result_and_not_on_the_interval(kept):
    soon(kept.backend.put, "id", 5, "SUCCESS")
    began = time.monotonic()
    assert kept.AsyncResult("id").get(interval=60) == 5
    assert time.monotonic() - began < 10


def test_get_raises_when_time_is_up_and_the_task_goes_on(kept):
    result = kept.AsyncResult("id")
    began = time.monotonic()
    with pytest.raises(exceptions.TimeoutError) as raised:
        result.get(timeout=0.05)
    assert time.monotonic() - began >= 0.04
    assert isinstance(raised.value, TimeoutError)
    assert (raised.value.task_id, raised.value.timeout) == ("id", 0.05)
    assert AsyncResult.TimeoutError is exceptions.TimeoutError
    kept.backend.put("id", 5, "SUCCESS")
    assert result.get(timeout=0.05) == 5


def test_a_timeout_of_zero_looks_once(kept):
    result = kept.AsyncResult("id")
    with pytest.raises(exceptions.TimeoutError):
        result.get(timeout=0)
    kept.backend.put("id", 1, "PROGRESS")
    with pytest.raises(exceptions.TimeoutError):
        result.get(timeout=0)
    kept.backend.put("id", 5, "SUCCESS")
    assert result.get(timeout=0) == 5


def test_get_keeps_waiting_through_states_that_are_not_final(kept):
    backend = kept.backend
    with Background(kept.AsyncResult("id").get, timeout=DEADLINE) as getting:
        getting.blocks()
        for state in ("STARTED", "RETRY", "PROGRESS", "REJECTED", "IGNORED"):
            backend.put("id", None, state)
        getting.blocks()
        backend.put("id", 5, "SUCCESS")
        assert getting.result() == 5


def test_get_raises_what_the_task_raised(kept):
    kept.backend.put("id", KeyError("k"), "FAILURE", traceback="Traceback: there")
    with pytest.raises(KeyError, match="k") as raised:
        kept.AsyncResult("id").get()
    assert "Traceback: there" in str(raised.value.__cause__)


def test_get_raises_that_the_task_was_revoked(kept):
    kept.backend.put("id", exceptions.TaskRevokedError("terminated"), "REVOKED")
    with pytest.raises(exceptions.TaskRevokedError, match="terminated"):
        kept.AsyncResult("id").get()


def test_get_without_propagate_returns_the_exception(kept):
    kept.backend.put("id", KeyError("k"), "FAILURE")
    found = kept.AsyncResult("id").get(propagate=False)
    assert (type(found), found.args) == (KeyError, ("k",))


def test_get_of_an_ignored_result_is_none_at_once(kept):
    result = kept.AsyncResult("id")
    result.ignored = True
    assert result.get() is None
    assert asyncio.run(result.aget()) is None


def test_get_calls_back_with_id_and_value(kept):
    seen = []
    kept.backend.put("a", 5, "SUCCESS")
    kept.backend.put("b", KeyError("k"), "FAILURE")
    kept.AsyncResult("a").get(callback=lambda *args: seen.append(args))
    with pytest.raises(KeyError):
        kept.AsyncResult("b").get(callback=lambda *args: seen.append(args))
    assert seen == [("a", 5)]
    kept.AsyncResult("b").get(callback=lambda *args: seen.append(args), propagate=False)
    assert type(seen[1][1]) is KeyError


def test_get_calls_on_interval_while_it_waits(kept):
    ticks = []

    def tick():
        ticks.append(1)
        if len(ticks) == 3:
            kept.backend.put("id", 5, "SUCCESS")

    assert kept.AsyncResult("id").get(on_interval=tick, interval=0.01) == 5
    assert len(ticks) == 3


@pytest.mark.parametrize("interval", [0, -1, 0.001])
def test_a_very_short_interval_does_not_burn_the_processor(kept, interval):
    ticks = []
    with pytest.raises(exceptions.TimeoutError):
        kept.AsyncResult("id").get(
            timeout=0.1, on_interval=lambda: ticks.append(1), interval=interval
        )
    assert len(ticks) <= 11


def test_get_takes_no_ack_and_refuses_on_message(kept):
    kept.backend.put("id", 5, "SUCCESS")
    assert kept.AsyncResult("id").get(no_ack=False) == 5
    with pytest.raises(exceptions.ImproperlyConfigured, match="on_message"):
        kept.AsyncResult("id").get(on_message=print)


def test_the_arguments_of_get_may_be_given_by_position(kept):
    kept.backend.put("id", KeyError("k"), "FAILURE")
    seen = []
    found = kept.AsyncResult("id").get(1, False, 0.5, True, True, lambda *a: seen.append(a))
    assert seen == [("id", found)]


# -- parents -------------------------------------------------------------------------------


def chain(app, count=3):
    result = None
    for number in range(count):
        result = app.AsyncResult(f"step-{number}", parent=result)
    return result


def test_a_parent_that_failed_raises_in_the_childs_get(kept):
    """The child of a failed parent never runs: waiting for it would be for ever."""
    kept.backend.put("step-0", KeyError("first"), "FAILURE")
    with pytest.raises(KeyError, match="first"):
        chain(kept).get(timeout=DEADLINE)


def test_a_parent_that_fails_while_the_child_is_waited_for_raises(kept):
    kept.backend.put("step-0", 1, "SUCCESS")
    soon(kept.backend.put, "step-1", KeyError("second"), "FAILURE")
    with pytest.raises(KeyError, match="second"):
        chain(kept).get(timeout=DEADLINE)


def test_parents_that_succeed_are_passed_over(kept):
    def finish():
        for number in range(3):
            kept.backend.put(f"step-{number}", number, "SUCCESS")

    soon(finish)
    assert chain(kept).get(timeout=DEADLINE) == 2


def test_time_that_parents_take_counts(kept):
    soon(kept.backend.put, "step-0", 1, "SUCCESS")
    began = time.monotonic()
    with pytest.raises(exceptions.TimeoutError):
        chain(kept).get(timeout=0.2)
    assert 0.15 < time.monotonic() - began < 10


@pytest.mark.parametrize("options", [{"follow_parents": False}, {"propagate": False}])
def test_parents_are_not_looked_at_if_so_asked(kept, options):
    kept.backend.put("step-0", KeyError("first"), "FAILURE")
    kept.backend.put("step-2", 5, "SUCCESS")
    assert chain(kept).get(**options) == 5


def test_parents_are_followed_in_an_event_loop_too(kept):
    async def main():
        waiting = asyncio.create_task(chain(kept).aget(timeout=DEADLINE))
        await asyncio.sleep(0.02)
        await asyncio.to_thread(kept.backend.put, "step-1", KeyError("second"), "FAILURE")
        await waiting

    with pytest.raises(KeyError, match="second"):
        asyncio.run(main())


# -- inside tasks --------------------------------------------------------------------------


def test_get_inside_a_task_is_an_error(kept):
    kept.backend.put("id", 5, "SUCCESS")
    with denied_join_result():
        assert task_join_will_block()
        with pytest.raises(RuntimeError, match="must not wait"):
            kept.AsyncResult("id").get()
        with pytest.raises(RuntimeError, match="must not wait"):
            assert_will_not_block()
    assert not task_join_will_block()
    assert_will_not_block()


def test_get_inside_a_task_may_be_allowed(kept):
    kept.backend.put("id", 5, "SUCCESS")
    with denied_join_result():
        assert kept.AsyncResult("id").get(disable_sync_subtasks=False) == 5
        with allow_join_result():
            assert kept.AsyncResult("id").get() == 5
        assert task_join_will_block()


def test_an_eager_task_must_not_wait_either(make):
    app = make(task_always_eager=True, task_eager_propagates=True)

    @app.task(name="inner")
    def inner():
        return 1

    @app.task(name="outer")
    def outer():
        return inner.delay().get()

    with pytest.raises(RuntimeError, match="must not wait"):
        outer.delay()


# -- event loops ---------------------------------------------------------------------------


def test_a_result_can_be_awaited(kept):
    async def main():
        soon(kept.backend.put, "id", 5, "SUCCESS")
        return await kept.AsyncResult("id")

    assert asyncio.run(main()) == 5


def test_awaiting_raises_what_the_task_raised_or_returns_it(kept):
    kept.backend.put("id", KeyError("k"), "FAILURE")

    async def main():
        found = await kept.AsyncResult("id").aget(propagate=False)
        assert type(found) is KeyError
        await kept.AsyncResult("id")

    with pytest.raises(KeyError, match="k"):
        asyncio.run(main())


def test_aget_raises_when_time_is_up(kept):
    async def main():
        with pytest.raises(exceptions.TimeoutError):
            await kept.AsyncResult("id").aget(timeout=0.05)
        kept.backend.put("id", 5, "SUCCESS")
        return await kept.AsyncResult("id").aget(timeout=0)

    assert asyncio.run(main()) == 5


def test_aget_with_a_timeout_of_zero_looks_once(kept):
    async def main():
        with pytest.raises(exceptions.TimeoutError):
            await kept.AsyncResult("id").aget(timeout=0)

    asyncio.run(main())


def test_many_coroutines_wait_at_once_each_with_its_own_time(kept):
    """Five hundred that get their result, and five hundred whose time is up."""

    async def main():
        results = [kept.AsyncResult(f"id-{n}") for n in range(500)]
        getting = [asyncio.create_task(result.aget(timeout=DEADLINE)) for result in results]
        missing = [
            asyncio.create_task(kept.AsyncResult(f"none-{n}").aget(timeout=0.3)) for n in range(500)
        ]
        await asyncio.sleep(0.05)
        encode = kept.backend.codec.encode
        states = [encode(f"id-{n}", "SUCCESS", n) for n in range(500)]
        await asyncio.to_thread(kept.backend.store.store, states)
        values = await asyncio.gather(*getting)
        errors = await asyncio.gather(*missing, return_exceptions=True)
        return values, {type(error) for error in errors}

    values, errors = asyncio.run(main())
    assert values == list(range(500))
    assert errors == {exceptions.TimeoutError}


def test_many_coroutines_may_wait_for_the_same_result(kept):
    async def main():
        waiting = [asyncio.create_task(kept.AsyncResult("id").aget()) for _ in range(50)]
        await asyncio.sleep(0.02)
        await asyncio.to_thread(kept.backend.put, "id", 5, "SUCCESS")
        return await asyncio.gather(*waiting)

    assert asyncio.run(main()) == [5] * 50


def test_a_coroutine_that_is_cancelled_leaves_nobody_waiting(kept):
    async def main():
        waiting = asyncio.create_task(kept.AsyncResult("id").aget())
        await asyncio.sleep(0.02)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()

    asyncio.run(main())
    store = kept.backend.store
    watched = store._hub._watched if hasattr(store, "_hub") else store._watched
    wait_until(lambda: not any(watched.values()))


def test_a_loop_that_ends_while_the_store_is_asked_leaves_nobody_waiting(kept):
    """The question is under way in a thread; its answer finds nobody and takes itself back."""
    store = kept.backend.store
    asked, go_on = threading.Event(), threading.Event()
    cancelled = threading.Event()
    watch = store.watch

    def slow_watch(ids, callback):
        asked.set()
        assert go_on.wait(DEADLINE)
        cancel = watch(ids, callback)

        def noted():
            cancel()
            cancelled.set()

        return noted

    store.watch = slow_watch

    async def main():
        waiting = asyncio.create_task(kept.AsyncResult("id").aget())
        await asyncio.to_thread(asked.wait, DEADLINE)
        asyncio.get_running_loop().call_later(0.05, go_on.set)
        waiting.cancel()

    try:
        asyncio.run(main())
    finally:
        del store.watch
    assert cancelled.wait(DEADLINE)


def test_a_timeout_around_an_awaited_result_works(kept):
    async def main():
        async with asyncio.timeout(0.05):
            await kept.AsyncResult("id")

    with pytest.raises(TimeoutError):
        asyncio.run(main())


def test_a_store_that_cannot_be_read_is_an_error_for_all_who_wait(make):
    app = make(backend="sqlite:///broken.db")
    app.backend.put("id", 1, "SUCCESS")
    app.close()
    with Path("broken.db").open("r+b") as file:
        file.write(b"garbage" * 1000)

    async def main():
        waiting = [app.AsyncResult(f"id-{n}").aget(timeout=DEADLINE) for n in range(5)]
        return await asyncio.gather(*waiting, return_exceptions=True)

    errors = asyncio.run(main())
    assert all(isinstance(error, exceptions.UmbelError) for error in errors)
    assert not any(isinstance(error, exceptions.TimeoutError) for error in errors)


# -- being told ----------------------------------------------------------------------------


def test_then_calls_back_with_the_result_however_it_ended(kept):
    seen, done = [], threading.Event()

    def called(result):
        seen.append((result.id, result.state))
        if len(seen) == 3:
            done.set()

    kept.backend.put("early", 1, "SUCCESS")
    for name in ("early", "late", "failed"):
        kept.AsyncResult(name).then(called)
    kept.backend.put("late", 2, "SUCCESS")
    kept.backend.put("failed", KeyError("k"), "FAILURE")
    assert done.wait(DEADLINE)
    assert sorted(seen) == [("early", "SUCCESS"), ("failed", "FAILURE"), ("late", "SUCCESS")]


def test_then_hands_errors_of_the_callback_over_or_logs_them(kept, caplog):
    def fails(_):
        raise LookupError("mine")

    seen = []
    kept.backend.put("id", 1, "SUCCESS")
    kept.AsyncResult("id").then(fails, on_error=seen.append)
    kept.AsyncResult("id").then(fails)
    assert type(seen[0]) is LookupError
    assert "mine" in caplog.text


def test_then_can_be_taken_back(kept):
    seen = []
    kept.AsyncResult("id").then(seen.append)()
    kept.backend.put("id", 1, "SUCCESS")
    kept.AsyncResult("id").get()
    assert seen == []


def test_a_signature_can_be_called_and_waited_for_with_a_tilde(make):
    app = make(task_always_eager=True)
    app.set_current()
    app.task(name="one")(lambda: 1)
    app.finalize()
    assert ~signature("one") == 1


def test_waiting_survives_that_the_store_is_out_of_reach_for_a_moment(make):
    """With ``result_backend_always_retry`` a look that fails is taken again."""
    app = make(backend="memory://flaky", result_backend_always_retry=True)
    app.conf.result_backend_base_sleep_between_retries_ms = 1
    app.backend.put("id", 5, states.SUCCESS)
    fetch, calls = app.backend.store.fetch, []

    class Flaky:
        def fetch(self, ids):
            calls.append(1)
            if len(calls) < 4:
                raise exceptions.BackendGetMetaError("out of reach")
            return fetch(ids)

        def close(self):
            """Nothing."""

    app.backend.store = Flaky()
    assert app.AsyncResult("id").state == "SUCCESS"
    assert len(calls) == 4
    calls.clear()
    app.conf.result_backend_max_retries = 2
    with pytest.raises(exceptions.BackendGetMetaError):
        app.AsyncResult("id").state  # noqa: B018 - reading is the point
    assert len(calls) == 3
