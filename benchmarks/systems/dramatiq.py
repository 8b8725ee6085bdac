"""Dramatiq on Redis and RabbitMQ."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from benchmarks.figures import FIGURES
from benchmarks.systems import places
from benchmarks.systems.celery import ENQUEUE
from benchmarks.systems.system import System

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.servers import Servers


class DramatiqRedis(System):
    """Dramatiq with its defaults: eight threads in each process."""

    name = "dramatiq-redis"
    title = "Dramatiq on Redis"
    broker = "Redis"
    app = "app_dramatiq"
    statement = "import dramatiq"
    packages = ("dramatiq",)
    ready_line = re.compile(r"Worker process is ready for action")
    lacks = frozenset({"enqueue_async"})
    share = 0.25

    def worker(self, python: Path, *, children: int, talkative: bool) -> list[str]:
        command = [str(python), "-m", "dramatiq", self.app, "--processes", str(children)]
        return command if talkative else [*command, "--skip-logging"]

    def environment(self, folder: Path, servers: Servers) -> dict[str, str]:
        return places.on_redis(folder, servers)


class DramatiqRabbitmq(DramatiqRedis):
    """Dramatiq on RabbitMQ, results in Redis; publishing is not confirmed."""

    name = "dramatiq-rabbitmq"
    title = "Dramatiq on RabbitMQ"
    broker = "RabbitMQ"
    packages = ("dramatiq", "pika")

    def environment(self, folder: Path, servers: Servers) -> dict[str, str]:
        return places.on_rabbitmq(folder, servers)


class DramatiqRabbitmqConfirmed(DramatiqRabbitmq):
    """Dramatiq with ``confirm_delivery``; only its enqueuing differs."""

    name = "dramatiq-rabbitmq-confirmed"
    title = "Dramatiq on RabbitMQ, confirm_delivery"
    lacks = DramatiqRabbitmq.lacks | (FIGURES.keys() - ENQUEUE)

    def environment(self, folder: Path, servers: Servers) -> dict[str, str]:
        place = super().environment(folder, servers)
        confirmed = f"{place['BENCH_SURVIVES']}, confirmed"
        return {**place, "BENCH_CONFIRM": "1", "BENCH_SURVIVES": confirmed}
