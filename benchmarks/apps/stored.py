"""Counts of stored results, taken from the server itself and not through a system's own code."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def counter(url: str, *, redis_keys: str, table: str = "") -> Callable[[], int]:
    """A call that says how many results are stored at ``url``.

    Args:
        redis_keys: the pattern of the keys, one per result, if ``url`` is a Redis.
        table: the table, one row per result, if it is a SQL database.
    """
    if url.startswith("redis"):
        return _redis_keys(url, redis_keys)
    question = f"select count(*) from {table}"
    return _sqlite_rows(url, question) if url.startswith("sqlite") else _rows(url, question)


def _redis_keys(url: str, pattern: str) -> Callable[[], int]:
    import redis

    client = redis.Redis.from_url(url)
    return lambda: sum(1 for _ in client.scan_iter(pattern, count=5000))


def _sqlite_rows(url: str, question: str) -> Callable[[], int]:
    import sqlite3

    path = url.removeprefix("sqlite:///")
    reader = sqlite3.connect(path, isolation_level=None, timeout=5)
    return lambda: int(reader.execute(question).fetchone()[0])


def _rows(url: str, question: str) -> Callable[[], int]:
    import psycopg

    def count() -> int:
        row = connection.execute(question).fetchone()
        return int(row[0]) if row else 0

    connection = psycopg.connect(url, autocommit=True)
    return count
