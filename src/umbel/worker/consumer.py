"""The fetch thread: claims no more work than the child is about to start.

Holding work back is what makes short tasks wait behind long ones, so it has to be earned: the
child may hold as many unstarted messages as it has been running in about a tenth of a second.
While a task runs for longer than that, what waits behind it is given back, for a sibling to take.
A slot that is free always gets one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from umbel import signals
from umbel.exceptions import LeaseLost, OperationalError, StoreError, UmbelError
from umbel.message import Settlement

if TYPE_CHECKING:
    from collections.abc import Callable

    from umbel.message import Delivery
    from umbel.ports.broker import Broker
    from umbel.worker.admission import Admission, Job
    from umbel.worker.loop import Loop
    from umbel.worker.options import Duty
    from umbel.worker.pacer import Pacer
    from umbel.worker.slots import Floor

logger = logging.getLogger("umbel.worker")

AHEAD = 0.1
"""Seconds of measured run time that may be held unstarted."""

MOST = 500
WAIT = 5.0
"""Seconds a reserve may block; an interrupt ends it at once."""

CHECK = 0.05
COOL = 0.5
"""Seconds for which a child whose main slot is stuck claims nothing for its event loop, after
what it claimed turned out to be for the main slot."""

FIRST_PAUSE, LAST_PAUSE = 0.1, 5.0


class Consumer:
    """Reserves messages in a thread of its own and hands them to the slots."""

    def __init__(
        self,
        broker: Broker,
        admission: Admission,
        floor: Floor,
        duty: Duty,
        *,
        loop: Loop | None,
        pacer: Pacer,
        on_empty: Callable[[], None] | None = None,
    ) -> None:
        self.inbox: SimpleQueue[Job | None] = SimpleQueue()
        self._broker = broker
        self._admission = admission
        self._floor = floor
        self._owner = duty.owner
        self._queues = duty.queues
        self._main_slots = duty.threads
        self._fixed = duty.prefetch
        self._lease = duty.lease
        self._loop = loop
        self._pacer = pacer
        self._on_empty = on_empty
        self._stopping = False
        self._cool_until = 0.0
        self._hungry = threading.Event()
        self._owed: deque[Delivery] = deque()
        self.low_water = 0
        self.claimed = 0
        self.waiting = False
        self._thread = threading.Thread(target=self._run, name="umbel-fetch", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Reserve no more, and give back what has not started."""
        self._stopping = True
        self._hungry.set()
        self._broker.interrupt()
        if self._thread.is_alive():
            self._thread.join(timeout)
        self.give_back()

    def reconnect(self) -> None:
        """Begin anew with connections of the broker that nobody has used yet."""
        logger.warning("messages wait and none arrives here; connecting to the broker anew")
        self._broker.close()
        self._broker.interrupt()

    def forget(self) -> list[Delivery]:
        """Let go of unstarted messages without telling the broker; returns them."""
        held: list[Delivery] = []
        while True:
            try:
                job = self.inbox.get_nowait()
            except Empty:
                return held
            if job is not None:
                held.append(job.delivery)

    def let_go(self) -> None:
        """Have the thread give back, as soon as the broker can be reached, what has not started."""
        self._owed.extend(self.forget())
        self._hungry.set()
        self._broker.interrupt()

    def give_back(self) -> int:
        """Return unstarted messages to the broker, no attempt charged; how many.

        What cannot be returned now is owed, and returned before anything more is reserved: our
        lease lasts as long as we live, so nobody else would ever get it.
        """
        self._owed.extend(self.forget())
        try:
            return self._repay()
        except (OperationalError, StoreError) as error:
            logger.warning("cannot give back %d messages yet: %s", len(self._owed), error)
            return 0

    def _repay(self) -> int:
        held: list[Delivery] = []
        with suppress(IndexError):
            while True:
                held.append(self._owed.popleft())
        if held:
            try:
                self._broker.release(held)
            except BaseException:
                self._owed.extend(held)
                raise
        return len(held)

    def took(self) -> None:
        """Called by a slot after it took a job: wakes the thread when little is left."""
        if self.waiting and self.inbox.qsize() <= self.low_water:
            self._hungry.set()

    def wake(self) -> None:
        """Called when a slot has become free."""
        self._hungry.set()

    # -- the thread ------------------------------------------------------------------------

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while not self._stopping:
            try:
                self._step_enrolled()
                pause = FIRST_PAUSE
            except UmbelError as error:
                logger.warning("cannot reserve (%s); trying again in %.1f s", error, pause)
                self._hungry.wait(pause)
                self._hungry.clear()
                pause = min(pause * 2, LAST_PAUSE)
            except Exception:
                logger.exception("reserving failed; trying again in %.1f s", pause)
                time.sleep(pause)
                pause = min(pause * 2, LAST_PAUSE)

    def _step_enrolled(self) -> None:
        try:
            self._step()
        except LeaseLost:
            self._enroll_again()

    def _step(self) -> None:
        self._repay()
        room = self._room()
        if room <= 0:
            self._wait_for_room()
            return
        deliveries = self._broker.reserve(
            self._owner, self._queues, limit=room, wait=WAIT if self._on_empty is None else 0.2
        )
        self.claimed += len(deliveries)
        if not deliveries and self._on_empty is not None and not self._stopping:
            self._on_empty()
        for delivery in deliveries:
            self._hand_out(delivery)

    def _room(self) -> int:
        """How many more messages may be claimed now."""
        waiting = self.inbox.qsize()
        ahead = self._ahead()
        self.low_water = ahead // 2
        free = self._main_slots - self._busy_main()
        room = max(ahead, free) - waiting
        if room < max(ahead // 2, 1) and free <= waiting:
            room = 0
        if self._loop is not None and waiting == 0 and time.monotonic() >= self._cool_until:
            room = max(room, self._loop.room)
        return min(room, MOST)

    def _ahead(self) -> int:
        if self._fixed is not None:
            return self._fixed
        mean = self._floor.mean_runtime
        if mean is None:
            return 0
        return min(int(AHEAD / max(mean, 1e-6)), MOST) * self._main_slots

    def _busy_main(self) -> int:
        running = self._floor.running
        return sum(1 for slot in range(self._main_slots) if slot in running)

    def _wait_for_room(self) -> None:
        """Sleep until a slot wants work; give back what waits behind a long task."""
        self._hungry.clear()
        self.waiting = True
        try:
            if self._room() > 0 or self._stopping:
                return
            if self.inbox.qsize() == 0:
                self._hungry.wait(WAIT if self._loop is None else COOL)
            elif not self._hungry.wait(CHECK) and self._stuck_behind():
                self.give_back()
                self._floor.mean_runtime = None
                self._cool_until = time.monotonic() + COOL
                self._hungry.wait(WAIT if self._loop is None else COOL)
        finally:
            self.waiting = False

    def _stuck_behind(self) -> bool:
        """Whether every slot has been running its task for longer than work is held.

        What the settings say to hold is held, however long.
        """
        if self._fixed:
            return False
        jobs = [self._floor.running.get(slot) for slot in range(self._main_slots)]
        now = time.monotonic()
        return all(job is not None and now - job.started > AHEAD for job in jobs)

    def _hand_out(self, delivery: Delivery) -> None:
        admitted = self._admission.admit(delivery)
        if isinstance(admitted, Settlement):
            self._floor.settler.put(admitted)
            return
        if self._floor.reporter.active:
            self._floor.reporter.received(admitted)
        if signals.task_received.receivers:
            request = self._admission.look_at(delivery, admitted.message)
            signals.task_received.send(sender=self, request=request)
        if self._pacer.limits:
            later = self._pacer.pace(admitted)
            if later is not None:
                self._floor.settler.put(later)
                return
        if admitted.plan.is_async and self._loop is not None:
            self._loop.submit(admitted)
        else:
            self.inbox.put(admitted)

    def _enroll_again(self) -> None:
        """The lease ended although we live: what we held may belong to others by now.

        What does not is still claimed in our name, which is good again: it has to be given back.
        """
        logger.warning(
            "the lease of %s has ended; messages held here may run elsewhere", self._owner
        )
        self._owed.extend(self.forget())
        self._broker.enroll(self._owner, self._lease)
