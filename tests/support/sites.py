"""Where the contract of the ports is tested: one site per driver.

A site gives the roles of one server, lets time pass, and opens the same server a second time as
another process would.  Polling never helps here: its interval is longer than any test, so that
whoever waits is woken by an event or not at all.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import ExitStack
from dataclasses import fields
from typing import TYPE_CHECKING, ClassVar

from umbel import drivers

if TYPE_CHECKING:
    from pathlib import Path

    from umbel.drivers import Server
    from umbel.ports.backend import ResultBackend
    from umbel.ports.broker import Broker
    from umbel.ports.coordinator import Coordinator

HOUR = 3600.0


class MovingClock:
    """The machine's clocks, which a test can push forward."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def now(self) -> float:
        return time.time() + self._ahead

    def monotonic(self) -> float:
        return time.monotonic() + self._ahead

    def advance(self, seconds: float) -> None:
        self._ahead += seconds


class Site:
    """One server, fresh for one test.

    Attributes:
        unit: a span of seconds for leases and delays that `advance` can let pass quickly.
        many: how many units `advance` can let pass within one test.
        roles: what the server is besides a broker.
        broker: the broker role.
        backend: the result backend role.
        coordinator: the coordinator role.
        url: how another process reaches the server.
    """

    unit = HOUR
    many = 300
    roles: ClassVar[frozenset[str]] = frozenset({"backend", "coordinator"})
    url = ""
    broker: Broker
    backend: ResultBackend
    coordinator: Coordinator

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._open = ExitStack()
        server = self.another()
        assert server.broker is not None
        assert server.backend is not None
        assert server.coordinator is not None
        self.broker = server.broker
        self.backend = server.backend
        self.coordinator = server.coordinator
        self.broker.setup()

    def another(self) -> Server:
        """The same server with connections of its own, closed with the site."""
        server = self.connect()
        for role in (server.broker, server.backend, server.coordinator):
            if role is not None:
                self._open.callback(role.close)
        return server

    def connect(self) -> Server:
        raise NotImplementedError

    def advance(self, seconds: float) -> None:
        """Let time pass for the server."""
        raise NotImplementedError

    def now(self) -> float:
        """The server's calendar time."""
        return time.time()

    def close(self) -> None:
        self._open.close()

    @classmethod
    def offers(cls) -> set[str]:
        """The names of what the driver can do."""
        broker = cls.server().broker
        assert broker is not None
        can = broker.capabilities
        return {field.name for field in fields(can) if getattr(can, field.name)} | cls.roles

    @staticmethod
    def server() -> Server:
        """A server of this kind, not opened."""
        raise NotImplementedError


class MemorySite(Site):
    """Threads of one process."""

    def __init__(self, directory: Path) -> None:
        from umbel.drivers import memory

        self.clock = MovingClock()
        self._server = memory.serve("contract", self.clock)
        super().__init__(directory)

    def connect(self) -> Server:
        return self._server

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def now(self) -> float:
        return self.clock.now()

    @staticmethod
    def server() -> Server:
        return drivers.connect("memory://offers")


class SQLiteSite(Site):
    """One file."""

    def __init__(self, directory: Path) -> None:
        self.clock = MovingClock()
        self.path = directory / "contract.db"
        self.url = f"sqlite:///{self.path}"
        super().__init__(directory)

    def connect(self) -> Server:
        from umbel.drivers import sqlite
        from umbel.drivers.sqlite.options import Options

        options = Options(synchronous="normal", poll_interval=HOUR)
        return sqlite.serve(str(self.path), options, self.clock)

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def now(self) -> float:
        return self.clock.now()

    def close(self) -> None:
        super().close()
        db = sqlite3.connect(self.path)
        found = db.execute("PRAGMA integrity_check").fetchall()
        orphans = db.execute(
            "SELECT (SELECT count(*) FROM payload WHERE seq NOT IN (SELECT seq FROM place)),"
            " (SELECT count(*) FROM place WHERE seq NOT IN (SELECT seq FROM payload))"
        ).fetchall()
        db.close()
        assert (found, orphans) == ([("ok",)], [(0, 0)])

    @staticmethod
    def server() -> Server:
        return drivers.connect("sqlite:///offers.db")


SITES: dict[str, type[Site]] = {
    "memory": MemorySite,
    "sqlite": SQLiteSite,
}

# At the end, because they are made of what stands above.
from site_amqp import AMQPSite  # noqa: E402
from site_postgres import PostgresSite  # noqa: E402
from site_redis import RedisSite  # noqa: E402

SITES |= {"redis": RedisSite, "postgres": PostgresSite, "amqp": AMQPSite}
