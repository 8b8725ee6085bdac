"""The limit of Redis: one script ends the batch before, stores its results and claims the next."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

import raw_loop
import redis
from raw_loop import BATCH, IDLE, message_of
from stored import counter

if TYPE_CHECKING:
    from collections.abc import Callable

URL = os.environ["BENCH_BROKER"]
QUEUE = os.environ["BENCH_QUEUE"]

# What a dead process held stands in a list of its own: nothing is in neither place.
TURN = """
redis.call('DEL', KEYS[2])
for i = 2, #ARGV, 2 do
    redis.call('SET', KEYS[3] .. ARGV[i], ARGV[i + 1], 'EX', 3600)
end
local batch = redis.call('LPOP', KEYS[1], ARGV[1])
if batch then redis.call('RPUSH', KEYS[2], unpack(batch)) end
return batch
"""


def work(owner: int) -> None:
    """Run jobs until SIGTERM."""
    turn = redis.Redis.from_url(URL).register_script(TURN)
    keys = [QUEUE, f"{QUEUE}:held:{owner}", "raw-result:"]
    results: list[str] = []
    while True:
        batch = turn(keys=keys, args=[BATCH, *results])
        results = []
        for body in batch or ():
            results += raw_loop.run(body) or ()
        if not batch:
            time.sleep(IDLE)


class Queue:
    """The producer's side of the raw loop."""

    def __init__(self) -> None:
        self.redis = redis.Redis.from_url(URL)
        self.results = counter(URL, redis_keys="raw-result:*")

    def sender(self, *, stored: bool) -> Callable[[int], object]:
        push = self.redis.rpush
        return lambda index: push(QUEUE, message_of(index, stored=stored))

    def send_many(self, indexes: range, *, stored: bool) -> None:
        for first in range(indexes.start, indexes.stop, BATCH):
            part = range(first, min(first + BATCH, indexes.stop))
            self.redis.rpush(QUEUE, *(message_of(index, stored=stored) for index in part))

    def outstanding(self) -> int:
        held = sum(self.redis.llen(key) for key in self.redis.keys(f"{QUEUE}:held:*"))
        return int(self.redis.llen(QUEUE)) + int(held)

    def durability(self) -> str:
        return f"{os.environ['BENCH_SURVIVES']}; acknowledged after the task has run"


if __name__ == "__main__":
    raw_loop.supervise(int(sys.argv[1]), work)
