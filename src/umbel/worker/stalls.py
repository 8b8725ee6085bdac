"""Finds children that get nothing although work waits, whatever the reason.

A connection that looks alive and delivers nothing is the fault that no exception reports.  So it
is judged by what it leads to: a child has a free slot, messages are ready in its queues, and yet
it has claimed none between two looks.  Such a child is told to connect anew; if that changes
nothing, it is replaced.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from umbel.ports.broker import QueueStats
    from umbel.worker.board import Board
    from umbel.worker.nursery import Member

RECONNECT_AT, REPLACE_AT = 2, 4
"""Looks in a row that find a child idle beside work; a look is taken every half span."""


@dataclass(slots=True)
class _Seen:
    pid: int | None
    claimed: int
    looks: int = 0


class Stalls:
    """What was seen of each child, look by look.

    Args:
        board: where children write what they do.
        span: seconds after which a child that gets nothing is suspicious; None is never.
    """

    def __init__(self, board: Board, span: float | None) -> None:
        self._board = board
        self._every = span / 2 if span else None
        self._look_at = 0.0
        self._seen: dict[int, _Seen] = {}

    def is_due(self, now: float, members: Iterable[Member]) -> bool:
        """Whether it is time to ask how the queues stand: somebody is idle."""
        if self._every is None or now < self._look_at:
            return False
        self._look_at = now + self._every
        idle = [member for member in members if self._is_idle(member)]
        if not idle:
            self._seen.clear()
        return bool(idle)

    def judge(
        self, members: Iterable[Member], stats: Iterable[QueueStats]
    ) -> tuple[list[Member], list[Member]]:
        """Which children are to connect anew, and which are to be replaced."""
        waiting = any(queue.ready for queue in stats)
        reconnect, replace = [], []
        for member in members:
            looks = self._look(member) if waiting else 0
            if not looks:
                self._seen.pop(member.index, None)
            elif looks == RECONNECT_AT:
                reconnect.append(member)
            elif looks == REPLACE_AT:
                replace.append(member)
        return reconnect, replace

    def _look(self, member: Member) -> int:
        """How many looks in a row have found this child idle; 0 if it is not."""
        if not self._is_idle(member):
            return 0
        claimed = self._board.row(member.index).header().claimed
        seen = self._seen.get(member.index)
        if seen is None or (seen.pid, seen.claimed) != (member.pid, claimed):
            seen = self._seen[member.index] = _Seen(member.pid, claimed)
        seen.looks += 1
        return seen.looks

    def _is_idle(self, member: Member) -> bool:
        if not member.ready or member.stopping or member.abandoned is not None:
            return False
        row = self._board.row(member.index)
        header = row.header()
        return not (header.held or header.active or any(row.entries()))
