"""The no-op tasks on SAQ, and how a user enqueues them."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import saq
from probe import mark
from stored import counter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

URL = os.environ["BENCH_BROKER"]
QUEUE = os.environ["BENCH_QUEUE"]
AT_ONCE = 100
KEPT = {True: 3600, False: -1}

queue = saq.Queue.from_url(URL, name=QUEUE)


async def noop(context: dict[str, Any], *, index: int) -> int:  # noqa: ARG001
    mark(index)
    return index


settings = {"queue": queue, "functions": [noop], "concurrency": 100}


class Queue:
    """SAQ as a producer sees it: asyncio only, so one call is one turn of a loop."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.run_until_complete(queue.connect())
        self.results = counter(URL, redis_keys=f"saq:job:{QUEUE}:*")

    def sender(self, *, stored: bool) -> Callable[[int], object]:
        run, kept = self.loop.run_until_complete, KEPT[stored]
        return lambda index: run(queue.enqueue("noop", index=index, ttl=kept))

    def async_sender(self) -> Callable[[int], Awaitable[object]]:
        return lambda index: queue.enqueue("noop", index=index, ttl=KEPT[False])

    def send_many(self, indexes: range, *, stored: bool) -> None:
        async def send_all() -> None:
            for first in range(indexes.start, indexes.stop, AT_ONCE):
                part = range(first, min(first + AT_ONCE, indexes.stop))
                calls = [queue.enqueue("noop", index=index, ttl=KEPT[stored]) for index in part]
                await asyncio.gather(*calls)

        self.loop.run_until_complete(send_all())

    def outstanding(self) -> int:
        return int(self.loop.run_until_complete(queue.count("incomplete")))

    def durability(self) -> str:
        return f"{os.environ['BENCH_SURVIVES']}; acknowledged after the task has run"
