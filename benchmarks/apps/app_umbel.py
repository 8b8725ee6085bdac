"""The no-op tasks on Umbel, and how a user enqueues them; on whichever broker the URL names."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from probe import mark
from stored import counter

from umbel import Umbel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

BROKER = os.environ["BENCH_BROKER"]
RESULTS = os.environ["BENCH_RESULTS"]
QUEUE = os.environ["BENCH_QUEUE"]
TABLE = "umbel.result" if RESULTS.startswith("postgres") else "result"
RELAXED = os.environ.get("BENCH_DURABILITY") == "normal"

app = Umbel("bench", broker=BROKER, backend=RESULTS)
app.conf.task_default_queue = QUEUE
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
        self.results = counter(RESULTS, redis_keys="celery-task-meta-*", table=TABLE)

    def sender(self, *, stored: bool) -> Callable[[int], object]:
        return (noop_stored if stored else noop).delay

    def async_sender(self) -> Callable[[int], Awaitable[object]]:
        return noop.adelay

    def send_many(self, indexes: range, *, stored: bool) -> None:
        task = noop_stored if stored else noop
        app.publish_many([task.s(index) for index in indexes])

    def outstanding(self) -> int:
        return sum(q.ready + q.delayed + q.claimed for q in app.broker.stats([QUEUE]))

    def durability(self) -> str:
        return f"{os.environ['BENCH_SURVIVES']}; acknowledged after the task has run"
