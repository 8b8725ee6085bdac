"""The queues that run tasks on an event loop: Taskiq, SAQ and arq, on Redis."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from benchmarks.peers import peers_python
from benchmarks.systems import places
from benchmarks.systems.system import TWINS, System

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.servers import Servers


class Taskiq(System):
    """Taskiq with its stream broker, which acknowledges, and uvloop."""

    name = "taskiq-redis"
    title = "Taskiq on Redis"
    broker = "Redis"
    app = "app_taskiq"
    statement = "import taskiq"
    packages = ("taskiq", "taskiq-redis", "uvloop")
    ready_line = re.compile(r"Listening started")
    share = 0.15

    def worker(self, python: Path, *, children: int, talkative: bool) -> list[str]:
        level = "INFO" if talkative else "WARNING"
        command = [str(python), "-m", "taskiq", "worker", f"{self.app}:broker"]
        return [*command, "--workers", str(children), "--log-level", level]

    def environment(self, folder: Path, servers: Servers) -> dict[str, str]:
        return places.on_redis(folder, servers)


class Saq(System):
    """SAQ with a hundred tasks at a time in each process."""

    name = "saq-redis"
    title = "SAQ on Redis"
    broker = "Redis"
    app = "app_saq"
    statement = "import saq"
    packages = ("saq",)
    ready_line = re.compile(r"Worker starting")
    share = 0.1

    def python(self) -> Path:
        return peers_python("peers-redis5.txt")

    def worker(self, python: Path, *, children: int, talkative: bool) -> list[str]:
        # Its own --workers leaves the second process running when it is told to stop.
        command = [str(python), TWINS, str(children), str(python), "-m", "saq"]
        return [*command, f"{self.app}.settings", "-v" if talkative else "--quiet"]

    def environment(self, folder: Path, servers: Servers) -> dict[str, str]:
        return places.on_redis(folder, servers)


class Arq(System):
    """arq that looks for work every 10 ms, a hundred tasks at a time; two worker processes."""

    name = "arq-redis"
    title = "arq on Redis"
    broker = "Redis"
    app = "app_arq"
    statement = "import arq"
    packages = ("arq",)
    ready_line = re.compile(r"Starting worker")
    share = 0.1

    def python(self) -> Path:
        return peers_python("peers-redis5.txt")

    def worker(self, python: Path, *, children: int, talkative: bool) -> list[str]:  # noqa: ARG002
        command = [str(python), TWINS, str(children), str(python), "-m", "arq"]
        return [*command, f"{self.app}.WorkerSettings"]

    def environment(self, folder: Path, servers: Servers) -> dict[str, str]:
        return places.on_redis(folder, servers)
