"""The no-op tasks on Dramatiq, and how a user enqueues them; on Redis or RabbitMQ."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend
from probe import mark
from stored import counter

if TYPE_CHECKING:
    from collections.abc import Callable

BROKER = os.environ["BENCH_BROKER"]
RESULTS = os.environ["BENCH_RESULTS"]
QUEUE = os.environ["BENCH_QUEUE"]

broker: RedisBroker | RabbitmqBroker
if BROKER.startswith("redis"):
    broker = RedisBroker(url=BROKER)
else:
    broker = RabbitmqBroker(url=BROKER, confirm_delivery=bool(os.environ.get("BENCH_CONFIRM")))
broker.add_middleware(Results(backend=RedisBackend(url=RESULTS)))
dramatiq.set_broker(broker)


# Results of None are not stored either, and said so in a warning: it returns nothing.
@dramatiq.actor(queue_name=QUEUE)
def noop(index: int) -> None:
    mark(index)


@dramatiq.actor(queue_name=QUEUE, store_results=True)
def noop_stored(index: int) -> int:
    mark(index)
    return index


class Queue:
    """Dramatiq as a producer sees it."""

    def __init__(self) -> None:
        # The key of a result is an MD5 sum, without a prefix.
        self.results = counter(RESULTS, redis_keys="[0-9a-f]" * 32)

    def sender(self, *, stored: bool) -> Callable[[int], object]:
        return (noop_stored if stored else noop).send

    def send_many(self, indexes: range, *, stored: bool) -> None:
        actor = noop_stored if stored else noop
        dramatiq.group(actor.message(index) for index in indexes).run()

    def outstanding(self) -> int:
        if isinstance(broker, RabbitmqBroker):
            return int(broker.get_queue_message_counts(QUEUE)[0])
        held = sum(broker.client.scard(key) for key in broker.client.keys("dramatiq:__acks__.*"))
        return int(broker.client.llen(f"dramatiq:{QUEUE}")) + int(held)

    def durability(self) -> str:
        return f"{os.environ['BENCH_SURVIVES']}; acknowledged after the task has run"
