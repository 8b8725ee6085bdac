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


def outage(began, at):
    return {"ev": "outage", "began": began, "at": at}


@pytest.mark.parametrize(
    ("events", "explained"),
    [
        # it ran when the server was killed, and was delivered again
        ([start("a", 1), outage(1.5, 3), end("a", 2), start("a", 4), end("a", 5)], True),
        # it had ended just before, and its end had not reached the server
        ([start("a", 1), end("a", 2), outage(3, 4), start("a", 5), end("a", 6)], True),
        # it had ended long before
        ([start("a", 1), end("a", 2), outage(9, 10), start("a", 11), end("a", 12)], False),
        # it began after the server had come back
        ([outage(1, 2), start("a", 3), end("a", 4), start("a", 5), end("a", 6)], False),
        # and was sent while the server was killed, perhaps twice
        (
            [
                {"ev": "sent", "task": "a", "at": 1},
                outage(1, 2),
                *[start("a", 9), end("a", 9.5), start("a", 10), end("a", 11)],
            ],
            True,
        ),
    ],
)
def test_the_death_of_the_server_explains_what_it_can_have_caused(events, explained):
    """A message is delivered again if it was not settled, and stored twice if it was on its way."""
    verdict = check({"a": 2}, GOOD, sorted(events, key=lambda event: event["at"]))
    assert verdict.valid == explained
    assert bool(verdict.unexplained) != explained


def test_a_task_whose_call_was_refused_may_run_or_not():
    """The caller cannot know; it is neither lost nor invented."""
    assert check({}, {}, [start("a", 1), end("a", 2)], unsure={"a", "b"}).valid


def test_without_transactions_what_was_queued_at_an_outage_may_be_there_twice():
    """A message that was being replaced then; one that was sent later has no such excuse."""
    twice = [start("a", 9), end("a", 9.5), start("a", 10), end("a", 11)]
    sent = [{"ev": "sent", "task": "a", "at": 1}, outage(5, 6)]
    assert check({"a": 2}, GOOD, [*sent, *twice], atomic=False).valid
    assert not check({"a": 2}, GOOD, [*sent, *twice], atomic=True).valid
    late = [outage(1, 2), {"ev": "sent", "task": "a", "at": 8}]
    assert not check({"a": 2}, GOOD, [*late, *twice], atomic=False).valid
