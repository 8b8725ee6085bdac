"""Publishing: everything mandatory and confirmed, many messages in one write.

A call takes a channel of its own out of a pool, so that what the server returns or refuses is
surely of this call, while calls of several threads share the connection.  How it is done with
``confirm="written"`` is in `umbel.drivers.amqp.tracking`.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

from umbel.drivers.amqp.envelope import outgoing
from umbel.drivers.amqp.errors import ConnectionLost, NotFound, Unroutable
from umbel.exceptions import UnroutableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from umbel.clock import Clock
    from umbel.drivers.amqp.channel import Channel
    from umbel.drivers.amqp.delays import Delays
    from umbel.drivers.amqp.messages import Outgoing
    from umbel.drivers.amqp.session import Session
    from umbel.drivers.amqp.topology import Topology
    from umbel.message import Message

_COUNTERS = ("deliveries", "crashes")

SOON = 0.001
"""Seconds that are no delay worth the way through a level."""


class Publishing:
    """The side of the broker that sends."""

    def __init__(
        self, session: Session, topology: Topology, delays: Delays, clock: Clock, timeout: float
    ) -> None:
        self.session = session
        self._topology = topology
        self._delays = delays
        self._clock = clock
        self._timeout = timeout
        self._free: deque[Channel] = deque()

    def deadline(self, timeout: float | None) -> float:
        """The moment, on the monotonic clock, until which a call may take."""
        return time.monotonic() + (self._timeout if timeout is None else timeout)

    def prepare(self, messages: Sequence[Message], until: float) -> list[Outgoing]:
        """The messages as they are sent; where they go to is declared.

        Raises:
            EncodeError: one holds what is no plain data; nothing was declared or sent.
            UnroutableError: one names an exchange that does not exist.
            OperationalError: the server cannot be reached in time.
        """
        self.session.wait_unblocked(until)
        now = self._clock.now()
        # All of them before anything is declared: one that cannot be encoded refuses all.
        ready = [outgoing(message) for message in messages]
        for target in {(message.exchange, message.queue) for message in messages}:
            self._ensure(*target, until)
        for place, message in enumerate(messages):
            if message.due_at is not None and message.due_at > now + SOON:
                left = message.due_at - now
                ready[place] = self._delays.outgoing(message, left, {}, _left(until))
        return ready

    def _ensure(self, exchange: str, queue: str, until: float) -> None:
        topology, left = self._topology, _left(until)
        if exchange:
            if queue and topology.is_known(queue):
                self._ensure_queue(queue, left)
            topology.ensure_exchange(self.session, exchange, left)
        else:
            self._ensure_queue(queue, left)

    def _ensure_queue(self, name: str, left: float) -> None:
        if ("queue", name) in self.session.declared:
            return
        # A queue that goes with its consumers is theirs to declare.
        if not any(queue.temporary for queue in self._topology.queues(name)):
            self._topology.ensure_queue(self.session, name, left)

    def publish(self, messages: Sequence[Message], timeout: float | None) -> None:
        """Have messages stored, confirmed; see `Broker.publish`."""
        if not messages:
            return
        until = self.deadline(timeout)
        known = self.session.epoch if self.session.is_open else 0
        try:
            self.confirm(self.prepare(messages, until), until)
        except ConnectionLost:
            # A connection that nobody used for a while may have been dead for as long.
            if not known or known != self.session.epoch:
                raise
            self.confirm(self.prepare(messages, until), until)

    def postpone(self, message: Message, ours: Mapping[str, object], due_at: float) -> None:
        """Send a message that came too early on its way through the delays, confirmed.

        Raises:
            OperationalError: the server did not take it in time.
        """
        until = self.deadline(None)
        kept = {key: value for key, value in ours.items() if key in _COUNTERS}
        left = max(due_at - self._clock.now(), 0.0)
        self.confirm([self._delays.outgoing(message, left, kept, _left(until))], until)

    def ensure_again(self, queue: str) -> None:
        """Declare a queue that was deleted; raises `OperationalError`."""
        self.session.declared.discard(("queue", queue))
        self._ensure("", queue, self.deadline(None))

    def confirm(self, messages: Sequence[Outgoing], until: float) -> None:
        """Send and wait until the server has stored it all.

        A queue that was deleted after it had been declared is declared anew.

        Raises:
            Unroutable: some came back, the others are stored.
            OperationalError: not confirmed until then.
        """
        try:
            self._confirm(messages, until)
        except Unroutable as error:
            # Whatever is missing, the next call declares it.
            self.session.declared.clear()
            if any(each.exchange for each in error.messages):
                raise
            for name in {each.routing_key for each in error.messages}:
                self.ensure_again(name)
            self._confirm(error.messages, until)

    def _confirm(self, messages: Sequence[Outgoing], until: float) -> None:
        self.session.wait_unblocked(until)
        with self._channel(until) as channel:
            sequence = channel.publish(messages, timeout=_left(until))
            try:
                channel.wait_confirmed(sequence, _left(until))
            except NotFound as error:
                first = messages[0]
                self.session.declared.discard(("exchange", first.exchange))
                raise UnroutableError(
                    first.exchange, first.routing_key, reason=str(error)
                ) from error

    @contextmanager
    def _channel(self, until: float) -> Iterator[Channel]:
        """A channel in confirm mode for one call."""
        channel = self._take(until)
        try:
            yield channel
        finally:
            if channel.is_open:
                self._free.append(channel)

    def _take(self, until: float) -> Channel:
        """A channel on which nothing is open, so that no answer is taken for another call's."""
        for _ in range(len(self._free)):
            try:
                channel = self._free.pop()
            except IndexError:
                break
            if not channel.is_open:
                continue
            if not channel.unconfirmed():
                channel.take_failures()
                return channel
            self._free.appendleft(channel)
        channel = self.session.own_channel(timeout=_left(until))
        channel.select_confirms()
        return channel

    def forget(self) -> None:
        """Use none of the channels again."""
        self._free.clear()


def _left(until: float) -> float:
    return max(until - time.monotonic(), 0.001)
