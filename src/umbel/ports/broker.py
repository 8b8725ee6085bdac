"""The broker port: four verbs and their upkeep.

A message is *published*, *reserved*, *extended* while it runs and *settled*.  The rules that hold
for every driver, and that ``tests/contract`` proves:

* `reserve` is one atomic step of the server: a message is either still waiting or claimed by an
  owner under a new fence; no crash can leave it in neither state.
* Leases belong to an owner, not to a message, and run on a clock that no client can set.
* `settle` compares the fence: a claim that was lost settles nothing, publishes nothing.
* Messages that are not due wait in the broker.
* What is declared is seen by every process: whoever publishes to an exchange reaches the queues
  that others have bound to it.
* Every call ends within a deadline; a server that cannot be reached raises `OperationalError`.
* Instances are safe to share between threads and notice when they woke up in a forked process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from umbel.message import DeadLetter, Delivery, Message, Settlement
    from umbel.queues import Queue


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a broker can do; asking for what is missing is an error at start-up.

    Attributes:
        priorities: messages of one queue are delivered by priority.
        delays: messages wait in the broker until they are due.
        atomic_results: a settlement and its result are one transaction of this server.
        browse: waiting messages can be listed.
        fanout: one message reaches every listener.
        shared: processes other than this one see the same queues.
        leases: claims end with the lease of their owner, and can be taken over by another;
            without, they end with the owner's connection.
        exchanges: the server itself finds the queues of a message that names an exchange;
            without, the publisher asks `Broker.route` and sends a copy to each.
    """

    priorities: bool = True
    delays: bool = True
    atomic_results: bool = False
    browse: bool = True
    fanout: bool = True
    shared: bool = True
    leases: bool = True
    exchanges: bool = False


@dataclass(frozen=True, slots=True)
class QueueStats:
    """How a queue stands: counts, and the age in seconds of the oldest message that waits."""

    name: str
    ready: int
    delayed: int
    claimed: int
    oldest_age: float | None


