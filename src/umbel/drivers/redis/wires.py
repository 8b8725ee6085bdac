"""Connections to one server, and how they are shared.

The client library opens a connection: addresses, encryption, credentials.  From then on its
socket is used directly, for two reasons.  Every call has a deadline of its own, which the library
has no argument for; and a call costs a third of what the library makes of it.

A connection is used by one thread at a time, and by the process that opened it.  One that ended
while it lay idle is noticed before it is used; one that ends during a call fails the call, because
nobody can know whether the server did what it was asked.
"""

from __future__ import annotations

import os
import select
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import hiredis
import redis
import redis.sentinel

from umbel.drivers.redis import faults
from umbel.drivers.redis.faults import ClosedError, RefusedError, StalledError
from umbel.exceptions import OperationalError

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from umbel.drivers.redis.options import Options
    from umbel.drivers.redis.places import Place

# The library tells its own types only in part.
_library: Any = redis

_READ = 65_536
_SHORTEST = 0.001
_NOTHING = object()
_NEWS = (b"message", b"subscribe")

TROUBLE = (OSError, redis.RedisError, RefusedError, StalledError, ClosedError, hiredis.HiredisError)
"""What calls raise, to be translated."""


class Wire:
    """One open connection."""

    def __init__(self, connection: Any) -> None:
        connection.connect()
        self._connection = connection  # closes the socket when it goes
        self.socket: socket.socket = connection._sock  # noqa: SLF001 - the library has no name for it
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

    def drain(self) -> bool:
        """Read what has come, without waiting; whether there was anything.

        Raises:
            ClosedError: the connection ended.
        """
        found = False
        while self.pending():
            data = self.socket.recv(_READ)
            if not data:
                raise ClosedError("the server closed the connection")
            self._reader.feed(data)
            while self._reader.gets() is not _NOTHING:
                found = True
        return found

    def tell(self, *command: Any, until: float) -> None:
        """Send one command whose reply is left for `heard`."""
        self.send(hiredis.pack_command(command), until)

    def heard(self) -> list[bytes]:
        """The channels, of those subscribed to, on which something came or will from now on.

        Raises:
            ClosedError: the connection ended.
        """
        names: list[bytes] = []
        while self.pending():
            data = self.socket.recv(_READ)
            if not data:
                raise ClosedError("the server closed the connection")
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _NOTHING:
                if isinstance(reply, RefusedError):
                    raise reply
                if reply[0] in _NEWS:
                    names.append(reply[1])
        return names

    def close(self) -> None:
        """Give the socket back."""
        self._connection.disconnect()


