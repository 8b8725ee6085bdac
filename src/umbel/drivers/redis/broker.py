"""The broker on a Redis server: the port's verbs, each a script or a few commands."""

from __future__ import annotations

import re
import time
import warnings
from typing import TYPE_CHECKING

from umbel.drivers.redis import envelopes, letters
from umbel.drivers.redis.names import Names
from umbel.drivers.redis.register import Register
from umbel.drivers.redis.reserving import Reserving
from umbel.drivers.redis.settling import Settling
from umbel.exceptions import ImproperlyConfigured, LeaseLost, OperationalError, UmbelWarning
from umbel.message import Delivery, Message
from umbel.ports.broker import Buried, Capabilities, OwnerStats, QueueStats, Waiting

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from umbel.clock import Clock
    from umbel.drivers.redis.results import Format
    from umbel.drivers.redis.scripts import Scripts
    from umbel.message import Settlement
    from umbel.queues import Queue

_CAPABILITIES = Capabilities(atomic_results=True)
_OLDEST = (6, 2)
_BROADCAST_KEPT = 60
# Seconds after which the name of a queue that is empty and unused is forgotten.
_QUEUE_KEPT = 86_400
_SLICE = 1_000
_PLAIN_ID = re.compile(r"[\w.-]+", re.ASCII)


