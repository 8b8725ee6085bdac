"""The broker over RabbitMQ: each part of it in its own file, tied together here."""

from __future__ import annotations

import contextlib
import os
import weakref
from typing import TYPE_CHECKING

from umbel.drivers.amqp.broadcasts import Broadcasts
from umbel.drivers.amqp.consuming import Consuming
from umbel.drivers.amqp.dead import DeadLetters
from umbel.drivers.amqp.delays import Delays
from umbel.drivers.amqp.errors import NotFound
from umbel.drivers.amqp.interrupts import Interrupts
from umbel.drivers.amqp.keeper import Keeper
from umbel.drivers.amqp.parking import Parking
from umbel.drivers.amqp.publishing import Publishing
from umbel.drivers.amqp.session import Session
from umbel.drivers.amqp.settling import Settling
from umbel.drivers.amqp.topology import CHANNEL, Topology
from umbel.drivers.amqp.tracking import Tracking
from umbel.exceptions import ImproperlyConfigured, LeaseLost, OperationalError
from umbel.ports.broker import Capabilities, QueueStats
from umbel.queues import Queue

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from typing import Any

    from umbel.clock import Clock
    from umbel.drivers.amqp.connection import Connection
    from umbel.drivers.amqp.options import Options
    from umbel.message import Delivery, Message, Settlement
    from umbel.ports.broker import Buried, OwnerStats, Waiting

_CAPABILITIES = Capabilities(browse=False, leases=False, exchanges=True)
_BLIND = (
    "RabbitMQ cannot show or remove single messages that wait: they can only be taken, which marks "
    "each of them as delivered; look at the queue in RabbitMQ's management interface"
)

_brokers: weakref.WeakSet[AMQPBroker] = weakref.WeakSet()
# Connections of the parent process: kept, because ending them here could end them there.
_inherited: list[object] = []


class _Parts:
    """What belongs to one process: connections, channels, locks and threads.

    There are two connections. RabbitMQ reads nothing more from a connection that publishes during
    an alarm, so what consumes and acknowledges never publishes.
    """

    def __init__(
        self,
        make: Callable[[], Connection],
        options: Options,
        topology: Topology,
        clock: Clock,
    ) -> None:
        timeout = options.operation_timeout
        self.sending = Session(make, timeout)
        self.taking = Session(make, timeout)
        self.interrupts = Interrupts()
        self.delays = Delays(self.sending, options.delay_queue_type)
        self.publishing = Publishing(self.sending, topology, self.delays, clock, timeout)
        self.tracking = (
            Tracking(self.publishing, options.flush_timeout)
            if options.confirm == "written"
            else None
        )
        self.parking = Parking(self.taking, self.publishing)
        self.dead = DeadLetters(self.taking, self.publishing, options.dead_letter_queue, timeout)
        self.settling = Settling(self.publishing, self.parking, self.dead.letter, timeout)
        self.consuming = Consuming(self.taking, topology, self.interrupts, clock)
        self.keeper = Keeper(self.consuming, self.parking, options.consumer_timeout)
        self.consuming.on_reserve = self.keeper.run
        self.consuming.on_ack_timeout = self.keeper.learn
        self.consuming.postpone = self.publishing.postpone
        self.broadcasts = Broadcasts(self.taking, self.publishing, self.interrupts, timeout)

    def close(self) -> None:
        """Give everything back."""
        self.keeper.close()
        # Else the server does it, a second after the connection has ended.
        with contextlib.suppress(OperationalError):
            self.settling.release_parked()
        for line in list(self.consuming.lines.values()):
            line.close()
        self.consuming.lines.clear()
        self.parking.close()
        self.broadcasts.close()
        if self.tracking is not None:
            self.tracking.close()
        self.publishing.forget()
        self.taking.close()
        self.sending.close()


