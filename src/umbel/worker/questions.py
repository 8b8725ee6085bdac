"""What children ask their supervisor: whether a message that comes back was decided about."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from umbel.worker.board import noted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from umbel.worker.board import Board
    from umbel.worker.docket import Docket
    from umbel.worker.nursery import Member

SUSPECT = 2.0
"""Seconds for which a task that seems to run in a sibling is not started beside it."""


class _Question(NamedTuple):
    member: Member
    task_id: str
    until: float


class Questions:
    """Questions that have not been answered yet."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._open: list[_Question] = []

    @property
    def pending(self) -> bool:
        """Whether somebody waits for an answer."""
        return bool(self._open)

    def put(self, member: Member, task_id: str) -> None:
        """A child has received a message that somebody held before."""
        self._open.append(_Question(member, task_id, time.monotonic() + SUSPECT))

    def answer(self, now: float, members: Sequence[Member], docket: Docket | None) -> None:
        """Tell children what was decided.

        While a sibling seems to run the task, it may be dying: its end is waited for.
        """
        asked, self._open = self._open, []
        for each in asked:
            verdict = docket.find(each.task_id) if docket is not None else None
            if verdict is None and now < each.until and self._runs_elsewhere(each, members):
                self._open.append(each)
            else:
                each.member.tell("verdict", each.task_id, verdict)

    def _runs_elsewhere(self, question: _Question, members: Sequence[Member]) -> bool:
        return any(
            entry.task_id == noted(question.task_id)
            for member in members
            if member is not question.member and member.alive and member.owner
            for entry in self._board.row(member.index).entries()
        )
