"""The settle thread: what attempts ended with, made durable in batches.

Slots put settlements on a queue and go on; this thread takes all that has gathered and hands it
to the broker as one step.  Under load that is hundreds at once, when idle it is one at once, with
no timer in between.  Where results live on another server than messages, the order is result,
follow-ups, acknowledgement: a crash in between repeats work and loses none.

A broker that cannot be reached is tried again until it can: the claims stay ours as long as the
supervisor renews the lease, and if it cannot either, the fence refuses what comes too late.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

from umbel.exceptions import OperationalError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from umbel.message import Message, Settlement
    from umbel.ports.backend import ResultBackend
    from umbel.ports.broker import Broker

logger = logging.getLogger("umbel.worker")

BATCH = 500
BACKLOG = 5_000
"""Unsettled attempts at which slots wait for the broker to catch up."""

FIRST_PAUSE, LAST_PAUSE = 0.05, 2.0

TRIES = 4
"""Failures of a batch after which its settlements are tried one by one."""


class Settler:
    """Settles in a thread of its own, in the order in which it was given settlements.

    ``route`` makes known the queues of follow-up messages, and finds those of an exchange.
    """

    def __init__(
        self,
        broker: Broker,
        store: ResultBackend | None,
        *,
        together: bool,
        route: Callable[[Sequence[Message]], Sequence[Message]] = lambda messages: messages,
    ) -> None:
        self._broker = broker
        self._store = store
        self._together = together
        self._route = route
        self._queue: deque[Settlement] = deque()
        self._wake = threading.Event()
        self._idle = threading.Condition()
        self._asleep = False
        self._busy = False
        self._closing = False
        self.refused = 0
        self._thread = threading.Thread(target=self._run, name="umbel-settle", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def put(self, settlement: Settlement) -> None:
        """Have ``settlement`` applied soon; waits only when the broker is far behind."""
        self._queue.append(settlement)
        if self._asleep:
            self._wake.set()
        elif len(self._queue) > BACKLOG:
            self.flush(timeout=1.0)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything put so far is settled; False if time is up first."""
        end = None if timeout is None else time.monotonic() + timeout
        self._wake.set()
        with self._idle:
            while self._queue or self._busy:
                left = None if end is None else end - time.monotonic()
                if (left is not None and left <= 0) or not self._thread.is_alive():
                    return not (self._queue or self._busy)
                self._idle.wait(left if left is None else min(left, 0.5))
        return True

    def close(self, timeout: float) -> bool:
        """Settle what is left and end the thread; False if time was up first."""
        done = self.flush(timeout)
        self._closing = True
        self._wake.set()
        self._thread.join(1.0)
        return done

    def _run(self) -> None:
        while not self._closing:
            batch = self._take()
            if batch:
                self._settle(batch)
                self._busy = False
            else:
                self._rest()

    def _take(self) -> list[Settlement]:
        queue = self._queue
        self._busy = True
        batch: list[Settlement] = []
        while queue and len(batch) < BATCH:
            batch.append(queue.popleft())
        if not batch:
            self._busy = False
        return batch

    def _rest(self) -> None:
        with self._idle:
            self._idle.notify_all()
        self._asleep = True
        if not self._queue and not self._closing:
            self._wake.wait()
        self._asleep = False
        self._wake.clear()

    def _settle(self, batch: Sequence[Settlement]) -> None:
        """Apply a batch, as often as it takes; a server that is away is waited for."""
        pause = FIRST_PAUSE
        for tries in count(1):
            try:
                self._apply(batch)
            except Exception as error:  # noqa: BLE001 - whatever it is, the claims are ours
                logger.warning("cannot settle (%s); trying again in %.2f s", error, pause)
            else:
                return
            if self._closing:
                return
            if tries % TRIES == 0 and self._settle_singly(batch):
                return
            time.sleep(pause)
            pause = min(pause * 2, LAST_PAUSE)

    def _settle_singly(self, batch: Sequence[Settlement]) -> bool:
        """Find out whether one settlement keeps the others from being applied.

        Those that work are applied. What does not, while giving its message back does, is at
        fault itself: its message counts a crash, so that it ends in the dead letters and not in
        an endless loop. False if nothing works: then it is the server.
        """
        for settlement in batch:
            try:
                self._apply([settlement])
            except Exception as error:  # noqa: BLE001 - as above
                if not self._give_back(settlement, error):
                    return False
        return True

    def _give_back(self, settlement: Settlement, error: Exception) -> bool:
        delivery = settlement.delivery
        try:
            if delivery is None:
                self._broker.stats([])
            else:
                self._broker.release([delivery], crashed=True)
        except (OperationalError, StoreError):
            return False
        task_id = delivery.message.id if delivery is not None else "a state"
        logger.error("the end of %s cannot be made durable: %s", task_id, error)
        return True

    def _apply(self, batch: Sequence[Settlement]) -> None:
        """One step, or, for a result store on another server, the results first."""
        if self._store is not None and not self._together:
            results = [settlement.result for settlement in batch if settlement.result is not None]
            if results:
                self._store.store(results)
            batch = [replace(settlement, result=None) for settlement in batch]
        if any(settlement.follow for settlement in batch):
            batch = [
                replace(each, follow=tuple(self._route(each.follow))) if each.follow else each
                for each in batch
            ]
        for settlement, accepted in zip(batch, self._broker.settle(batch), strict=True):
            if accepted:
                continue
            self.refused += 1
            delivery = settlement.delivery
            if delivery is not None:
                logger.warning(
                    "Task %s was finished here, but somebody else holds it by now; its end "
                    "changes nothing",
                    delivery.message.id,
                )
