"""The broker in PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from umbel.drivers.postgres import arrivals, bindings, burial, claims
from umbel.drivers.postgres import queues as _queues
from umbel.drivers.postgres.broadcasts import Broadcasts
from umbel.drivers.postgres.enlisting import EnlistedConnection
from umbel.drivers.postgres.names import all_stored, original, stored
from umbel.drivers.postgres.reserving import Reserving
from umbel.drivers.postgres.settling import Settling
from umbel.exceptions import LeaseLost
from umbel.ports.broker import Buried, Capabilities, OwnerStats, QueueStats, Waiting

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from umbel.drivers.postgres.link import Link
    from umbel.drivers.postgres.store import Store
    from umbel.message import Delivery, Message, Settlement
    from umbel.queues import Queue

_CAPABILITIES = Capabilities(atomic_results=True)


class PostgresBroker:
    """A `Broker` whose queues are rows of one table."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._reserving = Reserving(store)
        self._settling = Settling(store)
        self._broadcasts = Broadcasts(store)

    @property
    def capabilities(self) -> Capabilities:
        """Everything: the schema holds queues, results and locks."""
        return _CAPABILITIES

    def setup(self) -> None:
        """Create or migrate the schema; see `Broker.setup`."""
        self._store.setup()

    @property
    def place(self) -> str:
        """Where the tables are; see `Migrating.place`."""
        return self._store.place

    def versions(self) -> tuple[int, int]:
        """The version of the tables and of this code; see `Migrating.versions`."""
        return self._store.versions()

    def migrate(self) -> int:
        """Bring the tables to this version; see `Migrating.migrate`."""
        return self._store.migrate()

    def close(self) -> None:
        """Give back connections that nobody uses now; see `Broker.close`."""
        self._store.close()

    def declare(
        self,
        queues: Sequence[Queue],
        *,
        owner: str | None = None,
        timeout: float | None = None,
    ) -> None:
        """Make queues and bindings known; see `Broker.declare`."""

        def declare(link: Link) -> None:
            bindings.bind(link, self._store, queues, owner)

        if queues:
            self._store.run(declare, timeout=timeout)

    def route(self, exchange: str, routing_key: str, *, timeout: float | None = None) -> list[str]:
        """The queues that are bound; see `Broker.route`."""

        def find(link: Link) -> list[str]:
            return bindings.find(link, self._store, exchange, routing_key)

        return self._store.run(find, timeout=timeout)

    def drop(self, queue: str) -> int:
        """Delete a queue; see `Broker.drop`."""
        self._count(bindings.DROP, (stored(queue),))
        return self.purge(queue)

    def publish(self, messages: Sequence[Message], *, timeout: float | None = None) -> None:
        """Store all messages or none, in one transaction; see `Broker.publish`.

        On return they are as durable as the server's ``synchronous_commit`` says.
        """
        if not messages:
            return
        heads = arrivals.heads_of(messages)
        store = self._store
        run = store.run if len(messages) <= arrivals.BATCH else store.transaction
        run(lambda link: arrivals.insert(link, store, messages, heads), timeout=timeout)
        arrivals.wake(store, arrivals.news_of(messages, soon=store.options.poll_interval))

    def enlist(self, connection: Any) -> EnlistedConnection:
        """Prepare to publish through a connection of the caller's; see `Enlisting.enlist`."""
        return EnlistedConnection(self._store, connection)

    def enroll(self, owner: str, lease: float) -> None:
        """Make ``owner`` known, or renew its lease; see `Broker.enroll`."""
        self._count(claims.ENROLL, (stored(owner), lease))

    def retire(self, owner: str) -> None:
        """Forget ``owner`` and take back what it holds; see `Broker.retire`."""

        def retire(link: Link) -> list[Any]:
            self._forget(link, [owner])
            return link.all(self._store.sql(claims.RETIRE), (stored(owner),))

        freed = self._store.transaction(retire)
        arrivals.wake(self._store, arrivals.counted(freed))

    def _forget(self, link: Link, owners: Sequence[str]) -> None:
        """Nobody is left under these names, nor what was there for them alone.

        A claim that is being made for one of them is waited for; later ones find no lease.
        """
        names = all_stored(owners)
        link.count(self._store.sql(claims.FORGET_OWNERS), (names,))
        link.count(self._store.sql(arrivals.FORGET_OWNERS), (names,))
        bindings.forget(link, self._store, owners)

    def extend(self, owners: Collection[str], lease: float) -> set[str]:
        """Renew leases that have not ended; see `Broker.extend`."""
        if not owners:
            return set()
        given = (lease, all_stored(owners))
        return {original(name) for (name,) in self._all(claims.EXTEND, given)}

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

        def takeover(link: Link) -> list[claims.Seen]:
            if not link.all(self._store.sql(claims.IN_FORCE), (stored(by),)):
                raise LeaseLost(by)
            self._forget(link, [owner])
            return link.all(self._store.sql(claims.TAKEOVER), (stored(by), stored(owner)))

        return claims.deliveries(self._store.transaction(takeover), by)

    def promote(self, limit: int = 1000) -> float | None:
        """Let due messages join the end of their queues; see `Broker.promote`."""
        return self._reserving.promote(limit)

    def reap(self, limit: int = 1000) -> int:
        """Take back what owners with an ended lease hold; see `Broker.reap`."""

        def reap(link: Link) -> list[Any]:
            freed = link.all(self._store.sql(claims.REAP), (limit,))
            late = [original(name) for (name,) in link.all(self._store.sql(claims.LATE_OWNERS))]
            if late:
                self._forget(link, late)
            link.count(self._store.sql(arrivals.PRUNE))
            return freed

        freed = self._store.transaction(reap)
        arrivals.wake(self._store, arrivals.counted(freed))
        return len(freed)

    def owners(self) -> list[OwnerStats]:
        """Who is enrolled; see `Broker.owners`."""
        found = self._all(claims.OWNERS, None)
        return [OwnerStats(original(name), left, claimed) for name, left, claimed in found]

    def stats(self, queues: Sequence[str] | None = None) -> list[QueueStats]:
        """How queues stand; see `Broker.stats`."""
        return self._store.run(lambda link: _queues.stats(link, self._store, queues))

    def browse(self, queue: str, *, limit: int = 100, offset: int = 0) -> list[Waiting]:
        """Messages of a queue in delivery order, behind those that are held."""
        return self._store.run(
            lambda link: _queues.browse(link, self._store, queue, limit=limit, offset=offset)
        )

    def remove(self, ids: Collection[str]) -> int:
        """Delete what nobody holds of these tasks; see `Broker.remove`."""
        return _queues.remove(self._store, ids)

    def purge(self, queue: str) -> int:
        """Delete what nobody holds of this queue; see `Broker.purge`."""
        return _queues.purge(self._store, queue)

    def dead(
        self, *, limit: int = 100, offset: int = 0, numbers: Collection[int] | None = None
    ) -> list[Buried]:
        """Dead letters, newest first; see `Broker.dead`."""
        return self._store.run(
            lambda link: burial.listed(link, self._store, numbers, limit=limit, offset=offset)
        )

    def replay(self, numbers: Collection[int]) -> int:
        """Put dead letters back to their queues; see `Broker.replay`."""
        store = self._store
        chosen = list(numbers)

        def replay(link: Link) -> list[Message]:
            messages = burial.exhume(link, store, chosen)
            arrivals.insert(link, store, messages, arrivals.heads_of(messages))
            return messages

        messages = store.transaction(replay)
        arrivals.wake(store, arrivals.news_of(messages, soon=store.options.poll_interval))
        return len(messages)

    def purge_dead(self, numbers: Collection[int] | None = None) -> int:
        """Delete dead letters; see `Broker.purge_dead`."""
        return self._store.run(lambda link: burial.forget(link, self._store, numbers))

    def broadcast(self, channel: str, payload: bytes) -> None:
        """Hand ``payload`` to everyone who listens; see `Broker.broadcast`."""
        self._broadcasts.broadcast(channel, payload)

    def listen(self, channel: str, *, after: int | None, wait: float) -> tuple[int, list[bytes]]:
        """What was broadcast after ``after``; see `Broker.listen`."""
        return self._broadcasts.listen(channel, after=after, wait=wait)

    def _count(self, statement: str, given: Any) -> int:
        return self._store.run(lambda link: link.count(self._store.sql(statement), given))

    def _all(self, statement: str, given: Any) -> list[Any]:
        return self._store.run(lambda link: link.all(self._store.sql(statement), given))
