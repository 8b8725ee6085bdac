"""Taking messages, and waiting for them without asking all the time.

A `reserve` that finds nothing writes itself into the list of listeners, in the transaction that
looked, and waits for its bell.  It also wakes up when the next delayed message is due, and looks
around once per polling interval in case a wake-up was lost; that look reads and writes nothing.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING

from umbel.drivers.sqlite import arrivals, claims, forks, rows
from umbel.drivers.sqlite.bell import Bell, Bells, ring
from umbel.drivers.sqlite.store import Line, Store
from umbel.exceptions import LeaseLost, UmbelError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from umbel.drivers.sqlite.bell import Rung
    from umbel.message import Delivery

STOP_LISTENING = "DELETE FROM listener WHERE port = ?"
PROMOTE = """
UPDATE place SET due_at = NULL, rank = :first + due.n
FROM (
    SELECT seq AS number, row_number() OVER (ORDER BY due_at, seq) - 1 AS n
    FROM place WHERE due_at <= :now ORDER BY due_at, seq LIMIT :limit) AS due
WHERE seq = due.number RETURNING queue
"""
NEXT_DUE = "SELECT min(due_at) FROM place WHERE due_at IS NOT NULL"

# A log that is longer than this is given back to the disk when there is nothing else to do.
_LONG_LOG = 4 * 2**20


class Reserving:
    """The side of the broker that hands out messages."""

    def __init__(self, store: Store, upkeep: Line) -> None:
        self._store = store
        self._line = Line(store)
        self._upkeep = upkeep
        self._bells = Bells()
        self._turns = count()
        # Fences of claims that were committed but not read, because reading failed.
        self._unread: dict[str, list[int]] = {}
        forks.register(self._bells)

    def close(self) -> None:
        """Give back the connection and idle sockets."""
        self._line.close()
        self._bells.close()

    def interrupt(self) -> None:
        """See `Broker.interrupt`."""
        self._bells.interrupt()

    def reserve(
        self, owner: str, queues: Sequence[str], *, limit: int, wait: float
    ) -> list[Delivery]:
        """See `Broker.reserve`."""
        deadline = time.monotonic() + wait
        taken, _ = self._take(owner, queues, limit, port=0)
        if taken or wait <= 0 or limit <= 0:
            return taken
        bell = self._bells.take()
        try:
            return self._wait(bell, owner, queues, limit=limit, deadline=deadline)
        finally:
            self._stop_listening(bell)
            self._bells.give_back(bell)

    def _wait(
        self, bell: Bell, owner: str, queues: Sequence[str], *, limit: int, deadline: float
    ) -> list[Delivery]:
        seen = self._listen(bell, owner, queues)
        while (left := deadline - time.monotonic()) > 0 and not self._bells.interrupted(bell):
            if not seen.ready:
                if not bell.wait(min(left, self._pause(seen))):
                    self._shorten_log()
                if self._bells.interrupted(bell):
                    break
            taken, seen = self._take(owner, queues, limit, port=bell.port)
            bell.listed = seen.listed
            if taken:
                return taken
            if not bell.listed:
                seen = self._listen(bell, owner, queues)
        return []

    def _take(
        self, owner: str, queues: Sequence[str], limit: int, *, port: int
    ) -> tuple[list[Delivery], claims.Glance]:
        clock = self._store.clock

        def glance(db: sqlite3.Connection) -> claims.Glance:
            return claims.glance(db, owner, queues, port=port, now=clock.monotonic())

        seen = self._line.run(glance)
        if seen.next_due is not None and seen.next_due <= clock.now():
            self.promote()
            seen = self._line.run(glance)
        if not seen.in_force:
            raise LeaseLost(owner)
        if limit <= 0 or (not seen.ready and owner not in self._unread):
            return [], seen
        return self._claim(owner, queues, limit), seen

    def _claim(self, owner: str, queues: Sequence[str], limit: int) -> list[Delivery]:
        unread = self._unread.pop(owner, [])
        turn = next(self._turns) % max(len(queues), 1)
        order = [*queues[turn:], *queues[:turn]]

        def claim(db: sqlite3.Connection) -> tuple[int, int]:
            now = self._store.clock.monotonic()
            return claims.claim(db, owner, order, limit=limit, now=now)

        def read(db: sqlite3.Connection) -> list[claims.Claimed]:
            return [row for fence in unread for row in claims.claimed(db, owner, fence)]

        try:
            if not unread:
                count, fence = self._line.write(claim)
                unread = [fence] if count else []
            found = self._line.run(read)
        except BaseException:
            if unread:
                self._unread[owner] = unread
            raise
        return claims.deliveries(found, owner)

    def _listen(self, bell: Bell, owner: str, queues: Sequence[str]) -> claims.Glance:
        """Ask to be rung, unless there is something by now."""

        def listen(db: sqlite3.Connection) -> claims.Glance:
            now = self._store.clock.monotonic()
            seen = claims.glance(db, owner, queues, port=bell.port, now=now)
            if bell.port and not seen.ready:
                arrivals.listen(db, queues, bell.port, owner=owner, now=now)
            return seen

        seen = self._line.write(listen)
        bell.listed = bool(bell.port) and not seen.ready
        return seen

    def _stop_listening(self, bell: Bell) -> None:
        if bell.listed:
            bell.listed = False
            # What was taken must reach the caller; a name left on the list costs one wake-up.
            with suppress(UmbelError):
                self._line.write(lambda db: db.execute(STOP_LISTENING, (bell.port,)))

    def _pause(self, seen: claims.Glance) -> float:
        pause = self._store.options.poll_interval
        if seen.next_due is None:
            return pause
        return min(pause, max(seen.next_due - self._store.clock.now(), 0.0))

    def _shorten_log(self) -> None:
        """Nobody rang: copy a long log into the file and give its space back."""
        try:
            length = os.stat(f"{self._store.path}-wal").st_size  # noqa: PTH116 - as in store
        except OSError:
            return
        if length > _LONG_LOG:
            with suppress(UmbelError):  # it is only tidying up
                self._line.run(lambda db: db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())

    def promote(self, limit: int = 1000) -> float | None:
        """See `Broker.promote`."""
        clock = self._store.clock

        def promote(db: sqlite3.Connection) -> list[Rung]:
            first = rows.numbers(db, limit)
            now = clock.now()
            found = db.execute(PROMOTE, {"first": first, "now": now, "limit": limit}).fetchall()
            return arrivals.wake(db, Counter(queue for (queue,) in found))

        seconds = self._until_next_due()
        if seconds is None or seconds > 0:
            return seconds
        ring(self._upkeep.write(promote))
        seconds = self._until_next_due()
        return None if seconds is None else max(seconds, 0.0)

    def _until_next_due(self) -> float | None:
        (due_at,) = self._upkeep.run(lambda db: db.execute(NEXT_DUE).fetchone())
        return None if due_at is None else due_at - self._store.clock.now()
