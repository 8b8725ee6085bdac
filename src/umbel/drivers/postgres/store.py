"""One schema of one server, and the connections of this process to it.

Connections wait in a small pool, the one that was used last on top.  What can go wrong with one is
decided in one place, `Store.run`:

* **Somebody was in the way** (a deadlock, a serialization failure): nothing was done, and the call
  tries again until its deadline.
* **The server ended the connection while it was idle**: that is seen before it is used, and costs
  nothing but a new one.
* **The server went away in the middle, or did not answer by the deadline**: the connection is
  thrown away and the call fails; whether its effect is there, the caller cannot know.

Statements are complete by themselves.  No setting, lock or prepared plan is expected to outlive a
transaction, so a pooler that hands out another server connection for each is no hindrance.
"""

from __future__ import annotations

import os
import random
import threading
import time
from typing import TYPE_CHECKING, TypeVar

import psycopg

from umbel.drivers.postgres import faults, forks, options, schema
from umbel.drivers.postgres.link import Link, TooSlowError, open_link
from umbel.drivers.postgres.listener import Listener
from umbel.exceptions import SchemaError, UmbelError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from umbel.drivers import Server

T = TypeVar("T")

_SHORTEST_PAUSE = 0.001
_LONGEST_PAUSE = 0.05
# Seconds after which a connection that nobody needed is closed.
_IDLE = 60.0


