"""What goes out, what comes in, and what the server says about queues: plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from umbel.drivers.amqp import shapes

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


class Incoming:
    """One message that the server delivered.

    Attributes:
        channel: the number of the channel it came through.
        consumer_tag: whose delivery it is; empty for `Channel.get`.
        delivery_tag: what to acknowledge, on this channel only.
        redelivered: somebody may have had it before.
        exchange: where it was published to.
        routing_key: under which key.
        raw_properties: the properties as they came, not looked at yet.
        body: the payload.
    """

    __slots__ = (
        "_properties",
        "body",
        "channel",
        "consumer_tag",
        "delivery_tag",
        "exchange",
        "raw_properties",
        "redelivered",
        "routing_key",
    )

    def __init__(  # one for every message: keywords would take twice as long
        self,
        channel: int,
        consumer_tag: str,
        delivery_tag: int,
        redelivered: bool,  # noqa: FBT001 - positional for speed
        exchange: str,
        routing_key: str,
        raw_properties: bytes,
        body: bytes,
    ) -> None:
        self.channel = channel
        self.consumer_tag = consumer_tag
        self.delivery_tag = delivery_tag
        self.redelivered = redelivered
        self.exchange = exchange
        self.routing_key = routing_key
        self.raw_properties = raw_properties
        self.body = body
        self._properties: dict[str, Any] | None = None

    @property
    def properties(self) -> dict[str, Any]:
        """The basic properties by name, read when first asked for.

        Raises:
            FrameError: they are malformed.
        """
        found = self._properties
        if found is None:
            found = self._properties = shapes.read(self.raw_properties)
        return found

    @property
    def headers(self) -> dict[str, Any]:
        """The property ``headers``, empty if there are none; raises as `properties`."""
        found: dict[str, Any] = self.properties.get("headers") or {}
        return found

    def __repr__(self) -> str:
        return (
            f"<Incoming {self.delivery_tag} exchange={self.exchange!r} "
            f"routing_key={self.routing_key!r} {len(self.body)} bytes>"
        )


class Confirm(NamedTuple):
    """The server took (``ok``) or refused one message, or all up to ``tag``."""

    channel: int
    tag: int
    multiple: bool
    ok: bool


class Returned(NamedTuple):
    """A mandatory message that came back because no queue takes it."""

    channel: int
    exchange: str
    routing_key: str
    reason: str
    raw_properties: bytes
    body: bytes


class Answer(NamedTuple):
    """A method of the cold path, with the message that came with it if one did."""

    channel: int
    method: Any
    message: Incoming | None = None