class AMQPBroker:
    """A `Broker` over RabbitMQ."""

    def __init__(
        self,
        make: Callable[[], Connection],
        options: Options,
        conf: Mapping[str, Any],
        clock: Clock,
    ) -> None:
        self.topology = Topology(conf)
        self.topology.know([Queue(options.dead_letter_queue)])
        self._options = options
        self._make = make
        self._clock = clock
        self._parts = self._new()
        _brokers.add(self)

    def _new(self) -> _Parts:
        return _Parts(self._make, self._options, self.topology, self._clock)

    @property
    def capabilities(self) -> Capabilities:
        """No leases, because claims end with their connection; and no looking into queues."""
        return _CAPABILITIES

    def after_fork(self) -> None:
        """Begin anew: connections, locks and threads are those of the parent process."""
        _inherited.append(self._parts)
        self._parts = self._new()

    def setup(self) -> None:
        """See that the server is there and lets us in; see `Broker.setup`."""
        self._parts.taking.ensure()

    def close(self) -> None:
        """Give back connections, and what is held; the instance may be used again."""
        enrolled = self._parts.consuming.enrolled
        self._parts.close()
        self._parts.consuming.enrolled = enrolled

    # -- queues ------------------------------------------------------------------------------

    def declare(
        self,
        queues: Sequence[Queue],
        *,
        owner: str | None = None,  # noqa: ARG002 - RabbitMQ lets temporary queues go by itself
        timeout: float | None = None,
    ) -> None:
        """Have queues, exchanges and bindings; see `Broker.declare`."""
        parts = self._parts
        self.topology.know(queues)
        for queue in queues:
            parts.taking.declared.discard(("queue", queue.name))
            self.topology.ensure_queue(parts.taking, queue.name, timeout)
            if _has_native_delays(queue):
                parts.delays.serve(queue, timeout)

    def route(self, exchange: str, routing_key: str, *, timeout: float | None = None) -> list[str]:
        """Nothing: the server finds the queues; see `Broker.route`."""
        del exchange, routing_key, timeout
        return []

    def drop(self, queue: str) -> int:
        """Delete a queue; see `Broker.drop`."""
        parts = self._parts
        self.topology.forget(queue)
        for session in (parts.taking, parts.sending):
            session.declared.discard(("queue", queue))
        return parts.taking.channel(CHANNEL).delete_queue(queue)

    # -- publish -----------------------------------------------------------------------------

    def publish(self, messages: Sequence[Message], *, timeout: float | None = None) -> None:
        """Send messages; see `Broker.publish`.

        With the option ``confirm="written"`` it returns when they are written.
        """
        parts = self._parts
        (parts.tracking or parts.publishing).publish(messages, timeout)

    # -- owners ------------------------------------------------------------------------------

    def enroll(self, owner: str, lease: float) -> None:  # noqa: ARG002 - claims last as long as the connection
        """Make ``owner`` known; see `Broker.enroll`."""
        self._parts.consuming.enrolled.add(owner)

    def retire(self, owner: str) -> None:
        """Forget ``owner`` and give back what it holds; see `Broker.retire`."""
        self._parts.settling.release_parked(owner)
        self._parts.consuming.retire(owner)

    def extend(self, owners: Collection[str], lease: float) -> set[str]:  # noqa: ARG002 - as above
        """Those that are enrolled through this instance."""
        return self._parts.consuming.enrolled & set(owners)

    def owners(self) -> list[OwnerStats]:
        """Nobody: there are no leases."""
        return []

    # -- reserve -----------------------------------------------------------------------------

    def reserve(
        self, owner: str, queues: Sequence[str], *, limit: int, wait: float
    ) -> list[Delivery]:
        """Hand out messages, or wait for one; see `Broker.reserve`."""
        return self._parts.consuming.reserve(owner, queues, limit=limit, wait=wait)

    def interrupt(self) -> None:
        """End what waits in other threads; see `Broker.interrupt`."""
        self._parts.interrupts.interrupt()

    # -- settle ------------------------------------------------------------------------------

    def begin(self, delivery: Delivery) -> bool:
        """Count a start that has not ended yet; see `Broker.begin`."""
        claim = delivery.tag
        return self._parts.parking.begin(claim, self._options.operation_timeout)

    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        """End claims with all that goes with it; see `Broker.settle`."""
        return self._parts.settling.settle(settlements)

    def release(self, deliveries: Sequence[Delivery], *, crashed: bool = False) -> int:
        """Put claims back; see `Broker.release`."""
        return self._parts.settling.release(deliveries, crashed=crashed)

    def takeover(self, owner: str, by: str) -> list[Delivery]:
        """Nothing is there to be taken over: what a dead process held is in its queues again."""
        if by not in self._parts.consuming.enrolled:
            raise LeaseLost(by)
        self.retire(owner)
        return []

    # -- upkeep ------------------------------------------------------------------------------

    def promote(self, limit: int = 1000) -> float | None:  # noqa: ARG002 - the server does it
        """Nothing to do: the server lets messages join their queues when they are due."""
        return None

    def reap(self, limit: int = 1000) -> int:  # noqa: ARG002 - the server does it
        """Nothing to do: the server gives back what a lost connection held."""
        return 0

    def stats(self, queues: Sequence[str] | None = None) -> list[QueueStats]:
        """How many messages of queues are ready; what is delayed or held, RabbitMQ does not tell.

        Without names: of the queues that the settings name or that were declared here.
        """
        session = self._parts.taking
        session.ensure()
        names = self.topology.names if queues is None else queues
        if queues is None:
            names = [name for name in names if name != self._options.dead_letter_queue]
        found: list[QueueStats] = []
        for name in names:
            try:
                ready = session.channel(CHANNEL).declare_queue(name, passive=True).messages
            except NotFound:
                ready = 0
            found.append(QueueStats(name, ready, 0, 0, None))
        return found

    def browse(self, queue: str, *, limit: int = 100, offset: int = 0) -> list[Waiting]:
        """Not possible here; see `Capabilities.browse`.

        Raises:
            ImproperlyConfigured: always.
        """
        del queue, limit, offset
        raise ImproperlyConfigured(_BLIND)

    def remove(self, ids: Collection[str]) -> int:
        """Not possible here; see `Capabilities.browse`.

        Raises:
            ImproperlyConfigured: always.
        """
        del ids
        raise ImproperlyConfigured(_BLIND)

    def purge(self, queue: str) -> int:
        """Delete what nobody holds of a queue; see `Broker.purge`."""
        try:
            return self._parts.taking.channel(CHANNEL).purge_queue(queue)
        except NotFound:
            return 0

    # -- dead letters ------------------------------------------------------------------------

    def dead(
        self, *, limit: int = 100, offset: int = 0, numbers: Collection[int] | None = None
    ) -> list[Buried]:
        """Dead letters, newest first; see `Broker.dead`."""
        return self._parts.dead.listed(limit=limit, offset=offset, numbers=numbers)

    def replay(self, numbers: Collection[int]) -> int:
        """Put dead letters back to their queues; see `Broker.replay`."""
        return self._parts.dead.replay(numbers)

    def purge_dead(self, numbers: Collection[int] | None = None) -> int:
        """Delete dead letters; see `Broker.purge_dead`."""
        return self._parts.dead.purge(numbers)

    # -- broadcast ---------------------------------------------------------------------------

    def broadcast(self, channel: str, payload: bytes) -> None:
        """Hand ``payload`` to everyone who listens; see `Broker.broadcast`."""
        self._parts.broadcasts.broadcast(channel, payload)

    def listen(self, channel: str, *, after: int | None, wait: float) -> tuple[int, list[bytes]]:
        """What was broadcast after ``after``; see `Broker.listen`."""
        return self._parts.broadcasts.listen(channel, after=after, wait=wait)


def _has_native_delays(queue: Queue) -> bool:
    """Whether Celery sends delayed messages for this queue through the levels."""
    kind = queue.arguments.get("x-queue-type")
    return kind == "quorum" and queue.exchange.type in {"topic", "fanout"}


def _after_fork() -> None:
    for broker in list(_brokers):
        broker.after_fork()


os.register_at_fork(after_in_child=_after_fork)