class Store:
    """One schema as this process sees it."""

    # Set by `connect`: who asks again for this schema shares the roles that are there.
    server: Server

    def __init__(self, parameters: Mapping[str, str], chosen: options.Options) -> None:
        self.parameters = dict(parameters)
        self.options = chosen
        self.place = options.location(parameters, chosen.schema)
        self.listener = Listener(self)
        self._identity: str | None = None
        self._begin()
        forks.register(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._room = threading.Semaphore(self.options.pool_size)
        self._idle: list[Link] = []
        self._links: set[Link] = set()
        self._known = False
        self._pid = os.getpid()
        self._setting_up = threading.Lock()

    def after_fork(self) -> None:
        """Leave the parent's connections to the parent."""
        forks.leave_alone(self._links)
        self._begin()

    def sql(self, statement: str) -> str:
        """``statement`` for this schema."""
        return schema.qualified(statement, self.options.schema)

    # -- calls -----------------------------------------------------------------------------

    def run(self, work: Callable[[Link], T], *, timeout: float | None = None) -> T:
        """What ``work`` returns, tried again while others are in the way.

        Raises:
            OperationalError: the server cannot be reached or used, or there was no answer within
                ``timeout`` seconds.
            StoreError: the schema is not one this version can use.
            ImproperlyConfigured: the server refuses us for good.
        """
        patience = self.options.call_timeout if timeout is None else max(timeout, 0.001)
        until = time.monotonic() + patience
        if not self._room.acquire(timeout=patience):
            raise faults.crowded(self.place, patience, self.options.pool_size)
        try:
            pause = _SHORTEST_PAUSE
            while True:
                try:
                    return self._try(work, until)
                except TooSlowError as error:
                    raise faults.slow(self.place, patience) from error
                except psycopg.Error as error:
                    over = time.monotonic() + pause > until
                    if not faults.is_passing(error) or over:
                        raise self.translated(error) from error
                time.sleep(pause * random.random())  # noqa: S311 - so that two do not meet again
                pause = min(pause * 2, _LONGEST_PAUSE)
        finally:
            self._room.release()

    def transaction(self, work: Callable[[Link], T], *, timeout: float | None = None) -> T:
        """What ``work`` returns, done in one transaction; it may be tried more than once."""

        def transaction(link: Link) -> T:
            link.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
            left = max(int((link.until - time.monotonic()) * 1000), 1)
            link.execute(b"SET LOCAL statement_timeout = %d" % left)
            answer = work(link)
            link.execute("COMMIT")
            return answer

        return self.run(transaction, timeout=timeout)

    def _try(self, work: Callable[[Link], T], until: float) -> T:
        link = self._take(until)
        link.until = until
        try:
            answer = work(link)
        except psycopg.Error as error:
            if faults.ends_connection(error) or not _is_at_rest(link):
                self._discard(link)
            else:
                self._give_back(link)
            if faults.is_missing(error):
                self._known = False
            raise
        except BaseException:
            self._discard(link)
            raise
        self._give_back(link)
        return answer

    def translated(self, error: psycopg.Error) -> UmbelError:
        """``error`` in our words, without secrets."""
        return faults.translate(
            error,
            self.place,
            secrets=options.secrets(self.parameters),
            known=self._known,
            version=schema.version(),
        )

    # -- connections -----------------------------------------------------------------------

    def _take(self, until: float) -> Link:
        while True:
            with self._lock:
                link = self._idle.pop() if self._idle else None
            if link is None:
                return self._open(until)
            if link.is_alive():
                return link
            self._discard(link)

    def _open(self, until: float) -> Link:
        link = self.open(until=until)
        try:
            self._prepare(link)
        except BaseException:
            self._discard(link)
            raise
        return link

    def open(self, *, until: float) -> Link:
        """A connection that is in no pool; `forget` it when it is closed.

        Raises:
            psycopg.Error: as it comes; the caller translates.
        """
        link = open_link(self.parameters, until=until)
        link.until = until
        with self._lock:
            self._links.add(link)
        try:
            # A pooler tells its clients of a process that is not the one they are served by.
            link.pooled = link.one("SELECT pg_backend_pid()")[0] != link.pgconn.backend_pid
            link.pooled = link.pooled or not self.options.prepare
        except BaseException:
            self._discard(link)
            raise
        return link

    def _prepare(self, link: Link) -> None:
        """Look at the schema once, and make it what we need if we may."""
        if self._known:
            return
        with self._setting_up:
            found = schema.found_version(link, self.options.schema)
            schema.check(found, self.place)
            if found[0] < schema.version():
                if not self.options.migrate:
                    raise SchemaError(found[0], schema.version(), store=self.place)
                schema.migrate(link, self.options.schema, self.place)
            self._known = True

    def _give_back(self, link: Link) -> None:
        now = link.idle_since = time.monotonic()
        with self._lock:
            self._idle.append(link)
            old = [each for each in self._idle[:-1] if now - each.idle_since > _IDLE]
            self._idle = [each for each in self._idle if each not in old] if old else self._idle
        for each in old:
            self._discard(each)

    def _discard(self, link: Link) -> None:
        link.drop()
        self.forget(link)

    def forget(self, link: Link) -> None:
        """This connection is closed."""
        with self._lock:
            self._links.discard(link)

    def close(self) -> None:
        """Give back connections that nobody uses now; they are opened again when needed."""
        self.listener.close()
        with self._lock:
            idle, self._idle = self._idle, []
        for link in idle:
            self._discard(link)

    def __del__(self) -> None:
        if getattr(self, "_pid", 0) == os.getpid():
            for link in self._idle:
                link.drop()

    def identity(self) -> str:
        """What tells this schema from those of other databases."""
        if self._identity is None:
            found = self.run(lambda link: link.one(self.sql("SELECT identity FROM umbel.format")))
            self._identity = str(found[0])
        return self._identity

    # -- the schema ------------------------------------------------------------------------

    def setup(self) -> None:
        """See that the schema is there and of this version."""
        self._known = False
        self.run(self._prepare)

    def migrate(self) -> int:
        """Bring the schema to this version; returns the version it had."""
        before = self.run_bare(lambda link: schema.migrate(link, self.options.schema, self.place))
        self._known = True
        return before

    def versions(self) -> tuple[int, int]:
        """The version of the schema that is there, 0 for none, and that of this code."""
        found = self.run_bare(lambda link: schema.found_version(link, self.options.schema))
        return found[0], schema.version()

    def run_bare(self, work: Callable[[Link], T]) -> T:
        """What ``work`` returns on a connection of its own, whatever the schema is like."""
        until = time.monotonic() + max(self.options.call_timeout, 60.0)
        try:
            link = self.open(until=until)
            try:
                return work(link)
            finally:
                self._discard(link)
        except TooSlowError as error:
            raise faults.slow(self.place, self.options.call_timeout) from error
        except psycopg.Error as error:
            raise self.translated(error) from error


def _is_at_rest(link: Link) -> bool:
    """Whether the connection can be used again, after undoing what was begun."""
    status = psycopg.pq.TransactionStatus
    if link.pgconn.transaction_status in (status.INTRANS, status.INERROR):
        try:
            link.execute("ROLLBACK")
        except (psycopg.Error, TooSlowError):
            return False
    return link.pgconn.transaction_status == status.IDLE
