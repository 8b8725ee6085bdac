"""What one owner holds, and the consumers through which it gets it.

A claim is an unacknowledged delivery of one channel.  It lasts as long as the channel, and nobody
can take it away: that is RabbitMQ's lease.  So each owner has a channel of its own, with one
consumer per queue.

How much the server sends ahead is bounded per consumer, and only when a consumer starts.  So a
consumer is started with room for what is asked for, and when more is asked for than it has room
left, it is replaced by one with more; what the old one delivered stays claimed.  Its room comes
back with each acknowledgement, so under load the same consumer goes on for ever.
"""

from __future__ import annotations

import logging
from collections import deque
from itertools import count
from threading import Lock
from typing import TYPE_CHECKING, Any

from umbel.drivers.amqp.envelope import RETURNED
from umbel.exceptions import OperationalError
from umbel.identity import uuid7

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from umbel.drivers.amqp.channel import Channel
    from umbel.drivers.amqp.messages import Incoming

logger = logging.getLogger("umbel.amqp")

_MANY = 8
MOST_AHEAD = 20_000
"""The most that one consumer may hold; a bound against the memory of this process."""


class Tap:
    """One queue as an owner consumes it.

    Attributes:
        queue: its name.
        tag: the consumer that is running now, or None.
        room: how many unacknowledged deliveries it may hold.
        out: how many of its deliveries are not acknowledged.
        stays: whether there is always a consumer, because the queue goes with its last one.
        waiting: deliveries that were not handed out yet.
    """

    __slots__ = ("out", "queue", "room", "stays", "tag", "waiting")

    def __init__(self, queue: str, *, stays: bool = False) -> None:
        self.queue = queue
        self.stays = stays
        self.tag: str | None = None
        self.room = 0
        self.out = 0
        self.waiting: deque[Incoming] = deque()


class Claim:
    """A message that was handed out, until it is settled or given back.

    Attributes:
        line: the channel on which it is held.
        tap: the consumer side through which it came there.
        queue: the queue it belongs to.
        owner: who holds it.
        found: the delivery that is to be acknowledged.
        consumer: the tag of its consumer.
        ours: what travelled with it for us alone.
        since: when it was delivered, on the monotonic clock.
        crashes: starts of it that ended with the death of a process.
        deliveries: how often it was delivered, this time included.
        held: whether it is ours still, as far as is known.
        begun: whether its start was recorded.
        parked: whether it is held in the queue of this process; see `Parking`.
        moving: whether it is being moved there at the moment.
        ending: whether it is being settled at the moment.
        done: whether it was acknowledged, by a call that failed afterwards.
    """

    __slots__ = (
        *(
            "begun",
            "consumer",
            "crashes",
            "deliveries",
            "done",
            "ending",
            "found",
            "held",
            "line",
            "moving",
        ),
        *("ours", "owner", "parked", "queue", "since", "tap"),
    )

    def __init__(
        self, line: Line, tap: Tap, found: Incoming, ours: dict[str, Any], since: float
    ) -> None:
        self.line = line
        self.tap = tap
        self.queue = tap.queue
        self.owner = line.owner
        self.found = found
        self.consumer = found.consumer_tag
        self.ours = ours
        self.since = since
        self.crashes = _count(ours.get("crashes"))
        again = _count(ours[RETURNED]) if RETURNED in ours else found.redelivered
        self.deliveries = _count(ours.get("deliveries")) + 1 + again
        self.held = True
        self.begun = self.parked = self.moving = self.ending = self.done = False


def _count(value: Any) -> int:
    """A counter, which anybody may have written."""
    return value if type(value) is int and value >= 0 else 0


