"""What RabbitMQ reports, said once in our words: what happened to which thing, what to do next.

What trying again may cure is an `OperationalError`; what it cannot, an `ImproperlyConfigured`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from umbel.exceptions import ImproperlyConfigured, OperationalError, UmbelError, UnroutableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from umbel.drivers.amqp.messages import Outgoing

_FORCED, _ACCESS_REFUSED, _PRECONDITION, _NOT_ALLOWED = 320, 403, 406, 530


class FrameError(UmbelError):
    """Bytes that are not AMQP 0-9-1, or exceed a bound."""


class ConnectionLost(OperationalError):  # noqa: N818 - a state, as the tree's other names
    """The connection is gone or could not be made; what was on it has to be done again."""


class Unsent(OperationalError):  # noqa: N818 - as above
    """The server took nothing in time; nothing was written, and the connection is still good."""


class ChannelClosed(OperationalError):  # noqa: N818 - as above
    """The server closed a channel over something that may be right next time.

    Args:
        reason: What it said.
        code: AMQP's reply code.
    """

    def __init__(self, reason: str, code: int = 0) -> None:
        super().__init__(reason)
        self.code = code


class NotFound(ChannelClosed):
    """The server has no such queue or exchange."""


class AckTimeout(ChannelClosed):
    """A delivery was not acknowledged within the server's ``consumer_timeout``."""


class ConsumerCancelled(ChannelClosed):
    """The server ended a consumer, because its queue was deleted or moved; the channel lives on.

    Args:
        queue: What was consumed.
        tag: The consumer.
    """

    def __init__(self, queue: str, tag: str = "") -> None:
        super().__init__(queue)
        self.queue = queue
        self.tag = tag

    def __str__(self) -> str:
        return (
            f"RabbitMQ ended the consumer of queue {self.queue!r}: the queue was deleted or moved "
            "to another node; declare it and consume again"
        )


class Nacked(OperationalError):  # noqa: N818 - as above
    """The server did not keep these messages; trying again may help.

    Args:
        messages: What was published, in order.
    """

    def __init__(self, messages: Sequence[Outgoing]) -> None:
        super().__init__("")
        self.messages = tuple(messages)

    def __str__(self) -> str:
        keys = sorted({message.routing_key for message in self.messages})
        return (
            f"RabbitMQ refused {len(self.messages)} message(s) for {', '.join(map(repr, keys))}: a "
            "queue is full (x-max-length with reject-publish) or its node has failed"
        )


class Unroutable(UnroutableError):  # noqa: N818 - as above
    """Mandatory messages came back because no queue takes them.

    Args:
        messages: What was published, in order.
        reason: What the server said.
    """

    def __init__(self, messages: Sequence[Outgoing], reason: str = "") -> None:
        super().__init__(messages[0].exchange, messages[0].routing_key, reason=reason)
        self.messages = tuple(messages)


class AccessRefused(ImproperlyConfigured):
    """Wrong user or password, no such vhost, or no right to do this."""


class DeclarationMismatch(ImproperlyConfigured):
    """A queue or exchange exists with other arguments than those it is declared with."""


def again(error: UmbelError) -> UmbelError:
    """The same error, to be raised in another thread."""
    copy = type(error).__new__(type(error))
    copy.args = error.args
    copy.__dict__.update(error.__dict__)
    return copy


def of_connection(code: int, text: str, place: str) -> UmbelError:
    """Why the server at ``place`` closed the connection, or did not open it."""
    said = _without_code(text)
    if code == _ACCESS_REFUSED:
        return AccessRefused(
            f"RabbitMQ at {place} refused the login ({said}); check user and password in the URL "
            "(`guest` may log in from the server's own machine only)"
        )
    if code == _NOT_ALLOWED and "not found" in said:
        return AccessRefused(
            f"RabbitMQ at {place}: {said}; create it with `rabbitmqctl add_vhost`, or correct the "
            "URL (what follows the `/` behind the host is the vhost, `//` names the one called `/`)"
        )
    if code == _NOT_ALLOWED and "refused for user" in said:
        return AccessRefused(
            f"RabbitMQ at {place}: {said}; grant it with `rabbitmqctl set_permissions`"
        )
    if code == _FORCED:
        return ConnectionLost(f"RabbitMQ at {place} closed the connection: {said}")
    return ConnectionLost(f"RabbitMQ at {place} closed the connection (code {code}): {said}")


def of_channel(code: int, text: str) -> UmbelError:
    """Why the server closed a channel."""
    said = _without_code(text)
    match code:
        case 406:
            return _precondition(said)
        case 403:
            return AccessRefused(f"RabbitMQ refused: {said}; see `rabbitmqctl set_permissions`")
        case 404:
            return NotFound(f"RabbitMQ: {said}", code)
        case 405:
            return ChannelClosed(
                f"RabbitMQ: {said}; another connection declared it exclusive, or still holds it",
                code,
            )
        case _:
            return ChannelClosed(f"RabbitMQ closed the channel (code {code}): {said}", code)


def _precondition(said: str) -> UmbelError:
    if "inequivalent" in said:
        return _mismatch(said)
    if "acknowledgement on channel" in said:
        return AckTimeout(
            f"RabbitMQ took its deliveries back: {said}; raise `consumer_timeout` of the server "
            "above the longest run of a task",
            _PRECONDITION,
        )
    if re.search("invalid|unknown|unsupported", said) and "delivery tag" not in said:
        return ImproperlyConfigured(f"RabbitMQ does not take this: {said}")
    return ChannelClosed(f"RabbitMQ closed the channel: {said}", _PRECONDITION)


def _mismatch(said: str) -> DeclarationMismatch:
    found = re.search(
        r"inequivalent arg '(?P<argument>[^']*)' for (?P<kind>queue|exchange) '(?P<name>.*?)' in "
        r"vhost '.*?': received (?P<ours>.*?) but current is (?P<theirs>.*)",
        said,
    )
    if found is None:
        return DeclarationMismatch(
            f"RabbitMQ: {said}; declare it with the arguments it has, or delete it first"
        )
    return DeclarationMismatch(
        f"{found['kind']} {found['name']!r} exists with another {found['argument']}: declared here "
        f"with {_value(found['ours'])}, in RabbitMQ {_value(found['theirs'])}; configure what it "
        f"has, or delete the {found['kind']} once it is empty and let it be declared anew"
    )


def _value(said: str) -> str:
    return said.replace("the value ", "")


def _without_code(text: str) -> str:
    """The server's sentence without AMQP's name of the code in front."""
    return re.sub(r"^[A-Z_]+ - ", "", text)
