"""Huey on Redis and SQLite: as it comes, and on SQLite without waiting for the disk."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from benchmarks.systems import places
from benchmarks.systems.system import System

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.servers import Servers


class HueySqlite(System):
    """Huey with its defaults and worker processes."""

    name = "huey-sqlite"
    title = "Huey on SQLite"
    broker = "SQLite"
    app = "app_huey"
    statement = "from huey import SqliteHuey"
    packages = ("huey",)
    ready_line = re.compile(r"Huey consumer started")
    lacks = frozenset({"enqueue_async"})
    share = 0.25

    def worker(self, python: Path, *, children: int, talkative: bool) -> list[str]:
        command = [str(python), "-m", "huey.bin.huey_consumer", f"{self.app}.huey"]
        quiet = [] if talkative else ["--quiet"]
        return [*command, "--workers", str(children), "--worker-type", "process", *quiet]

    def environment(self, folder: Path, servers: Servers) -> dict[str, str]:
        return places.on_sqlite(folder, servers, "synchronous=FULL")


class HueySqliteOff(HueySqlite):
    """Huey with ``fsync=False``."""

    name = "huey-sqlite-off"
    title = "Huey on SQLite, fsync=False"
    extra = True
    lacks = HueySqlite.lacks | {"import", "ready_task", "ready_line", "idle_stop"}
    share = 1.0

    def environment(self, folder: Path, servers: Servers) -> dict[str, str]:
        place = places.on_sqlite(folder, servers, "synchronous=OFF")
        return {**place, "BENCH_DURABILITY": "off"}


class HueyRedis(HueySqlite):
    """Huey on Redis, where it waits for messages instead of looking for them."""

    name = "huey-redis"
    title = "Huey on Redis"
    broker = "Redis"
    statement = "from huey import RedisHuey"
    share = 0.4

    def environment(self, folder: Path, servers: Servers) -> dict[str, str]:
        return places.on_redis(folder, servers)
