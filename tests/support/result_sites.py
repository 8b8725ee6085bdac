"""Where the contract of result backends is tested besides the sites: stores that keep only results.

They take part in the tests of results as sites do.  What they cannot keep, because Celery's format
has no place for it, is named by what they offer, and left out when results are compared.
"""

from __future__ import annotations

import json
import uuid
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import psycopg

import servers
from sites import HOUR, MovingClock, Site
from umbel.drivers import Server, cache, database, files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from umbel.message import StoredResult
    from umbel.ports.backend import ResultBackend

EVERYTHING = frozenset({"any_bytes", "own_expiry"})
"""What every site with a broker can keep: payloads of any kind, and an expiry for each result."""


class ResultSite:
    """One store of results, fresh for one test; see `sites.Site`."""

    unit = HOUR
    can: ClassVar[frozenset[str]] = frozenset()
    backend: ResultBackend

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = MovingClock()
        self._open = ExitStack()
        backend = self.another().backend
        assert backend is not None
        self.backend = backend
        self.backend.setup()

    def another(self) -> Server:
        """The same store with connections of its own, closed with the site."""
        server = self.connect()
        assert server.backend is not None
        self._open.callback(server.backend.close)
        return server

    def connect(self, **conf: object) -> Server:
        raise NotImplementedError

    def advance(self, seconds: float) -> None:
        """Let time pass for the store."""
        self.clock.advance(seconds)

    def close(self) -> None:
        self._open.close()

    @classmethod
    def offers(cls) -> frozenset[str]:
        """The names of what the store can do."""
        return cls.can

    def kept(self, result: StoredResult) -> StoredResult:
        """The result without what the store cannot keep."""
        return replace(result, expires=None)


class CacheSite(ResultSite):
    """The memory of this process."""

    can = EVERYTHING

    def __init__(self, directory: Path) -> None:
        self._server: Server | None = None
        super().__init__(directory)

    def connect(self, **_: object) -> Server:
        if self._server is None:
            self._server = cache.serve(self.clock)
        return self._server

    def kept(self, result: StoredResult) -> StoredResult:
        return result


class FileSite(ResultSite):
    """A directory."""

    can = frozenset({"shared"})

    def connect(self, **conf: object) -> Server:
        return files.serve(f"file://{self.directory}", {}, conf, self.clock)


class DatabaseSite(ResultSite):
    """Tables in a SQLite file."""

    can = frozenset({"shared"})

    @property
    def url(self) -> str:
        return f"db+sqlite:///{self.directory}/results.db"

    def connect(self, **conf: object) -> Server:
        return database.serve(self.url, {}, conf, self.clock)

    def kept(self, result: StoredResult) -> StoredResult:
        value = json.loads(result.payload)["result"]
        return replace(result, payload=json.dumps(value).encode(), expires=None)


class PostgresTablesSite(DatabaseSite):
    """Tables in a schema of a PostgreSQL server."""

    def __init__(self, directory: Path) -> None:
        self.schema = f"umbel_results_{uuid.uuid4().hex}"
        self._run(f"CREATE SCHEMA {self.schema}")
        super().__init__(directory)

    @property
    def url(self) -> str:
        return f"db+{servers.url('postgres')}"

    def connect(self, **conf: object) -> Server:
        schemas = {"task": self.schema, "group": self.schema}
        return super().connect(database_table_schemas=schemas, **conf)

    def close(self) -> None:
        super().close()
        self._run(f"DROP SCHEMA {self.schema} CASCADE")

    @staticmethod
    def _run(statement: str) -> None:
        with psycopg.connect(servers.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)


def seen(site: Site | ResultSite, results: Mapping[str, StoredResult]) -> dict[str, StoredResult]:
    """Results as this site promises to keep them, to be compared."""
    if isinstance(site, ResultSite):
        return {task_id: site.kept(result) for task_id, result in results.items()}
    return dict(results)


RESULT_SITES: dict[str, type[ResultSite]] = {
    "cache": CacheSite,
    "files": FileSite,
    "db-sqlite": DatabaseSite,
    "db-postgres": PostgresTablesSite,
}
