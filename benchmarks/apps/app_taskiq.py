"""The no-op tasks on Taskiq, and how a user enqueues them."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import redis
from probe import mark
from stored import counter
from taskiq.exceptions import NoResultError
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

URL = os.environ["BENCH_BROKER"]
QUEUE = os.environ["BENCH_QUEUE"]
AT_ONCE = 100

backend: RedisAsyncResultBackend[int] = RedisAsyncResultBackend(
    URL, result_ex_time=3600, prefix_str="kept"
)
broker = RedisStreamBroker(URL, queue_name=QUEUE).with_result_backend(backend)


# Taskiq has no other way to keep no result of one task.
@broker.task
async def noop(index: int) -> None:
    mark(index)
    raise NoResultError


@broker.task
async def noop_stored(index: int) -> int:
    mark(index)
    return index


class Queue:
    """Taskiq as a producer sees it: asyncio only, so one call is one turn of a loop."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.redis = redis.Redis.from_url(URL)
        self.results = counter(URL, redis_keys="kept:*")
        self.loop.run_until_complete(broker.startup())

    def sender(self, *, stored: bool) -> Callable[[int], object]:
        kick, run = (noop_stored if stored else noop).kiq, self.loop.run_until_complete
        return lambda index: run(kick(index))

    def async_sender(self) -> Callable[[int], Awaitable[object]]:
        return noop.kiq

    def send_many(self, indexes: range, *, stored: bool) -> None:
        kick = (noop_stored if stored else noop).kiq

        async def send_all() -> None:
            for first in range(indexes.start, indexes.stop, AT_ONCE):
                part = range(first, min(first + AT_ONCE, indexes.stop))
                await asyncio.gather(*map(kick, part))

        self.loop.run_until_complete(send_all())

    def outstanding(self) -> int:
        (group,) = self.redis.xinfo_groups(QUEUE)
        return int(group["pending"]) + int(group["lag"] or 0)

    def durability(self) -> str:
        return f"{os.environ['BENCH_SURVIVES']}; acknowledged after the result is stored"