@dataclass(frozen=True, slots=True)
class OwnerStats:
    """Who holds claims: its name, the seconds until its lease ends, and how many it holds.

    ``lease_left`` is negative for a lease that has ended and was not reaped yet.
    """

    name: str
    lease_left: float
    claimed: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message seen from outside: where it stands, and who holds it."""

    message: Message
    state: str
    owner: str | None
    deliveries: int
    enqueued_at: float


@dataclass(frozen=True, slots=True)
class Buried:
    """A dead letter as it is stored; ``number`` names it for `replay` and `purge_dead`."""

    number: int
    letter: DeadLetter


class Broker(Protocol):
    """Where messages wait."""

    @property
    def capabilities(self) -> Capabilities:
        """What this broker can do."""
        ...

    def setup(self) -> None:
        """Create or migrate what the broker needs; safe to call from many processes at once.

        Raises:
            OperationalError: the server cannot be reached or used.
            SchemaError: the store was written by a version this one cannot read.
        """
        ...

    def close(self) -> None:
        """Give back connections and files; the instance may be used again."""
        ...

    def declare(
        self, queues: Sequence[Queue], *, owner: str | None = None, timeout: float | None = None
    ) -> None:
        """Make queues known, with the exchanges they are bound to and their bindings.

        Safe to repeat, also while others do; on return every process sees the bindings, and the
        queues take messages. Bindings that were made before stay. A queue with ``no_declare`` is
        left alone. A queue that needs no declaration can be used without.

        With ``owner``, a queue that is `temporary` is the owner's: when the last of its owners is
        retired, or reaped after its lease ended, the queue goes with its bindings and with the
        messages that nobody holds (without leases: some time after nobody consumes from it).

        A driver that has lost its connection declares again what was declared through it.

        Raises:
            ImproperlyConfigured: the server has a queue or exchange of this name with other
                arguments; the text names both.
            OperationalError: the server did not do it within ``timeout`` seconds.
        """
        ...

    def route(self, exchange: str, routing_key: str, *, timeout: float | None = None) -> list[str]:
        """The queues that a message sent to ``exchange`` with this key is meant for, sorted.

        Empty where nothing is bound. Brokers with ``capabilities.exchanges`` are not asked: they
        take messages that name an exchange as they are.

        Raises:
            OperationalError: the server did not answer within ``timeout`` seconds.
        """
        ...

    def drop(self, queue: str) -> int:
        """Delete a queue with its bindings and what nobody holds; returns how many messages."""
        ...

    def publish(self, messages: Sequence[Message], *, timeout: float | None = None) -> None:
        """Store all messages or none; they are durable on return.

        A message whose id already waits in the same queue with the same ``retries`` header is a
        second copy, and is delivered as such. With ``capabilities.exchanges`` a message that
        names an exchange goes to every queue bound there, whatever its ``queue``; without, the
        ``queue`` alone counts.

        Raises:
            OperationalError: not stored within ``timeout`` seconds (with ids chosen by the
                caller, trying again is safe).
            UnroutableError: a message names an exchange that has no queue for it.
        """
        ...

    def enroll(self, owner: str, lease: float) -> None:
        """Make ``owner`` known with a lease of so many seconds from now; renews if known."""
        ...

    def retire(self, owner: str) -> None:
        """Forget ``owner``; what it still holds goes back to the queues, no attempt charged."""
        ...

    def reserve(
        self, owner: str, queues: Sequence[str], *, limit: int, wait: float
    ) -> list[Delivery]:
        """Claim up to ``limit`` messages that are due, best priority first, then oldest first.

        Blocks up to ``wait`` seconds while there is none. Returns an empty list on time-out, when
        `interrupt` was called, and at once for a ``limit`` of 0.

        Raises:
            LeaseLost: ``owner`` is not enrolled or its lease has ended.
            OperationalError: the server cannot be reached.
        """
        ...

    def interrupt(self) -> None:
        """End every `reserve` and `listen` that waits in another thread of this process.

        If none waits, the next one that would returns at once: no call is lost between looking
        at a flag and beginning to wait.
        """
        ...

    def extend(self, owners: Collection[str], lease: float) -> set[str]:
        """Renew the leases of ``owners``; returns those whose lease is in force now."""
        ...

    def begin(self, delivery: Delivery) -> bool:
        """Record durably that a message somebody held before is about to be started again.

        The crash count of the message grows with it, and shrinks when the claim is settled or
        released: what remains are the starts that ended with the death of a process. Returns
        False, and changes nothing, if the claim was lost.
        """
        ...

    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        """End claims; for each whether it was accepted. One call is one step of the server.

        A settlement whose fence is stale is refused whole: nothing of it happens. A settlement
        without a delivery is always accepted.
        """
        ...

    def release(self, deliveries: Sequence[Delivery], *, crashed: bool = False) -> int:
        """Give claims back to their queues, at their old places; returns how many were held.

        No delivery is charged, unless ``crashed``: then the delivery stays counted and the
        crash count grows.
        """
        ...

    def takeover(self, owner: str, by: str) -> list[Delivery]:
        """Move every claim of a dead ``owner`` to ``by`` under new fences, and forget it.

        ``crashes`` of what is returned does not count the start that died now; `release` with
        ``crashed`` does.

        Raises:
            LeaseLost: ``by`` is not enrolled or its lease has ended.
        """
        ...

    def promote(self, limit: int = 1000) -> float | None:
        """Let messages that have become due join the end of their queues, first due first.

        Returns the seconds until the next is due, None if there is none. `reserve` does this by
        itself for what it could claim.
        """
        ...

    def reap(self, limit: int = 1000) -> int:
        """Give back what owners with an ended lease hold; returns how many messages."""
        ...

    def owners(self) -> list[OwnerStats]:
        """Everyone who is enrolled, by name; empty where there are no leases."""
        ...

    def stats(self, queues: Sequence[str] | None = None) -> list[QueueStats]:
        """How the given queues stand; all that are known if none is given."""
        ...

    def browse(self, queue: str, *, limit: int = 100, offset: int = 0) -> list[Waiting]:
        """List messages of a queue, without claiming them.

        First those that are held, then those that are ready in the order of delivery, then those
        that are delayed by the moment they are due.
        """
        ...

    def remove(self, ids: Collection[str]) -> int:
        """Delete waiting messages of these task ids; returns how many there were."""
        ...

    def purge(self, queue: str) -> int:
        """Delete every message of a queue that nobody holds; returns how many."""
        ...

    def dead(
        self, *, limit: int = 100, offset: int = 0, numbers: Collection[int] | None = None
    ) -> list[Buried]:
        """List dead letters, newest first; only the given ones if ``numbers`` is set."""
        ...

    def replay(self, numbers: Collection[int]) -> int:
        """Put dead letters back to their queues with fresh counters; returns how many.

        Malformed ones stay where they are.
        """
        ...

    def purge_dead(self, numbers: Collection[int] | None = None) -> int:
        """Delete dead letters, all if ``numbers`` is None; returns how many."""
        ...

    def broadcast(self, channel: str, payload: bytes) -> None:
        """Hand ``payload`` to everyone who listens on ``channel`` now or within some seconds."""
        ...

    def listen(self, channel: str, *, after: int | None, wait: float) -> tuple[int, list[bytes]]:
        """What was broadcast on ``channel`` after mark ``after``, and the new mark.

        With ``after=None`` nothing is returned but the current mark. Blocks up to ``wait``
        seconds while there is nothing new.
        """
        ...
