"""The no-op tasks on Huey, and how a user enqueues them; on SQLite or Redis."""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING, Any

from huey import RedisHuey, SqliteHuey
from probe import mark

if TYPE_CHECKING:
    from collections.abc import Callable

BROKER = os.environ["BENCH_BROKER"]
QUEUE = os.environ["BENCH_QUEUE"]
FILE = BROKER.removeprefix("sqlite:///")
OPTIONS: dict[str, Any] = {"fsync": False} if os.environ.get("BENCH_DURABILITY") == "off" else {}

huey: RedisHuey | SqliteHuey
if BROKER.startswith("redis"):
    huey = RedisHuey(QUEUE, url=BROKER)
else:
    huey = SqliteHuey(QUEUE, filename=FILE, **OPTIONS)


# Huey stores what a task returns, and nothing when it returns None.
@huey.task()
def noop(index: int) -> None:
    mark(index)


@huey.task()
def noop_stored(index: int) -> int:
    mark(index)
    return index


class Queue:
    """Huey as a producer sees it."""

    def __init__(self) -> None:
        self.reader = (
            None
            if BROKER.startswith("redis")
            else sqlite3.connect(FILE, isolation_level=None, timeout=5)
        )

    def sender(self, *, stored: bool) -> Callable[[int], object]:
        return noop_stored if stored else noop

    def send_many(self, indexes: range, *, stored: bool) -> None:
        (noop_stored if stored else noop).map(indexes)

    def outstanding(self) -> int:
        # Huey deletes a message when a worker takes it: what runs is not seen here.
        if self.reader is None:
            return int(huey.storage.queue_size())
        return int(self.reader.execute("select count(*) from task").fetchone()[0])

    def results(self) -> int:
        if self.reader is None:
            return int(huey.storage.result_store_size())
        return int(self.reader.execute("select count(*) from kv").fetchone()[0])

    def durability(self) -> str:
        return f"{os.environ['BENCH_SURVIVES']}; acknowledged before the task runs"
