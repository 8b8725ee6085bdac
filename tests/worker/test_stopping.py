"""Stopping in every order of signals: nothing is lost, and what had not started is not charged."""

from __future__ import annotations

import os
import signal

import pytest
from fleet import descendants, is_alive

from workers import wait_until


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_first_signal_finishes_what_runs(errands, start, holding, let_go, signum):
    """The running task ends and is settled, what waits stays, the exit code is 0."""
    worker = start()
    running = errands.held.delay(1)
    holding(1)
    waiting = [errands.deliveries.delay() for _ in range(20)]
    worker.send(signum)
    worker.wait_for("finishing 1 running task")
    let_go()
    assert worker.wait() == 0
    assert running.get(timeout=1) == 1
    (stats,) = errands.app.broker.stats(["celery"])
    assert (stats.ready, stats.claimed) == (20, 0)
    start()
    assert [result.get(timeout=10) for result in waiting] == [1] * 20


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGQUIT])
def test_the_second_signal_gives_back_what_runs(errands, start, holding, let_go, signum):
    """The task starts again elsewhere, not charged for it."""
    worker = start()
    running = errands.held.delay(1)
    holding(1)
    worker.send(signal.SIGINT)
    worker.wait_for("finishing 1 running task")
    worker.send(signum)
    assert worker.wait() == 1
    (stats,) = errands.app.broker.stats(["celery"])
    assert (stats.ready, stats.claimed) == (1, 0)
    let_go()
    start()
    assert running.get(timeout=10) == 1


def test_quit_stops_at_once(errands, start, holding):
    """One SIGQUIT is enough."""
    worker = start("-c", "2")
    errands.held.delay(1)
    holding(1)
    below = descendants(worker.process.pid)
    worker.send(signal.SIGQUIT)
    assert worker.wait() == 1
    wait_until(lambda: not any(map(is_alive, below)), "children to end")


def test_a_storm_of_signals_is_one_signal(errands, start, holding, let_go):
    """A hundred SIGTERMs finish the task as one does."""
    worker = start()
    running = errands.held.delay(2)
    holding(1)
    for _ in range(100):
        worker.send(signal.SIGTERM)
    worker.wait_for("finishing 1 running task")
    let_go()
    assert worker.wait() == 0
    assert running.get(timeout=1) == 2


def test_signals_to_the_whole_group_do_not_end_children_early(errands, start, holding, let_go):
    """As a terminal or a service manager sends them."""
    worker = start()
    running = errands.held.delay(3)
    (child,) = holding(1)
    for pid in (*descendants(worker.process.pid), worker.process.pid):
        os.kill(pid, signal.SIGTERM)
    worker.wait_for("finishing 1 running task")
    assert is_alive(child)
    let_go()
    assert worker.wait() == 0
    assert running.get(timeout=1) == 3


def test_sigterm_can_be_remapped_to_quit(errands, start, holding):
    """REMAP_SIGTERM=SIGQUIT, as Celery reads it."""
    worker = start(REMAP_SIGTERM="SIGQUIT")
    errands.held.delay(1)
    holding(1)
    worker.send(signal.SIGTERM)
    assert worker.wait() == 1


def test_an_idle_worker_leaves_nothing_behind(errands, start):
    """No claim, no owner, no process."""
    worker = start("-c", "2")
    below = descendants(worker.process.pid)
    assert worker.stop() == 0
    wait_until(lambda: not any(map(is_alive, below)), "children to end")
    assert errands.app.broker.stats(["celery"])[0].claimed == 0
