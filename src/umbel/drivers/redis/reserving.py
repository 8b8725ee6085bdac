"""The side of the broker that gives messages out."""

from __future__ import annotations

import os
import time
from itertools import count
from typing import TYPE_CHECKING

from umbel.drivers.redis import envelopes
from umbel.drivers.redis.waiting import Waiters
from umbel.exceptions import LeaseLost, OperationalError
from umbel.message import Delivery, Malformed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from umbel.drivers.redis.names import Names
    from umbel.drivers.redis.register import Register
    from umbel.drivers.redis.scripts import Scripts

# More in one step would make others wait for it.
_MOST = 1_000
# Seconds for which what a lost reply brought is looked for, and between two looks.
_LOOKED_FOR, _LOOKED_EVERY = 60.0, 1.0


class Reserving:
    """Claims messages, and waits for them."""

    def __init__(self, scripts: Scripts, names: Names, register: Register) -> None:
        self._scripts = scripts
        self._names = names
        self._register = register
        self._turn = count()
        self._calls = count()
        self._name = ""
        self._pid = 0
        self._lost: dict[str, dict[str, float]] = {}
        self._look_at = 0.0
        self.waiters = Waiters(scripts.wires)

    def reserve(
        self, owner: str, queues: Sequence[str], *, limit: int, wait: float
    ) -> list[Delivery]:
        """See `Broker.reserve`."""
        if limit <= 0 or not queues:
            return []
        limit = min(limit, _MOST)
        self._register.touch(queues, served=True)
        taken, _ = self._take(owner, queues, limit)
        if taken or wait <= 0:
            return taken
        deadline = time.monotonic() + wait
        waiter = self.waiters.take()
        try:
            watched = self._names.watched(queues)
            while not self.waiters.interrupted(waiter):
                waiter.arm(watched)
                taken, due = self._take(owner, queues, limit)
                left = deadline - time.monotonic()
                if taken or left <= 0:
                    return taken
                poll = self._scripts.wires.options.poll_interval
                waiter.wait(min(left, poll if due is None else min(poll, due)))
            return []
        finally:
            self.waiters.give_back(waiter)

    def _take(
        self, owner: str, queues: Sequence[str], limit: int
    ) -> tuple[list[Delivery], float | None]:
        """What can be claimed now, and the seconds until there will be more."""
        self.recover(owner)
        turn = next(self._turn) % len(queues)
        order = [*queues[turn:], *queues[:turn]]
        call = self.call()
        try:
            reply = self._scripts.run("reserve", owner, limit, call, *order)
        except OperationalError:
            self.is_lost(owner, call)
            raise
        if reply is None:
            raise LeaseLost(owner)
        first, due, parts, held, raws = reply
        taken: list[Delivery] = []
        for at in range(0, len(parts), 3):
            queue, step, count = order[parts[at]], parts[at + 1].decode(), parts[at + 2]
            tail = f"@{first.decode()} {step} {call} {owner}"
            start = len(taken)
            taken += _deliveries(owner, queue, int(first), tail, start, raws[start : start + count])
        for at in range(0, len(held), 3):
            delivery = taken[held[at] - 1]
            delivery.deliveries, delivery.crashes = held[at + 1 : at + 3]
        return self._ready(taken), float(due) if due else None

    def call(self) -> str:
        """A name for a call, so that what it claimed can be found if its reply is lost."""
        if self._pid != os.getpid():
            self._pid, self._name = os.getpid(), os.urandom(5).hex()
        return f"{self._name}.{next(self._calls):x}"

    def is_lost(self, owner: str, call: str) -> None:
        """Nobody knows what this call gave to ``owner``, or whether it will still do so."""
        now = time.monotonic()
        self._lost.setdefault(owner, {})[call] = now + _LOOKED_FOR
        self._look_at = now

    def recover(self, owner: str) -> None:
        """Give back what replies that were lost have brought ``owner``, who never saw it.

        Asked for some time, because a call may reach the server after whatever came next.
        """
        calls, now = self._lost.get(owner), time.monotonic()
        if not calls or now < self._look_at:
            return
        self._scripts.run("recover", owner, *list(calls))
        self._look_at = now + _LOOKED_EVERY
        for call in [call for call, until in list(calls.items()) if until < now]:
            calls.pop(call, None)

    def _ready(self, taken: list[Delivery]) -> list[Delivery]:
        """Those that are due; Celery leaves it to its workers to wait with the others."""
        now = self._register.now()
        return [each for each in taken if _due_at(each) <= now or not self._park(each)]

    def _park(self, delivery: Delivery) -> bool:
        """Have a message wait for its moment; False if that is now, as the server sees it."""
        moment = repr(_due_at(delivery))
        return bool(self._scripts.run("park", delivery.queue, delivery.tag, moment))


def _due_at(delivery: Delivery) -> float:
    message = delivery.message
    if isinstance(message, Malformed) or message.due_at is None:
        return float("-inf")
    return message.due_at


def _deliveries(
    owner: str, queue: str, first: int, tail: str, start: int, raws: Sequence[bytes]
) -> list[Delivery]:
    """Claims of a part of one reply, as the script names them."""
    return [
        Delivery(envelopes.decode(raw, queue), f"{at}{tail}", first + at, owner, queue)
        for at, raw in enumerate(raws, start + 1)
    ]
