"""Taking messages, and waiting for them without asking all the time.

A `reserve` that finds nothing has itself listed, looks again, and waits to be notified.  It also
wakes up when the next delayed message is due, and looks once per polling interval in case a
wake-up was lost.
"""

from __future__ import annotations

import time
from itertools import count
from secrets import randbits
from typing import TYPE_CHECKING, Any

from umbel.drivers.postgres import arrivals, claims
from umbel.drivers.postgres.listener import Bells
from umbel.drivers.postgres.names import all_stored, stored
from umbel.exceptions import LeaseLost

if TYPE_CHECKING:
    from collections.abc import Sequence

    from umbel.drivers.postgres.link import Link
    from umbel.drivers.postgres.listener import Bell
    from umbel.drivers.postgres.store import Store
    from umbel.message import Delivery

# Seconds within which a claim whose answer was lost may still be made by the server.
_IN_DOUBT = 60.0


class Reserving:
    """The side of the broker that hands out messages."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._bells = Bells(store.listener)
        self._turns = count()
        # Grips of claims whose answer was lost, and when.
        self._lost: dict[str, dict[int, float]] = {}

    def interrupt(self) -> None:
        """See `Broker.interrupt`."""
        self._bells.interrupt()

    def reserve(
        self, owner: str, queues: Sequence[str], *, limit: int, wait: float
    ) -> list[Delivery]:
        """See `Broker.reserve`."""
        deadline = time.monotonic() + wait
        taken, _ = self._take(owner, queues, limit)
        if taken or wait <= 0 or limit <= 0:
            return taken
        bell = self._bells.take([arrivals.topic(queue) for queue in dict.fromkeys(queues)])
        try:
            return self._wait(bell, owner, queues, limit=limit, deadline=deadline)
        finally:
            arrivals.stop_listening(self._store, bell)
            self._bells.give_back(bell)

    def _wait(
        self, bell: Bell, owner: str, queues: Sequence[str], *, limit: int, deadline: float
    ) -> list[Delivery]:
        while (left := deadline - time.monotonic()) > 0 and not bell.is_interrupted():
            listed = arrivals.listen(
                self._store, bell, owner=owner, seconds=min(left, self._store.options.call_timeout)
            )
            taken, next_due = self._take(owner, queues, limit)
            if taken:
                return taken
            pause = min(deadline - time.monotonic(), self._store.options.poll_interval)
            if next_due is not None:
                pause = min(pause, max(next_due, 0.0))
            if bell.is_interrupted():
                break
            if listed:
                bell.wait(pause)
            else:
                bell.pause(pause)
        return []

    # -- claims ----------------------------------------------------------------------------

    def _take(
        self, owner: str, queues: Sequence[str], limit: int
    ) -> tuple[list[Delivery], float | None]:
        """What could be claimed, and the seconds until the next delayed message is due."""
        found = self._find_lost(owner)
        if found:
            return claims.deliveries(found, owner), None
        names = list(dict.fromkeys(queues))
        turn = next(self._turns) % max(len(names), 1)
        order = all_stored([*names[turn:], *names[:turn]])
        wanted = claims.shares(order, max(limit, 0))
        found, next_due = self._claim(owner, order, wanted, limit)
        if next_due is not None and next_due <= 0 < limit:
            self.promote()
            found, next_due = self._claim(owner, order, wanted, limit, late=True)
        left = limit - len(found)
        if left > 0 and len(order) > 1 and (found or limit < len(order)):
            # Some queues had less than their share; the others make up for it.
            more, _ = self._claim(owner, order, [left] * len(order), left, late=True)
            found = [*found, *more]
        return claims.deliveries(found, owner), next_due

    def _claim(
        self, owner: str, queues: list[str], wanted: list[int], limit: int, *, late: bool = False
    ) -> tuple[list[claims.Seen], float | None]:
        grip = randbits(63)
        given: dict[str, Any] = {
            "owner": stored(owner),
            "grip": grip,
            "queues": queues,
            "shares": wanted,
            "limit": max(limit, 0),
            "late": late,
        }
        statement = self._store.sql(claims.CLAIM)
        try:
            rows = self._store.run(lambda link: link.all(statement, given, prepare=True))
        except BaseException:
            self._lost.setdefault(owner, {})[grip] = time.monotonic()
            raise
        in_force, next_due = rows[0][:2]
        if not in_force:
            raise LeaseLost(owner)
        return [row[2:12] for row in rows if row[4] is not None], next_due

    def _find_lost(self, owner: str) -> list[claims.Seen]:
        """Messages of claims whose answer was lost."""
        lost = self._lost.get(owner)
        if not lost:
            return []
        statement = self._store.sql(claims.GRIPPED)
        asked = time.monotonic()
        found = self._store.run(lambda link: link.all(statement, (stored(owner), list(lost))))
        known = {row[10] for row in found}
        self._lost[owner] = {
            grip: at for grip, at in lost.items() if grip not in known and asked - at < _IN_DOUBT
        }
        return [row[:10] for row in found]

    # -- delays ----------------------------------------------------------------------------

    def promote(self, limit: int = 1000) -> float | None:
        """See `Broker.promote`."""
        store = self._store

        def promote(link: Link) -> tuple[list[Any], float | None]:
            seconds = link.one(store.sql(claims.NEXT_DUE))[0]
            if seconds is None or seconds > 0:
                return [], seconds
            found = link.all(store.sql(claims.PROMOTE), (limit,))
            return found, link.one(store.sql(claims.NEXT_DUE))[0]

        found, seconds = store.run(promote)
        arrivals.wake(store, arrivals.counted(found))
        return None if seconds is None else max(seconds, 0.0)
