"""The brokers: where a system of each stands, and what a published message survives there."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.servers import Servers


def on_sqlite(folder: Path, servers: Servers, survives: str) -> dict[str, str]:
    """A file of its own, for messages and results."""
    return _place(f"sqlite:///{folder / 'queue.db'}", servers, survives)


def on_redis(folder: Path, servers: Servers) -> dict[str, str]:  # noqa: ARG001
    """An empty database, for messages and results."""
    servers.redis.empty()
    return _place(servers.redis.url, servers, servers.redis.survives)


def on_rabbitmq(folder: Path, servers: Servers) -> dict[str, str]:  # noqa: ARG001
    """A virtual host for messages, and an empty Redis database for results."""
    servers.redis.empty()
    place = _place(servers.rabbitmq.url, servers, "durable queue, persistent messages")
    return {**place, "BENCH_RESULTS": servers.redis.url}


def on_postgres(folder: Path, servers: Servers) -> dict[str, str]:  # noqa: ARG001
    """An empty database, for messages and results."""
    servers.postgres.empty()
    return _place(servers.postgres.url, servers, servers.postgres.survives)


def _place(url: str, servers: Servers, survives: str) -> dict[str, str]:
    return {
        "BENCH_BROKER": url,
        "BENCH_RESULTS": url,
        "BENCH_QUEUE": servers.queue(),
        "BENCH_SURVIVES": survives,
    }
