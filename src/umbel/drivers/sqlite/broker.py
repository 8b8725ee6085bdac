"""The broker in a SQLite file."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from umbel.drivers.sqlite import arrivals, bindings, burial, claims, rows
from umbel.drivers.sqlite import queues as _queues
from umbel.drivers.sqlite.bell import ring
from umbel.drivers.sqlite.broadcasts import Broadcasts
from umbel.drivers.sqlite.reserving import Reserving
from umbel.drivers.sqlite.settling import Settling
from umbel.drivers.sqlite.store import LATE_CHECKPOINT, Line, Store
from umbel.exceptions import LeaseLost
from umbel.ports.broker import Buried, Capabilities, OwnerStats, QueueStats, Waiting
from umbel.serialization.heads import head_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Sequence

    from umbel.drivers.sqlite.bell import Rung
    from umbel.message import Delivery, Message, Settlement
    from umbel.queues import Queue

_CAPABILITIES = Capabilities(atomic_results=True)


class SQLiteBroker:
    """A `Broker` whose queues are rows of one file, shared by the processes of a machine.

    Publishing, reserving, settling, broadcasts and upkeep each have a connection, so that one
    that waits for the file never holds up another.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._publishing = Line(store, checkpoint=LATE_CHECKPOINT)
        self._upkeep = Line(store)
        self._reserving = Reserving(store, self._upkeep)
        self._settling = Settling(store)
        self._broadcasts = Broadcasts(store)

    @property
    def capabilities(self) -> Capabilities:
        """Everything: the file holds queues, results and locks."""
        return _CAPABILITIES

    def setup(self) -> None:
        """Create or migrate the file; see `Broker.setup`."""
        self._publishing.run(lambda _: None)

    def close(self) -> None:
        """Close the broker's connections and sockets; see `Broker.close`."""
        self._publishing.close()
        self._upkeep.close()
        self._reserving.close()
        self._settling.close()
        self._broadcasts.close()

    def declare(
        self, queues: Sequence[Queue], *, owner: str | None = None, timeout: float | None = None
    ) -> None:
        """Make queues and bindings known; see `Broker.declare`."""
        if queues:
            self._upkeep.write(lambda db: bindings.bind(db, queues, owner), timeout=timeout)

    def route(self, exchange: str, routing_key: str, *, timeout: float | None = None) -> list[str]:
        """The queues that are bound; see `Broker.route`."""
        return self._publishing.run(
            lambda db: bindings.find(db, exchange, routing_key), timeout=timeout
        )

    def drop(self, queue: str) -> int:
        """Delete a queue; see `Broker.drop`."""
        self._upkeep.write(lambda db: db.execute(bindings.DROP, (queue,)))
        return self.purge(queue)

    def publish(self, messages: Sequence[Message], *, timeout: float | None = None) -> None:
        """Store all messages or none, in one transaction; see `Broker.publish`.

        On return they are on the disk, unless the option ``synchronous`` says otherwise.
        """
        if not messages:
            return
        heads = [head_of(message) for message in messages]

        def publish(db: sqlite3.Connection) -> list[Rung]:
            return self._insert(db, messages, heads)

        ring(self._publishing.write(publish, timeout=timeout))
        self._store.flush()

    def _insert(
        self, db: sqlite3.Connection, messages: Sequence[Message], heads: Sequence[bytes]
    ) -> list[Rung]:
        now = self._store.clock.now()
        soon = now + self._store.options.poll_interval
        return arrivals.insert(db, messages, heads, now=now, soon=soon)

    def enroll(self, owner: str, lease: float) -> None:
        """Make ``owner`` known, or renew its lease; see `Broker.enroll`."""

        def enroll(db: sqlite3.Connection) -> None:
            until = self._store.clock.monotonic() + lease
            db.execute(claims.ENROLL, (owner, until, lease))

        self._upkeep.write(enroll)

    def retire(self, owner: str) -> None:
        """Forget ``owner`` and take back what it holds; see `Broker.retire`."""

        def retire(db: sqlite3.Connection) -> list[Rung]:
            freed = db.execute(claims.RETIRE, (owner,)).fetchall()
            _forget(db, [owner])
            return arrivals.wake(db, Counter(queue for (queue,) in freed))

        ring(self._upkeep.write(retire))

    def extend(self, owners: Collection[str], lease: float) -> set[str]:
        """Renew leases that have not ended; see `Broker.extend`."""
        if not owners:
            return set()

        def extend(db: sqlite3.Connection) -> set[str]:
            now = self._store.clock.monotonic()
            names = {"now": now, "lease": lease, "names": rows.listed(owners)}
            return {name for (name,) in db.execute(claims.EXTEND, names).fetchall()}

        return self._upkeep.write(extend)

    def reserve(
        self, owner: str, queues: Sequence[str], *, limit: int, wait: float
    ) -> list[Delivery]:
        """Claim messages that are due, or wait for one; see `Broker.reserve`."""
        return self._reserving.reserve(owner, queues, limit=limit, wait=wait)

    def interrupt(self) -> None:
        """End what waits in other threads; see `Broker.interrupt`."""
        self._reserving.interrupt()
        self._broadcasts.interrupt()

    def begin(self, delivery: Delivery) -> bool:
        """Count a start that has not ended yet; see `Broker.begin`."""
        return self._settling.begin(delivery)

    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        """End claims with all that goes with it, in one transaction; see `Broker.settle`."""
        return self._settling.settle(settlements)

    def release(self, deliveries: Sequence[Delivery], *, crashed: bool = False) -> int:
        """Put claims back at their old places; see `Broker.release`."""
        return self._settling.release(deliveries, crashed=crashed)

    def takeover(self, owner: str, by: str) -> list[Delivery]:
        """Give what ``owner`` holds to ``by``; see `Broker.takeover`."""

        def takeover(db: sqlite3.Connection) -> list[claims.Claimed]:
            if not claims.in_force(db, by, now=self._store.clock.monotonic()):
                raise LeaseLost(by)
            fence = rows.numbers(db, 1)
            db.execute(claims.TAKEOVER, (by, fence, owner))
            _forget(db, [owner])
            return claims.claimed(db, by, fence)

        return claims.deliveries(self._upkeep.write(takeover), by)

    def promote(self, limit: int = 1000) -> float | None:
        """Let due messages join the end of their queues; see `Broker.promote`."""
        return self._reserving.promote(limit)

    def reap(self, limit: int = 1000) -> int:
        """Take back what owners with an ended lease hold; see `Broker.reap`."""

        def reap(db: sqlite3.Connection) -> tuple[int, list[Rung]]:
            names = {"now": self._store.clock.monotonic(), "limit": limit}
            freed = db.execute(claims.REAP, names).fetchall()
            gone = db.execute(claims.FORGET_OWNERS, names).fetchall()
            _forget(db, [name for (name,) in gone])
            return len(freed), arrivals.wake(db, Counter(queue for (queue,) in freed))

        count, bells = self._upkeep.write(reap)
        ring(bells)
        return count

    def owners(self) -> list[OwnerStats]:
        """Who is enrolled; see `Broker.owners`."""
        now = self._store.clock.monotonic()
        found = self._upkeep.read(lambda db: db.execute(claims.OWNERS, (now,)).fetchall())
        return [OwnerStats(*row) for row in found]

    def stats(self, queues: Sequence[str] | None = None) -> list[QueueStats]:
        """How queues stand; see `Broker.stats`."""
        now = self._store.clock.now()
        return self._upkeep.read(lambda db: _queues.stats(db, queues, now=now))

    def browse(self, queue: str, *, limit: int = 100, offset: int = 0) -> list[Waiting]:
        """Messages of a queue in delivery order, behind those that are held."""
        return self._upkeep.read(lambda db: _queues.browse(db, queue, limit=limit, offset=offset))

    def remove(self, ids: Collection[str]) -> int:
        """Delete what nobody holds of these tasks; see `Broker.remove`."""
        return _queues.remove(self._upkeep, ids)

    def purge(self, queue: str) -> int:
        """Delete what nobody holds of this queue; see `Broker.purge`."""
        return _queues.purge(self._upkeep, queue)

    def dead(
        self, *, limit: int = 100, offset: int = 0, numbers: Collection[int] | None = None
    ) -> list[Buried]:
        """Dead letters, newest first; see `Broker.dead`."""
        return self._upkeep.run(lambda db: burial.listed(db, numbers, limit=limit, offset=offset))

    def replay(self, numbers: Collection[int]) -> int:
        """Put dead letters back to their queues; see `Broker.replay`."""

        def replay(db: sqlite3.Connection) -> tuple[int, list[Rung]]:
            messages = burial.exhume(db, numbers)
            if not messages:
                return 0, []
            return len(messages), self._insert(db, messages, [head_of(m) for m in messages])

        count, bells = self._publishing.write(replay)
        ring(bells)
        self._store.flush()
        return count

    def purge_dead(self, numbers: Collection[int] | None = None) -> int:
        """Delete dead letters; see `Broker.purge_dead`."""
        return self._upkeep.write(lambda db: burial.forget(db, numbers))

    def broadcast(self, channel: str, payload: bytes) -> None:
        """Hand ``payload`` to everyone who listens; see `Broker.broadcast`."""
        self._broadcasts.broadcast(channel, payload)

    def listen(self, channel: str, *, after: int | None, wait: float) -> tuple[int, list[bytes]]:
        """What was broadcast after ``after``; see `Broker.listen`."""
        return self._broadcasts.listen(channel, after=after, wait=wait)


def _forget(db: sqlite3.Connection, owners: Sequence[str]) -> None:
    """Nobody is left under these names, nor what was there for them alone."""
    names = rows.listed(owners)
    db.execute(claims.FORGET_NAMED, (names,))
    db.execute(claims.FORGET_LISTENERS, (names,))
    bindings.forget(db, owners)
