"""A process that works on the queue ``tasks`` until one message on ``stop`` tells it to end.

``consumer.py URL NAME`` prints the ids of what it settled; without a name it publishes one message.
"""

# ruff: noqa: T201 - this process talks by printing

from __future__ import annotations

import sys

from umbel.drivers import connect
from umbel.message import Message, Settlement, StoredResult


def consume(url: str, name: str) -> None:
    """Settle everything with a result."""
    broker = connect(url).broker
    assert broker is not None
    broker.enroll(name, 1e6)
    stopping = False
    while not stopping:
        taken = broker.reserve(name, ["tasks", "stop"], limit=20, wait=30)
        stopping = any(delivery.queue == "stop" for delivery in taken)
        broker.settle(
            [Settlement(d, StoredResult(d.message.id, "SUCCESS", b"{}", final=True)) for d in taken]
        )
        print(*[d.message.id for d in taken if d.queue == "tasks"])
        spare = [d for d in taken if d.queue == "stop"][1:]
        broker.publish([Message("stop", {}, b"", queue="stop") for _ in spare])
    broker.retire(name)
    broker.close()


def publish(url: str) -> None:
    """Publish one message and end."""
    broker = connect(url).broker
    assert broker is not None
    broker.publish([Message("from-a-process", {}, b"", queue="tasks")])
    broker.close()


if __name__ == "__main__":
    if len(sys.argv) > 2:
        consume(*sys.argv[1:])
    else:
        publish(sys.argv[1])
