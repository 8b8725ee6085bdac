"""Broadcasts: rows that everybody reads and nobody takes, kept for a minute.

Their marks are given out under a lock that is held until the commit, so that they become visible
in order: who has heard one has heard all before it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from umbel.drivers.postgres import arrivals, schema
from umbel.drivers.postgres.listener import Bells
from umbel.drivers.postgres.names import stored

if TYPE_CHECKING:
    from umbel.drivers.postgres.link import Link
    from umbel.drivers.postgres.store import Store

KEPT = 60.0

# The number of this lock among ours is the schema's and one more.
SEND = """
WITH locked AS MATERIALIZED (SELECT pg_advisory_xact_lock(%b::int4, %b::int4)),
pruned AS (DELETE FROM umbel.broadcast WHERE at < (SELECT umbel.moment()) - %b)
INSERT INTO umbel.broadcast (mark, at, channel, payload)
SELECT nextval('umbel.number'), umbel.moment(), %b, %b FROM locked
"""
MARK = "SELECT coalesce(max(mark), 0) FROM umbel.broadcast"
HEARD = """
SELECT mark, payload FROM umbel.broadcast WHERE mark > %b AND channel = %b ORDER BY mark
"""


class Broadcasts:
    """The side of the broker that talks to everybody."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._bells = Bells(store.listener)
        self._lock = schema.lock_of(f"{store.options.schema} broadcasts")

    def interrupt(self) -> None:
        """End every `listen` of this process."""
        self._bells.interrupt()

    def broadcast(self, channel: str, payload: bytes) -> None:
        """See `Broker.broadcast`."""
        given = (schema.LOCKS, self._lock, KEPT, stored(channel), payload)
        self._store.run(lambda link: link.count(self._store.sql(SEND), given))
        arrivals.wake(self._store, {_topic(channel): arrivals.ALL})

    def listen(self, channel: str, *, after: int | None, wait: float) -> tuple[int, list[bytes]]:
        """See `Broker.listen`."""
        if after is None:
            mark = self._store.run(lambda link: link.one(self._store.sql(MARK))[0])
            return mark, []
        deadline = time.monotonic() + wait
        mark, heard = self._hear(channel, after)
        if heard or wait <= 0:
            return mark, heard
        bell = self._bells.take([_topic(channel)])
        try:
            while not bell.is_interrupted():
                left = deadline - time.monotonic()
                listed = left > 0 and arrivals.listen(
                    self._store, bell, owner="", seconds=min(left, self._store.options.call_timeout)
                )
                mark, heard = self._hear(channel, after)
                left = min(deadline - time.monotonic(), self._store.options.poll_interval)
                if heard or left <= 0:
                    break
                if bell.is_interrupted():
                    break
                bell.wait(left) if listed else bell.pause(left)
            return mark, heard
        finally:
            arrivals.stop_listening(self._store, bell)
            self._bells.give_back(bell)

    def _hear(self, channel: str, after: int) -> tuple[int, list[bytes]]:
        statement = self._store.sql(HEARD)

        def hear(link: Link) -> tuple[int, list[bytes]]:
            found = link.all(statement, (after, stored(channel)))
            return (found[-1][0] if found else after), [payload for _, payload in found]

        return self._store.run(hear)


def _topic(channel: str) -> str:
    return f"b{stored(channel)}"
