"""The no-op tasks on Umbel, and how a user enqueues them."""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING

from probe import mark

from umbel import Umbel

if TYPE_CHECKING:
    from collections.abc import Callable

FILE = os.environ["BENCH_SQLITE_FILE"]
URL = f"sqlite:///{FILE}"
RELAXED = os.environ.get("BENCH_DURABILITY") == "normal"

app = Umbel("bench", broker=URL, backend=URL)
if RELAXED:
    app.conf.broker_transport_options = {"synchronous": "normal"}


@app.task(ignore_result=True)
def noop(index: int) -> int:
    mark(index)
    return index


@app.task
def noop_stored(index: int) -> int:
    mark(index)
    return index


class Queue:
    """Umbel as a producer sees it."""

    def __init__(self) -> None:
        self.reader = sqlite3.connect(FILE, isolation_level=None, timeout=5)

    def sender(self, *, stored: bool) -> Callable[[int], object]:
        return (noop_stored if stored else noop).delay

    def send_many(self, indexes: range, *, stored: bool) -> None:
        task = noop_stored if stored else noop
        app.publish_many([task.s(index) for index in indexes])

    def outstanding(self) -> int:
        return int(self.reader.execute("select count(*) from place").fetchone()[0])

    def results(self) -> int:
        return int(self.reader.execute("select count(*) from result").fetchone()[0])

    def durability(self) -> str:
        mode = "NORMAL" if RELAXED else "FULL"
        return f"synchronous={mode} at publish; acknowledged after the task has run"
