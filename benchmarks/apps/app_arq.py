"""The no-op tasks on arq, and how a user enqueues them."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, ClassVar

import redis
from arq import create_pool, func
from arq.connections import RedisSettings
from probe import mark
from stored import counter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

URL = os.environ["BENCH_BROKER"]
QUEUE = os.environ["BENCH_QUEUE"]
AT_ONCE = 100


async def noop(context: dict[str, Any], index: int) -> int:  # noqa: ARG001
    mark(index)
    return index


class WorkerSettings:
    """What the worker reads; with the default delay of 0.5 s it would mostly sleep."""

    functions: ClassVar = [
        func(noop, name="noop", keep_result=0),
        func(noop, name="noop_stored", keep_result=3600),
    ]
    redis_settings = RedisSettings.from_dsn(URL)
    queue_name = QUEUE
    max_jobs = 100
    poll_delay = 0.01


class Queue:
    """arq as a producer sees it: asyncio only, so one call is one turn of a loop."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        settings = WorkerSettings.redis_settings
        opening = create_pool(settings, default_queue_name=QUEUE)
        self.pool = self.loop.run_until_complete(opening)
        self.redis = redis.Redis.from_url(URL)
        self.results = counter(URL, redis_keys="arq:result:*")

    def sender(self, *, stored: bool) -> Callable[[int], object]:
        run, name = self.loop.run_until_complete, "noop_stored" if stored else "noop"
        return lambda index: run(self.pool.enqueue_job(name, index))

    def async_sender(self) -> Callable[[int], Awaitable[object]]:
        return lambda index: self.pool.enqueue_job("noop", index)

    def send_many(self, indexes: range, *, stored: bool) -> None:
        name = "noop_stored" if stored else "noop"

        async def send_all() -> None:
            for first in range(indexes.start, indexes.stop, AT_ONCE):
                part = range(first, min(first + AT_ONCE, indexes.stop))
                await asyncio.gather(*(self.pool.enqueue_job(name, index) for index in part))

        self.loop.run_until_complete(send_all())

    def outstanding(self) -> int:
        return int(self.redis.zcard(QUEUE))

    def durability(self) -> str:
        return f"{os.environ['BENCH_SURVIVES']}; acknowledged after the task has run"
