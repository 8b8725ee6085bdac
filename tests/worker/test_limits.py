"""Time limits hold, whatever the task does, and hit that task only."""

from __future__ import annotations

import pytest

from umbel.exceptions import RemoteError, SoftTimeLimitExceeded, TimeLimitExceeded


@pytest.mark.parametrize("name", ["sleeps", "spins", "hogs", "astubborn"])
def test_a_hard_limit_ends_the_task_whatever_it_does(errands, start, name):
    """Sleeping, swallowing everything, holding the interpreter lock in C, refusing to cancel."""
    start()
    with pytest.raises(TimeLimitExceeded):
        getattr(errands, name).delay().get(timeout=15)
    assert errands.add.delay(1, 1).get(timeout=10) == 2


@pytest.mark.parametrize("name", ["tidy", "atidy"])
def test_a_soft_limit_can_be_caught(errands, start, name):
    """The task gets the chance to tidy up and to return."""
    start()
    assert getattr(errands, name).delay().get(timeout=10) == "tidied up"


def test_a_soft_limit_that_is_not_caught_fails_the_task(errands, start):
    """As any other exception; the process lives on."""
    start()
    before = errands.pid.delay().get(timeout=10)
    with pytest.raises(SoftTimeLimitExceeded):
        errands.untidy.delay().get(timeout=10)
    assert errands.pid.delay().get(timeout=10) == before


def test_limits_of_the_call_win_over_those_of_the_task(errands, start):
    """The message says what holds."""
    start()
    result = errands.tidy.apply_async(soft_time_limit=0.1, time_limit=5)
    assert result.get(timeout=10) == "tidied up"


def test_limits_of_the_worker_hold_for_tasks_without_their_own(errands, start, holding):
    """--time-limit on the command line."""
    start("--time-limit", "0.4")
    result = errands.held.delay(1)
    with pytest.raises(TimeLimitExceeded):
        result.get(timeout=15)


def test_a_hard_limit_leaves_the_other_children_alone(errands, start, holding, let_go):
    """The sibling's task goes on, started once."""
    start("-c", "2")
    neighbour = errands.held.delay(7)
    holding(1)
    with pytest.raises(TimeLimitExceeded):
        errands.sleeps.delay().get(timeout=15)
    let_go()
    assert neighbour.get(timeout=10) == 7
    assert len(holding(1)) == 1


def test_what_waits_behind_an_overrunning_task_is_not_charged(errands, start, notes):
    """Messages the killed child held unstarted are delivered as if for the first time."""
    start("--prefetch-multiplier", "10")
    over = errands.sleeps.delay()
    behind = [errands.deliveries.delay() for _ in range(5)]
    with pytest.raises(TimeLimitExceeded):
        over.get(timeout=15)
    assert [result.get(timeout=10) for result in behind] == [1] * 5


def test_a_task_that_ends_cancelled_has_failed(errands, start):
    """The caller gets something that looks like CancelledError, and is not cancelled by it."""
    start()
    with pytest.raises(RemoteError) as raised:
        errands.cancelled.delay().get(timeout=10)
    assert raised.value.exc_type == "CancelledError"
    assert errands.anap.delay(0.01).get(timeout=10) == "slept"
