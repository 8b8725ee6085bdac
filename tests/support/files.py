"""A SQLite server whose file, clock and connections a test can reach."""

from __future__ import annotations

import sqlite3
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from umbel.drivers import sqlite as driver
from umbel.drivers.sqlite.options import Options
from umbel.testing.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from umbel.clock import Clock
    from umbel.drivers import Server


class File:
    """The server on one file; `again` is the same as another process would have it."""

    def __init__(self, path: Path, *, clock: Clock | None = None, **options: Any) -> None:
        self.path = path
        self.clock = clock or FakeClock(1_700_000_000.0, monotonic=5_000.0)
        self._open = ExitStack()
        self.server = self.again(**options)
        assert self.server.broker is not None
        assert self.server.backend is not None
        assert self.server.coordinator is not None
        self.broker: Any = self.server.broker
        self.backend: Any = self.server.backend
        self.coordinator: Any = self.server.coordinator

    def again(self, *, clock: Clock | None = None, **options: Any) -> Server:
        options = {"synchronous": "normal", **options}
        server = driver.serve(str(self.path), Options(**options), clock or self.clock)
        for role in (server.broker, server.backend, server.coordinator):
            self._open.callback(role.close)  # type: ignore[union-attr]
        return server

    def close(self) -> None:
        self._open.close()

    @contextmanager
    def opened(self) -> Iterator[sqlite3.Connection]:
        """The file as any SQLite program sees it."""
        db = sqlite3.connect(self.path, isolation_level=None)
        try:
            yield db
        finally:
            db.close()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Meanwhile another program keeps the write lock."""
        with self.opened() as db:
            db.execute("BEGIN IMMEDIATE")
            yield
            db.execute("ROLLBACK")

    def ask(self, sql: str, *values: Any) -> list[Any]:
        """What the file says to ``sql``."""
        with self.opened() as db:
            return db.execute(sql, values).fetchall()

    def is_sound(self) -> bool:
        """What SQLite's own check of the whole file says."""
        return self.ask("PRAGMA integrity_check") == [("ok",)]
