"""``rate_limit``: starts of a task evenly spread, for one worker with all its children.

Every start reserves the next free moment on the board.  A message whose moment is not now goes
back to the broker, due at that moment and marked as having its start: it waits there, holds no
slot, and is not counted again when it comes back.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from umbel.message import Settlement
from umbel.rates import rate

if TYPE_CHECKING:
    from umbel.app import Umbel
    from umbel.worker.admission import Job
    from umbel.worker.board import Board

GRANTED = "umbel_start"
"""Header of a message that has its start already."""


class Pacer:
    """Spreads the starts of rate-limited tasks."""

    def __init__(self, app: Umbel, board: Board) -> None:
        self._board = board
        self.limits: dict[str, tuple[int, float]] = {}
        if app.conf.worker_disable_rate_limits:
            return
        for index, name in enumerate(sorted(app.tasks)):
            per_second = rate(app.tasks[name].rate_limit or 0)
            if per_second:
                self.limits[name] = (index, 1.0 / per_second)

    def pace(self, job: Job) -> Settlement | None:
        """None if the job may start now, else the settlement that puts it off."""
        limit = self.limits.get(job.message.task)
        if limit is None or job.message.headers.get(GRANTED):
            return None
        slot, interval = limit
        now = time.monotonic()
        wait = self._board.next_start(slot, now, interval) - now
        if wait <= 0:
            return None
        message = replace(
            job.message,
            headers={**job.message.headers, GRANTED: True},
            due_at=time.time() + wait,
        )
        return Settlement(job.delivery, follow=(message,))
