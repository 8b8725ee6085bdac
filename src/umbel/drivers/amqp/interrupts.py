"""Ending waits from another thread, without losing the call that comes a moment too early."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from umbel.drivers.amqp.channel import Channel
    from umbel.drivers.amqp.messages import Incoming


class Interrupts:
    """Knows who waits in this process."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._waiting: list[Channel] = []
        self._count = 0
        self._next = False

    def receive(self, channel: Channel, limit: int, timeout: float) -> tuple[list[Incoming], bool]:
        """What comes through ``channel`` within the time, and whether the wait was interrupted."""
        with self._lock:
            if self._next:
                self._next = False
                return [], True
            before = self._count
            self._waiting.append(channel)
        try:
            found = channel.receive(limit, timeout)
        finally:
            with self._lock:
                self._waiting.remove(channel)
        return found, self._count != before

    def interrupt(self) -> None:
        """End every wait; if there is none, the next one."""
        with self._lock:
            self._count += 1
            self._next = not self._waiting
            for channel in self._waiting:
                channel.interrupt()
