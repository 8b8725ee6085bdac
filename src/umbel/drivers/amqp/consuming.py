"""Handing out messages: consumers that live long, and hold no more than somebody is waiting for.

A consumer is told nothing about how busy its process is.  So what it was sent is handed out as it
is asked for, and when nobody has asked for a while (a task runs long) the consumers are ended and
the rest is given back, for others to take; the next call starts them again.

A call that does not wait leaves no consumer behind.  It asks the server how many messages there
are, lets as many come as it may take, and is sure to have them when the server has answered another
question: answers and deliveries of one channel come in order.
"""

from __future__ import annotations

import logging
import math
import time
from threading import Lock
from typing import TYPE_CHECKING

from umbel.drivers.amqp.claims import Claim, Line
from umbel.drivers.amqp.envelope import message_of
from umbel.drivers.amqp.errors import AckTimeout, ConsumerCancelled
from umbel.drivers.amqp.publishing import SOON
from umbel.exceptions import LeaseLost, OperationalError
from umbel.message import Delivery, Message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from umbel.clock import Clock
    from umbel.drivers.amqp.claims import Tap
    from umbel.drivers.amqp.interrupts import Interrupts
    from umbel.drivers.amqp.messages import Incoming
    from umbel.drivers.amqp.session import Session
    from umbel.drivers.amqp.topology import Topology

logger = logging.getLogger("umbel.amqp")

_BUSY = 0.05
"""Seconds between two calls below which more is to be expected."""

_ROUNDS = 8
_SKEW = 0.05
"""Seconds by which clocks may differ before a message counts as sent too early."""


