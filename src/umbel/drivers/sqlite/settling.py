"""Ending claims: everything a settlement says is one transaction, or nothing of it happens."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from umbel.drivers.sqlite import arrivals, burial, claims, results, rows
from umbel.drivers.sqlite.bell import ring
from umbel.drivers.sqlite.store import Line, Store
from umbel.serialization.heads import head_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from umbel.drivers.sqlite.bell import Rung
    from umbel.message import Delivery, Settlement


class _RefusedError(Exception):
    """Some claim was lost; which one has to be found out one by one."""


class Settling:
    """The side of the broker that takes messages back."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._line = Line(store)

    def close(self) -> None:
        """Give back the connection."""
        self._line.close()

    def begin(self, delivery: Delivery) -> bool:
        """See `Broker.begin`."""
        claim = (delivery.tag, delivery.fence)
        return self._line.write(lambda db: db.execute(claims.BEGIN, claim).rowcount == 1)

    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        """See `Broker.settle`."""
        if not settlements:
            return []
        heads = [[head_of(message) for message in s.follow] for s in settlements]

        def together(db: sqlite3.Connection) -> tuple[list[bool], list[Rung]]:
            _end_together(db, settlements)
            accepted = [True] * len(settlements)
            return accepted, self._apply(db, settlements, heads, accepted)

        def one_by_one(db: sqlite3.Connection) -> tuple[list[bool], list[Rung]]:
            accepted = [_end(db, settlement) for settlement in settlements]
            return accepted, self._apply(db, settlements, heads, accepted)

        try:
            accepted, bells = self._line.write(together)
        except _RefusedError:
            accepted, bells = self._line.write(one_by_one)
        ring(bells)
        return accepted

    def _apply(
        self,
        db: sqlite3.Connection,
        settlements: Sequence[Settlement],
        heads: Sequence[Sequence[bytes]],
        accepted: Sequence[bool],
    ) -> list[Rung]:
        """What accepted settlements say besides their end; returns the bells to ring."""
        now = self._store.clock.now()
        held = [s for s, ok in zip(settlements, accepted, strict=True) if ok]
        bells: list[Rung] = []
        stored = [s.result for s in held if s.result is not None]
        if stored:
            bells += results.hints(results.store(db, stored, now))
        follow = [message for s in held for message in s.follow]
        if follow:
            encoded = [head for ok, own in zip(accepted, heads, strict=True) if ok for head in own]
            soon = now + self._store.options.poll_interval
            bells += arrivals.insert(db, follow, encoded, now=now, soon=soon)
        for settlement in held:
            if settlement.dead is not None:
                burial.bury(db, settlement.dead)
        news = Counter(s.delivery.queue for s in held if s.requeue and s.delivery is not None)
        if news:
            bells += arrivals.wake(db, news)
        return bells

    def release(self, deliveries: Sequence[Delivery], *, crashed: bool = False) -> int:
        """See `Broker.release`."""
        if not deliveries:
            return 0
        statement = claims.RELEASE_CRASHED if crashed else claims.RELEASE

        def release(db: sqlite3.Connection) -> tuple[int, list[Rung]]:
            held = sum(
                db.execute(statement, (rows.listed(seqs), fence)).rowcount
                for fence, seqs in claims.by_fence(deliveries)
            )
            news = Counter(delivery.queue for delivery in deliveries) if held else {}
            return held, arrivals.wake(db, news)

        held, bells = self._line.write(release)
        ring(bells)
        return held


def _end_together(db: sqlite3.Connection, settlements: Sequence[Settlement]) -> None:
    """End all claims, or raise `_RefusedError` if some are lost (the caller rolls back)."""
    gone: list[int] = []
    removed = [s.delivery for s in settlements if s.delivery is not None and not s.requeue]
    for fence, seqs in claims.by_fence(removed):
        if db.execute(claims.END, (rows.listed(seqs), fence)).rowcount != len(seqs):
            raise _RefusedError
        gone += seqs
    if gone:
        db.execute(claims.FORGET_PAYLOADS, (rows.listed(gone),))
    for settlement in settlements:
        if settlement.requeue and not _end(db, settlement):
            raise _RefusedError


def _end(db: sqlite3.Connection, settlement: Settlement) -> bool:
    """End one claim; False if it was lost."""
    delivery = settlement.delivery
    if delivery is None:
        return True
    if settlement.requeue:
        place = (rows.numbers(db, 1), delivery.tag, delivery.fence)
        return db.execute(claims.REQUEUE, place).rowcount == 1
    seqs = rows.listed([delivery.tag])
    if db.execute(claims.END, (seqs, delivery.fence)).rowcount != 1:
        return False
    db.execute(claims.FORGET_PAYLOADS, (seqs,))
    return True
