"""Dead letters: messages of a durable queue, with what is known of them in a header.

RabbitMQ can look into no queue but by taking what is in it.  So whoever lists or replays letters
takes all, alone (an exclusive consumer is the lock), keeps those that were asked for, and gives the
rest back by closing the channel.  A letter's number is the moment it was written, in microseconds,
so it stays the same however often the letters are looked at.
"""

from __future__ import annotations

import json
import time
from collections import deque
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any

from umbel.drivers.amqp.envelope import OURS, message_of, properties_of
from umbel.drivers.amqp.errors import AccessRefused, FrameError
from umbel.drivers.amqp.messages import Outgoing
from umbel.exceptions import OperationalError
from umbel.message import DeadLetter, Malformed, Message
from umbel.ports.broker import Buried

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from umbel.drivers.amqp.channel import Channel
    from umbel.drivers.amqp.messages import Incoming
    from umbel.drivers.amqp.publishing import Publishing
    from umbel.drivers.amqp.session import Session

_LETTER = "letter"
_BEGINNING = 1_577_836_800  # of 2020, so that numbers are shorter
_PAUSE = 0.05
_AT_ONCE = 10_000


class DeadLetters:
    """The queue of dead letters."""

    def __init__(self, session: Session, publishing: Publishing, name: str, timeout: float) -> None:
        self._session = session
        self._publishing = publishing
        self._name = name
        self._timeout = timeout
        self._last = 0
        self._numbering = Lock()

    # -- writing -----------------------------------------------------------------------------

    def letter(self, letter: DeadLetter, until: float) -> Outgoing:
        """A letter as it is published; the queue is declared.

        Raises:
            OperationalError: the server cannot be reached until then.
        """
        session = self._publishing.session
        if self._name not in session.declared:
            channel = session.channel("declare", timeout=max(until - time.monotonic(), 0.001))
            channel.declare_queue(self._name)
            session.declared.add(self._name)
        message = letter.message
        facts = {
            "number": self._number(),
            "queue": letter.queue,
            "reason": letter.reason,
            "detail": letter.detail,
            "at": letter.at,
            "evidence": dict(letter.evidence),
            "from": message.queue,
        }
        if isinstance(message, Malformed):
            facts |= {"id": message.id, "malformed": message.reason}
            headers = {OURS: {_LETTER: json.dumps(facts, default=str)}}
            return Outgoing(
                "",
                self._name,
                {"delivery_mode": 2, "headers": headers},
                message.raw,
                mandatory=True,
            )
        ours = {
            _LETTER: json.dumps(facts, default=str),
            "route": [message.exchange, message.routing_key],
            "properties": json.dumps(dict(message.properties), default=str),
        }
        properties = properties_of(message, ours) | {"delivery_mode": 2}
        properties.pop("expiration", None)
        return Outgoing("", self._name, properties, message.body, mandatory=True)

    def _number(self) -> int:
        with self._numbering:
            self._last = max(self._last + 1, int((time.time() - _BEGINNING) * 1e6))
            return self._last

    # -- reading -----------------------------------------------------------------------------

    def listed(self, *, limit: int, offset: int, numbers: Collection[int] | None) -> list[Buried]:
        """Letters, newest first; see `Broker.dead`."""
        with self._taken() as (_channel, found):
            if numbers is not None:
                wanted = set(numbers)
                kept = [buried for one in found if (buried := _buried(one)).number in wanted]
            else:
                # Of the oldest ones not even the properties are read.
                newest = deque(found, maxlen=offset + limit) if limit >= 0 else deque(found)
                kept = [_buried(one) for one in newest]
        kept.sort(key=lambda buried: buried.number, reverse=True)
        return kept[offset : offset + limit] if limit >= 0 else kept[offset:]

    def replay(self, numbers: Collection[int]) -> int:
        """Put letters back to their queues; see `Broker.replay`."""
        wanted = set(numbers)
        with self._taken() as (channel, found):
            letters = [(_buried(one), one.delivery_tag) for one in found]
            letters.sort(key=lambda pair: pair[0].number)
            whole: list[Message] = []
            tags: list[int] = []
            for buried, tag in letters:
                message = buried.letter.message
                if buried.number in wanted and isinstance(message, Message):
                    whole.append(message)
                    tags.append(tag)
            if whole:
                until = self._publishing.deadline(self._timeout)
                self._publishing.confirm(self._publishing.prepare(whole, until), until)
                channel.ack_many(tags)
        return len(whole)

    def purge(self, numbers: Collection[int] | None) -> int:
        """Delete letters; see `Broker.purge_dead`."""
        if numbers is None:
            channel = self._session.channel("declare")
            channel.declare_queue(self._name)
            return channel.purge_queue(self._name)
        wanted = set(numbers)
        with self._taken() as (channel, found):
            tags = [one.delivery_tag for one in found if _buried(one).number in wanted]
            channel.ack_many(tags)
        return len(tags)

    @contextmanager
    def _taken(self) -> Iterator[tuple[Channel, Iterator[Incoming]]]:
        """Every letter, for this caller alone; what it does not acknowledge stays."""
        channel = self._alone()
        try:
            yield channel, self._all(channel)
        finally:
            channel.close()

    def _alone(self) -> Channel:
        """A channel whose consumer is the only one of the queue; waits for others."""
        until = time.monotonic() + self._timeout
        while True:
            channel = self._session.own_channel()
            channel.declare_queue(self._name)
            channel.qos(0)
            try:
                channel.consume(self._name, exclusive=True)
            except AccessRefused:
                if time.monotonic() > until:
                    raise OperationalError(
                        f"somebody else has been reading the dead letters in {self._name!r} for "
                        f"{self._timeout:g} s"
                    ) from None
                time.sleep(_PAUSE)
            else:
                return channel

    def _all(self, channel: Channel) -> Iterator[Incoming]:
        while True:
            left = channel.declare_queue(self._name).messages
            found = channel.receive(_AT_ONCE, 0)
            yield from found
            if not left and not found:
                return


def _buried(found: Incoming) -> Buried:
    """The letter of a message; one that somebody else has put there has its place as a number."""
    queue = _facts(found).get("from", found.routing_key)
    message, ours = message_of(found, queue)
    facts = _parsed(ours.get(_LETTER))
    if "malformed" in facts:
        message = Malformed(found.body, facts["malformed"], facts["id"], queue)
    reason = message.reason if isinstance(message, Malformed) else ""
    letter = DeadLetter(
        message,
        facts.get("queue", queue),
        facts.get("reason", "malformed"),
        facts.get("detail", reason),
        facts.get("at", 0.0),
        facts.get("evidence", {}),
    )
    return Buried(facts.get("number", found.delivery_tag), letter)


def _facts(found: Incoming) -> dict[str, Any]:
    try:
        ours = found.headers.get(OURS)
    except FrameError:
        return {}
    return _parsed(ours.get(_LETTER)) if isinstance(ours, dict) else {}


def _parsed(text: Any) -> dict[str, Any]:
    try:
        facts = json.loads(text)
    except (TypeError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}
