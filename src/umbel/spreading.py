"""From a message to the queues it reaches: what is declared first, and how many copies are made.

On RabbitMQ exchanges are the server's: the message is published to one, and the queues known here
are declared before anything is sent to them, as they are configured.  Everywhere else a message
waits in exactly one queue: whoever publishes asks the broker which queues are bound, those of other
processes included, and sends a copy to each.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from umbel.exceptions import ImproperlyConfigured, UnroutableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from umbel.app import Umbel
    from umbel.message import Message
    from umbel.ports.broker import Broker
    from umbel.queues import Queue

_SPREAD = frozenset({"direct", "topic", "fanout"})
"""The types of exchanges that publishers can stand in for."""


class Spreader:
    """Prepares messages of one application for a broker."""

    def __init__(self, app: Umbel) -> None:
        self._app = app
        self._declared: set[tuple[int, int, str]] = set()

    def spread(
        self, messages: Sequence[Message], broker: Broker, until: float | None = None
    ) -> Sequence[Message]:
        """What to publish: the messages, each with a copy for every queue its exchange has for it.

        Queues known here that have not been declared to this broker are, before ``until`` on the
        monotonic clock.

        Raises:
            UnroutableError: an exchange has no queue for one of them.
            ImproperlyConfigured: a queue cannot be declared as it is configured.
            OperationalError: the broker cannot be reached.
        """
        if broker.capabilities.exchanges:
            self._declare(self._meant(messages), broker, until)
            return messages
        if not any(message.exchange for message in messages):
            return messages
        self._declare(self._meant(m for m in messages if m.exchange), broker, until)
        return [copy for message in messages for copy in self._copies(message, broker, until)]

    def _copies(self, message: Message, broker: Broker, until: float | None) -> list[Message]:
        if not message.exchange:
            return [message]
        names = broker.route(message.exchange, message.routing_key, timeout=_left(until))
        if not names:
            raise UnroutableError(message.exchange, message.routing_key)
        return [replace(message, queue=name) for name in names]

    def _meant(self, messages: Iterable[Message]) -> dict[str, Queue]:
        """The queues known here that the messages go to, but for those that workers bring along."""
        queues = self._app.amqp.queues
        meant: dict[str, Queue] = {}
        for message in messages:
            if message.exchange:
                found = queues.bound_to(message.exchange, message.routing_key)
            else:
                found = [queues[message.queue]] if message.queue in queues else []
            meant.update((queue.name, queue) for queue in found if not queue.temporary)
        return meant

    def _declare(self, meant: dict[str, Queue], broker: Broker, until: float | None) -> None:
        where = id(broker), self._app.amqp.queues.version
        new = [queue for name, queue in meant.items() if (*where, name) not in self._declared]
        if new:
            check_exchanges(new, broker)
            broker.declare(new, timeout=_left(until))
            self._declared.update((*where, queue.name) for queue in new)


def check_exchanges(queues: Iterable[Queue], broker: Broker) -> None:
    """See that the broker can do what the exchanges of these queues ask for.

    Raises:
        ImproperlyConfigured: it cannot.
    """
    if broker.capabilities.exchanges:
        return
    for queue in queues:
        for each in queue.all_bindings:
            if each.exchange.type not in _SPREAD:
                raise ImproperlyConfigured(
                    f"queue {queue.name!r} is bound to the {each.exchange.type} exchange "
                    f"{each.exchange.name!r}, which only RabbitMQ has; use a direct, topic or "
                    "fanout exchange"
                )


def _left(until: float | None) -> float | None:
    return None if until is None else max(until - time.monotonic(), 0.001)
