"""The checker finds what it is there to find."""

from __future__ import annotations

import pytest
from checker import check

SENT = {"a": 2, "b": 4}
GOOD = {"a": ("SUCCESS", 2), "b": ("SUCCESS", 4)}


def start(task, at, pid=1):
    return {"ev": "start", "task": task, "at": at, "pid": pid}


def end(task, at, pid=1):
    return {"ev": "end", "task": task, "at": at, "pid": pid}


def kill(at, *pids):
    return {"ev": "kill", "at": at, "pids": list(pids)}


QUIET = [start("a", 1), end("a", 2), start("b", 3), end("b", 4)]


def test_a_quiet_run_is_valid():
    """Each task started and ended once, with its result."""
    verdict = check(SENT, GOOD, QUIET)
    assert verdict.valid
    assert verdict.starts == 2


@pytest.mark.parametrize(
    ("results", "events", "finding"),
    [
        ({"a": ("SUCCESS", 2)}, QUIET, "lost"),
        ({**GOOD, "b": ("PENDING", None)}, QUIET, "lost"),
        ({**GOOD, "b": ("FAILURE", None)}, QUIET, "lost"),
        ({**GOOD, "b": ("SUCCESS", 5)}, QUIET, "wrong_result"),
        (GOOD, QUIET[:2], "never_ran"),
        (GOOD, [*QUIET, start("c", 5)], "invented"),
        (GOOD, [*QUIET, start("b", 5)], "unexplained"),
        (GOOD, [*QUIET, kill(4.5, 7), start("b", 5)], "unexplained"),
        (GOOD, [*QUIET, start("b", 5), kill(6, 1)], "unexplained"),
        (GOOD, [*QUIET, {"ev": "survivor", "pid": 9, "at": 5}], "survivors"),
    ],
)
def test_each_fault_is_found(results, events, finding):
    """A lost, invented or wrong task, an unexplained start and an orphan are each named."""
    verdict = check(SENT, results, sorted(events, key=lambda event: event["at"]))
    assert not verdict.valid
    assert getattr(verdict, finding)


def test_a_second_start_after_the_first_ones_process_was_killed_is_explained():
    """That is what a kill may cause."""
    events = [start("a", 1), kill(1.5, 1), start("a", 2, pid=2), end("a", 3, pid=2), *QUIET[2:]]
    verdict = check(SENT, GOOD, events)
    assert verdict.valid
    assert verdict.doubled == 1
