"""Ending claims: follow-ups and dead letters confirmed first, then the acknowledgement.

A process that dies in between has published the follow-ups, and the message comes again: work is
repeated, never lost, and follow-ups have ids that depend on nothing but the attempt, so that a
second one is the same.  While the server takes no messages (an alarm), ends without follow-ups
still go through, on the connection that publishes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from umbel.drivers.amqp.envelope import again
from umbel.exceptions import OperationalError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from umbel.drivers.amqp.claims import Claim, Line
    from umbel.drivers.amqp.messages import Outgoing
    from umbel.drivers.amqp.parking import Parking
    from umbel.drivers.amqp.publishing import Publishing
    from umbel.message import DeadLetter, Delivery, Settlement


class Settling:
    """The side of the broker that ends claims."""

    def __init__(
        self,
        publishing: Publishing,
        parking: Parking,
        letter: Callable[[DeadLetter, float], Outgoing],
        timeout: float,
    ) -> None:
        self._publishing = publishing
        self._parking = parking
        self._letter = letter
        self._timeout = timeout

    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        """End claims with all that goes with it; see `Broker.settle`."""
        claims = [_claim_of(s.delivery) for s in settlements]
        mine = [claim for claim in claims if claim is not None]
        judged = iter(self._parking.begin_ending(mine, self._timeout))
        accepted = [claim is None or next(judged) for claim in claims]
        ours = [c for c, ok in zip(claims, accepted, strict=True) if c is not None and ok]
        ended = False
        try:
            self._publish([s for s, ok in zip(settlements, accepted, strict=True) if ok], ours)
            lost = self._end(ours)
            ended = True
        finally:
            self._parking.stop_ending(ours, ended=ended)
        if lost:
            return [ok and claim not in lost for claim, ok in zip(claims, accepted, strict=True)]
        return accepted

    def _publish(self, settlements: Sequence[Settlement], ours: Sequence[Claim]) -> None:
        if not any(s.follow or s.dead is not None or s.requeue for s in settlements):
            return
        until = self._publishing.deadline(self._timeout)
        try:
            ready: list[Outgoing] = []
            for s in settlements:
                if s.requeue and s.delivery is not None:
                    claim: Claim = s.delivery.tag
                    ready.append(_back(claim, crashes=claim.crashes))
                if s.dead is not None:
                    ready.append(self._letter(s.dead, until))
            follow = [message for s in settlements for message in s.follow]
            ready += self._publishing.prepare(follow, until)
            self._publishing.confirm(ready, until)
        except OperationalError:
            self._end_quiet(settlements, ours)
            raise

    def _end_quiet(self, settlements: Sequence[Settlement], ours: Sequence[Claim]) -> None:
        """Acknowledge what needs nothing published; the next try finds it done."""
        loud = {
            id(s.delivery.tag)
            for s in settlements
            if s.delivery is not None and (s.follow or s.dead is not None or s.requeue)
        }
        quiet = [claim for claim in ours if id(claim) not in loud]
        lost = self._end(quiet)
        for claim in quiet:
            claim.done = claim not in lost

    def _end(self, claims: Sequence[Claim]) -> set[Claim]:
        """Acknowledge claims; returns those that were lost meanwhile."""
        lost: set[Claim] = set()
        for line, own in _by_line(claim for claim in claims if not claim.done):
            try:
                line.end(own)
            except OperationalError:
                lost.update(own)
        return lost

    # -- giving back ---------------------------------------------------------------------------

    def release(self, deliveries: Sequence[Delivery], *, crashed: bool = False) -> int:
        """Put claims back to their queues; see `Broker.release`.

        At their old places, but for those that crashed and those that were started: a copy of
        these goes to the end.
        """
        claims = [claim for d in deliveries if (claim := _claim_of(d)) is not None]
        judged = self._parking.begin_ending(claims, self._timeout)
        ours = [claim for claim, ok in zip(claims, judged, strict=True) if ok]
        ended = False
        try:
            lost = self._give_back(ours, crashed=crashed)
            ended = True
        finally:
            self._parking.stop_ending(ours, ended=ended)
        return len(ours) - lost

    def _give_back(self, claims: Sequence[Claim], *, crashed: bool) -> int:
        copied = [claim for claim in claims if crashed or claim.parked]
        if copied:
            until = self._publishing.deadline(self._timeout)
            copies = [
                _back(claim, crashes=claim.crashes + crashed, charged=crashed) for claim in copied
            ]
            self._publishing.confirm(copies, until)
        lost = len(self._end(copied))
        for line, own in _by_line(claim for claim in claims if not (crashed or claim.parked)):
            try:
                line.give_back(claim.found.delivery_tag for claim in own)
                line.forget(own)
            except OperationalError:
                lost += len(own)
        return lost

    def release_parked(self, owner: str | None = None) -> None:
        """Put back what is held in the queue of this process: all, or what one owner holds."""
        line = self._parking.line
        if line is None or not line.is_open:
            return
        claims = [c for c in list(line.claims.values()) if owner in (None, c.owner)]
        judged = self._parking.begin_ending(claims, self._timeout)
        ours = [claim for claim, ok in zip(claims, judged, strict=True) if ok]
        ended = False
        try:
            self._give_back(ours, crashed=False)
            ended = True
        finally:
            self._parking.stop_ending(ours, ended=ended)


def _claim_of(delivery: Delivery | None) -> Claim | None:
    return None if delivery is None else delivery.tag


def _back(claim: Claim, *, crashes: int, charged: bool = True) -> Outgoing:
    deliveries = claim.deliveries if charged else claim.deliveries - 1
    ours = {**claim.ours, "deliveries": deliveries, "crashes": crashes}
    ours.pop("token", None)
    return again(claim.found, claim.queue, ours)


def _by_line(claims: Iterable[Claim]) -> list[tuple[Line, list[Claim]]]:
    lines: dict[int, tuple[Line, list[Claim]]] = {}
    for claim in claims:
        lines.setdefault(id(claim.line), (claim.line, []))[1].append(claim)
    return list(lines.values())
