"""What goes out, what comes in, and what the server says about queues: plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class QueueOk(NamedTuple):
    """A queue as the server knows it: its name, messages that wait, and consumers."""

    name: str
    messages: int
    consumers: int


@dataclass(slots=True)
class Outgoing:
    """One message to publish.

    Attributes:
        exchange: where to; empty for the default one.
        routing_key: under which key; on the default exchange the queue's name.
        properties: AMQP's basic properties by name (``content_type``, ``headers``,
            ``delivery_mode``, ``priority``, ``correlation_id``, ``reply_to``, ``expiration``, …).
        body: the payload.
        mandatory: the server returns the message if no queue takes it.
    """

    exchange: str
    routing_key: str
    properties: Mapping[str, Any] = field(default_factory=dict)
    body: bytes = b""
    mandatory: bool = False
