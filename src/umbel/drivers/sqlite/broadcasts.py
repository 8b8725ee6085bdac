"""Broadcasts: rows that everybody reads and nobody takes, kept for a minute."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from umbel.drivers.sqlite import arrivals, forks, rows
from umbel.drivers.sqlite.bell import Bell, Bells, ring
from umbel.drivers.sqlite.store import Line, Store
from umbel.exceptions import UmbelError

if TYPE_CHECKING:
    import sqlite3

    from umbel.drivers.sqlite.bell import Rung
KEPT = 60.0
_LISTENER_KEPT = 3600.0
_EVERYBODY = -1

SEND = "INSERT INTO broadcast (mark, channel, payload, at) VALUES (?, ?, ?, ?)"
PRUNE = "DELETE FROM broadcast WHERE at < ? OR at > ?"
PRUNE_LISTENERS = "DELETE FROM listener WHERE owner = '' AND (at < ? OR at > ?)"
MARK = "SELECT n FROM counter"
HEARD = """
SELECT CAST(payload AS BLOB) FROM broadcast WHERE mark > ? AND channel = ? ORDER BY mark
"""
LISTED = "SELECT EXISTS (SELECT 1 FROM listener WHERE port = ?)"
STOP_LISTENING = "DELETE FROM listener WHERE port = ?"


class _Heard(NamedTuple):
    mark: int
    payloads: list[bytes]
    listed: bool


class Broadcasts:
    """The side of the broker that talks to everybody."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._line = Line(store)
        self._bells = Bells()
        forks.register(self._bells)

    def close(self) -> None:
        """Give back the connection and idle sockets."""
        self._line.close()
        self._bells.close()

    def interrupt(self) -> None:
        """End every `listen` of this process."""
        self._bells.interrupt()

    def broadcast(self, channel: str, payload: bytes) -> None:
        """See `Broker.broadcast`."""

        def send(db: sqlite3.Connection) -> list[Rung]:
            now = self._store.clock.monotonic()
            db.execute(SEND, (rows.numbers(db, 1), channel, payload, now))
            db.execute(PRUNE, (now - KEPT, now))
            db.execute(PRUNE_LISTENERS, (now - _LISTENER_KEPT, now))
            return arrivals.wake(db, {_topic(channel): _EVERYBODY})

        ring(self._line.write(send))

    def listen(self, channel: str, *, after: int | None, wait: float) -> tuple[int, list[bytes]]:
        """See `Broker.listen`."""
        if after is None:
            return self._line.run(lambda db: (db.execute(MARK).fetchone()[0], []))
        deadline = time.monotonic() + wait
        heard = self._line.read(lambda db: _heard(db, channel, after, 0))
        if heard.payloads or wait <= 0:
            return heard.mark, heard.payloads
        bell = self._bells.take()
        try:
            while not self._bells.interrupted(bell):
                heard = self._hear(bell, channel, after)
                left = deadline - time.monotonic()
                if heard.payloads or left <= 0:
                    return heard.mark, heard.payloads
                bell.wait(min(left, self._store.options.poll_interval))
            return heard.mark, heard.payloads
        finally:
            self._stop_listening(bell)
            self._bells.give_back(bell)

    def _hear(self, bell: Bell, channel: str, after: int) -> _Heard:
        """What is new; if that is nothing, the bell is on the list."""
        heard = self._line.read(lambda db: _heard(db, channel, after, bell.port))
        if heard.payloads or heard.listed or not bell.port:
            bell.listed = heard.listed
            return heard

        def listen(db: sqlite3.Connection) -> _Heard:
            now = self._store.clock.monotonic()
            arrivals.listen(db, [_topic(channel)], bell.port, owner="", now=now)
            return _heard(db, channel, after, bell.port)

        bell.listed = True
        return self._line.write(listen)

    def _stop_listening(self, bell: Bell) -> None:
        if bell.listed:
            bell.listed = False
            # What was heard must reach the caller; a name left on the list is pruned.
            with suppress(UmbelError):
                self._line.write(lambda db: db.execute(STOP_LISTENING, (bell.port,)))


def _topic(channel: str) -> str:
    # A blank keeps channels apart from queues, whose names are topics too.
    return f"broadcast {channel}"


def _heard(db: sqlite3.Connection, channel: str, after: int, port: int) -> _Heard:
    (mark,) = db.execute(MARK).fetchone()
    found = db.execute(HEARD, (after if after <= mark else 0, channel)).fetchall()
    (listed,) = db.execute(LISTED, (port,)).fetchone()
    return _Heard(mark, [payload for (payload,) in found], bool(listed))
