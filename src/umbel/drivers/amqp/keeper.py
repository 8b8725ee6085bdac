"""A thread of each process that consumes: gives back what nobody asks for, keeps claims young.

Two things must happen while the process is busy with something else.  What was sent ahead is given
back when nobody has come for it within a tenth of a second.  And claims must not reach the server's
``consumer_timeout``: what has been held for a third of it is claimed anew (see `Parking`).  If the
server has a shorter time than we were told, the first claim that is taken back teaches us.
"""

from __future__ import annotations

import logging
import re
import time
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING

from umbel.exceptions import UmbelError

if TYPE_CHECKING:
    from umbel.drivers.amqp.claims import Claim, Line
    from umbel.drivers.amqp.consuming import Consuming
    from umbel.drivers.amqp.errors import AckTimeout
    from umbel.drivers.amqp.parking import Parking

logger = logging.getLogger("umbel.amqp")

UNASKED = 0.1
"""Seconds for which something may wait here that nobody asks for."""

_SHARE = 3
_LONGEST = 30.0
_PATIENCE = 10.0


class Keeper:
    """Runs from the first reserve until `close`."""

    def __init__(self, consuming: Consuming, parking: Parking, consumer_timeout: float) -> None:
        self._consuming = consuming
        self._parking = parking
        self._timeout = consumer_timeout
        self._starting = Lock()
        self._thread: Thread | None = None
        self._wake = Event()
        self._closing = False
        self._resting = False

    def run(self) -> None:
        """Have the thread, and have it look around soon."""
        if self._thread is None or not self._thread.is_alive():
            with self._starting:
                if self._thread is None or not self._thread.is_alive():
                    self._closing = False
                    self._thread = Thread(target=self._keep, name="umbel-amqp-keeper", daemon=True)
                    self._thread.start()
        if self._resting:
            self._wake.set()

    def close(self) -> None:
        """End the thread."""
        with self._starting:
            thread, self._thread = self._thread, None
            self._closing = True
            self._wake.set()
        if thread is not None:
            thread.join(_PATIENCE)

    def learn(self, error: AckTimeout) -> None:
        """The server took claims back: from now on be quicker than it is."""
        found = re.search(r"(\d+) ?ms", str(error))
        if found is not None:
            self._timeout = min(self._timeout, int(found[1]) / 1000)
            logger.warning(
                "RabbitMQ's consumer_timeout is %g s: set the same in broker_transport_options, "
                "so that long tasks are not started twice",
                int(found[1]) / 1000,
            )

    def _keep(self) -> None:
        while not self._closing:
            pause = self._look()
            self._resting = pause > UNASKED
            self._wake.wait(pause)
            self._resting = False
            self._wake.clear()

    def _look(self) -> float:
        """Do what is to be done now; returns the seconds until there may be more."""
        pause = min(_LONGEST, self._timeout / _SHARE / 4)
        try:
            for line in list(self._consuming.lines.values()):
                if line.is_open and not self._is_quiet(line):
                    pause = UNASKED / 2
                self._renew(line)
            if self._parking.line is not None:
                self._renew(self._parking.line)
        except UmbelError as error:
            logger.debug("upkeep has to wait: %s", error)
        return pause

    def _is_quiet(self, line: Line) -> bool:
        """Whether nothing can come here unasked; sees to it if nobody has asked for a while."""
        if not line.reserving.acquire(blocking=False):
            return False
        try:
            if line.is_active and time.monotonic() - line.used_at >= UNASKED:
                line.stop_all()
            return not line.is_active
        finally:
            line.reserving.release()

    def _renew(self, line: Line) -> None:
        """Claim anew what has been held for long."""
        old = time.monotonic() - self._timeout / _SHARE
        for claim in _older(line, old):
            if self._closing:
                return
            try:
                self._parking.park(claim, claim.crashes + 1, _PATIENCE)
            except UmbelError as error:
                logger.warning("a long claim on %s cannot be renewed yet: %s", claim.queue, error)
                return


def _older(line: Line, than: float) -> list[Claim]:
    """Claims from before a moment; they stand in the order in which they were made."""
    found: list[Claim] = []
    with line.counting:
        for claim in line.claims.values():
            if claim.since > than:
                break
            found.append(claim)
    return found if line.is_open else []
