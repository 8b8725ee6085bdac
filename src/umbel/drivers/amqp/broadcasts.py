"""Broadcasts: a fanout exchange per channel, and one queue of this process on it.

All listeners of a process share the queue.  Whoever waits first reads for all, what was read is
kept for a while, and marks are numbers of this process alone.  A connection that is lost takes the
queue with it: what is broadcast until the next call is not heard here.
"""

from __future__ import annotations

import time
from collections import deque
from threading import Condition, Lock
from typing import TYPE_CHECKING

from umbel.drivers.amqp.messages import Outgoing
from umbel.drivers.amqp.topology import CHANNEL

if TYPE_CHECKING:
    from umbel.drivers.amqp.channel import Channel
    from umbel.drivers.amqp.interrupts import Interrupts
    from umbel.drivers.amqp.publishing import Publishing
    from umbel.drivers.amqp.session import Session

PREFIX = "umbel.broadcast."
_KEPT = 60.0
_MOST = 1_000


class _Ear:
    """What this process hears on one channel."""

    def __init__(self) -> None:
        self.news = Condition(Lock())
        self.heard: deque[tuple[int, float, bytes]] = deque()
        self.mark = 0
        self.reading = False
        self.interrupts = 0
        self.channel: Channel | None = None
        self.queue = ""

    def after(self, mark: int) -> list[bytes]:
        """What was heard after ``mark``."""
        return [payload for number, _, payload in self.heard if number > mark]

    def keep(self, payloads: list[bytes]) -> None:
        """Remember what was heard, and forget what is old."""
        now = time.monotonic()
        for payload in payloads:
            self.mark += 1
            self.heard.append((self.mark, now, payload))
        while self.heard and self.heard[0][1] < now - _KEPT:
            self.heard.popleft()


class Broadcasts:
    """The side of the broker that all processes hear."""

    def __init__(
        self, session: Session, publishing: Publishing, interrupts: Interrupts, timeout: float
    ) -> None:
        self._session = session
        self._publishing = publishing
        self._interrupts = interrupts
        self._timeout = timeout
        self._lock = Lock()
        self._ears: dict[str, _Ear] = {}

    def broadcast(self, channel: str, payload: bytes) -> None:
        """Hand ``payload`` to everyone who listens; see `Broker.broadcast`."""
        exchange = PREFIX + channel
        until = self._publishing.deadline(self._timeout)
        session = self._publishing.session
        if exchange not in session.declared:
            left = max(until - time.monotonic(), 0.001)
            session.channel(CHANNEL, timeout=left).declare_exchange(
                exchange, "fanout", durable=False
            )
            session.declared.add(exchange)
        self._publishing.confirm([Outgoing(exchange, "", {}, payload)], until)

    def listen(self, channel: str, *, after: int | None, wait: float) -> tuple[int, list[bytes]]:
        """What was broadcast after ``after``; see `Broker.listen`."""
        with self._lock:
            ear = self._ears.setdefault(channel, _Ear())
        until = time.monotonic() + wait
        with ear.news:
            ear.news.wait_for(lambda: not ear.reading, 0 if after is not None else self._timeout)
            if not ear.reading:
                self._catch_up(ear, PREFIX + channel)
            if after is None:
                return ear.mark, []
            before = ear.interrupts
            while True:
                heard = ear.after(after)
                left = until - time.monotonic()
                if heard or left <= 0 or ear.interrupts != before:
                    return ear.mark, heard
                if ear.reading:
                    ear.news.wait(left)
                else:
                    self._read(ear, left)

    def _catch_up(self, ear: _Ear, exchange: str) -> None:
        """Have a queue, and hear what came already."""
        if ear.channel is None or not ear.channel.is_open:
            ear.channel = channel = self._session.own_channel()
            channel.declare_exchange(exchange, "fanout", durable=False)
            ear.queue = channel.declare_queue(
                "", durable=False, exclusive=True, auto_delete=True
            ).name
            channel.bind_queue(ear.queue, exchange)
            channel.consume(ear.queue, no_ack=True)
        # Deliveries come before the answer.
        ear.channel.declare_queue(ear.queue, passive=True)
        ear.keep([found.body for found in ear.channel.receive(_MOST, 0)])

    def _read(self, ear: _Ear, left: float) -> None:
        """Wait for news on behalf of all who listen; the condition is free meanwhile."""
        channel = ear.channel
        if channel is None:
            return
        ear.reading = True
        ear.news.release()
        try:
            found, interrupted = self._interrupts.receive(channel, _MOST, left)
        finally:
            ear.news.acquire()
            ear.reading = False
            ear.news.notify_all()
        ear.interrupts += interrupted
        ear.keep([each.body for each in found])

    def close(self) -> None:
        """Hear nothing more until somebody listens again."""
        with self._lock:
            for ear in self._ears.values():
                ear.channel = None
