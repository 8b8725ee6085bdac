"""The limits: bare loops that do only what a queue cannot do without."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.systems import places
from benchmarks.systems.system import APPS, System

if TYPE_CHECKING:
    from benchmarks.servers import Servers


class Raw(System):
    """Two processes that claim, run and settle in batches."""

    lacks = frozenset({"start_p50", "start_p99", "idle_cpu", "pss", "import"}) | frozenset(
        {"ready_task", "ready_line", "idle_stop", "enqueue_async"}
    )

    def python(self) -> Path:
        """The interpreter that runs the harness."""
        return Path(sys.executable)

    def worker(self, python: Path, *, children: int, talkative: bool) -> list[str]:  # noqa: ARG002
        return [str(python), str(APPS / f"{self.app}.py"), str(children)]


class RawSqlite(Raw):
    """On SQLite."""

    name = "raw-sqlite"
    title = "Raw loop on SQLite"
    broker = "SQLite"
    app = "app_raw_sqlite"
    share = 2.0

    def environment(self, folder: Path, servers: Servers) -> dict[str, str]:
        return places.on_sqlite(folder, servers, "synchronous=FULL at publish")


class RawRedis(Raw):
    """On Redis."""

    name = "raw-redis"
    title = "Raw loop on Redis"
    broker = "Redis"
    app = "app_raw_redis"
    share = 4.0

    def environment(self, folder: Path, servers: Servers) -> dict[str, str]:
        return places.on_redis(folder, servers)


class RawRabbitmq(Raw):
    """On RabbitMQ, results in Redis."""

    name = "raw-rabbitmq"
    title = "Raw loop on RabbitMQ"
    broker = "RabbitMQ"
    app = "app_raw_rabbitmq"

    def environment(self, folder: Path, servers: Servers) -> dict[str, str]:
        return places.on_rabbitmq(folder, servers)


class RawPostgres(Raw):
    """On PostgreSQL."""

    name = "raw-postgres"
    title = "Raw loop on PostgreSQL"
    broker = "PostgreSQL"
    app = "app_raw_postgres"

    def environment(self, folder: Path, servers: Servers) -> dict[str, str]:
        return places.on_postgres(folder, servers)