class Wires:
    """The connections of this process to one server.

    Args:
        places: its addresses; the next is tried where one does not answer.
        options: how connections are made.
    """

    def __init__(self, places: Sequence[Place], options: Options) -> None:
        self._places = list(places)
        self.options = options
        self._pid = os.getpid()
        self._idle: deque[Wire] = deque()

    @property
    def url(self) -> str:
        """The address in use, its password masked."""
        return self._places[0].url

    def ask(self, *command: Any, timeout: float | None = None) -> Any:
        """The reply to one command.

        Raises:
            OperationalError: none within ``timeout`` seconds, or one that may be another later.
            ImproperlyConfigured: the server will never do this as things stand.
        """
        until = self.deadline(timeout)
        wire = self._take(until)
        try:
            reply = wire.ask(*command, until=until)
        except RefusedError as error:
            self._after(wire, error)
            raise faults.translate(error, self.url) from error
        except TROUBLE as error:
            wire.close()
            raise faults.translate(error, self.url) from error
        except BaseException:
            wire.close()
            raise
        self._give_back(wire)
        return reply

    def ask_all(
        self, commands: Sequence[tuple[Any, ...]], *, timeout: float | None = None
    ) -> list[Any]:
        """The replies to several commands; raises as `ask`, after all were sent."""
        until = self.deadline(timeout)
        wire = self._take(until)
        try:
            replies = wire.ask_all(commands, until=until)
        except TROUBLE as error:
            wire.close()
            raise faults.translate(error, self.url) from error
        except BaseException:
            wire.close()
            raise
        errors = [reply for reply in replies if isinstance(reply, RefusedError)]
        if not errors:
            self._give_back(wire)
            return replies
        self._after(wire, errors[0])
        raise faults.translate(errors[0], self.url) from errors[0]

    def deadline(self, timeout: float | None) -> float:
        """The moment, on the monotonic clock, at which a call that begins now has failed."""
        return time.monotonic() + (self.options.socket_timeout if timeout is None else timeout)

    def _after(self, wire: Wire, error: RefusedError) -> None:
        if faults.leaves(error):
            wire.close()
            self.close()  # the others are of no use either
        else:
            self._give_back(wire)

    def _take(self, until: float) -> Wire:
        if self._pid != os.getpid():
            # What the parent opened is the parent's; closing our copies ends nothing there.
            self._pid, self._idle = os.getpid(), deque()
        while self._idle:
            try:
                wire = self._idle.pop()
            except IndexError:
                break
            if not wire.pending() and self._is_well(wire, until):
                return wire
            wire.close()
        return self.open(until)

    def _is_well(self, wire: Wire, until: float) -> bool:
        """Whether the server still answers, asked only after a long rest."""
        pause = self.options.health_check_interval
        if not pause or time.monotonic() - wire.used_at < pause:
            return True
        try:
            wire.ask("PING", until=min(until, self.deadline(None)))
        except TROUBLE:
            return False
        return True

    def _give_back(self, wire: Wire) -> None:
        if len(self._idle) >= self.options.max_connections or wire.pid != self._pid:
            wire.close()
            return
        wire.used_at = time.monotonic()
        self._idle.append(wire)

    def open(self, until: float) -> Wire:
        """A new connection, for the caller alone.

        Raises:
            OperationalError: no address answers before ``until``.
            ImproperlyConfigured: the server lets nobody in like this.
        """
        for left in reversed(range(len(self._places))):
            place = self._places[0]
            try:
                return Wire(self._connection(place, max(until - time.monotonic(), _SHORTEST)))
            except TROUBLE as error:
                translated = faults.translate(error, place.url)
                if not (left and isinstance(translated, OperationalError)):
                    raise translated from error
            self._places.append(self._places.pop(0))
        raise AssertionError("a server has an address")

    def _connection(self, place: Place, patience: float) -> Any:
        chosen = self.options
        arguments: dict[str, Any] = {
            "db": place.db,
            "socket_timeout": min(patience, chosen.socket_timeout),
            "client_name": chosen.client_name,
            "protocol": 2,
        }
        if chosen.credential_provider is not None:
            arguments["credential_provider"] = chosen.credential_provider
        else:
            arguments.update(username=place.user, password=place.password)
        if not place.port:
            return _library.UnixDomainSocketConnection(path=place.host, **arguments)
        arguments["socket_connect_timeout"] = min(patience, chosen.socket_connect_timeout)
        arguments["socket_keepalive"] = chosen.socket_keepalive
        arguments["socket_keepalive_options"] = chosen.socket_keepalive_options
        host, port = self._master(place, patience) if place.sentinel else (place.host, place.port)
        if place.tls is not None:
            return _library.SSLConnection(host=host, port=port, **arguments, **place.tls)
        return _library.Connection(host=host, port=port, **arguments)

    def _master(self, place: Place, patience: float) -> tuple[str, int]:
        """Where the server is now, as its sentinels say."""
        name = self.options.master_name or "mymaster"
        arguments = {
            "socket_timeout": min(patience, self.options.socket_connect_timeout),
            **(self.options.sentinel_kwargs or {}),
        }
        sentinel = _library.sentinel.Sentinel([(place.host, place.port)], sentinel_kwargs=arguments)
        try:
            host, port = sentinel.discover_master(name)
        except redis.sentinel.MasterNotFoundError as error:
            raise ClosedError(
                f"this sentinel knows no master {name!r} that is up (the option master_name names "
                f"it): {error}"
            ) from error
        finally:
            for each in sentinel.sentinels:
                each.close()
        return str(host), int(port)

    def close(self) -> None:
        """Close what lies idle; connections are opened again when needed."""
        idle, self._idle = self._idle, deque()
        for wire in idle:
            wire.close()
