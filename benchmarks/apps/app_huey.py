"""The no-op tasks on Huey, and how a user enqueues them."""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING, Any

from huey import SqliteHuey
from probe import mark

if TYPE_CHECKING:
    from collections.abc import Callable

FILE = os.environ["BENCH_SQLITE_FILE"]
OPTIONS: dict[str, Any] = {"fsync": False} if os.environ.get("BENCH_DURABILITY") == "off" else {}
SYNCHRONOUS = {0: "OFF", 1: "NORMAL", 2: "FULL", 3: "EXTRA"}

huey = SqliteHuey("bench", filename=FILE, **OPTIONS)


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
        self.reader = sqlite3.connect(FILE, isolation_level=None, timeout=5)

    def sender(self, *, stored: bool) -> Callable[[int], object]:
        return noop_stored if stored else noop

    def send_many(self, indexes: range, *, stored: bool) -> None:
        (noop_stored if stored else noop).map(indexes)

    def outstanding(self) -> int:
        # Huey deletes a message when a worker takes it: what runs is not seen here.
        return int(self.reader.execute("select count(*) from task").fetchone()[0])

    def results(self) -> int:
        return int(self.reader.execute("select count(*) from kv").fetchone()[0])

    def durability(self) -> str:
        mode = huey.storage.conn.execute("pragma synchronous").fetchone()[0]
        return f"synchronous={SYNCHRONOUS[mode]}; acknowledged before the task runs"
