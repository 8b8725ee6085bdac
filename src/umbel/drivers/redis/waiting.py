"""Waiting for keys to change, without asking again and again and without taking anything.

Redis has commands that block until a list has something, but each of them takes it away at once,
which a crash would swallow, or looks at one key only.  So those who wait use what the server has
for clients that keep copies of values: a connection on which tracking is switched on, and which
has read some keys, is told at once when one of them is written, by whomever.  A Celery process
that only pushes to its list wakes a worker like that, for any number of queues and priorities over
one connection, and costs the server nothing while nobody waits.

A message that says "this key has changed" is never trusted: whoever gets one looks.  One that is
lost costs a polling interval.  So does a server that knows no tracking (a proxy in between).
"""

from __future__ import annotations

import os
import select
import socket
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING

from umbel.drivers.redis import faults
from umbel.drivers.redis.faults import RefusedError
from umbel.drivers.redis.wires import TROUBLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from umbel.drivers.redis.wire import Wire
    from umbel.drivers.redis.wires import Wires

_SHORTEST_LOOK = 0.01
_GROWTH = 1.5


class Waiter:
    """Waits for some keys, one thread at a time."""

    def __init__(self, wires: Wires) -> None:
        self._wires = wires
        self._wire: Wire | None = None
        self._tracks = True
        self._look = _SHORTEST_LOOK
        self._end, self._bell = socket.socketpair()
        for each in (self._end, self._bell):
            each.setblocking(False)

    def arm(self, keys: Sequence[str]) -> None:
        """Have `wait` return when one of ``keys`` is written from now on.

        Raises:
            OperationalError: the server cannot be reached.
        """
        until = self._wires.deadline(None)
        try:
            if self._wire is None:
                self._wire = self._wires.open(until)
                self._track(self._wire, until)
            if self._tracks:
                self._wire.drain()
                self._ask(self._wire, "EXISTS", *keys, until=until)
        except TROUBLE as error:
            self._drop()
            raise faults.translate(error, self._wires.url) from error
        except BaseException:
            self._drop()
            raise

    def _track(self, wire: Wire, until: float) -> None:
        try:
            self._ask(wire, "HELLO", "3", until=until)
            self._ask(wire, "CLIENT", "TRACKING", "ON", until=until)
            self._tracks = True
        except RefusedError:
            self._tracks = False

    @staticmethod
    def _ask(wire: Wire, *command: str, until: float) -> None:
        """Ask, and pass over what comes between that nobody asked for."""
        reply = wire.ask(*command, until=until)
        while isinstance(reply, list):
            reply = wire.read(until)

    def wait(self, seconds: float) -> None:
        """Block until a key was written, `interrupt` was called, or the time is over.

        Raises:
            OperationalError: the connection ended, so that news may have been missed.
        """
        wire = self._wire
        if wire is None or not self._tracks:
            seconds, self._look = min(seconds, self._look), self._look * _GROWTH
        self._look = min(self._look, self._wires.options.poll_interval)
        poller = select.poll()
        poller.register(self._end, select.POLLIN)
        if wire is not None:
            poller.register(wire.socket, select.POLLIN)
        poller.poll(max(seconds, 0) * 1000 + 1)
        try:
            if wire is not None:
                wire.drain()
        except TROUBLE as error:
            self._drop()
            raise faults.translate(error, self._wires.url) from error

    def rest(self) -> None:
        """The wait is over; the next one begins anew."""
        self._look = _SHORTEST_LOOK
        with suppress(BlockingIOError):
            while self._end.recv(64):
                pass

    def interrupt(self) -> None:
        """End a wait in another thread."""
        with suppress(OSError):
            self._bell.send(b"x")

    def _drop(self) -> None:
        if self._wire is not None:
            self._wire.close()
        self._wire = None

    def close(self) -> None:
        """Give the connection back."""
        self._drop()
        self._end.close()
        self._bell.close()


class Waiters:
    """Those who wait in this process, and how all of them are interrupted at once."""

    def __init__(self, wires: Wires) -> None:
        self._wires = wires
        self._forget()

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._lock = Lock()
        self._idle: list[Waiter] = []
        self._waiting: set[Waiter] = set()
        self._interrupted: set[Waiter] = set()
        self._interrupt_next = False

    def take(self) -> Waiter:
        """A waiter for one who is about to wait."""
        if self._pid != os.getpid():
            self._forget()
        with self._lock:
            waiter = self._idle.pop() if self._idle else Waiter(self._wires)
            self._waiting.add(waiter)
            if self._interrupt_next:
                self._interrupt_next = False
                self._interrupted.add(waiter)
            return waiter

    def give_back(self, waiter: Waiter) -> None:
        """The wait is over; the waiter is for the next one."""
        if self._pid != os.getpid():
            return
        waiter.rest()
        with self._lock:
            self._waiting.discard(waiter)
            self._interrupted.discard(waiter)
            self._idle.append(waiter)

    def interrupted(self, waiter: Waiter) -> bool:
        """Whether `interrupt` was called for this wait."""
        return waiter in self._interrupted

    def interrupt(self) -> None:
        """End all waits; if there is none, the next one."""
        if self._pid != os.getpid():
            self._forget()
        with self._lock:
            self._interrupted |= self._waiting
            self._interrupt_next = not self._waiting
            waiting = list(self._waiting)
        for waiter in waiting:
            waiter.interrupt()

    def close(self) -> None:
        """Close those that nobody uses."""
        if self._pid != os.getpid():
            self._forget()
        with self._lock:
            idle, self._idle = self._idle, []
        for waiter in idle:
            waiter.close()
