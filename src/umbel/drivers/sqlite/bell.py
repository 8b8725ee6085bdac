"""Wake-ups between processes: datagrams on the loopback interface.

Who waits binds a socket and writes its port into the file, in the transaction that found nothing
to do; who brings something reads the port, in the transaction that brings it, and rings after the
commit.  So no wake-up falls between looking and waiting.  A datagram is never trusted: it says
"look", its content at most where, and whoever gets one looks into the file.  One that is lost, or
taken by a process that died, costs a polling interval.

Where there is no loopback interface, a bell is deaf: it is not written into the file, and whoever
waits for it looks into the file often.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from threading import Event, Lock
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection

# A port to ring, and the hint to send there.
Rung: TypeAlias = "tuple[int, bytes]"

_HOST = "127.0.0.1"
_LARGEST = 65_535
_SHORTEST_LOOK = 0.05
_LONGEST_LOOK = 0.5


class Bell:
    """Waits to be rung.

    Attributes:
        port: its address; 0 if nobody can reach it.
        listed: whether the address is written into the file, as far as its owner knows.
    """

    def __init__(self) -> None:
        self._socket = _listening()
        self.port: int = self._socket.getsockname()[1] if self._socket else 0
        self.listed = False
        self._rung = Event()
        self._look = _SHORTEST_LOOK

    def wait(self, seconds: float) -> list[bytes]:
        """What was rung since the last wait; blocks up to ``seconds`` while that is nothing."""
        if self._socket is None:
            self._rung.wait(min(seconds, self._look))
            self._look = min(self._look * 1.5, _LONGEST_LOOK)
            return []
        heard = self._receive(max(seconds, 0.000_001))
        return [heard, *self.drain()] if heard is not None else []

    def drain(self) -> list[bytes]:
        """What was rung since the last wait."""
        self._rung.clear()
        self._look = _SHORTEST_LOOK
        found: list[bytes] = []
        while self._socket is not None and (heard := self._receive(0)) is not None:
            found.append(heard)
        return found

    def _receive(self, seconds: float) -> bytes | None:
        if self._socket is None:
            return None
        self._socket.settimeout(seconds)
        try:
            return self._socket.recv(_LARGEST)
        except OSError:  # nothing came
            return None

    def ring_here(self) -> None:
        """End a wait in another thread of this process."""
        self._rung.set()
        if self._socket is not None:
            ring([(self.port, b"")])

    def close(self) -> None:
        """Give the socket back."""
        if self._socket is not None:
            self._socket.close()

    def __del__(self) -> None:
        self.close()


def ring(bells: Collection[Rung]) -> None:
    """Send each hint to its port; never blocks and never fails."""
    if not bells:
        return
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        for port, hint in bells:
            with suppress(OSError, OverflowError):
                sender.sendto(hint, (_HOST, port))


def _listening() -> socket.socket | None:
    """A socket that others can send to, or None where there is no loopback interface."""
    receiver = None
    try:
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receiver.bind((_HOST, 0))
    except OSError:
        if receiver is not None:
            receiver.close()
        return None
    return receiver


class Bells:
    """The bells of those who wait in this process, and how all of them are interrupted at once."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._idle: list[Bell] = []
        self._waiting: set[Bell] = set()
        self._interrupted: set[Bell] = set()
        self._interrupt_next = False

    def take(self) -> Bell:
        """A bell for one who is about to wait."""
        with self._lock:
            bell = self._idle.pop() if self._idle else Bell()
            self._waiting.add(bell)
            if self._interrupt_next:
                self._interrupt_next = False
                self._interrupted.add(bell)
            return bell

    def give_back(self, bell: Bell) -> None:
        """The wait is over; the bell is for the next one."""
        bell.drain()
        with self._lock:
            self._waiting.discard(bell)
            self._interrupted.discard(bell)
            self._idle.append(bell)

    def interrupted(self, bell: Bell) -> bool:
        """Whether `interrupt` was called for this wait."""
        return bell in self._interrupted

    def interrupt(self) -> None:
        """End all waits; if there is none, the next one."""
        with self._lock:
            self._interrupted |= self._waiting
            self._interrupt_next = not self._waiting
            waiting = list(self._waiting)
        for bell in waiting:
            bell.ring_here()

    def close(self) -> None:
        """Give back the sockets of bells that nobody holds."""
        with self._lock:
            idle, self._idle = self._idle, []
        for bell in idle:
            bell.close()

    def before_fork(self) -> None:
        """Keep everybody out."""
        self._lock.acquire()

    def after_fork(self, *, child: bool) -> None:
        """Let everybody in again; the child leaves the parent's sockets to the parent."""
        if child:
            for bell in (*self._idle, *self._waiting):
                bell.close()
            self._idle, self._waiting, self._interrupted = [], set(), set()
            self._interrupt_next = False
        self._lock.release()
