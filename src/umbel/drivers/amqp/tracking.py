"""Publishing without waiting for each confirm: ``confirm="written"``.

A call returns when its messages are written.  What the server has not confirmed is kept here; after
the connection was lost it is sent again before anything new is, and at exit the last confirms are
waited for.  A process that is killed loses what was not confirmed, some milliseconds' worth; what
comes twice after a reconnection has the same id.  What the server refuses can only be logged,
because the call that published it is over.
"""

from __future__ import annotations

import atexit
import logging
import time
import weakref
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING

from umbel.drivers.amqp.errors import Nacked, Unroutable
from umbel.exceptions import OperationalError, UmbelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from umbel.drivers.amqp.channel import Channel
    from umbel.drivers.amqp.messages import Outgoing
    from umbel.drivers.amqp.publishing import Publishing
    from umbel.message import Message

logger = logging.getLogger("umbel.amqp")

_MOST = 5_000
"""Messages after which a call waits for confirms, so that no more are kept than that, twice."""


class Tracking:
    """Publishes, and remembers what is not confirmed."""

    def __init__(self, publishing: Publishing, flush_timeout: float) -> None:
        self._publishing = publishing
        self._flush_timeout = flush_timeout
        self._lock = Lock()
        self._channel: Channel | None = None
        self._pending: list[Outgoing] = []
        self._sent_again: set[int] = set()
        self._last = 0
        self._since = 0
        atexit.register(_flush_at_exit, weakref.ref(self))

    def publish(self, messages: Sequence[Message], timeout: float | None) -> None:
        """Write messages; see `Broker.publish`."""
        until = self._publishing.deadline(timeout)
        ready = self._publishing.prepare(messages, until)
        if not self._lock.acquire(timeout=_left(until)):
            raise OperationalError("another thread is still publishing")
        try:
            channel = self._open(until)
            self._report(channel)
            self._last = channel.publish(ready, timeout=_left(until))
            self._since += len(ready)
            if self._since >= _MOST:
                self._wait(channel, until)
                self._since = 0
        finally:
            self._lock.release()

    def _open(self, until: float) -> Channel:
        """The channel; a new one sends first what the last one left unconfirmed."""
        channel = self._channel
        if channel is not None and channel.is_open and not self._pending:
            return channel
        if channel is not None and not channel.is_open:
            self._pending = channel.unconfirmed() + self._pending
            self._channel = channel = None
        if channel is None:
            channel = self._publishing.session.own_channel(timeout=_left(until))
            channel.select_confirms()
        if self._pending:
            self._last = channel.publish(self._pending, timeout=_left(until))
            self._pending = []
        self._channel = channel
        return channel

    def _wait(self, channel: Channel, until: float) -> None:
        try:
            channel.wait_confirmed(self._last, _left(until))
        except Unroutable as error:
            self._returned(error.messages, error.reason)
        except Nacked as error:
            logger.error("%s; they are lost", error)  # noqa: TRY400 - the sentence says it all

    def _report(self, channel: Channel) -> None:
        """Say what became of earlier messages that were not kept."""
        for failure in channel.take_failures():
            if failure.returned:
                self._returned([failure.message], failure.reason)
            else:
                logger.error("%s; it is lost", Nacked([failure.message]))

    def _returned(self, messages: Sequence[Outgoing], reason: str) -> None:
        """A queue that was deleted is declared again and gets its messages, once."""
        for message in messages:
            if message.exchange or id(message) in self._sent_again:
                logger.error("%s; it is lost", Unroutable([message], reason))
                self._sent_again.discard(id(message))
                continue
            self._sent_again.add(id(message))
            self._pending.append(message)
            with suppress(UmbelError):
                self._publishing.ensure_again(message.routing_key)

    def flush(self, timeout: float) -> int:
        """Wait until all is confirmed; returns how many messages are not when time is up."""
        until = time.monotonic() + timeout
        if not self._lock.acquire(timeout=timeout):
            return -1
        try:
            while self._unconfirmed() and time.monotonic() < until:
                try:
                    self._wait(self._open(until), until)
                except OperationalError:
                    time.sleep(min(0.1, _left(until)))
            return self._unconfirmed()
        finally:
            self._lock.release()

    def _unconfirmed(self) -> int:
        waiting = self._channel.unconfirmed() if self._channel is not None else []
        return len(waiting) + len(self._pending)

    def close(self) -> None:
        """Wait for the last confirms, and say it if some do not come."""
        left = self.flush(self._flush_timeout)
        if left:
            logger.error(
                "%s messages are not confirmed by RabbitMQ after %g s; they may be lost",
                left if left > 0 else "an unknown number of",
                self._flush_timeout,
            )
        with self._lock:
            self._channel = None


def _flush_at_exit(tracking: weakref.ref[Tracking]) -> None:
    found = tracking()
    if found is not None:
        found.close()


def _left(until: float) -> float:
    return max(until - time.monotonic(), 0.001)
