"""Celery on Redis, as it comes and with the usual advice for short tasks applied."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from benchmarks.systems.system import System

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.servers import Servers


class CeleryRedis(System):
    """Celery with its defaults."""

    name = "celery-redis"
    title = "Celery on Redis"
    app = "app_celery"
    statement = "from celery import Celery"
    packages = ("celery", "kombu", "redis")
    ready_line = re.compile(r"celery@\S+ ready")

    def worker(self, python: Path, *, children: int, talkative: bool) -> list[str]:
        level = "INFO" if talkative else "WARNING"
        command = [str(python), "-m", "celery", "-A", self.app, "worker"]
        return [*command, "-c", str(children), "-l", level]

    def environment(self, folder: Path, servers: Servers) -> dict[str, str]:  # noqa: ARG002
        servers.redis.empty()
        return {"BENCH_REDIS_URL": servers.redis.url}


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
