"""Any sequence of calls leaves a broker where a model of a page says it must be.

The model knows messages and nothing else: a list of them, each with the queue it is in, what it
waits for, and its counters.  What the port leaves open (how several queues share a claim) is taken
from the broker and checked for being one of the right answers.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

import postgres_database
import servers
from posts import buried, post, succeeded
from redis_keys import forget, new_prefix
from umbel.drivers import memory, postgres, redis, sqlite
from umbel.drivers.sqlite.options import Options
from umbel.exceptions import LeaseLost
from umbel.message import Delivery, Settlement
from umbel.testing.clock import FakeClock

LEASE = 10.0
OWNERS = st.sampled_from(["ann", "bob"])
QUEUES = st.sampled_from(["a", "b"])
PICKS = st.lists(st.integers(0, 7), max_size=4)
SOME_QUEUES = st.sampled_from([("a",), ("b",), ("a", "b"), ("b", "a", "none")])


@dataclass
class Known:
    """One message as the model knows it."""

    id: str
    queue: str
    priority: int
    rank: int
    due_at: float | None
    owner: str | None = None
    fence: int = 0
    deliveries: int = 0
    crashes: int = 0
    begun: bool = False

    @property
    def state(self) -> str:
        if self.owner is not None:
            return "claimed"
        return "ready" if self.due_at is None else "delayed"

    def free(self, *, charged: bool, crashed: bool) -> None:
        self.owner = None
        self.deliveries -= not charged
        self.crashes += crashed - self.begun
        self.begun = False


@dataclass
class Model:
    """All messages, who may hold them, and what was buried."""

    messages: list[Known] = field(default_factory=list)
    leases: dict[str, float] = field(default_factory=dict)
    dead: dict[int, tuple[str, str, int]] = field(default_factory=dict)
    results: set[str] = field(default_factory=set)
    ranks: count[int] = field(default_factory=lambda: count(1))

    def add(self, task_id: str, queue: str, priority: int, due_at: float | None) -> None:
        self.messages.append(Known(task_id, queue, priority, next(self.ranks), due_at))

    def ready(self, queue: str) -> list[Known]:
        found = [m for m in self.messages if m.queue == queue and m.state == "ready"]
        return sorted(found, key=lambda m: (-m.priority, m.rank))

    def held(self, delivery: Delivery) -> Known | None:
        for message in self.messages:
            if message.id == delivery.message.id and message.owner is not None:
                return message if message.fence == delivery.fence else None
        return None

    def promote(self, now: float) -> None:
        due = [m for m in self.messages if m.due_at is not None and m.due_at <= now]
        for message in sorted(due, key=lambda m: (m.due_at, m.rank)):
            message.due_at = None
            message.rank = next(self.ranks)


class BrokerMachine(RuleBasedStateMachine):
    """Calls to one broker, and to the model beside it."""

    # Of the usual number of examples, how many are tried.
    share = 1.0
    claims = Bundle("claims")
    letters = Bundle("letters")

    def connect(self, clock):
        raise NotImplementedError

    @initialize()
    def start(self):
        self.clock = FakeClock()
        self.server = self.connect(self.clock)
        self.broker = self.server.broker
        self.model = Model()
        self.numbers = count(1)
        self.taken = {}
        for owner in ("ann", "bob"):
            self.enroll(owner)

    # -- what publishers do

    @rule(
        queue=QUEUES,
        number=st.integers(1, 3),
        priority=st.sampled_from([None, 0, 5, 9]),
        delay=st.sampled_from([None, None, -1.0, 1.0, 2.0, 30.0]),
    )
    def publish(self, queue, number, priority, delay):
        messages = [self._message(queue, priority, delay) for _ in range(number)]
        self.broker.publish(messages)

    def _message(self, queue, priority, delay):
        due_at = None if delay is None else self.clock.now() + delay
        message = post(f"m{next(self.numbers)}", queue=queue, priority=priority, due_at=due_at)
        waits = due_at is not None and due_at > self.clock.now()
        self.model.add(message.id, queue, priority or 0, due_at if waits else None)
        return message

    # -- what owners do

    @rule(owner=OWNERS)
    def enroll(self, owner):
        self.broker.enroll(owner, LEASE)
        self.model.leases[owner] = self.clock.monotonic() + LEASE

    @rule(owner=OWNERS)
    def extend(self, owner):
        alive = {owner} if self._in_force(owner) else set()
        assert self.broker.extend([owner], LEASE) == alive
        if alive:
            self.model.leases[owner] = self.clock.monotonic() + LEASE

    def _in_force(self, owner):
        return self.model.leases.get(owner, -1.0) > self.clock.monotonic()

    @rule(target=claims, owner=OWNERS, queues=SOME_QUEUES, limit=st.integers(1, 4))
    def reserve(self, owner, queues, limit):
        self.model.promote(self.clock.now())
        if not self._in_force(owner):
            with pytest.raises(LeaseLost):
                self.broker.reserve(owner, queues, limit=limit, wait=0)
            return multiple()
        taken = self.broker.reserve(owner, queues, limit=limit, wait=0)
        lines = {queue: self.model.ready(queue) for queue in queues}
        assert len(taken) == min(limit, sum(map(len, lines.values())))
        shares = Counter(delivery.queue for delivery in taken)
        for queue, line in lines.items():
            assert [d.message.id for d in taken if d.queue == queue] == [
                message.id for message in line[: shares[queue]]
            ]
            assert shares[queue] >= min(len(line), limit // len(queues))
        for delivery in taken:
            self._claimed(delivery, owner, charged=True)
        return multiple(*taken)

    def _claimed(self, delivery, owner, *, charged):
        (message,) = [m for m in self.model.messages if m.id == delivery.message.id]
        assert delivery.fence > message.fence
        message.owner, message.fence = owner, delivery.fence
        message.deliveries += charged
        self.taken[message.id] = delivery
        assert delivery.owner == owner
        assert delivery.deliveries == message.deliveries
        assert delivery.crashes == message.crashes - message.begun

    def _chosen(self, picks, stale):
        """Claims that are in force as a rule, and some that may have been lost."""
        held = [self.taken[m.id] for m in self.model.messages if m.owner is not None]
        return [held[pick % len(held)] for pick in picks if held] + stale

    @rule(delivery=claims)
    def begin(self, delivery):
        message = self.model.held(delivery)
        assert self.broker.begin(delivery) == (message is not None)
        if message is not None:
            message.crashes += not message.begun
            message.begun = True

    @rule(
        picks=PICKS,
        stale=st.lists(claims, max_size=1),
        ends=st.lists(
            st.sampled_from(["done", "follow", "requeue", "dead"]), min_size=5, max_size=5
        ),
    )
    def settle(self, picks, stale, ends):
        settlements, expected = [], []
        for delivery, end in zip(self._chosen(picks, stale), ends, strict=False):
            message = self.model.held(delivery)
            settlements.append(self._settlement(delivery, end, accepted=message is not None))
            expected.append(message is not None)
            if message is None:
                continue
            if end == "requeue":
                message.free(charged=True, crashed=False)
                message.rank = next(self.model.ranks)
            else:
                self.model.messages.remove(message)
        # Requeued ones take their new places before follow-ups take theirs.
        assert self.broker.settle(settlements) == expected
        for settlement, accepted in zip(settlements, expected, strict=True):
            for message in settlement.follow if accepted else ():
                self.model.add(message.id, message.queue, 0, None)

    def _settlement(self, delivery, end, *, accepted):
        if accepted:
            self.model.results.add(delivery.message.id)
        result = succeeded(delivery.message.id)
        match end:
            case "dead":
                settlement = buried(delivery)
                settlement.result = result
                return settlement
            case "follow":
                follow = post(f"m{next(self.numbers)}", queue="a")
                return Settlement(delivery, result=result, follow=(follow,))
            case _:
                return Settlement(delivery, result=result, requeue=end == "requeue")

    @rule(picks=PICKS, stale=st.lists(claims, max_size=1), crashed=st.booleans())
    def release(self, picks, stale, crashed):
        deliveries = self._chosen(picks, stale)
        held = []
        for delivery in deliveries:
            message = self.model.held(delivery)
            if message is not None:
                held.append(message)
                message.free(charged=crashed, crashed=crashed)
        assert self.broker.release(deliveries, crashed=crashed) == len(held)

    @rule(owner=OWNERS)
    def retire(self, owner):
        self.broker.retire(owner)
        self.model.leases.pop(owner, None)
        for message in self.model.messages:
            if message.owner == owner:
                message.free(charged=False, crashed=False)

    @rule(target=claims, owners=st.sampled_from([("ann", "bob"), ("bob", "ann")]))
    def takeover(self, owners):
        owner, by = owners
        if not self._in_force(by):
            with pytest.raises(LeaseLost):
                self.broker.takeover(owner, by)
            return multiple()
        moved = self.broker.takeover(owner, by)
        self.model.leases.pop(owner, None)
        lost = [message.id for message in self.model.messages if message.owner == owner]
        assert sorted(delivery.message.id for delivery in moved) == sorted(lost)
        for delivery in moved:
            self._claimed(delivery, by, charged=False)
        return multiple(*moved)

    # -- upkeep and time

    @rule(seconds=st.sampled_from([0.5, 1.0, 6.0, 11.0]))
    def advance(self, seconds):
        self.clock.advance(seconds)

    @rule()
    def promote(self):
        self.model.promote(self.clock.now())
        due = [m.due_at for m in self.model.messages if m.due_at is not None]
        expected = min(due) - self.clock.now() if due else None
        assert self.broker.promote() == expected

    @rule()
    def reap(self):
        lost = [m for m in self.model.messages if m.owner and not self._in_force(m.owner)]
        for message in lost:
            message.free(charged=True, crashed=message.begun)
        assert self.broker.reap() == len(lost)

    @rule(queue=QUEUES)
    def purge(self, queue):
        gone = [m for m in self.model.messages if m.queue == queue and m.owner is None]
        assert self.broker.purge(queue) == len(gone)
        self.model.messages = [m for m in self.model.messages if m not in gone]

    @rule(number=st.integers(1, 20))
    def remove(self, number):
        gone = [m for m in self.model.messages if m.id == f"m{number}" and m.owner is None]
        assert self.broker.remove([f"m{number}"]) == len(gone)
        self.model.messages = [m for m in self.model.messages if m not in gone]

    # -- dead letters

    @rule(target=letters)
    def look_at_the_dead(self):
        return multiple(*[found.number for found in self.broker.dead()])

    @rule(number=consumes(letters))
    def replay(self, number):
        letters = self.broker.dead(numbers=[number])
        assert self.broker.replay([number]) == len(letters)
        for found in letters:
            message = found.letter.message
            self.model.add(message.id, message.queue, message.priority or 0, None)
            self.model.results.discard("")

    @rule(number=consumes(letters))
    def purge_dead(self, number):
        found = self.broker.dead(numbers=[number])
        assert self.broker.purge_dead([number]) == len(found)

    # -- what holds after every call

    @invariant()
    def every_queue_stands_as_the_model_says(self):
        if not hasattr(self, "model"):
            return
        for stats in self.broker.stats(["a", "b"]):
            states = Counter(m.state for m in self.model.messages if m.queue == stats.name)
            assert (stats.ready, stats.delayed, stats.claimed) == (
                states["ready"],
                states["delayed"],
                states["claimed"],
            )

    @invariant()
    def ready_messages_are_in_order(self):
        if not hasattr(self, "model"):
            return
        for queue in ("a", "b"):
            seen = [w for w in self.broker.browse(queue) if w.state == "ready"]
            expected = self.model.ready(queue)
            assert [w.message.id for w in seen] == [message.id for message in expected]
            assert [w.deliveries for w in seen] == [message.deliveries for message in expected]

    @invariant()
    def exactly_the_accepted_results_are_stored(self):
        if hasattr(self, "model"):
            ids = [f"m{n}" for n in range(1, 60)]
            assert self.server.backend.fetch(ids).keys() == self.model.results & set(ids)

    def teardown(self):
        if hasattr(self, "server"):
            self.server.broker.close()
            self.server.backend.close()


class MemoryMachine(BrokerMachine):
    def connect(self, clock):
        return memory.serve("machine", clock)


class SQLiteMachine(BrokerMachine):
    def connect(self, clock):
        self.directory = Path(tempfile.mkdtemp())
        options = Options(synchronous="normal")
        return sqlite.serve(str(self.directory / "machine.db"), options, clock)

    def teardown(self):
        super().teardown()
        shutil.rmtree(self.directory)


class RedisMachine(BrokerMachine):
    def connect(self, clock):
        self.prefix = new_prefix()
        return redis.serve(servers.url("redis"), {"global_keyprefix": self.prefix}, {}, clock)

    def teardown(self):
        super().teardown()
        forget(self.prefix)


class PostgresMachine(BrokerMachine):
    # Every step is some round trips to a server that writes to a disk.
    share = 0.1

    def connect(self, clock):
        self.url = postgres_database.database()
        server = postgres.serve(self.url, postgres.options.Options())
        server.broker.setup()
        postgres_database.empty(self.url)
        self.tell_the_time(clock)
        return server

    def tell_the_time(self, clock):
        postgres_database.set_moment(self.url, f"{clock.now()!r}::double precision")

    @rule(seconds=st.sampled_from([0.5, 1.0, 6.0, 11.0]))
    def advance(self, seconds):
        self.clock.advance(seconds)
        self.tell_the_time(self.clock)

    def teardown(self):
        super().teardown()
        if hasattr(self, "url"):
            postgres_database.empty(self.url)


MACHINES = [MemoryMachine, SQLiteMachine, RedisMachine, PostgresMachine]


@pytest.mark.parametrize("machine", MACHINES)
def test_a_broker_does_what_the_model_does(machine):
    """After any sequence of calls, by any owners, in any order, with leases that end in between."""
    usual = settings().max_examples
    profile = settings(stateful_step_count=40, max_examples=max(int(usual * machine.share), 1))
    run_state_machine_as_test(machine, settings=profile)
