"""Connections to one server, and how they are shared.

Only the parser is somebody else's.  The usual client library costs more than all else a worker
imports, and its calls have no deadlines of their own; what is left without it is little.

A connection is used by one thread at a time, and by the process that opened it.  One that ended
while it lay idle is noticed before it is used; one that ends during a call fails the call, because
nobody can know whether the server did what it was asked.
"""

from __future__ import annotations

import os
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import hiredis

from umbel.drivers.redis import faults
from umbel.drivers.redis.dialing import dial
from umbel.drivers.redis.faults import ClosedError, RefusedError, StalledError
from umbel.exceptions import OperationalError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from umbel.drivers.redis.options import Options
    from umbel.drivers.redis.places import Place
    from umbel.drivers.redis.wire import Wire

TROUBLE = (OSError, RefusedError, StalledError, ClosedError, hiredis.HiredisError)
"""What calls raise, to be translated."""


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
        inner = replies[-1] if isinstance(replies[-1], list) else ()  # those of a transaction
        errors = [reply for reply in (*replies, *inner) if isinstance(reply, RefusedError)]
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
                return dial(place, self.options, until)
            except TROUBLE as error:
                translated = faults.translate(error, place.url)
                if not (left and isinstance(translated, OperationalError)):
                    raise translated from error
            self._places.append(self._places.pop(0))
        raise AssertionError("a server has an address")

    def close(self) -> None:
        """Close what lies idle; connections are opened again when needed."""
        idle, self._idle = self._idle, deque()
        for wire in idle:
            wire.close()
