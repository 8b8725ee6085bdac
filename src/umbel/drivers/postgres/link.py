"""One connection whose every wait ends by a deadline.

A server that stalls keeps its sockets open and acknowledges what the kernel receives, so neither
TCP nor the client library would ever give up on it.  Here the wait itself does: `Link.until` says
when, and a wait that is over leaves a connection that nobody can use any more.
"""

from __future__ import annotations

import select
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg import waiting
from psycopg.conninfo import make_conninfo

if TYPE_CHECKING:
    from collections.abc import Mapping

    from psycopg.abc import PQGen

T = TypeVar("T")

_EVENTS = {
    waiting.Wait.R: select.POLLIN,
    waiting.Wait.W: select.POLLOUT,
    waiting.Wait.RW: select.POLLIN | select.POLLOUT,
}
_READABLE = ~select.POLLOUT
# Seconds for which the server is asked to give up what we have given up.
_CANCELLING = 1.0
# Uses after which psycopg prepares a statement by itself: we say which.
_NEVER = 2**31 - 1
# libpq takes no fewer.
_SHORTEST_CONNECT = 2


class TooSlowError(Exception):
    """The deadline passed; the connection is in no state to be used."""


class Link(psycopg.Connection[Any]):
    """A connection in autocommit mode.

    Attributes:
        until: when waits end, on the monotonic clock.
        idle_since: when it was last given back.
        pooled: whether something between us and the server shares its connections out.
    """

    until = float("inf")
    idle_since = 0.0
    pooled = False

    def wait(self, gen: PQGen[T], interval: float = 0.0, timeout: float | None = None) -> T:
        """Run ``gen`` to its end; see `psycopg.Connection.wait`.

        Raises:
            TooSlowError: the deadline passed.
        """
        del interval
        until = self.until if timeout is None else time.monotonic() + timeout
        try:
            wanted = next(gen)
            poll = select.poll()
            number = self.pgconn.socket
            while True:
                poll.register(number, _EVENTS[wanted])
                left = until - time.monotonic()
                found = poll.poll(min(left, 3600.0) * 1000) if left > 0 else []
                if found:
                    wanted = gen.send(_ready(found[0][1]))
                elif time.monotonic() >= until:
                    raise TooSlowError
        except StopIteration as end:
            value: T = end.value
            return value

    def one(self, query: str, given: Any = None, *, prepare: bool = False) -> Any:
        """The only row of an answer."""
        return self._answer(query, given, prepare=prepare).fetchone()

    def all(self, query: str, given: Any = None, *, prepare: bool = False) -> list[Any]:
        """The rows of an answer."""
        return self._answer(query, given, prepare=prepare).fetchall()

    def count(self, query: str, given: Any = None, *, prepare: bool = False) -> int:
        """How many rows a statement changed."""
        return self._answer(query, given, prepare=prepare).rowcount

    def _answer(self, query: str, given: Any, *, prepare: bool) -> psycopg.Cursor[Any]:
        return self.execute(query.encode(), given, prepare=prepare and not self.pooled, binary=True)

    def is_alive(self) -> bool:
        """Whether the server has not ended the connection while nobody used it."""
        try:
            poll = select.poll()
            poll.register(self.pgconn.socket, select.POLLIN)
            if poll.poll(0):  # a notice, a changed parameter, or the end
                self.pgconn.consume_input()
                return not poll.poll(0)
        except (psycopg.Error, OSError, ValueError):
            return False
        return True

    def drop(self) -> None:
        """Close it, whatever state it is in; the server is asked to stop what it does for us."""
        if self.closed:
            return
        if self.pgconn.transaction_status == psycopg.pq.TransactionStatus.ACTIVE:
            self.until = time.monotonic() + _CANCELLING
            with suppress(Exception):
                self.cancel_safe(timeout=_CANCELLING)
        with suppress(Exception):
            self.close()


def open_link(parameters: Mapping[str, str], *, until: float) -> Link:
    """A new connection.

    Raises:
        psycopg.Error: as it comes; the caller translates.
    """
    left = max(int(until - time.monotonic()), _SHORTEST_CONNECT)
    given = float(parameters.get("connect_timeout") or left)
    own = {**parameters, "connect_timeout": str(int(min(given, left)))}
    return Link.connect(make_conninfo(**own), autocommit=True, prepare_threshold=_NEVER)


def _ready(events: int) -> waiting.Ready:
    ready = 0
    if events & _READABLE:
        ready |= waiting.Ready.R
    if events & select.POLLOUT:
        ready |= waiting.Ready.W
    return waiting.Ready(ready)
