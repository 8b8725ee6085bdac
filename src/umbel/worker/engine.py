"""What runs tasks inside one process: fetch, slots, loop and settle thread, tied together.

The same engine runs in every child of a supervisor and in a solo worker.
"""

from __future__ import annotations

import logging
import threading
import time
from queue import Empty
from typing import TYPE_CHECKING, Any

from umbel import attempt
from umbel.exceptions import TimeLimitExceeded
from umbel.outcome import Failed
from umbel.worker.admission import Admission, Job
from umbel.worker.consumer import Consumer
from umbel.worker.loop import Loop
from umbel.worker.pacer import Pacer
from umbel.worker.reporter import Reporter
from umbel.worker.settler import Settler
from umbel.worker.slots import Floor, exited, run_job

if TYPE_CHECKING:
    from collections.abc import Callable

    from umbel.app import Umbel
    from umbel.worker.board import Board, Row
    from umbel.worker.options import Duty

logger = logging.getLogger("umbel.worker")

BEAT = 0.5
"""Seconds between signs of life of an idle slot."""


class Engine:
    """Runs tasks of one application from some queues."""

    def __init__(
        self,
        app: Umbel,
        duty: Duty,
        row: Row,
        board: Board,
        *,
        has_expired: Callable[[], bool] | None = None,
        verdict_of: Callable[[str], dict[str, Any] | None] | None = None,
    ) -> None:
        self.app = app
        self._row = row
        self._threads = duty.threads
        self._should_end = has_expired or (lambda: False)
        self._duty = duty
        self.settler = Settler(
            app.broker,
            app.result_store,
            together=app.settles_together,
            route=app.client.spread,
        )
        admission = Admission(app, duty, verdict_of=verdict_of)
        self.floor = Floor(app, admission, row, self.settler, Reporter())
        self.loop = self._make_loop(duty) if duty.async_slots else None
        self.consumer = Consumer(
            app.broker,
            admission,
            self.floor,
            duty,
            loop=self.loop,
            pacer=Pacer(app, board),
            on_empty=self._empty if duty.until_empty else None,
        )
        self._ending = threading.Event()
        self._helpers = [
            threading.Thread(target=self.work, args=(slot,), name=f"umbel-slot-{slot}", daemon=True)
            for slot in range(1, duty.threads)
        ]

    def _make_loop(self, duty: Duty) -> Loop:
        return Loop(
            self.floor,
            first_slot=duty.threads,
            slots=duty.async_slots,
            warn_after=self.app.conf.worker_block_warning,
            lifespans=self.app.lifespans,
            on_free=self._slot_free,
        )

    def start(self) -> None:
        """Start the threads; `work` is then to be called by the main one.

        Raises:
            OperationalError: the broker cannot be reached.
            ImproperlyConfigured: a queue is known to the broker otherwise than it is here.
        """
        broker, duty = self.app.broker, self._duty
        if not broker.capabilities.leases:
            broker.enroll(duty.owner, duty.lease)  # it is known to this connection alone
        broker.declare(duty.declared, owner=duty.owner)
        self.settler.start()
        if self.loop is not None:
            self.loop.start()
        for helper in self._helpers:
            helper.start()
        self.consumer.start()

    def work(self, slot: int = 0) -> None:
        """Run tasks in this thread until `end` is called."""
        inbox, consumer = self.consumer.inbox, self.consumer
        ending = self._ending
        while not ending.is_set():
            try:
                job = inbox.get(timeout=BEAT)
            except Empty:
                self.beat()
            else:
                if job is None:
                    break
                consumer.took()
                job.slot = slot
                self._run(job)
                if consumer.waiting and inbox.empty():
                    consumer.wake()
            if self._should_end():
                break

    def _run(self, job: Job) -> None:
        """Run a job; only in the main thread may a task that exits end the process."""
        try:
            run_job(self.floor, job)
        except attempt.TERMINAL as error:
            if job.slot == 0:
                raise
            if self.floor.erase(job):
                self.floor.end_unrun(job, exited(error))

    def beat(self) -> None:
        """Write a sign of life to the board."""
        self._row.beat(
            time.monotonic(),
            self.floor.executed,
            self.settler.refused,
            self.consumer.inbox.qsize(),
            len(self.floor.running),
            self.consumer.claimed,
        )

    def end(self) -> None:
        """Let the slots end after what they run; safe to call from any thread."""
        self._ending.set()
        for _ in range(self._threads):
            self.consumer.inbox.put(None)

    def close(self, timeout: float = 30.0) -> bool:
        """Give back what has not started, finish what runs on the loop, settle everything.

        Returns False if something could not be settled in time.
        """
        self.consumer.stop()
        self._ending.set()
        for helper in self._helpers:
            if helper.is_alive():
                helper.join()
        if self.loop is not None:
            self.loop.drain(None)
            self.loop.close()
        done = self.settler.close(timeout)
        self.beat()
        return done

    def abandon(self, task_id: str) -> bool:
        """End a task that passed its hard limit, from outside the thread it hangs in.

        Called before the process is killed: its failure is settled, what has not started is given
        back, so that only this task is hit. Returns whether everything was settled.
        """
        job = next((job for job in self._jobs() if job.message.id == task_id), None)
        self.consumer.stop(timeout=1.0)
        if job is not None and self.floor.erase(job):
            logger.error("Hard time limit (%ss) exceeded for %s", job.hard, task_id)
            self.floor.end_unrun(job, Failed(TimeLimitExceeded(job.hard), None))
        others = [job.delivery for job in self._jobs() if not job.acknowledged]
        done = self.settler.flush(timeout=2.0)
        if others:
            self.app.broker.release(others)
        return done

    def give_up(self) -> None:
        """Stop at once: give back everything, also what runs, and settle what has ended."""
        self.consumer.stop(timeout=1.0)
        jobs = self._jobs()
        for job in jobs:
            self.floor.erase(job)
        self.settler.flush(timeout=2.0)
        held = [job.delivery for job in jobs if not job.acknowledged]
        if held:
            self.app.broker.release(held)

    def _empty(self) -> None:
        """Nothing waits any more, and this engine was asked to run until then."""
        if not self.floor.running and self.consumer.inbox.empty():
            self.end()

    def _jobs(self) -> list[Job]:
        return list(self.floor.running.values())

    def _slot_free(self) -> None:
        if self.consumer.waiting:
            self.consumer.wake()
