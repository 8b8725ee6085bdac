"""The socket: connecting, encrypting, reading and writing with deadlines.

The socket never blocks; whoever waits does so in `Stream.wait`, where `Stream.wake` reaches him.
Two threads may not use a TLS object at once, so there a lock is held around each (short) call.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import time
from contextlib import nullcontext, suppress
from threading import Lock
from typing import TYPE_CHECKING

from umbel.drivers.amqp.errors import ConnectionLost

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

_READ = 65_536
_READABLE = select.POLLIN | select.POLLHUP | select.POLLERR
_AGAIN = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Stream:
    """A connected socket, from now on not blocking."""

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        self._socket = connected
        self._number = connected.fileno()
        self._tls = connected if isinstance(connected, ssl.SSLSocket) else None
        self._turn: AbstractContextManager[object] = Lock() if self._tls else nullcontext()
        self._bell, self._ringer = os.pipe()
        os.set_blocking(self._bell, False)
        os.set_blocking(self._ringer, False)
        self._poll = select.poll()
        self._poll.register(self._number, select.POLLIN)
        self._poll.register(self._bell, select.POLLIN)

    def wait(self, seconds: float) -> bool:
        """Whether there is something to read; returns early after `wake`. One thread at a time."""
        if self._tls is not None and self._tls.pending():
            return True
        readable = False
        for number, event in self._poll.poll(max(seconds, 0) * 1000):
            if number == self._bell:
                with suppress(BlockingIOError):
                    os.read(self._bell, 4096)
            elif event & _READABLE:
                readable = True
        return readable

    def has_news(self) -> bool:
        """Whether something has come that nobody has read yet."""
        poll = select.poll()
        poll.register(self._number, select.POLLIN)
        return bool(poll.poll(0))

    def wake(self) -> None:
        """End the `wait` that waits now, or the next."""
        with suppress(OSError):
            os.write(self._ringer, b"!")

    def read(self) -> bytes:
        """What has come; empty if nothing has.

        Raises:
            ConnectionLost: the other side has closed, or the network failed.
        """
        try:
            with self._turn:
                data = self._socket.recv(_READ)
        except _AGAIN:
            return b""
        except (OSError, ValueError) as error:
            raise _broken(error) from error
        if data:
            return data
        raise ConnectionLost("the server closed the connection without a word")

    def write(self, data: bytes, deadline: float) -> int:
        """Write until ``deadline`` (monotonic); returns how many bytes went out.

        What is left must be what the next write begins with.

        Raises:
            ConnectionLost: the other side has closed, or the network failed.
        """
        view, sent = memoryview(data), 0
        while sent < len(data):
            try:
                with self._turn:
                    sent += self._socket.send(view[sent:])
            except _AGAIN:
                if not self._wait_writable(deadline):
                    break
            except (OSError, ValueError) as error:
                raise _broken(error) from error
        return sent

    def _wait_writable(self, deadline: float) -> bool:
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        poll = select.poll()
        poll.register(self._number, select.POLLOUT)
        poll.poll(left * 1000)
        return True

    def hang_up(self) -> None:
        """End the connection; whoever waits for it notices. `close` is still to be called."""
        with suppress(OSError):
            # Not SSLSocket's own, which pulls TLS from under whoever reads at the moment.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
        self.wake()

    def close(self) -> None:
        """Give back the file descriptors; nobody may use them any more.

        After a fork this leaves the connection of the other process as it is.
        """
        with suppress(OSError):
            self._socket.close()
        for number in (self._bell, self._ringer):
            with suppress(OSError):
                os.close(number)


def dial(host: str, port: int, deadline: float) -> socket.socket:
    """A socket connected to one of the addresses of ``host``, until ``deadline`` (monotonic).

    Raises:
        ConnectionLost: nobody answers there, or not in time.
    """
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ConnectionLost(f"the host name {host!r} is not known: {_said(error)}") from error
    failure: OSError = TimeoutError("timed out")
    for family, kind, protocol, _, address in addresses:
        left = deadline - time.monotonic()
        if left <= 0:
            break
        made = socket.socket(family, kind, protocol)
        try:
            made.settimeout(left)
            made.connect(address)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        except OSError as error:
            made.close()
            failure = error
        else:
            return made
    raise ConnectionLost(_said(failure)) from failure


def _broken(error: BaseException) -> ConnectionLost:
    return ConnectionLost(f"the connection broke: {_said(error)}")


def _said(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
