"""The limit: a bare loop over SQLite that does only what a queue cannot do without."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.systems.system import System

if TYPE_CHECKING:
    from benchmarks.servers import Servers


class RawSqlite(System):
    """Two processes that claim, run and settle in batches."""

    name = "raw-sqlite"
    title = "Raw loop on SQLite"
    app = "app_raw_sqlite"
    lacks = frozenset({"start_p50", "start_p99", "idle_cpu", "pss", "import"}) | frozenset(
        {"ready_task", "ready_line", "idle_stop"}
    )

    def python(self) -> Path:
        """The interpreter that runs the harness; the loop needs the standard library only."""
        return Path(sys.executable)

    def worker(self, python: Path, *, children: int, talkative: bool) -> list[str]:  # noqa: ARG002
        script = Path(__file__).parent.parent / "apps" / f"{self.app}.py"
        return [str(python), str(script), str(children)]

    def environment(self, folder: Path, servers: Servers) -> dict[str, str]:  # noqa: ARG002
        return {"BENCH_SQLITE_FILE": str(folder / "raw.db")}
