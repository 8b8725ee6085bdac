"""Umbel on SQLite, as it comes (a published message has reached the disk) and relaxed."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.systems.system import System

if TYPE_CHECKING:
    from benchmarks.servers import Servers


class UmbelSqlite(System):
    """Umbel with its defaults."""

    name = "umbel-sqlite"
    title = "Umbel on SQLite"
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

    def environment(self, folder: Path, servers: Servers) -> dict[str, str]:  # noqa: ARG002
        return {"BENCH_SQLITE_FILE": str(folder / "umbel.db")}


class UmbelSqliteNormal(UmbelSqlite):
    """Umbel that does not wait for the disk when it publishes."""

    name = "umbel-sqlite-normal"
    title = "Umbel on SQLite, synchronous=NORMAL"

    def environment(self, folder: Path, servers: Servers) -> dict[str, str]:
        return {**super().environment(folder, servers), "BENCH_DURABILITY": "normal"}
