"""A child that gets nothing although work waits is found out, whatever the reason."""

from __future__ import annotations

import os
import signal

import pytest
from fleet import descendants

from umbel.ports.broker import QueueStats
from umbel.worker.board import Board
from umbel.worker.nursery import Member
from umbel.worker.stalls import Stalls

WORK = [QueueStats("celery", 3, 0, 0, 1.0)]
NOTHING = [QueueStats("celery", 0, 0, 0, None)]


@pytest.fixture
def board():
    board = Board(1, 1)
    yield board
    board.close()


@pytest.fixture
def member():
    member = Member(0)
    member.ready = True
    return member


@pytest.fixture
def looks(board, member):
    """What each look at the child leads to."""
    stalls = Stalls(board, 1.0)

    def look(stats=WORK):
        reconnect, replace = stalls.judge([member], stats)
        return "reconnect" if reconnect else "replace" if replace else ""

    return look


def test_an_idle_child_beside_work_connects_anew_and_is_then_replaced(looks):
    """One look proves nothing: a message may just have come."""
    assert [looks() for _ in range(4)] == ["", "reconnect", "", "replace"]


def test_a_child_that_claims_something_is_well(looks, board):
    """However slowly."""
    for claimed in range(6):
        board.row(0).beat(1.0, 0, 0, 0, 0, claimed)
        assert looks() == ""


def test_a_child_that_works_is_not_suspected(looks, board):
    """Its slot is not free."""
    board.row(0).start(0, "busy", 1.0, 0.0, 0.0, 0)
    assert [looks() for _ in range(5)] == [""] * 5


def test_where_nothing_waits_nobody_is_suspected(looks):
    """And what was seen before is forgotten."""
    assert [looks(), looks(NOTHING), looks(), looks()] == ["", "", "", "reconnect"]


def test_nobody_is_looked_at_where_it_is_switched_off(board, member):
    """worker_stall_timeout=0."""
    assert not Stalls(board, None).is_due(1e9, [member])


def test_a_worker_whose_child_is_stuck_gets_going_again(errands, start):
    """The child is stopped by a signal, as if it hung; another one does its work."""
    worker = start("-c", "1", "-l", "INFO", "--", "stall_timeout=1")
    assert errands.add.delay(1, 1).get(timeout=20) == 2
    child = errands.pid.delay().get(timeout=20)
    assert child in descendants(worker.process.pid)
    os.kill(child, signal.SIGSTOP)
    assert errands.add.delay(2, 2).get(timeout=60) == 4
    worker.wait_for("replacing it")
    assert worker.stop() == 0
