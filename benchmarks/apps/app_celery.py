"""The no-op tasks on Celery, and how a user enqueues them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import redis
from celery import Celery
from probe import mark

if TYPE_CHECKING:
    from collections.abc import Callable

URL = os.environ["BENCH_REDIS_URL"]

app = Celery("bench", broker=URL, backend=URL)
if os.environ.get("BENCH_TUNED"):
    app.conf.worker_prefetch_multiplier = 128


@app.task(ignore_result=True)
def noop(index: int) -> int:
    mark(index)
    return index


@app.task
def noop_stored(index: int) -> int:
    mark(index)
    return index


class Queue:
    """Celery as a producer sees it."""

    def __init__(self) -> None:
        self.redis = redis.Redis.from_url(URL)

    def sender(self, *, stored: bool) -> Callable[[int], object]:
        return (noop_stored if stored else noop).delay

    def send_many(self, indexes: range, *, stored: bool) -> None:
        task = noop_stored if stored else noop
        # A group, Celery's only call for many, is slower than its own loop over one producer.
        with app.producer_or_acquire() as producer:
            for index in indexes:
                task.apply_async((index,), producer=producer)

    def outstanding(self) -> int:
        return int(self.redis.llen("celery")) + int(self.redis.hlen("unacked"))

    def results(self) -> int:
        return sum(1 for _ in self.redis.scan_iter("celery-task-meta-*", count=5000))

    def durability(self) -> str:
        return "as Redis is configured: here in memory only; acknowledged before the task runs"
