"""Celery on Redis and RabbitMQ: as it comes, tuned for short tasks, and with confirms."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from benchmarks.figures import FIGURES
from benchmarks.systems import places
from benchmarks.systems.system import System

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.servers import Servers

ENQUEUE = frozenset(name for name in FIGURES if name.startswith("enqueue"))


class CeleryRedis(System):
    """Celery with its defaults."""

    name = "celery-redis"
    title = "Celery on Redis"
    broker = "Redis"
    app = "app_celery"
    statement = "from celery import Celery"
    packages = ("celery", "kombu", "redis")
    ready_line = re.compile(r"celery@\S+ ready")
    lacks = frozenset({"enqueue_async"})
    share = 0.15

    def worker(self, python: Path, *, children: int, talkative: bool) -> list[str]:
        level = "INFO" if talkative else "WARNING"
        command = [str(python), "-m", "celery", "-A", self.app, "worker"]
        return [*command, "-c", str(children), "-l", level]

    def environment(self, folder: Path, servers: Servers) -> dict[str, str]:
        return places.on_redis(folder, servers)


class CeleryRedisTuned(CeleryRedis):
    """Celery with a long prefetch and without the chatter between workers."""

    name = "celery-redis-tuned"
    title = "Celery on Redis, tuned"
    extra = True

    def worker(self, python: Path, *, children: int, talkative: bool) -> list[str]:
        command = super().worker(python, children=children, talkative=talkative)
        return [*command, "--without-gossip", "--without-mingle", "--without-heartbeat"]

    def environment(self, folder: Path, servers: Servers) -> dict[str, str]:
        return {**super().environment(folder, servers), "BENCH_TUNED": "1"}


class CeleryRabbitmq(CeleryRedis):
    """Celery on RabbitMQ with its defaults, results in Redis; publishing is not confirmed."""

    name = "celery-rabbitmq"
    title = "Celery on RabbitMQ"
    broker = "RabbitMQ"
    packages = ("celery", "amqp")
    share = 0.25

    def environment(self, folder: Path, servers: Servers) -> dict[str, str]:
        return places.on_rabbitmq(folder, servers)


class CeleryRabbitmqConfirmed(CeleryRabbitmq):
    """Celery on RabbitMQ that waits for the broker's confirmation; only its enqueuing differs."""

    name = "celery-rabbitmq-confirmed"
    title = "Celery on RabbitMQ, confirm_publish"
    lacks = CeleryRabbitmq.lacks | (FIGURES.keys() - ENQUEUE)

    def environment(self, folder: Path, servers: Servers) -> dict[str, str]:
        place = super().environment(folder, servers)
        confirmed = f"{place['BENCH_SURVIVES']}, confirmed"
        return {**place, "BENCH_CONFIRM": "1", "BENCH_SURVIVES": confirmed}
