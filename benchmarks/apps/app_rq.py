"""The no-op tasks on RQ, and how a user enqueues them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import rq
from probe import mark
from redis import Redis
from rq.registry import StartedJobRegistry
from stored import counter

if TYPE_CHECKING:
    from collections.abc import Callable

URL = os.environ["BENCH_BROKER"]
QUEUE = os.environ["BENCH_QUEUE"]
KEPT = {True: 3600, False: 0}
BATCH = 1000


def noop(index: int) -> int:
    mark(index)
    return index


class Queue:
    """RQ as a producer sees it; a job whose result is kept for 0 s leaves nothing behind."""

    def __init__(self) -> None:
        self.queue = rq.Queue(QUEUE, connection=Redis.from_url(URL))
        self.started = StartedJobRegistry(queue=self.queue)
        self.results = counter(URL, redis_keys="rq:results:*")

    def sender(self, *, stored: bool) -> Callable[[int], object]:
        enqueue, kept = self.queue.enqueue, KEPT[stored]
        return lambda index: enqueue(noop, index, result_ttl=kept)

    def send_many(self, indexes: range, *, stored: bool) -> None:
        for first in range(indexes.start, indexes.stop, BATCH):
            part = range(first, min(first + BATCH, indexes.stop))
            self.queue.enqueue_many(
                [rq.Queue.prepare_data(noop, (index,), result_ttl=KEPT[stored]) for index in part]
            )

    def outstanding(self) -> int:
        return int(self.queue.count) + int(self.started.count)

    def durability(self) -> str:
        return f"{os.environ['BENCH_SURVIVES']}; acknowledged after the task has run"
