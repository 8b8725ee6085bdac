"""Processes that are made to be killed.

``mover.py move URL OWNER``: moves tokens on: each message on ``tasks`` is settled, with the same
token as its follow-up as long as its ``hops`` last, and then with its result.
``mover.py publish URL NAME LOG``: publishes one message after the other and appends the id of each
to the log when that is done.
Both print a line when they have begun.
"""

# ruff: noqa: T201 - this process talks by printing

from __future__ import annotations

import os
import random
import sys
from dataclasses import replace
from itertools import count
from pathlib import Path

from umbel.drivers import connect
from umbel.message import Message, Settlement, StoredResult


def move(url: str, owner: str) -> None:
    broker = connect(url).broker
    assert broker is not None
    broker.enroll(owner, 1e6)
    begun = False
    while True:
        taken = broker.reserve(owner, ["tasks"], limit=random.randint(1, 20), wait=1)
        for delivery in taken:
            if delivery.deliveries > 1:
                broker.begin(delivery)
        if random.random() < 0.1:
            broker.release(taken)
            continue
        broker.settle([moved(delivery) for delivery in taken])
        if taken and not begun:
            begun = True
            print("begun", flush=True)


def moved(delivery) -> Settlement:
    message = delivery.message
    hops = message.headers["hops"]
    if hops:
        return Settlement(delivery, follow=(replace(message, headers={"hops": hops - 1}),))
    return Settlement(delivery, StoredResult(message.id, "SUCCESS", b"{}", final=True))


def publish(url: str, name: str, log: str) -> None:
    broker = connect(url, {"synchronous": "normal"} if url.startswith("sqlite") else {}).broker
    assert broker is not None
    with Path(log).open("ab", buffering=0) as done:
        for n in count():
            batch = [Message(f"{name}-{n}-{k}", {}, b"", queue="log") for k in range(n % 3 + 1)]
            broker.publish(batch)
            os.write(done.fileno(), "".join(f"{message.id}\n" for message in batch).encode())
            if n == 0:
                print("begun", flush=True)


if __name__ == "__main__":
    {"move": move, "publish": publish}[sys.argv[1]](*sys.argv[2:])
