"""One connection to a server: commands go out, replies come in, each before its deadline."""

from __future__ import annotations

import os
import select
import ssl
import time
from typing import TYPE_CHECKING, Any

import hiredis

from umbel.drivers.redis.faults import ClosedError, RefusedError, StalledError

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

_READ = 65_536
_SHORTEST = 0.001
_NOTHING = object()
_NEWS = (b"message", b"subscribe")


class Wire:
    """One open connection."""

    def __init__(self, opened: socket.socket) -> None:
        self.socket = opened
        self.pid = os.getpid()
        self.used_at = time.monotonic()
        self._reader = hiredis.Reader(replyError=RefusedError, notEnoughData=_NOTHING)

    def ask(self, *command: Any, until: float) -> Any:
        """The reply to one command.

        Raises:
            RefusedError: the reply is an error.
            StalledError: none came before ``until`` on the monotonic clock.
        """
        self.send(hiredis.pack_command(command), until)
        return self.read(until)

    def ask_all(self, commands: Sequence[tuple[Any, ...]], *, until: float) -> list[Any]:
        """The replies to several commands, sent at once; errors are among them."""
        self.send(b"".join(map(hiredis.pack_command, commands)), until)
        return [self.read(until, raises=False) for _ in commands]

    def send(self, data: bytes, until: float) -> None:
        """Send bytes before ``until``."""
        self.socket.settimeout(max(until - time.monotonic(), _SHORTEST))
        try:
            self.socket.sendall(data)
        except TimeoutError as error:
            raise StalledError("it takes no data") from error

    def read(self, until: float, *, raises: bool = True) -> Any:
        """The next reply."""
        while (reply := self._reader.gets()) is _NOTHING:
            left = until - time.monotonic()
            if left <= 0:
                raise StalledError("no reply")
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(_READ)
            except TimeoutError as error:
                raise StalledError("no reply") from error
            if not data:
                raise ClosedError("the server closed the connection")
            self._reader.feed(data)
        if raises and isinstance(reply, RefusedError):
            raise reply
        return reply

    def pending(self) -> bool:
        """Whether something came that nobody asked for; between calls that is the end."""
        poller = select.poll()
        poller.register(self.socket, select.POLLIN)
        return bool(poller.poll(0))

    def _arrived(self) -> bool:
        """Take what has come, without waiting; whether there was anything.

        Raises:
            ClosedError: the connection ended.
        """
        self.socket.settimeout(0)
        try:
            data = self.socket.recv(_READ)
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        if not data:
            raise ClosedError("the server closed the connection")
        self._reader.feed(data)
        return True

    def drain(self) -> None:
        """Forget what has come, without waiting; raises `ClosedError` if that is the end."""
        while self._arrived():
            while self._reader.gets() is not _NOTHING:
                pass

    def tell(self, *command: Any, until: float) -> None:
        """Send one command whose reply is left for `heard`."""
        self.send(hiredis.pack_command(command), until)

    def heard(self) -> list[bytes]:
        """The channels, of those subscribed to, on which something came or will from now on.

        Raises:
            ClosedError: the connection ended.
        """
        names: list[bytes] = []
        while self._arrived():
            while (reply := self._reader.gets()) is not _NOTHING:
                if isinstance(reply, RefusedError):
                    raise reply
                if reply[0] in _NEWS:
                    names.append(reply[1])
        return names

    def close(self) -> None:
        """Give the socket back."""
        self.socket.close()
