"""Huey on SQLite, as it comes (every commit reaches the disk) and without waiting for the disk."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from benchmarks.systems.system import System

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.servers import Servers


class HueySqlite(System):
    """Huey with its defaults and worker processes."""

    name = "huey-sqlite"
    title = "Huey on SQLite"
    app = "app_huey"
    statement = "from huey import SqliteHuey"
    packages = ("huey",)
    ready_line = re.compile(r"Huey consumer started")

    def worker(self, python: Path, *, children: int, talkative: bool) -> list[str]:
        command = [str(python), "-m", "huey.bin.huey_consumer", f"{self.app}.huey"]
        quiet = [] if talkative else ["--quiet"]
        return [*command, "--workers", str(children), "--worker-type", "process", *quiet]

    def environment(self, folder: Path, servers: Servers) -> dict[str, str]:  # noqa: ARG002
        return {"BENCH_SQLITE_FILE": str(folder / "huey.db")}


class HueySqliteOff(HueySqlite):
    """Huey with ``fsync=False``."""

    name = "huey-sqlite-off"
    title = "Huey on SQLite, fsync=False"

    def environment(self, folder: Path, servers: Servers) -> dict[str, str]:
        return {**super().environment(folder, servers), "BENCH_DURABILITY": "off"}