class RedisBroker:
    """A `Broker` whose queues are Celery's lists."""

    def __init__(self, scripts: Scripts, results: Format, clock: Clock | None) -> None:
        self._scripts = scripts
        self._wires = scripts.wires
        self._names = Names(scripts.wires.options)
        self._register = Register(scripts, self._names, clock)
        self._reserving = Reserving(scripts, self._names, self._register)
        self._settling = Settling(scripts, self._names, self._register, results)

    @property
    def capabilities(self) -> Capabilities:
        """Everything; exchanges are looked up by the publisher, as Celery's do."""
        return _CAPABILITIES

    def setup(self) -> None:
        """Look whether the server fits, and warn of what would lose messages."""
        facts = _facts(self._wires.ask("INFO"))
        version = facts.get("redis_version", "")
        if tuple(map(int, re.findall(r"\d+", version)[:2])) < _OLDEST:
            raise ImproperlyConfigured(
                f"{self._wires.url} is Redis {version}; Umbel needs 6.2 or later, or Valkey"
            )
        policy = facts.get("maxmemory_policy", "noeviction")
        if policy != "noeviction" and facts.get("maxmemory") != "0":
            warnings.warn(
                f"{self._wires.url} evicts keys when its memory is full (maxmemory-policy "
                f"{policy}), tasks and results among them: set maxmemory-policy noeviction",
                UmbelWarning,
                stacklevel=2,
            )

    def close(self) -> None:
        """Give back connections; see `Broker.close`."""
        self._reserving.waiters.close()
        self._wires.close()
        self._register.forget()

    # ------------------------------------------------------------------------------ exchanges

    def declare(
        self, queues: Sequence[Queue], *, owner: str | None = None, timeout: float | None = None
    ) -> None:
        """Make queues and their bindings known; see `Broker.declare`."""
        self._register.declare(queues, owner, timeout)

    def route(self, exchange: str, routing_key: str, *, timeout: float | None = None) -> list[str]:
        """The queues that are bound; see `Broker.route`."""
        return self._register.route(exchange, routing_key, timeout)

    def drop(self, queue: str) -> int:
        """Delete a queue; see `Broker.drop`."""
        self._register.forget()
        return int(self._scripts.run("drop", queue))

    # ------------------------------------------------------------------------------ the verbs

    def publish(self, messages: Sequence[Message], *, timeout: float | None = None) -> None:
        """Store all messages or none; see `Broker.publish`."""
        self._settling.publish(messages, timeout)

    def enroll(self, owner: str, lease: float) -> None:
        """Make ``owner`` known, or renew its lease; see `Broker.enroll`."""
        self._scripts.run("enroll", owner, repr(float(lease)))

    def retire(self, owner: str) -> None:
        """Forget ``owner`` and take back what it holds; see `Broker.retire`."""
        self._scripts.run("retire", owner)

    def reserve(
        self, owner: str, queues: Sequence[str], *, limit: int, wait: float
    ) -> list[Delivery]:
        """Claim messages that are due, or wait for one; see `Broker.reserve`."""
        return self._reserving.reserve(owner, queues, limit=limit, wait=wait)

    def interrupt(self) -> None:
        """End what waits in other threads; see `Broker.interrupt`."""
        self._reserving.waiters.interrupt()

    def extend(self, owners: Collection[str], lease: float) -> set[str]:
        """Renew leases that have not ended; see `Broker.extend`."""
        if not owners:
            return set()
        renewed = self._scripts.run("extend", repr(float(lease)), *owners)
        return {owner.decode() for owner in renewed}

    def begin(self, delivery: Delivery) -> bool:
        """Count a start that has not ended yet; see `Broker.begin`."""
        return bool(self._scripts.run("begin", delivery.queue, delivery.tag))

    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        """End claims with all that goes with it; see `Broker.settle`."""
        return self._settling.settle(settlements)

    def release(self, deliveries: Sequence[Delivery], *, crashed: bool = False) -> int:
        """Put claims back at their old places; see `Broker.release`."""
        return self._settling.release(deliveries, crashed=crashed)

    def takeover(self, owner: str, by: str) -> list[Delivery]:
        """Give what ``owner`` holds to ``by``; see `Broker.takeover`."""
        self._reserving.recover(by)
        call = self._reserving.call()
        try:
            reply = self._scripts.run("takeover", owner, by, call)
        except OperationalError:
            self._reserving.is_lost(by, call)
            raise
        if reply is None:
            raise LeaseLost(by)
        moved: list[Delivery] = []
        for at in range(0, len(reply), 5):
            queue, field = reply[at].decode(), reply[at + 1].decode()
            index, first = field.partition(" ")[0].split("@")
            message = envelopes.decode(reply[at + 4], queue)
            fence, counts = int(first) + int(index), reply[at + 2 : at + 4]
            moved.append(Delivery(message, field, fence, by, queue, *counts))
        return moved

    # ------------------------------------------------------------------------------ upkeep

    def promote(self, limit: int = 1000) -> float | None:
        """Let due messages join the end of their queues; see `Broker.promote`."""
        seconds = self._scripts.run("promote", limit)
        return None if seconds is None else float(seconds)

    def reap(self, limit: int = 1000) -> int:
        """Take back what owners with an ended lease hold; see `Broker.reap`."""
        return int(self._scripts.run("reap", limit, _QUEUE_KEPT))

    def owners(self) -> list[OwnerStats]:
        """Everyone who is enrolled; see `Broker.owners`."""
        reply = self._scripts.run("owners")
        found = [
            OwnerStats(reply[at].decode(), float(reply[at + 1]), reply[at + 2])
            for at in range(0, len(reply), 3)
        ]
        return sorted(found, key=lambda owner: owner.name)

    def stats(self, queues: Sequence[str] | None = None) -> list[QueueStats]:
        """How queues stand; see `Broker.stats`."""
        if queues is not None and not queues:
            return []
        now, *found = self._scripts.run("stats", *(queues or ()))
        stands = [_stand(float(now), *facts) for facts in found]
        if queues is not None:
            return stands
        # A queue that has nothing is as good as none.
        there = [each for each in stands if each.ready or each.delayed or each.claimed]
        return sorted(there, key=lambda stats: stats.name)

    def browse(self, queue: str, *, limit: int = 100, offset: int = 0) -> list[Waiting]:
        """Claimed messages, then ready ones in order, then delayed ones; see `Broker.browse`."""
        reply = self._scripts.run("browse", queue, offset, limit)
        found: list[Waiting] = []
        for at in range(0, len(reply), 4):
            state, owner, deliveries, raw = reply[at : at + 4]
            message = envelopes.shown(raw, queue)
            put_in = envelopes.put_in_at(raw) or 0.0
            holder = owner.decode() or None
            found.append(Waiting(message, state.decode(), holder, deliveries, put_in))
        return found

    def remove(self, ids: Collection[str]) -> int:
        """Delete what nobody holds of these tasks; see `Broker.remove`."""
        wanted = set(ids)
        if not wanted:
            return 0
        names = [name.decode() for name in self._wires.ask("ZRANGE", self._names.queues, 0, -1)]
        return sum(self._remove(queue, wanted) for queue in names)

    def _remove(self, queue: str, wanted: set[str]) -> int:
        doomed: list[str | int | bytes] = []
        for step in self._names.steps:
            line = self._names.line(queue, step)
            for raw in self._entries("LRANGE", line):
                if _is_wanted(raw, wanted):
                    doomed += (step, raw)
        for entry in self._entries("ZRANGE", self._names.own(queue, "delayed")):
            if _is_wanted(entry.partition(b"\n")[2], wanted):
                doomed += ("", entry)
        return int(self._scripts.run("remove", queue, *doomed)) if doomed else 0

    def _entries(self, command: str, key: str) -> list[bytes]:
        """All of a list or sorted set, some at a time; each once, whatever happens meanwhile."""
        found: dict[bytes, None] = {}
        at = 0
        while part := self._wires.ask(command, key, at, at + _SLICE - 1):
            found.update(dict.fromkeys(part))
            at += len(part)
        return list(found)

    def purge(self, queue: str) -> int:
        """Delete what nobody holds of this queue; see `Broker.purge`."""
        return int(self._scripts.run("purge", queue))

    # ------------------------------------------------------------------------------ dead letters

    def dead(
        self, *, limit: int = 100, offset: int = 0, numbers: Collection[int] | None = None
    ) -> list[Buried]:
        """Dead letters, newest first; see `Broker.dead`."""
        if limit <= 0:
            return []
        if numbers is None:
            found = self._wires.ask("ZREVRANGE", self._names.dead, offset, offset + limit - 1)
        else:
            order = sorted(set(numbers), reverse=True)
            commands = [("ZRANGEBYSCORE", self._names.dead, n, n) for n in order]
            replies = self._wires.ask_all(commands) if commands else []
            found = [entry for reply in replies for entry in reply][offset : offset + limit]
        buried = []
        for entry in found:
            number, _, text = entry.partition(b"\n")
            buried.append(Buried(int(number), letters.decode(text)))
        return buried

    def replay(self, numbers: Collection[int]) -> int:
        """Put dead letters back to their queues; see `Broker.replay`."""
        arguments: list[str | int | bytes] = []
        wanted = set(numbers)
        found = self.dead(limit=len(wanted), numbers=wanted)
        for buried in reversed(found):
            message = buried.letter.message
            if isinstance(message, Message):
                raw = envelopes.encode(message, self._register.now())
                step = self._names.step(message.priority)
                arguments += (buried.number, message.queue, step, raw)
                self._register.touch([message.queue])
        return int(self._scripts.run("replay", *arguments)) if arguments else 0

    def purge_dead(self, numbers: Collection[int] | None = None) -> int:
        """Delete dead letters; see `Broker.purge_dead`."""
        if numbers is None:
            count, _ = self._wires.ask_all(
                [("ZCARD", self._names.dead), ("UNLINK", self._names.dead)]
            )
            return int(count)
        commands = [("ZREMRANGEBYSCORE", self._names.dead, n, n) for n in set(numbers)]
        return sum(self._wires.ask_all(commands)) if commands else 0

    # ------------------------------------------------------------------------------ broadcast

    def broadcast(self, channel: str, payload: bytes) -> None:
        """Hand ``payload`` to everyone who listens; see `Broker.broadcast`."""
        self._scripts.run("broadcast", channel, payload, _BROADCAST_KEPT)

    def listen(self, channel: str, *, after: int | None, wait: float) -> tuple[int, list[bytes]]:
        """What was broadcast after ``after``; see `Broker.listen`."""
        mark, heard = self._heard(channel, after)
        if after is None or heard or wait <= 0:
            return mark, heard
        deadline = time.monotonic() + wait
        waiters = self._reserving.waiters
        waiter = waiters.take()
        try:
            while not waiters.interrupted(waiter):
                waiter.arm([self._names.channel(channel)])
                mark, heard = self._heard(channel, after)
                left = deadline - time.monotonic()
                if heard or left <= 0:
                    break
                waiter.wait(min(left, self._wires.options.poll_interval))
            return mark, heard
        finally:
            waiters.give_back(waiter)

    def _heard(self, channel: str, after: int | None) -> tuple[int, list[bytes]]:
        since = "" if after is None else after
        mark, *heard = self._scripts.run("listen", channel, since, _BROADCAST_KEPT)
        return int(mark), heard


def _facts(info: bytes) -> dict[str, str]:
    """What the server says about itself."""
    lines = info.decode("utf-8", "replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def _stand(
    now: float, name: bytes, ready: int, delayed: int, claimed: int, tails: list[bytes]
) -> QueueStats:
    since = [at for at in map(envelopes.put_in_at, tails) if at is not None]
    age = max(now - min(since), 0.0) if since else None
    return QueueStats(name.decode(), ready, delayed, claimed, age)


def _is_wanted(raw: bytes, wanted: set[str]) -> bool:
    """Whether a message is about one of these tasks."""
    if all(_PLAIN_ID.fullmatch(one) and one.encode() not in raw for one in wanted):
        return False
    message = envelopes.decode(raw, "")
    return isinstance(message, Message) and message.id in wanted
