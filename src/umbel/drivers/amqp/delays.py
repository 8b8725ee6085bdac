"""Delays kept by the server: messages wait in queues whose time to live is a power of two.

RabbitMQ has no delayed messages, but it moves a message on when its time in a queue is over.  So
there are queues of 1, 2, 4, … seconds, each behind a topic exchange of the same name
(``celery_delayed_<n>``, the layout of Celery 5.5).  The first 28 words of a routing key are the
delay in binary, most significant digit first; at exchange ``n`` a 1 leads into the queue that lasts
``2**n`` seconds, a 0 past it, and either way the next stop is exchange ``n - 1``.  Whoever has
passed level 0 is due and comes to ``celery_delayed_delivery``.  No message waits behind one that is
due later, because all messages of one queue wait equally long.

From there on the way is ours.  Celery lets the rest of the key find the queue by its end, which
confuses ``celery`` with ``mail.celery`` and works for topic exchanges only.  We add two words: what
is left below a second, in steps of a tenth (``now``, or ``ms300``, which leads into one more
queue), and the place to go, a queue or an exchange with a key, with its dots replaced.  The
exchange ``umbel_delayed`` knows the places.

Levels, steps and places are declared when they are first needed, and only as many as are.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Any

from umbel.drivers.amqp.envelope import properties_of
from umbel.drivers.amqp.messages import Outgoing
from umbel.drivers.amqp.topology import CHANNEL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from umbel.drivers.amqp.session import Session
    from umbel.message import Message
    from umbel.queues import Queue

DUE = "celery_delayed_delivery"
OURS = "umbel_delayed"
LEVELS = 28
LONGEST = 2**LEVELS - 1
_STEP = 10
"""How many steps a second has."""

_LONGEST_PLACE = 150


def level_name(number: int) -> str:
    """The exchange and the queue of ``2**number`` seconds."""
    return f"celery_delayed_{number}"


class Delays:
    """Sends messages on their way through the levels."""

    def __init__(self, session: Session, kind: str) -> None:
        self._session = session
        self._kind = kind

    def outgoing(
        self, message: Message, left: float, ours: Mapping[str, Any], timeout: float | None
    ) -> Outgoing:
        """The message as it is published to be delivered in ``left`` seconds, rounded up.

        What it passes on its way is declared, so that the server accepts it.

        Raises:
            OperationalError: the server cannot be reached.
            DeclarationMismatch: a level exists with other arguments.
            EncodeError: headers or properties hold what is no plain data.
        """
        steps = min(math.ceil(left * _STEP - 1e-6), LONGEST * _STEP)
        seconds, rest = divmod(steps, _STEP)
        exchange = self._ensure_levels(seconds, timeout)
        part = self._ensure_part(rest, timeout)
        place = self._ensure_place(message, timeout)
        mine = dict(ours)
        key = message.routing_key
        if message.exchange or key != message.queue:
            mine["route"] = [message.exchange, key]
        properties = properties_of(message, mine)
        # A shorter life than a level would end the wait before its time.
        properties.pop("expiration", None)
        return Outgoing(
            exchange, f"{_binary(seconds)}.{part}.{place}", properties, message.body, mandatory=True
        )

    def serve(self, queue: Queue, timeout: float | None) -> None:
        """Have what Celery needs to delay messages for a queue with a topic or fanout exchange.

        Celery's clients send to the longest level, and trust that whoever consumes has declared
        all of them and let the queue be found by the end of the key.
        """
        self.ensure_levels(LEVELS, timeout)
        channel = self._session.channel(CHANNEL, timeout=timeout)
        for each in queue.all_bindings:
            if each.exchange.name and each.exchange.type in {"topic", "fanout"}:
                pattern = f"#.{each.routing_key}"
                channel.bind_exchange(each.exchange.name, DUE, pattern)
                channel.bind_queue(queue.name, each.exchange.name, pattern)

    # -- what has to be there ----------------------------------------------------------------

    def _ensure_levels(self, seconds: int, timeout: float | None) -> str:
        """Have every level up to the longest this delay needs; returns where it begins."""
        self.ensure_levels(seconds.bit_length(), timeout)
        return level_name(seconds.bit_length() - 1) if seconds else DUE

    def ensure_levels(self, count: int, timeout: float | None) -> None:
        """Have the ``count`` shortest levels; raises as `outgoing`."""
        done = self._session.declared
        if ("levels", count) in done:
            return
        channel = self._session.channel(CHANNEL, timeout=timeout)
        if DUE not in done:
            channel.declare_exchange(DUE, "topic")
            channel.declare_exchange(OURS, "topic")
            channel.bind_exchange(OURS, DUE, f"{_any(LEVELS)}now.#")
            done.add(DUE)
        below = DUE
        for number in range(count):
            name = level_name(number)
            if name not in done:
                passed = _any(LEVELS - 1 - number)
                channel.declare_exchange(name, "topic")
                channel.declare_queue(name, arguments=self._waiting(2**number * 1000, below))
                channel.bind_queue(name, name, f"{passed}1.#")
                channel.bind_exchange(below, name, f"{passed}0.#")
                done.add(name)
            below = name
        done.add(("levels", count))

    def _waiting(self, milliseconds: int, then: str) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "x-queue-type": self._kind,
            "x-overflow": "reject-publish",
            "x-message-ttl": milliseconds,
            "x-dead-letter-exchange": then,
        }
        if self._kind == "quorum":
            arguments["x-dead-letter-strategy"] = "at-least-once"
        return arguments

    def _ensure_part(self, steps: int, timeout: float | None) -> str:
        """Have the queue for what is left below a second; returns its word."""
        if not steps:
            return "now"
        milliseconds = steps * 1000 // _STEP
        word, name = f"ms{milliseconds}", f"{OURS}_{milliseconds}"
        if name not in self._session.declared:
            channel = self._session.channel(CHANNEL, timeout=timeout)
            channel.declare_queue(name, arguments=self._waiting(milliseconds, OURS))
            channel.bind_queue(name, DUE, f"{_any(LEVELS)}{word}.#")
            self._session.declared.add(name)
        return word

    def _ensure_place(self, message: Message, timeout: float | None) -> str:
        """Have the way from the last stop to the queue or exchange; returns the place's word."""
        exchange = message.exchange
        key = message.routing_key if exchange else message.queue
        word = _word(f"via:{exchange}:{key}" if exchange else f"to:{key}")
        if word in self._session.declared:
            return word
        channel = self._session.channel(CHANNEL, timeout=timeout)
        queue = key
        if exchange:
            # Only a dead letter leaves with another key: so it dies at once in a queue on the way.
            queue = f"{OURS}.{word}"
            ending = {"x-dead-letter-exchange": exchange, "x-dead-letter-routing-key": key}
            channel.declare_queue(queue, arguments={"x-message-ttl": 0, **ending})
        channel.bind_queue(queue, OURS, f"#.{word}")
        self._session.declared.add(word)
        return word


def _binary(seconds: int) -> str:
    return ".".join(format(seconds, f"0{LEVELS}b"))


def _any(words: int) -> str:
    return "*." * words


def _word(text: str) -> str:
    """One word of a routing key that stands for ``text``, and for nothing else."""
    word = text.replace("%", "%25").replace(".", "%2E").replace("*", "%2A").replace("#", "%23")
    if len(word.encode()) > _LONGEST_PLACE:
        word = f"sha:{hashlib.sha256(text.encode()).hexdigest()}"
    return word
