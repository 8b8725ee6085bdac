"""Procrastinate on PostgreSQL."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from benchmarks.figures import FIGURES
from benchmarks.systems import places
from benchmarks.systems.system import TWINS, System

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.servers import Servers

RESULTS = frozenset(name for name in FIGURES if name.endswith("_results"))


class Procrastinate(System):
    """Procrastinate: two workers with ten jobs at a time each, done jobs deleted."""

    name = "procrastinate"
    title = "Procrastinate on PostgreSQL"
    broker = "PostgreSQL"
    app = "app_procrastinate"
    statement = "import procrastinate"
    packages = ("procrastinate", "psycopg")
    ready_line = re.compile(r"Starting worker")
    lacks = RESULTS
    share = 0.05

    def worker(self, python: Path, *, children: int, talkative: bool) -> list[str]:
        command = [str(python), TWINS, str(children), str(python), "-m", "procrastinate"]
        command += [
            f"--app={self.app}.app",
            f"--log-level={'info' if talkative else 'warning'}",
            "worker",
        ]
        return [*command, "--concurrency=10", "--delete-jobs=successful"]

    def environment(self, folder: Path, servers: Servers) -> dict[str, str]:
        return places.on_postgres(folder, servers)
