"""A worker runs tasks: results, loops, states, recycling, queues."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from umbel.exceptions import EncodeError
from workers import wait_until


def test_a_call_comes_back_with_its_result(errands, start):
    """The whole way, from delay to get."""
    start()
    assert errands.add.delay(2, 3).get(timeout=10) == 5


def test_calls_sent_before_the_worker_starts_are_run(errands, start):
    """Messages wait."""
    results = [errands.add.delay(number, 1) for number in range(50)]
    start()
    assert [result.get(timeout=10) for result in results] == list(range(1, 51))


def test_adelay_and_await_work_without_blocking_the_loop(errands, start):
    """Many coroutines send and wait at once."""
    start()

    async def one(number):
        return await (await errands.add.adelay(number, 1))

    async def many():
        return await asyncio.gather(*(one(number) for number in range(30)))

    assert asyncio.run(many()) == list(range(1, 31))
    errands.app.disconnect()


def test_async_tasks_run_many_at_once_in_one_child(errands, start):
    """Thirty tasks that wait for each other all finish, in a worker of one child."""
    start()
    results = [errands.together.delay(30) for _ in range(30)]
    assert {result.get(timeout=10) for result in results} <= set(range(30, 31))


def test_all_async_tasks_of_a_child_share_one_loop(errands, start, notes):
    """Pools made at its start serve every task, and are closed at its end."""
    worker = start()
    assert len({errands.where.delay().get(timeout=10) for _ in range(5)}) == 1
    assert notes() == ["pool opened"]
    assert worker.stop() == 0
    assert notes() == ["pool opened", "pool closed"]


def test_a_call_that_blocks_the_loop_is_reported_with_its_line(errands, start):
    """The warning shows where the loop stands."""
    worker = start()
    assert errands.blocks.delay(0.6).get(timeout=10) == "blocked"
    text = worker.wait_for("the event loop has been blocked")
    assert "time.sleep(span)" in text


def test_a_long_task_does_not_keep_short_ones_waiting_behind_it(errands, start, holding, let_go):
    """What the busy child had claimed is given back for its sibling to run."""
    start("-c", "2")
    long_one = errands.held.delay(1)
    holding(1)
    short = [errands.add.delay(number, 0) for number in range(100)]
    assert [result.get(timeout=10) for result in short] == list(range(100))
    let_go()
    assert long_one.get(timeout=10) == 1


def test_started_is_stored_before_the_end(errands, start, holding, let_go):
    """With track_started the state tells who runs it."""
    start()
    result = errands.tracked.delay()
    pid = holding(1)[0]
    wait_until(lambda: result.state == "STARTED", "STARTED")
    assert result.info["pid"] == pid
    let_go()
    assert result.get(timeout=10) == "done"


def test_a_custom_state_is_seen_while_the_task_runs(errands, start, holding, let_go):
    """update_state comes in order with the task's other states."""
    start()
    result = errands.custom.delay()
    holding(1)
    wait_until(lambda: result.state == "HALFWAY", "the custom state")
    assert result.info == {"done": 50}
    let_go()
    assert result.get(timeout=10) == "done"


def test_a_retry_runs_again_under_the_same_id(errands, start):
    """Two retries, then the result."""
    start()
    assert errands.flaky.delay(2).get(timeout=10) == 2


def test_a_retry_past_the_limit_raises_what_the_task_gave(errands, start):
    """max_retries is 2, three are wanted."""
    start()
    with pytest.raises(KeyError, match="not yet"):
        errands.flaky.delay(3).get(timeout=10)


def test_a_countdown_is_waited_out_in_the_broker(errands, start):
    """The worker holds nothing; the message is delayed there."""
    worker = start()
    result = errands.add.apply_async((1, 1), countdown=0.3)
    (stats,) = errands.app.broker.stats(["celery"])
    assert (stats.delayed, stats.claimed) == (1, 0)
    assert result.get(timeout=10) == 2
    assert worker.stop() == 0


def test_an_expired_task_is_revoked_and_never_starts(errands, start, notes):
    """Its time to start had passed before anybody took it."""
    result = errands.deliveries.apply_async(expires=-1)
    start()
    with pytest.raises(Exception, match="expired"):
        result.get(timeout=10)
    assert result.state == "REVOKED"
    assert "started" not in notes()


def test_queues_chosen_on_the_command_line_are_the_ones_consumed(errands, start):
    """-Q takes one and leaves the other."""
    start("-Q", "slow")
    other = errands.add.apply_async((1, 1), queue="fast")
    mine = errands.add.apply_async((2, 2), queue="slow")
    assert mine.get(timeout=10) == 4
    assert other.state == "PENDING"


