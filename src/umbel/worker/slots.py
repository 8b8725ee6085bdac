"""What a slot does with a job: note it on the board, run the attempt, hand over the settlement.

The board entry is what lets the supervisor enforce limits on a slot that is stuck; it is written
before the task starts and cleared when it has ended.
"""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Any, cast

from umbel import attempt, sealing, states
from umbel.exceptions import (
    OperationalError,
    SoftTimeLimitExceeded,
    StoreError,
    WorkerLostError,
)
from umbel.message import Settlement
from umbel.outcome import Failed
from umbel.worker.board import REQUEUE_WHEN_LOST

if TYPE_CHECKING:
    from umbel.app import Umbel
    from umbel.message import StoredResult
    from umbel.outcome import Outcome
    from umbel.worker.admission import Admission, Job
    from umbel.worker.board import Row
    from umbel.worker.reporter import Reporter
    from umbel.worker.settler import Settler

logger = logging.getLogger("umbel.worker")


class Floor:
    """What all slots of one child share: where jobs are opened, noted, reported and settled."""

    def __init__(
        self, app: Umbel, admission: Admission, row: Row, settler: Settler, reporter: Reporter
    ) -> None:
        self.app = app
        self.admission = admission
        self.row = row
        self.settler = settler
        self.reporter = reporter
        self.executed = 0
        self.running: dict[int, Job] = {}
        self.mean_runtime: float | None = None
        self.interruptible = False

    def enter(self, job: Job) -> bool:
        """Make the job ready to run; False if it must not, and is dealt with."""
        outcome = self.admission.open(job)
        if outcome is not None:
            self.end_unrun(job, outcome)
            return False
        try:
            if not self._claim_start(job):
                return False
        except (OperationalError, StoreError) as error:
            logger.warning("cannot start %s yet (%s); it is given back", job.message.id, error)
            self.settler.put(Settlement(job.delivery, requeue=True))
            return False
        self._note(job)
        self._prepare(job)
        return True

    def _claim_start(self, job: Job) -> bool:
        """Make durable what has to be before the start; False if the claim was lost.

        A message somebody held before is counted as about to start, so that one that kills every
        process is found out. A task that wants to be acknowledged early is, now.
        """
        delivery = job.delivery
        if delivery.deliveries > 1 and not self.app.broker.begin(delivery):
            return False
        if not job.plan.acks_late:
            job.acknowledged = self.app.broker.settle([Settlement(delivery)])[0]
            return job.acknowledged
        return True

    def end_unrun(self, job: Job, outcome: Outcome) -> None:
        """End a job whose body did not run to its end here: handlers hear of failures."""
        if isinstance(outcome, Failed):
            attempt.after(job.plan, cast("Any", job.request), outcome)
        self.conclude(job, outcome, 0.0)

    def _note(self, job: Job) -> None:
        now = job.started = time.monotonic()
        self.running[job.slot] = job
        flags = REQUEUE_WHEN_LOST if job.plan.task.reject_on_worker_lost is not False else 0
        self.row.start(
            job.slot,
            job.message.id,
            now,
            now + job.soft if job.soft else 0.0,
            now + job.hard if job.hard else 0.0,
            flags,
        )

    def _prepare(self, job: Job) -> None:
        """Where the task's states go, and STARTED if it is tracked."""
        request = cast("Any", job.request)
        request.post = self._post
        if job.plan.task.track_started and job.plan.keeps_result(request):
            codec = self.app.result_codec
            if codec is not None:
                meta = {"pid": os.getpid(), "hostname": request.hostname}
                self._post(codec.encode(request.id, states.STARTED, meta, request=request))

    def _post(self, result: StoredResult) -> None:
        self.settler.put(Settlement(None, result))

    def leave(self, job: Job, outcome: Outcome) -> None:
        """Clear the board entry, and hand over what the attempt ended with."""
        runtime = time.monotonic() - job.started
        mean = self.mean_runtime
        self.mean_runtime = runtime if mean is None else mean + 0.1 * (runtime - mean)
        self.conclude(job, outcome, runtime)

    def erase(self, job: Job) -> bool:
        """Clear the board entry; False if somebody else has ended the job meanwhile."""
        self.row.finish(job.slot)
        return self.running.pop(job.slot, None) is job

    def conclude(self, job: Job, outcome: Outcome, runtime: float) -> None:
        """Settle what the attempt ended with."""
        self.executed += 1
        delivery = None if job.acknowledged else job.delivery
        request = cast("Any", job.request)
        try:
            settlement = attempt.conclude(job.plan, request, delivery, outcome)
        except Exception as error:
            logger.exception("Task %s[%s] could not be concluded", job.message.task, request.id)
            outcome = sealing.internal_failure(job.plan, request, error)
            settlement = attempt.conclude(job.plan, request, delivery, outcome)
        if self.reporter.active or not attempt.is_quiet(outcome):
            self.reporter.ended(job, outcome, runtime)
        self.settler.put(settlement)


def run_job(floor: Floor, job: Job) -> None:
    """Run the job of a ``def`` task in this thread.

    A task that exits leaves its board entry behind: the supervisor, finding it, counts a crash.
    """
    if not floor.enter(job):
        return
    request = cast("Any", job.request)
    try:
        floor.interruptible = True
        outcome = attempt.run(job.plan, request)
    except SoftTimeLimitExceeded as error:
        # It came when the body had ended already and its outcome was being worked out.
        outcome = Failed(error, None)
    finally:
        floor.interruptible = False
    if floor.erase(job):
        floor.leave(job, outcome)


def exited(error: BaseException) -> Failed:
    """The outcome of a task that called ``sys.exit`` where it cannot end the process."""
    lost = WorkerLostError(f"the task ended its thread: {type(error).__name__}({error})")
    return Failed(lost, None)
