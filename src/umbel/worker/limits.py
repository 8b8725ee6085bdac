"""Time limits, held from outside the process that runs the task.

What a task does cannot keep them from being held: the soft limit is a signal, and the hard one ends
the process.  Before that the child is asked to settle the failure and to give back what else it
holds, so that only this task is hit; a child that does not answer is killed all the same.
"""

from __future__ import annotations

import logging
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from umbel.worker.board import Board, Entry
    from umbel.worker.nursery import Member

logger = logging.getLogger("umbel.worker")

GRACE = 0.5
"""Seconds a child has to settle what it can before it is killed."""


class Limits:
    """Enforces what the board says.

    Args:
        board: where children write what they run, and until when.
        slots: how many slots of a child this is about; the rest look after themselves.
        soft: whether soft limits are signals here.
        on_overrun: told of a task that has passed its hard limit, before anything is done.
    """

    def __init__(
        self, board: Board, *, slots: int, soft: bool, on_overrun: Callable[[Entry], None]
    ) -> None:
        self._board = board
        self._slots = slots
        self._soft = soft
        self._on_overrun = on_overrun

    def enforce(self, member: Member, now: float) -> None:
        """Look at what a child runs, and act on what is over."""
        if member.abandoned is not None:
            self._finish(member, now)
            return
        for entry in self._board.row(member.index).entries():
            if entry.slot < self._slots:
                self._enforce_entry(member, entry, now)

    def _enforce_entry(self, member: Member, entry: Entry, now: float) -> None:
        if entry.hard and now >= entry.hard:
            member.abandoned, member.abandoned_at = entry.task_id, now
            self._on_overrun(entry)
            member.tell("abandon", entry.task_id)
        elif entry.soft and now >= entry.soft and self._soft:
            member.signal(signal.SIGUSR1)

    def _finish(self, member: Member, now: float) -> None:
        """Kill a child whose task passed its hard limit, once it has cleaned up or cannot."""
        if member.abandoned_at == 0.0:
            member.signal(signal.SIGKILL)
        elif now - member.abandoned_at > GRACE:
            logger.error(
                "Hard time limit exceeded for %s, and child %d (pid %s) does not answer; it is "
                "killed",
                member.abandoned,
                member.index,
                member.pid,
            )
            member.abandoned_at = 0.0
