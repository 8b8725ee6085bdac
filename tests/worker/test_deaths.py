"""Processes die: tasks start again, poison ends in the dead letters, orphans do not exist."""

from __future__ import annotations

import os
import signal

import pytest
from fleet import descendants, is_alive

from umbel.exceptions import WorkerLostError
from workers import kill, wait_until


def test_a_task_whose_process_is_killed_starts_again(errands, start, holding, let_go):
    """Killed once, it runs elsewhere and ends."""
    start("-c", "2")
    result = errands.held.delay(5)
    kill(holding(1)[0])
    holding(2)
    let_go()
    assert result.get(timeout=10) == 5


@pytest.mark.parametrize(
    ("name", "args"),
    [("killed", ()), ("exits", (0,)), ("exits", (1,)), ("leaves", (0,)), ("segfaults", ())],
)
def test_a_task_that_kills_its_process_ends_in_the_dead_letters(errands, start, notes, name, args):
    """It starts as often as task_max_crashes says, the caller is told, the others go on."""
    start("-c", "2")
    poison = getattr(errands, name).delay(*args)
    good = [errands.add.delay(number, 0) for number in range(200)]
    with pytest.raises(WorkerLostError):
        poison.get(timeout=20)
    assert [result.get(timeout=20) for result in good] == list(range(200))
    assert notes().count(name) == 3
    (buried,) = errands.app.broker.dead()
    assert buried.letter.reason == "crashed"
    assert buried.letter.message.id == poison.id


def test_an_async_task_that_exits_fails_alone(errands, start):
    """sys.exit on the loop ends the task, not its neighbours."""
    start()
    neighbour = errands.anap.delay(0.3)
    with pytest.raises(WorkerLostError):
        errands.aleaves.delay().get(timeout=10)
    assert neighbour.get(timeout=10) == "slept"


def test_an_early_acknowledged_task_never_starts_twice(errands, start, notes):
    """acks_late=False: lost with its process, as asked for."""
    start()
    errands.early.delay()
    wait_until(lambda: "early" in notes(), "the task to start")
    assert errands.add.delay(1, 1).get(timeout=10) == 2
    assert notes().count("early") == 1


def test_a_task_that_must_not_be_started_again_fails_with_its_process(errands, start, notes):
    """reject_on_worker_lost=False."""
    start()
    with pytest.raises(WorkerLostError):
        errands.once.delay().get(timeout=10)
    assert notes().count("once") == 1


def test_children_end_with_their_supervisor(errands, start, holding):
    """Also in the middle of a task, and the fork server with them."""
    worker = start("-c", "2")
    errands.held.delay(1)
    holding(1)
    below = descendants(worker.process.pid)
    assert len(below) >= 3
    kill(worker.process.pid)
    worker.process.wait()
    wait_until(lambda: not any(map(is_alive, below)), "children to end")


def test_another_worker_takes_over_when_the_lease_has_ended(errands, start, holding, let_go):
    """Supervisor and children are gone at once; their task starts elsewhere."""
    first = start()
    result = errands.held.delay(3)
    holding(1)
    kill(first.process.pid)
    start()
    holding(2)
    let_go()
    assert result.get(timeout=10) == 3


def test_a_worker_that_was_stopped_longer_than_its_lease_changes_nothing(
    errands, start, holding, let_go
):
    """It wakes with claims others have by now: its end is refused, theirs stands."""
    sleeper = start("-c", "1")
    result = errands.held.delay(4)
    below = [pid for pid in descendants(sleeper.process.pid) if is_alive(pid)]
    holding(1)
    frozen = [sleeper.process.pid, *below]
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    start()
    holding(2)
    let_go()
    assert result.get(timeout=10) == 4
    for pid in reversed(frozen):
        os.kill(pid, signal.SIGCONT)
    sleeper.wait_for("its end changes nothing")
    assert result.get(timeout=1) == 4


def test_a_child_is_replaced_at_once_when_it_is_killed_idle(errands, start):
    """No message, no crash charged to anybody."""
    worker = start()
    pid = errands.pid.delay().get(timeout=10)
    kill(pid)
    assert errands.pid.delay().get(timeout=10) != pid
    assert worker.stop() == 0
