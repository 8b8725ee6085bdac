"""RQ on Redis."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from benchmarks.systems import places
from benchmarks.systems.system import System

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.servers import Servers


class Rq(System):
    """RQ with workers that do not fork for each job, which is many times faster."""

    name = "rq-redis"
    title = "RQ on Redis"
    broker = "Redis"
    app = "app_rq"
    statement = "import rq"
    packages = ("rq",)
    ready_line = re.compile(r"Listening on")
    lacks = frozenset({"enqueue_async"})
    share = 0.06

    def __init__(self) -> None:
        self._place: dict[str, str] = {}

    def worker(self, python: Path, *, children: int, talkative: bool) -> list[str]:
        command = [str(python), "-m", "rq.cli", "worker-pool", self._place["BENCH_QUEUE"]]
        command += ["--num-workers", str(children), "--worker-class", "rq.worker.SimpleWorker"]
        level = "INFO" if talkative else "WARNING"
        return [*command, "--url", self._place["BENCH_BROKER"], "--logging-level", level]

    def environment(self, folder: Path, servers: Servers) -> dict[str, str]:
        self._place = places.on_redis(folder, servers)
        return self._place
