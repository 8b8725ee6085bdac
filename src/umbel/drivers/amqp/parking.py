"""Holding a message in a queue of this process, so that its death is recorded, and its claim young.

RabbitMQ keeps no counter that only a crash moves: a classic queue says *redelivered* of everything
that was ever sent ahead, a quorum queue counts what was given back as well.  And it takes a claim
back that is older than its ``consumer_timeout``.  One device solves both.

A message is *parked* by publishing a copy of it, with the count it shall have if this process dies,
to a queue that belongs to this process, and by acknowledging the original once the copy has been
delivered here.  The copy is claimed now, and its clock starts anew.  If the task ends, the copy is
acknowledged.  If the process dies, the server puts the copy back into the process's queue, where
its time is over (a second), and from there it goes as a dead letter to the queue it came from:
with the count of one crash more.  Neighbours that were only sent ahead are never counted.

If the process dies between the copy and the acknowledgement, the message is there twice.
"""

from __future__ import annotations

import logging
import time
from threading import Condition, Lock
from typing import TYPE_CHECKING

from umbel.drivers.amqp.claims import Line
from umbel.drivers.amqp.envelope import OURS, again
from umbel.drivers.amqp.errors import FrameError
from umbel.exceptions import OperationalError
from umbel.identity import uuid7

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from umbel.drivers.amqp.claims import Claim
    from umbel.drivers.amqp.messages import Incoming
    from umbel.drivers.amqp.publishing import Publishing
    from umbel.drivers.amqp.session import Session

logger = logging.getLogger("umbel.amqp")

LIFE = 1.0
"""Seconds after which a copy leaves the queue of a dead process."""

_UNUSED = 600.0
"""Seconds after which the server forgets the queue of a dead process, which is empty by then."""

_TOKEN = "token"  # noqa: S105 - a name


class Parking:
    """The queue of this process, and what is held there."""

    def __init__(self, session: Session, publishing: Publishing) -> None:
        self._session = session
        self._publishing = publishing
        self._name = f"umbel.held.{uuid7()}"
        self._parking = Lock()
        self._moves = Condition(Lock())
        self._line: Line | None = None

    @property
    def line(self) -> Line | None:
        """The channel that holds what is parked, if anything ever was."""
        return self._line

    # -- who may end a claim -----------------------------------------------------------------

    def begin_ending(self, claims: Sequence[Claim], timeout: float) -> list[bool]:
        """Keep claims from being moved; for each whether it is ours to end.

        A claim that is given twice is ours once.

        Raises:
            OperationalError: one of them is being moved and does not arrive in time.
        """
        until = time.monotonic() + timeout
        with self._moves:
            for claim in claims:
                while claim.moving:
                    if not self._moves.wait(max(until - time.monotonic(), 0.0)):
                        raise OperationalError("a message is still being claimed anew")
            ours: list[bool] = []
            for claim in claims:
                mine = claim.held and not claim.ending and (claim.done or claim.line.is_open)
                claim.ending = claim.ending or mine
                ours.append(mine)
            return ours

    @staticmethod
    def stop_ending(claims: Iterable[Claim], *, ended: bool) -> None:
        """Claims were ended, or are to be ended by a later call."""
        for claim in claims:
            claim.ending = False
            claim.held = claim.held and not ended

    def begin(self, claim: Claim, timeout: float) -> bool:
        """Record that a message is about to be started again; see `Broker.begin`.

        Raises:
            OperationalError: the server did not record it in time.
        """
        if claim.begun:
            return claim.held and claim.line.is_open
        claim.begun = self.park(claim, claim.crashes + 1, timeout)
        return claim.begun

    # -- moving ------------------------------------------------------------------------------

    def park(self, claim: Claim, crashes: int, timeout: float) -> bool:
        """Hold a claim here, its message to come back with ``crashes``; False if it was lost.

        Raises:
            OperationalError: the server did not take the copy in time; the claim is as it was.
        """
        until = time.monotonic() + timeout
        with self._moves:
            if claim.ending or claim.moving or not claim.held or not claim.line.is_open:
                return False
            claim.moving = True
        try:
            with self._parking:
                return self._move(claim, crashes, until)
        finally:
            with self._moves:
                claim.moving = False
                self._moves.notify_all()

    def _move(self, claim: Claim, crashes: int, until: float) -> bool:
        line = self._open(max(until - time.monotonic(), 0.001))
        token = uuid7()
        ours = {**claim.ours, "deliveries": claim.deliveries, "crashes": crashes, _TOKEN: token}
        copy = again(claim.found, claim.queue, ours)
        copy.exchange = self._name
        self._publishing.confirm([copy], until)
        found = self._arrived(line, token, until)
        try:
            claim.line.end([claim])
        except OperationalError:
            line.channel.ack(found.delivery_tag)
            return False
        claim.line, claim.tap, claim.found = line, line.tap(self._name), found
        claim.consumer, claim.since, claim.parked = found.consumer_tag, time.monotonic(), True
        line.claims[found.delivery_tag] = claim
        return True

    def _open(self, timeout: float) -> Line:
        line = self._line
        if line is not None and line.is_open:
            return line
        channel = self._session.own_channel(timeout=timeout)
        channel.declare_queue(
            self._name,
            arguments={
                "x-message-ttl": int(LIFE * 1000),
                "x-dead-letter-exchange": "",
                "x-expires": int(_UNUSED * 1000),
            },
        )
        channel.declare_exchange(self._name, "fanout", auto_delete=True)
        channel.bind_queue(self._name, self._name)
        line = Line(self._name, channel)
        # No bound: nothing comes but what this process sends itself.
        line.start(line.tap(self._name), 0)
        self._line = line
        return line

    def _arrived(self, line: Line, token: str, until: float) -> Incoming:
        """The copy; leftovers of calls that gave up are dropped, their originals being held."""
        while (left := until - time.monotonic()) > 0:
            for found in line.channel.receive(1, left):
                if _token(found) == token:
                    return found
                line.channel.ack(found.delivery_tag)
        raise OperationalError("RabbitMQ has not delivered what was to be claimed anew in time")

    def close(self) -> None:
        """Give the channel back, and the queue if nothing is in it."""
        line, self._line = self._line, None
        if line is None or not line.is_open:
            return
        try:
            line.stop_all()
            if not line.claims:
                line.channel.delete_queue(self._name, if_unused=True, if_empty=True)
        except OperationalError:
            logger.debug("the queue of this process is left to the server")
        line.close()


def _token(found: Incoming) -> object:
    try:
        ours = found.headers.get(OURS)
    except FrameError:
        return None
    return ours.get(_TOKEN) if isinstance(ours, dict) else None
