"""The no-op tasks on Celery, and how a user enqueues them; on Redis or RabbitMQ."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import redis
from celery import Celery
from probe import mark
from stored import counter

if TYPE_CHECKING:
    from collections.abc import Callable

BROKER = os.environ["BENCH_BROKER"]
RESULTS = os.environ["BENCH_RESULTS"]
QUEUE = os.environ["BENCH_QUEUE"]

app = Celery("bench", broker=BROKER, backend=RESULTS)
app.conf.task_default_queue = QUEUE
app.conf.broker_connection_retry_on_startup = True
if os.environ.get("BENCH_TUNED"):
    app.conf.worker_prefetch_multiplier = 128
if os.environ.get("BENCH_CONFIRM"):
    app.conf.broker_transport_options = {"confirm_publish": True}


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
        self.results = counter(RESULTS, redis_keys="celery-task-meta-*")
        self.redis = redis.Redis.from_url(BROKER) if BROKER.startswith("redis") else None
        self.connection = app.connection_for_read()

    def sender(self, *, stored: bool) -> Callable[[int], object]:
        return (noop_stored if stored else noop).delay

    def send_many(self, indexes: range, *, stored: bool) -> None:
        task = noop_stored if stored else noop
        # A group, Celery's only call for many, is slower than its own loop over one producer.
        with app.producer_or_acquire() as producer:
            for index in indexes:
                task.apply_async((index,), producer=producer)

    def outstanding(self) -> int:
        if self.redis is not None:
            return int(self.redis.llen(QUEUE)) + int(self.redis.hlen("unacked"))
        channel = self.connection.default_channel
        return int(channel.queue_declare(QUEUE, passive=True).message_count)

    def durability(self) -> str:
        return f"{os.environ['BENCH_SURVIVES']}; acknowledged before the task runs"
