"""One connection of this process, with the channels that are open on it, made anew after a loss.

A channel dies with its connection, or alone when the server refuses something that was done on it.
So nobody keeps one: whoever needs a channel asks for it by name, and gets the one that is open, or
a new one.
"""

from __future__ import annotations

import time
from threading import RLock
from typing import TYPE_CHECKING

from umbel.exceptions import OperationalError

if TYPE_CHECKING:
    from collections.abc import Callable

    from umbel.drivers.amqp.channel import Channel
    from umbel.drivers.amqp.connection import Connection


_SHORTEST = 0.5
_LOOK = 0.02


class Session:
    """A connection that is opened when it is first used, and again after it was lost.

    Attributes:
        declared: what was declared since the connection was opened, under names of the callers'.
        epoch: how often it was opened.
    """

    def __init__(self, make: Callable[[], Connection], timeout: float) -> None:
        self._make = make
        self._timeout = timeout
        self._connection: Connection | None = None
        self._channels: dict[str, Channel] = {}
        self._lock = RLock()
        self.declared: set[object] = set()
        self.epoch = 0

    @property
    def is_open(self) -> bool:
        """Whether there is a connection now."""
        connection = self._connection
        return connection is not None and connection.is_open

    def channel(self, name: str, *, timeout: float | None = None) -> Channel:
        """The channel of this name; a new one if it is not open.

        Raises:
            OperationalError: the server cannot be reached within ``timeout`` seconds.
            AccessRefused: it does not let us in.
        """
        found = self._channels.get(name)
        if found is not None and found.is_open:
            return found
        with self._open(timeout) as connection:
            found = self._channels.get(name)
            if found is None or not found.is_open:
                found = self._channels[name] = self._made(connection, timeout)
            return found

    def own_channel(self, *, timeout: float | None = None) -> Channel:
        """A new channel for the caller alone; raises as `channel`."""
        with self._open(timeout) as connection:
            return self._made(connection, timeout)

    def _made(self, connection: Connection, timeout: float | None) -> Channel:
        """A new channel, whose questions are answered in the time there is, or never."""
        connection.answer_timeout = max(self._timeout if timeout is None else timeout, _SHORTEST)
        return connection.channel()

    def wait_unblocked(self, until: float) -> None:
        """Wait while the server reads nothing from connections that publish.

        Raises:
            OperationalError: it still does not at ``until``, on the monotonic clock.
        """
        connection = self._connection
        while connection is not None and (alarm := connection.blocked) is not None:
            left = until - time.monotonic()
            if left <= 0 or not connection.is_open:
                raise OperationalError(f"RabbitMQ takes no messages at the moment: {alarm}")
            time.sleep(min(left, _LOOK))

    def ensure(self, timeout: float | None = None) -> None:
        """Connect if there is no connection; raises as `channel`."""
        with self._open(timeout):
            pass

    def _open(self, timeout: float | None) -> _Held:
        until = time.monotonic() + (self._timeout if timeout is None else timeout)
        if not self._lock.acquire(timeout=max(until - time.monotonic(), 0)):
            raise OperationalError("another thread is still trying to reach the server")
        held = _Held(self)
        try:
            if self._connection is None:
                self._connection = self._make()
            if not self._connection.is_open:
                self._channels.clear()
                self.declared = set()
                self._connection.open(max(until - time.monotonic(), 0.001))
                self.epoch += 1
            held.connection = self._connection
        except BaseException:
            self._lock.release()
            raise
        return held

    def release_lock(self) -> None:
        """Let other threads use the connection; called by what `_open` returned."""
        self._lock.release()

    def close(self) -> None:
        """Give the connection back; it is opened again on next use."""
        with self._lock:
            connection, self._connection = self._connection, None
            self._channels.clear()
            self.declared = set()
        if connection is not None:
            connection.close()


class _Held:
    """The connection, for this thread alone as long as the context lasts."""

    connection: Connection

    def __init__(self, session: Session) -> None:
        self._session = session

    def __enter__(self) -> Connection:
        return self.connection

    def __exit__(self, *_: object) -> None:
        self._session.release_lock()
