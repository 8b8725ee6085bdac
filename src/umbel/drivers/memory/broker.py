"""The broker in memory: the rules of the port in their plainest form."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from umbel.drivers.memory.bindings import Bindings
from umbel.drivers.memory.lines import Lines, Place
from umbel.exceptions import EncodeError, LeaseLost
from umbel.message import DeadLetter, Delivery, Message, Settlement
from umbel.ports.broker import Buried, Capabilities, OwnerStats, QueueStats, Waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from umbel.drivers.memory.backend import MemoryBackend
    from umbel.drivers.memory.space import Space
    from umbel.queues import Queue

_BROADCAST_KEPT = 60.0
_CAPABILITIES = Capabilities(atomic_results=True, shared=False)
_STATES = ("claimed", "ready", "delayed")


class MemoryBroker:
    """A `Broker` for the threads of one process."""

    def __init__(self, space: Space, backend: MemoryBackend) -> None:
        self._space = space
        self._backend = backend
        self._lines = Lines()
        self._bindings = Bindings()
        self._owners: dict[str, float] = {}
        self._dead: dict[int, DeadLetter] = {}
        self._broadcasts: list[tuple[int, float, str, bytes]] = []
        self._mark = 0
        self._turn = 0
        self._waiting = 0
        self._interrupts = 0
        self._interrupt_next = False

    @property
    def capabilities(self) -> Capabilities:
        """Everything but being seen by other processes."""
        return _CAPABILITIES

    def setup(self) -> None:
        """Nothing to create."""

    def close(self) -> None:
        """Nothing to give back; what is queued stays."""

    # ------------------------------------------------------------------------------ queues

    def declare(
        self,
        queues: Sequence[Queue],
        *,
        owner: str | None = None,
        timeout: float | None = None,  # noqa: ARG002 - memory is never late
    ) -> None:
        """Make queues and bindings known; see `Broker.declare`."""
        with self._space.enter():
            self._bindings.add(queues, owner)

    def route(
        self,
        exchange: str,
        routing_key: str,
        *,
        timeout: float | None = None,  # noqa: ARG002 - as above
    ) -> list[str]:
        """The queues that are bound; see `Broker.route`."""
        with self._space.enter():
            return self._bindings.find(exchange, routing_key)

    def drop(self, queue: str) -> int:
        """Delete a queue; see `Broker.drop`."""
        with self._space.enter():
            self._bindings.drop(queue)
            return self.purge(queue)

    # ------------------------------------------------------------------------------ publish

    def publish(self, messages: Sequence[Message], *, timeout: float | None = None) -> None:  # noqa: ARG002 - memory is never late
        """Store all messages or none; see `Broker.publish`."""
        copies = [_copy(message) for message in messages]
        with self._space.enter():
            self._add(copies)

    def _add(self, messages: Iterable[Message]) -> None:
        now = self._space.clock.now()
        for message in messages:
            number = next(self._space.numbers)
            due_at = message.due_at if message.due_at is not None and message.due_at > now else None
            self._lines.add(Place(number, message, number, due_at, now))
        self._space.changed.notify_all()

    # ------------------------------------------------------------------------------ owners

    def enroll(self, owner: str, lease: float) -> None:
        """Make ``owner`` known, or renew its lease; see `Broker.enroll`."""
        with self._space.enter():
            self._owners[owner] = self._space.clock.monotonic() + lease

    def retire(self, owner: str) -> None:
        """Forget ``owner`` and take back what it holds; see `Broker.retire`."""
        with self._space.enter():
            for place in self._held_by(owner):
                self._free(place, charged=False, crashed=False)
            self._forget(owner)

    def _forget(self, owner: str) -> None:
        """The owner is gone, and with it the queues that were there for it alone."""
        self._owners.pop(owner, None)
        for queue in self._bindings.forget(owner):
            self.purge(queue)

    def extend(self, owners: Collection[str], lease: float) -> set[str]:
        """Renew leases that have not ended; see `Broker.extend`."""
        with self._space.enter():
            alive = {owner for owner in owners if self._in_force(owner)}
            self._owners.update(dict.fromkeys(alive, self._space.clock.monotonic() + lease))
            return alive

    def _in_force(self, owner: str) -> bool:
        return self._owners.get(owner, float("-inf")) > self._space.clock.monotonic()

    def _held_by(self, owner: str) -> list[Place]:
        return sorted((p for p in self._lines if p.owner == owner), key=lambda p: p.turn)

    # ------------------------------------------------------------------------------ reserve

    def reserve(
        self, owner: str, queues: Sequence[str], *, limit: int, wait: float
    ) -> list[Delivery]:
        """Claim messages that are due, or wait for one; see `Broker.reserve`."""
        deadline = time.monotonic() + wait
        with self._space.enter():
            before = self._interrupts
            while True:
                taken = self._take(owner, queues, limit)
                left = deadline - time.monotonic()
                if taken or left <= 0 or limit <= 0 or self._interrupts != before:
                    return taken
                if self._interrupt_next:
                    self._interrupt_next = False
                    return []
                self._wait(left)

    def _wait(self, seconds: float) -> None:
        self._waiting += 1
        try:
            due = self._next_due()
            self._space.changed.wait(seconds if due is None else min(seconds, due))
        finally:
            self._waiting -= 1

    def _take(self, owner: str, queues: Sequence[str], limit: int) -> list[Delivery]:
        self.promote(limit=1_000_000)
        if not self._in_force(owner):
            raise LeaseLost(owner)
        taken: list[Delivery] = []
        dry = 0
        while len(taken) < limit and dry < len(queues):
            self._turn += 1
            place = self._lines.first(queues[self._turn % len(queues)])
            dry = dry + 1 if place is None else 0
            if place is not None:
                place.deliveries += 1
                taken.append(self._claim(place, owner))
        return taken

    def _claim(self, place: Place, owner: str) -> Delivery:
        if place.owner is None:
            self._lines.take_out(place)
        place.owner = owner
        place.fence = next(self._space.numbers)
        message = _copy(place.message)
        crashes = place.crashes - place.begun
        return Delivery(
            message, place.number, place.fence, owner, message.queue, place.deliveries, crashes
        )

    def interrupt(self) -> None:
        """End what waits in other threads; see `Broker.interrupt`."""
        with self._space.enter():
            self._interrupts += 1
            self._interrupt_next = not self._waiting
            self._space.changed.notify_all()

    # ------------------------------------------------------------------------------ settle

    def begin(self, delivery: Delivery) -> bool:
        """Count a start that has not ended yet; see `Broker.begin`."""
        with self._space.enter():
            place = self._lines.held(delivery)
            if place is None:
                return False
            place.crashes += not place.begun
            place.begun = True
            return True

    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        """End claims with all that goes with it; see `Broker.settle`."""
        follow = [[_copy(message) for message in s.follow] for s in settlements]
        with self._space.enter():
            accepted = [self._end(settlement) for settlement in settlements]
            self._add(m for ok, own in zip(accepted, follow, strict=True) if ok for m in own)
        self._backend.call_back()
        return accepted

    def _end(self, settlement: Settlement) -> bool:
        if settlement.delivery is not None:
            place = self._lines.held(settlement.delivery)
            if place is None:
                return False
            if settlement.requeue:
                place.rank = next(self._space.numbers)
                self._free(place, charged=True, crashed=False)
            else:
                self._lines.delete(place)
        if settlement.dead is not None:
            self._dead[next(self._space.numbers)] = settlement.dead
        if settlement.result is not None:
            self._backend.put([settlement.result])
        return True

    def release(self, deliveries: Sequence[Delivery], *, crashed: bool = False) -> int:
        """Put claims back at their old places; see `Broker.release`."""
        with self._space.enter():
            held = 0
            for delivery in deliveries:
                place = self._lines.held(delivery)
                if place is not None:
                    held += 1
                    self._free(place, charged=crashed, crashed=crashed)
            return held

    def _free(self, place: Place, *, charged: bool, crashed: bool) -> None:
        place.owner = None
        place.deliveries -= not charged
        place.crashes += crashed - place.begun
        place.begun = False
        self._lines.add(place)
        self._space.changed.notify_all()

    def takeover(self, owner: str, by: str) -> list[Delivery]:
        """Give what ``owner`` holds to ``by``; see `Broker.takeover`."""
        with self._space.enter():
            if not self._in_force(by):
                raise LeaseLost(by)
            self._forget(owner)
            return [self._claim(place, by) for place in self._held_by(owner)]

    # ------------------------------------------------------------------------------ upkeep

    def promote(self, limit: int = 1000) -> float | None:
        """Let due messages join the end of their queues; see `Broker.promote`."""
        with self._space.enter():
            now = self._space.clock.now()
            for _ in range(limit):
                place = self._lines.first_due()
                if place is None or place.due_at is None or place.due_at > now:
                    break
                self._lines.take_out(place)
                place.due_at = None
                place.rank = next(self._space.numbers)
                self._lines.add(place)
                self._space.changed.notify_all()
            return self._next_due()

    def _next_due(self) -> float | None:
        place = self._lines.first_due()
        if place is None or place.due_at is None:
            return None
        return max(place.due_at - self._space.clock.now(), 0.0)

    def reap(self, limit: int = 1000) -> int:
        """Take back what owners with an ended lease hold; see `Broker.reap`."""
        with self._space.enter():
            lost = [p for p in self._lines if p.owner is not None and not self._in_force(p.owner)]
            for place in lost[:limit]:
                self._free(place, charged=True, crashed=place.begun)
            if len(lost) <= limit:
                for owner in [owner for owner in self._owners if not self._in_force(owner)]:
                    self._forget(owner)
            return len(lost[:limit])

    def owners(self) -> list[OwnerStats]:
        """Who is enrolled; see `Broker.owners`."""
        with self._space.enter():
            now = self._space.clock.monotonic()
            return [
                OwnerStats(name, self._owners[name] - now, len(self._held_by(name)))
                for name in sorted(self._owners)
            ]

    def stats(self, queues: Sequence[str] | None = None) -> list[QueueStats]:
        """How queues stand; see `Broker.stats`."""
        with self._space.enter():
            known = {place.message.queue for place in self._lines}
            return [self._stand(name) for name in (sorted(known) if queues is None else queues)]

    def _stand(self, name: str) -> QueueStats:
        places = [place for place in self._lines if place.message.queue == name]
        states = [place.state for place in places]
        ready = [place.enqueued_at for place in places if place.state == "ready"]
        age = max(self._space.clock.now() - min(ready), 0.0) if ready else None
        return QueueStats(name, len(ready), states.count("delayed"), states.count("claimed"), age)

    def browse(self, queue: str, *, limit: int = 100, offset: int = 0) -> list[Waiting]:
        """Claimed messages, then ready ones in order, then delayed ones by when they are due."""
        with self._space.enter():
            places = sorted((p for p in self._lines if p.message.queue == queue), key=_browsing)
            return [
                Waiting(_copy(p.message), p.state, p.owner, p.deliveries, p.enqueued_at)
                for p in places[offset : offset + limit]
            ]

    def remove(self, ids: Collection[str]) -> int:
        """Delete what nobody holds of these tasks; see `Broker.remove`."""
        wanted = set(ids)
        return self._delete(lambda place: place.message.id in wanted)

    def purge(self, queue: str) -> int:
        """Delete what nobody holds of this queue; see `Broker.purge`."""
        return self._delete(lambda place: place.message.queue == queue)

    def _delete(self, doomed: Callable[[Place], bool]) -> int:
        with self._space.enter():
            found = [place for place in self._lines if place.owner is None and doomed(place)]
            for place in found:
                self._lines.delete(place)
            return len(found)

    # ------------------------------------------------------------------------------ dead letters

    def dead(
        self, *, limit: int = 100, offset: int = 0, numbers: Collection[int] | None = None
    ) -> list[Buried]:
        """Dead letters, newest first; see `Broker.dead`."""
        with self._space.enter():
            wanted = self._dead.keys() if numbers is None else self._dead.keys() & set(numbers)
            order = sorted(wanted, reverse=True)[offset : offset + limit]
            return [Buried(number, self._dead[number]) for number in order]

    def replay(self, numbers: Collection[int]) -> int:
        """Put dead letters back to their queues; see `Broker.replay`."""
        with self._space.enter():
            messages = []
            for number in sorted(self._dead.keys() & set(numbers)):
                message = self._dead[number].message
                if isinstance(message, Message):
                    messages.append(message)
                    del self._dead[number]
            self._add(messages)
            return len(messages)

    def purge_dead(self, numbers: Collection[int] | None = None) -> int:
        """Delete dead letters; see `Broker.purge_dead`."""
        with self._space.enter():
            doomed = list(self._dead) if numbers is None else self._dead.keys() & set(numbers)
            for number in doomed:
                del self._dead[number]
            return len(doomed)

    # ------------------------------------------------------------------------------ broadcast

    def broadcast(self, channel: str, payload: bytes) -> None:
        """Hand ``payload`` to everyone who listens; see `Broker.broadcast`."""
        with self._space.enter():
            at = self._space.clock.monotonic()
            self._mark += 1
            kept = [entry for entry in self._broadcasts if entry[1] > at - _BROADCAST_KEPT]
            self._broadcasts = [*kept, (self._mark, at, channel, payload)]
            self._space.changed.notify_all()

    def listen(self, channel: str, *, after: int | None, wait: float) -> tuple[int, list[bytes]]:
        """What was broadcast after ``after``; see `Broker.listen`."""
        with self._space.enter():
            if after is None:
                return self._mark, []
            before = self._interrupts
            self._space.changed.wait_for(
                lambda: self._heard(channel, after) or self._interrupts != before, wait
            )
            return self._mark, self._heard(channel, after)

    def _heard(self, channel: str, after: int) -> list[bytes]:
        return [p for mark, _, name, p in self._broadcasts if mark > after and name == channel]


def _browsing(place: Place) -> tuple[int, float, tuple[int, int, int]]:
    return _STATES.index(place.state), place.due_at or 0.0, place.turn


def _copy(message: Message) -> Message:
    """A message that shares nothing with the caller's, as if it had travelled."""
    try:
        headers, properties = json.loads(
            json.dumps((dict(message.headers), dict(message.properties)), allow_nan=False)
        )
    except (TypeError, ValueError, RecursionError) as error:
        where = f"the headers or properties of message {message.id}"
        raise EncodeError(str(error), where) from error
    return replace(message, headers=headers, properties=properties)