def test_higher_priority_runs_first(errands, start, settings):
    """Nine before nought, in order of sending within each."""
    results = [
        errands.paced.apply_async(priority=priority, queue="mixed") for priority in (0, 5, 9, 5)
    ]
    start("-Q", "mixed")
    times = [result.get(timeout=10) for result in results]
    assert sorted(range(4), key=times.__getitem__) == [2, 1, 3, 0]


def test_a_rate_limit_spreads_starts_evenly_over_all_children(errands, start):
    """Twenty a second: sixteen starts of two children never come closer than the limit allows."""
    start("-c", "2")
    results = [errands.paced.delay() for _ in range(16)]
    times = sorted(result.get(timeout=20) for result in results)
    assert times[-1] - times[0] >= 15 / 20 * 0.9


def test_a_child_is_replaced_after_so_many_tasks(errands, start):
    """Nothing is lost on the way."""
    start("--max-tasks-per-child", "3")
    pids = [errands.pid.delay().get(timeout=10) for _ in range(9)]
    assert len(set(pids)) >= 3


def test_a_child_that_has_grown_too_big_is_replaced(errands, start):
    """The limit is in KiB, looked at after each task."""
    start("--max-memory-per-child", "150000")
    first = errands.grows.delay(200).get(timeout=10)
    assert errands.pid.delay().get(timeout=10) != first


def test_the_threads_pool_runs_tasks_side_by_side_in_one_process(errands, start, holding, let_go):
    """Three held tasks share a process id."""
    start("-P", "threads", "-c", "3")
    results = [errands.held.delay(number) for number in range(3)]
    assert len(set(holding(3))) == 1
    let_go()
    assert sorted(result.get(timeout=10) for result in results) == [0, 1, 2]


def test_the_solo_pool_runs_tasks_in_the_process_itself(errands, start):
    """One process, no children."""
    worker = start("-P", "solo")
    assert errands.pid.delay().get(timeout=10) == worker.process.pid
    assert errands.anap.delay(0.01).get(timeout=10) == "slept"
    assert worker.stop() == 0


def test_burst_ends_when_nothing_is_left(errands, start):
    """--until-empty runs what waits, then exits with 0."""
    results = [errands.add.delay(number, 0) for number in range(20)]
    worker = start("--until-empty", ready=False)
    assert worker.wait() == 0
    assert [result.get(timeout=1) for result in results] == list(range(20))


def test_results_that_cannot_be_encoded_fail_the_task(errands, start):
    """The caller is told, and the worker goes on."""
    start()
    with pytest.raises(EncodeError):
        errands.unencodable.delay().get(timeout=10)
    assert errands.add.delay(1, 1).get(timeout=10) == 2


def test_an_exception_that_cannot_be_printed_or_rebuilt_fails_only_its_task(errands, start):
    """Something that looks like it is raised at the caller's."""
    start()
    result = errands.unprintable.delay()
    assert type(result.get(timeout=10, propagate=False)).__name__ in {"Mute", "RemoteError"}
    assert result.failed()
    assert errands.add.delay(1, 1).get(timeout=10) == 2


def test_a_log_record_cannot_forge_another(errands, start):
    """Terminal escapes are spelled out."""
    worker = start()
    errands.talks.delay().get(timeout=10)
    assert "\x1b" not in worker.wait_for("forged line")


def test_signals_are_sent_in_order(errands, start, notes):
    """The worker's by its first child, the tasks' by the child that runs them."""
    worker = start(ERRANDS_SIGNALS="1")
    errands.add.delay(1, 1).get(timeout=10)
    assert worker.stop() == 0
    told = [line.removeprefix("signal ") for line in notes() if line.startswith("signal")]
    assert told == [
        "worker_init",
        "worker_process_init",
        "worker_ready",
        "task_received",
        "task_prerun",
        "task_success",
        "task_postrun",
        "worker_shutting_down",
        "worker_process_shutdown",
        "worker_shutdown",
    ]


def test_a_prefetch_that_was_asked_for_is_held_behind_a_long_task(errands, start, notes):
    """Each message is received once, though all but the first wait for it to end."""
    worker = start("--prefetch-multiplier", "3")
    first = errands.held.delay(1)
    wait_until(lambda: len(notes()) == 1, "the first task")
    others = [errands.held.delay(number) for number in (2, 3, 4)]
    wait_until(lambda: worker.text.count(" received") == 4, "all four messages")
    assert errands.add.apply_async((1, 1), queue="celery").id  # a fifth stays in the queue
    # Longer than work is held that was not asked for.
    end = time.monotonic() + 1.0
    wait_until(lambda: time.monotonic() > end, "a second")
    assert worker.text.count(" received") == 4
    Path("go").touch()
    assert [each.get(timeout=10) for each in (first, *others)] == [1, 2, 3, 4]