class Consuming:
    """The side of the broker that hands out."""

    def __init__(
        self, session: Session, topology: Topology, interrupts: Interrupts, clock: Clock
    ) -> None:
        self.session = session
        self.lines: dict[str, Line] = {}
        self.enrolled: set[str] = set()
        self.on_reserve: Callable[[], None] = lambda: None
        self.postpone: Callable[[Message, dict[str, object], float], None]
        self.on_ack_timeout: Callable[[AckTimeout], None] = lambda _: None
        self._topology = topology
        self._interrupts = interrupts
        self._clock = clock
        self._opening = Lock()
        self._fence = 0
        self._turn = 0

    # -- owners ------------------------------------------------------------------------------

    def retire(self, owner: str) -> None:
        """Forget an owner; what it holds goes back to its queues."""
        self.enrolled.discard(owner)
        line = self.lines.pop(owner, None)
        if line is not None:
            line.close()

    def _line(self, owner: str) -> Line:
        line = self.lines.get(owner)
        if line is not None and line.is_open:
            return line
        with self._opening:
            line = self.lines.get(owner)
            if line is None or not line.is_open:
                channel = self.session.own_channel()
                line = self.lines[owner] = Line(
                    owner, channel, lambda queue: self._topology.count(channel, queue)
                )
                self._topology.restore(self.session, None)
            return line

    # -- reserving ---------------------------------------------------------------------------

    def reserve(
        self, owner: str, queues: Sequence[str], *, limit: int, wait: float
    ) -> list[Delivery]:
        """Messages for ``owner``; see `Broker.reserve`."""
        if owner not in self.enrolled:
            raise LeaseLost(owner)
        if limit <= 0:
            return []
        line = self._line(owner)
        with line.reserving:
            self.on_reserve()
            try:
                return self._reserve(line, queues, limit, time.monotonic() + wait, wait > 0)
            except AckTimeout as error:
                self.on_ack_timeout(error)
                raise
            finally:
                line.used_at = time.monotonic()

    def _reserve(
        self,
        line: Line,
        queues: Sequence[str],
        limit: int,
        until: float,
        waits: bool,  # noqa: FBT001 - private
    ) -> list[Delivery]:
        self._turn += 1
        turn = self._turn % max(len(queues), 1)
        order = (*queues[turn:], *queues[:turn])
        taps = [line.tap(queue, stays=self._topology.is_temporary(queue)) for queue in order]
        busy = time.monotonic() - line.used_at < _BUSY
        if line.queues != tuple(queues):
            line.queues = tuple(queues)
            line.stop_all(but=queues)
        if not waits:
            return self._look(line, taps, limit)
        fresh = True
        while True:
            try:
                line.collect()
                found = self._hand_out(line, line.take(taps, limit))
                if found:
                    return found
                if self._prepare(line, taps, limit, spare=busy) and fresh:
                    # Whoever was told to stop still gets what is ready.
                    fresh = False
                    self._topology.count(line.channel, taps[0].queue)
                    continue
                left = until - time.monotonic()
                if left <= 0:
                    return []
                more, interrupted = self._interrupts.receive(line.channel, limit, left)
                line.sort(more)
                if interrupted and not more:
                    return []
            except ConsumerCancelled as error:
                self._restore(line, error)

    def _prepare(self, line: Line, taps: Sequence[Tap], limit: int, *, spare: bool) -> bool:
        """Have a consumer for every queue; whether one of them is new."""
        share = math.ceil(limit / len(taps)) if taps else 0
        before = [tap.tag for tap in taps]
        for tap in taps:
            self._topology.ensure_queue(self.session, tap.queue, None)
            line.open(tap, share, spare=spare)
        return before != [tap.tag for tap in taps]

    def _look(self, line: Line, taps: Sequence[Tap], limit: int) -> list[Delivery]:
        """What is ready now, up to the limit, and no consumers afterwards.

        It begins with consumers and not with counting, because the server may count before it has
        put back what was given back a moment ago.
        """
        for tap in taps:
            self._topology.ensure_queue(self.session, tap.queue, None)
        found: list[Delivery] = []
        ready = [limit] * len(taps)
        for _ in range(_ROUNDS):
            try:
                for tap, share in zip(taps, _shares(ready, limit - len(found)), strict=True):
                    if share:
                        line.start(tap, share)
                ready = [self._topology.count(line.channel, tap.queue) for tap in taps]
                line.collect()
                found += self._hand_out(line, line.take(taps, limit - len(found)))
                if len(found) >= limit or not any(ready):
                    break
            except ConsumerCancelled as error:
                self._restore(line, error)
        try:
            line.stop_all()
        except OperationalError:
            # What was taken reaches the caller, who will find the claims lost.
            logger.debug("the channel of %s was lost while it was left", line.owner)
        return found

    def _restore(self, line: Line, error: ConsumerCancelled) -> None:
        """Somebody has deleted a queue: have it again, and consume on."""
        tap = line.cancelled(error.tag)
        if tap is not None:
            logger.warning("%s; it is declared again", error)
            self.session.declared.discard(("queue", tap.queue))
            self._topology.ensure_queue(self.session, tap.queue, None)

    def _hand_out(self, line: Line, taken: Iterable[tuple[Tap, Incoming]]) -> list[Delivery]:
        """Deliveries of what was received; what is not due yet is sent on its way again."""
        found: list[Delivery] = []
        now, since = self._clock.now(), time.monotonic()
        # Later claims have greater fences, also those of other processes.
        fence = max(self._fence, time.time_ns())
        for tap, incoming in taken:
            message, ours = message_of(incoming, tap.queue)
            if isinstance(message, Message) and message.due_at is not None:
                # What has been through the delays is as late as clocks differ.
                early = SOON if incoming.exchange == "" else _SKEW
                if message.due_at > now + early:
                    self._send_on(line, tap, incoming, message, ours)
                    continue
            claim = Claim(line, tap, incoming, ours, since)
            fence += 1
            line.claims[incoming.delivery_tag] = claim
            found.append(
                Delivery(
                    message, claim, fence, line.owner, tap.queue, claim.deliveries, claim.crashes
                )
            )
        self._fence = fence
        return found

    def _send_on(
        self,
        line: Line,
        tap: Tap,
        incoming: Incoming,
        message: Message,
        ours: dict[str, object],
    ) -> None:
        try:
            self.postpone(message, ours, message.due_at or 0.0)
        except BaseException:
            line.give_back([incoming.delivery_tag])
            raise
        line.drop(incoming, tap)


def _shares(ready: Sequence[int], limit: int) -> list[int]:
    """How many to take from each queue so that all get their turn."""
    shares = [0] * len(ready)
    left = min(limit, sum(ready))
    while left > 0:
        open_ = [n for n, count in enumerate(ready) if count > shares[n]]
        step = max(left // len(open_), 1)
        for n in open_:
            part = min(step, ready[n] - shares[n], left)
            shares[n] += part
            left -= part
    return shares
