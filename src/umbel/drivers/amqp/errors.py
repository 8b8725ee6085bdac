"""What RabbitMQ reports, said once in our words: what happened to which thing, what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from umbel.exceptions import ImproperlyConfigured, OperationalError, UmbelError, UnroutableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from umbel.drivers.amqp.messages import Outgoing


class FrameError(UmbelError):
    """Bytes that are not AMQP 0-9-1, or exceed a bound."""


class ConnectionLost(OperationalError):  # noqa: N818 - named as the tree's other classes
    """The connection is gone, or could not be made; everything on it has to be done again."""


class ChannelClosed(OperationalError):  # noqa: N818
    """The server closed the channel because of something that trying again may cure.

    Attributes:
        code: AMQP's reply code (404, 405, 406, …).
    """

    def __init__(self, reason: str, code: int = 0) -> None:
        super().__init__(reason)
        self.code = code


class NotFound(ChannelClosed):
    """The server has no such queue or exchange."""


class ConsumerCancelled(ChannelClosed):
    """The server ended a consumer: its queue was deleted or moved; the channel is still good."""

    def __init__(self, queue: str, tag: str) -> None:
        super().__init__(f"the server cancelled the consumer of queue {queue!r}: it was deleted")
        self.queue = queue
        self.tag = tag


class Nacked(OperationalError):
    """The server did not take these messages: a queue is full or failed; try again later."""

    def __init__(self, messages: Sequence[Outgoing]) -> None:
        super().__init__(f"the server refused {len(messages)} messages")
        self.messages = tuple(messages)


class Unroutable(UnroutableError):
    """Mandatory messages came back because no queue takes them; ``messages`` holds them."""

    def __init__(self, messages: Sequence[Outgoing], reason: str = "") -> None:
        super().__init__(messages[0].exchange, messages[0].routing_key, reason=reason)
        self.messages = tuple(messages)


class AccessRefused(ImproperlyConfigured):
    """Wrong user or password, no such vhost, or no right to do this."""


class DeclarationMismatch(ImproperlyConfigured):
    """A queue or exchange exists with other arguments than it is declared with."""
