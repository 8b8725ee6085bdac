"""The process that enqueues: runs beside the system's own packages, told what to do by lines.

Started as ``python producer.py APP``, where APP is a module of this folder with a class `Queue`.
Each line on standard input is a JSON object with the name of a method of `Producer` and its
arguments; each line on standard output is the answer. Time is taken here, around the calls
alone, so the pipe costs the measured system nothing.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import random
import sys
import time
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

AT_ONCE = 32


class Queue(Protocol):
    """What an app module offers: its system as a user of its public API would call it."""

    def sender(self, *, stored: bool) -> Callable[[int], object]:
        """The call that enqueues one no-op task, whose result is kept or not."""
        ...

    def async_sender(self) -> Callable[[int], Awaitable[object]]:
        """The same from asyncio, result not kept; only of systems that have such a call."""
        ...

    def send_many(self, indexes: range, *, stored: bool) -> None:
        """Enqueue one no-op task per index in the fastest way the system documents."""
        ...

    def outstanding(self) -> int:
        """How many messages wait or are held by a worker."""
        ...

    def results(self) -> int:
        """How many results are stored."""
        ...

    def durability(self) -> str:
        """What survives a loss of power, in a few words."""
        ...


class Producer:
    """The methods the harness can name."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue

    def one(self, start: int, count: int, *, stored: bool) -> dict[str, float]:
        """Enqueue tasks one by one; how long it took."""
        send = self.queue.sender(stored=stored)
        began = time.perf_counter()
        for index in range(start, start + count):
            send(index)
        return {"seconds": time.perf_counter() - began}

    def bulk(self, start: int, count: int, *, stored: bool) -> dict[str, float]:
        """Enqueue tasks in bulk; how long it took."""
        began = time.perf_counter()
        self.queue.send_many(range(start, start + count), stored=stored)
        return {"seconds": time.perf_counter() - began}

    def from_asyncio(self, start: int, count: int, *, stored: bool) -> dict[str, float]:  # noqa: ARG002
        """Enqueue tasks from coroutines of one event loop; how long it took."""
        loop: asyncio.AbstractEventLoop | None = getattr(self.queue, "loop", None)
        if loop is None:
            loop = self.queue.loop = asyncio.new_event_loop()  # type: ignore[attr-defined]
        numbers = iter(range(start, start + count))
        began = time.perf_counter()
        loop.run_until_complete(self._send_all(numbers))
        return {"seconds": time.perf_counter() - began}

    async def _send_all(self, numbers: Iterator[int]) -> None:
        send = self.queue.async_sender()

        async def send_some() -> None:
            for number in numbers:
                await send(number)

        await asyncio.gather(*(send_some() for _ in range(AT_ONCE)))

    def open_loop(self, start: int, count: int, *, rate: float, seed: int) -> dict[str, list[int]]:
        """Enqueue at random moments (Poisson), whether or not earlier tasks have finished.

        Answers for each task when it was sent. A task that is late because the call before it
        had not returned counts from the moment it was due, so a slow enqueue cannot hide.
        """
        send = self.queue.sender(stored=False)
        random_source = random.Random(seed)
        due = time.monotonic_ns()
        sent = []
        for index in range(start, start + count):
            due += int(random_source.expovariate(rate) * 1e9)
            early = due - time.monotonic_ns()
            if early > 0:
                time.sleep(early / 1e9)
                sent.append(time.monotonic_ns())
            else:
                sent.append(due)
            send(index)
        return {"sent_ns": sent}

    def wait_settled(self, results: int, within: float) -> dict[str, int | None]:
        """When nothing was outstanding and so many results could be read; None if too late."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            if self.queue.outstanding() == 0 and (not results or self.queue.results() >= results):
                return {"at_ns": time.monotonic_ns()}
            time.sleep(0.001)
        return {"at_ns": None}

    def results(self) -> dict[str, int]:
        """How many results are stored now."""
        return {"count": self.queue.results()}

    def outstanding(self) -> dict[str, int]:
        """How many messages wait or are held now."""
        return {"count": self.queue.outstanding()}

    def durability(self) -> dict[str, str]:
        """What survives a loss of power."""
        return {"text": self.queue.durability()}


def serve(queue: Queue) -> None:
    """Answer lines until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not look like an answer
    producer = Producer(queue)
    for line in sys.stdin:
        order: dict[str, Any] = json.loads(line)
        method = getattr(producer, order.pop("do"))
        answers.write(json.dumps(method(**order)) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve(importlib.import_module(sys.argv[1]).Queue())
