"""Umbel on each of its brokers, as it comes, and on SQLite without waiting for the disk."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.systems import places
from benchmarks.systems.system import System

if TYPE_CHECKING:
    from benchmarks.servers import Servers


class Umbel(System):
    """Umbel with its defaults."""

    app = "app_umbel"
    statement = "from umbel import Umbel"
    packages = ("umbel",)
    ready_line = re.compile(r"\bready\b")

    def python(self) -> Path:
        """The interpreter that runs the harness: Umbel as it is in this checkout."""
        return Path(sys.executable)

    def worker(self, python: Path, *, children: int, talkative: bool) -> list[str]:
        level = "INFO" if talkative else "WARNING"
        command = [str(python), "-m", "umbel", "-A", self.app, "worker"]
        return [*command, "-c", str(children), "-l", level]


class UmbelSqlite(Umbel):
    """On SQLite: a published message has reached the disk."""

    name = "umbel-sqlite"
    title = "Umbel on SQLite"
    broker = "SQLite"

    def environment(self, folder: Path, servers: Servers) -> dict[str, str]:
        return places.on_sqlite(folder, servers, "synchronous=FULL at publish")


class UmbelSqliteNormal(Umbel):
    """On SQLite, without waiting for the disk when it publishes."""

    name = "umbel-sqlite-normal"
    title = "Umbel on SQLite, synchronous=NORMAL"
    broker = "SQLite"
    lacks = frozenset({"import", "ready_task", "ready_line", "idle_stop"})

    def environment(self, folder: Path, servers: Servers) -> dict[str, str]:
        place = places.on_sqlite(folder, servers, "synchronous=NORMAL at publish")
        return {**place, "BENCH_DURABILITY": "normal"}


class UmbelRedis(Umbel):
    """On Redis."""

    name = "umbel-redis"
    title = "Umbel on Redis"
    broker = "Redis"
    packages = ("umbel", "redis")

    def environment(self, folder: Path, servers: Servers) -> dict[str, str]:
        return places.on_redis(folder, servers)


class UmbelRabbitmq(Umbel):
    """On RabbitMQ, results in Redis."""

    name = "umbel-rabbitmq"
    title = "Umbel on RabbitMQ"
    broker = "RabbitMQ"

    def environment(self, folder: Path, servers: Servers) -> dict[str, str]:
        return places.on_rabbitmq(folder, servers)


class UmbelPostgres(Umbel):
    """On PostgreSQL."""

    name = "umbel-postgres"
    title = "Umbel on PostgreSQL"
    broker = "PostgreSQL"
    packages = ("umbel", "psycopg")

    def environment(self, folder: Path, servers: Servers) -> dict[str, str]:
        return places.on_postgres(folder, servers)
