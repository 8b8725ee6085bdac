"""Queues, exchanges and bindings, declared as Celery declares them.

Both sides declare what they use, so both must say the same: a durable queue, a durable exchange of
the queue's type, and the binding between them, with the arguments that the queue was configured
with.  What was declared on a connection is not declared on it again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from umbel.drivers.amqp.errors import NotFound
from umbel.exceptions import UnroutableError
from umbel.queues import Queue, QueueDefaults, Queues

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from umbel.drivers.amqp.channel import Channel
    from umbel.drivers.amqp.session import Session
    from umbel.exchanges import Binding, Exchange

CHANNEL = "declare"
_UNUSED = 600_000
"""Milliseconds without use after which a queue goes that is there for its consumers alone."""

_DEFAULTS = {
    "task_default_queue": "queue",
    "task_default_exchange": "exchange",
    "task_default_exchange_type": "exchange_type",
    "task_default_routing_key": "routing_key",
    "task_default_queue_type": "queue_type",
    "task_queue_max_priority": "max_priority",
    "task_create_missing_queue_type": "missing_type",
    "task_create_missing_queue_exchange_type": "missing_exchange_type",
}


class Topology:
    """What is known of queues: what the application declared, and for the rest its settings."""

    def __init__(self, conf: Mapping[str, Any]) -> None:
        self._conf = conf
        self._configured: Queues | None = None
        self._declared: dict[str, list[Queue]] = {}
        self._found: set[str] = set()
        self._missing: dict[str, Queue] = {}

    # -- knowing ---------------------------------------------------------------------------

    def know(self, queues: Iterable[Queue]) -> None:
        """Remember queues that were declared; bindings of the same queue add up."""
        for queue in queues:
            self._found.discard(queue.name)
            known = self._declared.setdefault(queue.name, [])
            if queue not in known:
                known.append(queue)

    def forget(self, name: str) -> None:
        """A queue is no more."""
        self._found.discard(name)
        self._declared.pop(name, None)

    @property
    def names(self) -> list[str]:
        """The queues that were declared here, or that the settings name."""
        return sorted({*self._declared, *self._settings()})

    def queues(self, name: str) -> list[Queue]:
        """The declarations of a queue: those made, else the one the settings give it."""
        known = self._declared.get(name)
        if known is not None:
            return known
        if name not in self._missing:
            settings = self._settings()
            self._missing[name] = settings.get(name) or settings.missing(name)
        return [self._missing[name]]

    def is_known(self, name: str) -> bool:
        """Whether it was declared here or is named by the settings."""
        return name in self._declared or name in self._settings()

    def is_temporary(self, name: str) -> bool:
        """Whether the queue goes with those who consume from it."""
        return any(queue.temporary for queue in self._declared.get(name, ()))

    def _settings(self) -> Queues:
        if self._configured is None:
            conf = self._conf
            given = {
                field: conf[name] for name, field in _DEFAULTS.items() if conf.get(name) is not None
            }
            self._configured = Queues(conf.get("task_queues"), QueueDefaults(**given))
        return self._configured

    # -- declaring -------------------------------------------------------------------------

    def restore(self, session: Session, timeout: float | None) -> None:
        """Declare on a new connection what was declared through the last one."""
        if "restored" not in session.declared:
            for name in list(self._declared):
                self.ensure_queue(session, name, timeout)
            session.declared.add("restored")

    def ensure_queue(self, session: Session, name: str, timeout: float | None) -> None:
        """Have a queue, unless this connection has seen to it already.

        Raises:
            DeclarationMismatch: it exists with other arguments.
            OperationalError: the server cannot be reached.
        """
        if ("queue", name) in session.declared:
            return
        if not self._is_there(session, name, timeout):
            for queue in self.queues(name):
                if not queue.no_declare:
                    self._declare(session, queue, timeout)
        session.declared.add(("queue", name))

    def _is_there(self, session: Session, name: str, timeout: float | None) -> bool:
        """Whether somebody has made a queue that nobody spoke of here: it is taken as it is."""
        if self.is_known(name):
            return False
        try:
            session.channel(CHANNEL, timeout=timeout).declare_queue(name, passive=True)
        except NotFound:
            return False
        self._found.add(name)
        return True

    def ensure_exchange(self, session: Session, name: str, timeout: float | None) -> None:
        """Have an exchange with the queues that are known to be bound to it.

        Raises:
            UnroutableError: nothing is known of it, and the server has no such exchange.
        """
        if ("exchange", name) in session.declared:
            return
        bound = [queue for queue in self._all() if _is_bound(queue, name) and not queue.temporary]
        for queue in bound:
            if not queue.no_declare:
                self._declare(session, queue, timeout)
        if not bound:
            channel = session.channel(CHANNEL, timeout=timeout)
            try:
                channel.declare_exchange(name, passive=True)
            except NotFound as error:
                raise UnroutableError(name, "", reason="there is no such exchange") from error
        session.declared.add(("exchange", name))

    def count(self, channel: Channel, name: str) -> int:
        """How many messages of a queue are ready, asked on ``channel``.

        The question is a declaration, so that a queue which is gone is there again and the
        channel survives.
        """
        queue = self.queues(name)[0]
        return channel.declare_queue(
            name,
            durable=queue.durable,
            exclusive=queue.exclusive,
            auto_delete=False,
            passive=queue.no_declare or name in self._found,
            arguments=_arguments(queue),
        ).messages

    def _all(self) -> list[Queue]:
        declared = [queue for known in self._declared.values() for queue in known]
        configured = self._settings().values()
        return declared + [queue for queue in configured if queue.name not in self._declared]

    def _declare(self, session: Session, queue: Queue, timeout: float | None) -> None:
        channel = session.channel(CHANNEL, timeout=timeout)
        bindings = [each for each in queue.all_bindings if each.exchange.name]
        for each in bindings:
            self._declare_exchange(session, channel, each.exchange)
        channel.declare_queue(
            queue.name,
            durable=queue.durable,
            exclusive=queue.exclusive,
            auto_delete=False,
            arguments=_arguments(queue),
        )
        for each in bindings:
            _bind(channel, queue, each)

    def _declare_exchange(self, session: Session, channel: Channel, exchange: Exchange) -> None:
        key = ("made", exchange.name)
        if exchange.no_declare or exchange.name.startswith("amq.") or key in session.declared:
            return
        channel.declare_exchange(
            exchange.name,
            exchange.type,
            durable=exchange.durable,
            auto_delete=exchange.auto_delete,
            passive=exchange.passive,
            arguments=exchange.arguments,
        )
        session.declared.add(key)


def _arguments(queue: Queue) -> dict[str, Any] | None:
    """What a queue is declared with.

    One that goes with its last consumer would go, with what is in it, whenever we take no more for
    a moment; so it goes when it has not been used for some time instead.
    """
    arguments = queue.arguments
    if queue.auto_delete:
        arguments.setdefault("x-expires", _UNUSED)
    return arguments or None


def _bind(channel: Channel, queue: Queue, binding: Binding) -> None:
    channel.bind_queue(
        queue.name, binding.exchange.name, binding.routing_key, binding.arguments or None
    )


def _is_bound(queue: Queue, exchange: str) -> bool:
    return any(each.exchange.name == exchange for each in queue.all_bindings)