class Line:
    """The channel of one owner, its consumers, and what it holds."""

    def __init__(
        self,
        owner: str,
        channel: Channel,
        before_consuming: Callable[[str], object] = lambda _queue: None,
    ) -> None:
        self.owner = owner
        self.channel = channel
        # A queue that was deleted meanwhile would cost the channel, and every claim with it.
        self.before_consuming = before_consuming
        self.claims: dict[int, Claim] = {}
        self.reserving = Lock()
        self.counting = Lock()
        self.used_at = 0.0
        self.queues: tuple[str, ...] = ()
        self._taps: dict[str, Tap] = {}
        self._tags: dict[str, Tap] = {}
        self._channel_name = f"{uuid7()}"
        self._numbers = count(1)

    @property
    def is_open(self) -> bool:
        """Whether what is held is held still."""
        return self.channel.is_open

    @property
    def is_active(self) -> bool:
        """Whether the server may send something, or has, that nobody asked for yet."""
        return any(
            (tap.tag is not None or tap.waiting) and not tap.stays for tap in self._taps.values()
        )

    def tap(self, queue: str, *, stays: bool = False) -> Tap:
        """The consumer side of a queue."""
        found = self._taps.get(queue)
        if found is None:
            found = self._taps[queue] = Tap(queue, stays=stays)
        return found

    # -- consumers -------------------------------------------------------------------------

    def open(self, tap: Tap, number: int, *, spare: bool = False) -> None:
        """See to it that the server may send some more from the queue, ``number`` at best.

        With ``spare`` a new consumer gets twice the room, so that it lasts.

        Raises:
            NotFound: there is no such queue.
            OperationalError: the channel is gone.
        """
        wanted = max(min(number - len(tap.waiting), MOST_AHEAD), 1)
        if tap.tag is not None and tap.room - tap.out >= max(wanted // 4, 1):
            return
        self.start(tap, 2 * wanted if spare and wanted >= _MANY else wanted)

    def start(self, tap: Tap, room: int) -> None:
        """Have a new consumer that may hold ``room`` deliveries, whatever others hold."""
        before = tap.tag
        if not tap.stays:
            self.stop(tap)
        self.channel.qos(room)
        tag = f"umbel.{self._channel_name}.{next(self._numbers)}"
        with self.counting:
            tap.out, tap.room, tap.tag = 0, room, tag
        self._tags[tag] = tap
        self.before_consuming(tap.queue)
        self.channel.consume(tap.queue, tag=tag)
        if tap.stays and before is not None:
            self._end_consumer(before)

    def stop(self, tap: Tap) -> None:
        """End the consumer of a queue; raises `OperationalError`."""
        tag = tap.tag
        if tag is not None:
            tap.tag = None
            self._end_consumer(tag)

    def _end_consumer(self, tag: str) -> None:
        self.channel.cancel(tag)
        # Whatever it was sent came before the answer.
        self.collect()
        self._tags.pop(tag, None)

    def stop_all(self, but: Sequence[str] = ()) -> None:
        """End all consumers, and give back what was not handed out."""
        taps = [tap for tap in self._taps.values() if tap.queue not in but and not tap.stays]
        for tap in taps:
            self.stop(tap)
        spare = [found for tap in taps for found in tap.waiting]
        for tap in taps:
            tap.waiting.clear()
        self.give_back(found.delivery_tag for found in spare)

    def collect(self) -> None:
        """Sort what was read already."""
        while found := self.channel.receive(MOST_AHEAD, 0):
            self.sort(found)

    def cancelled(self, tag: str) -> Tap | None:
        """The server has ended a consumer; returns what it consumed."""
        tap = self._tags.pop(tag, None)
        if tap is not None and tap.tag == tag:
            tap.tag = None
        return tap

    # -- deliveries ------------------------------------------------------------------------

    def sort(self, deliveries: Iterable[Incoming]) -> None:
        """Put deliveries where they wait for being handed out."""
        with self.counting:
            for found in deliveries:
                tap = self._tags[found.consumer_tag]
                tap.waiting.append(found)
                if found.consumer_tag == tap.tag:
                    tap.out += 1

    def take(self, taps: Sequence[Tap], limit: int) -> list[tuple[Tap, Incoming]]:
        """Up to ``limit`` of what waits, from each queue in turn."""
        taken: list[tuple[Tap, Incoming]] = []
        if len(taps) == 1:
            (tap,) = taps
            waiting = tap.waiting
            return [(tap, waiting.popleft()) for _ in range(min(limit, len(waiting)))]
        while len(taken) < limit:
            before = len(taken)
            for tap in taps:
                if tap.waiting and len(taken) < limit:
                    taken.append((tap, tap.waiting.popleft()))
            if len(taken) == before:
                break
        return taken

    # -- ends ------------------------------------------------------------------------------

    def end(self, claims: Sequence[Claim]) -> None:
        """Acknowledge claims; raises `OperationalError`."""
        if claims:
            self.channel.ack_many([claim.found.delivery_tag for claim in claims])
            self.forget(claims)

    def forget(self, claims: Iterable[Claim]) -> None:
        """Claims that were ended: their consumers have room again."""
        with self.counting:
            held = self.claims
            for claim in claims:
                held.pop(claim.found.delivery_tag, None)
                if claim.consumer == claim.tap.tag:
                    claim.tap.out -= 1

    def drop(self, found: Incoming, tap: Tap) -> None:
        """Acknowledge a delivery that was never handed out."""
        self.channel.ack(found.delivery_tag)
        with self.counting:
            if found.consumer_tag == tap.tag:
                tap.out -= 1

    def give_back(self, tags: Iterable[int]) -> None:
        """Have the server put deliveries back to their places; raises `OperationalError`."""
        # From the last to the first, each in front of the one before.
        for tag in sorted(tags, reverse=True):
            self.channel.nack(tag, requeue=True)

    def close(self) -> None:
        """Give back everything."""
        try:
            if self.channel.is_open:
                self.channel.close()
        except OperationalError:
            logger.debug("the channel of %s went with its connection", self.owner)
