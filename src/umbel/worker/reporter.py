"""What the worker says about each task, in the lines that Celery's users grep for."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from umbel.outcome import (
    Expired,
    Failed,
    Ignored,
    Outcome,
    Rejected,
    Released,
    Retrying,
    Revoked,
    Succeeded,
    Undeliverable,
)
from umbel.representation import one_line, saferepr

if TYPE_CHECKING:
    from umbel.worker.admission import Job

logger = logging.getLogger("umbel.worker.task")


class Reporter:
    """Logs the life of tasks; ``active`` tells whether anyone wants the ordinary lines."""

    def __init__(self) -> None:
        self.active = logger.isEnabledFor(logging.INFO)

    def received(self, job: Job) -> None:
        """A message was claimed."""
        logger.info("Task %s received", _name(job), extra=_extra(job))

    def ended(self, job: Job, outcome: Outcome, runtime: float) -> None:
        """An attempt ended."""
        name, extra = _name(job), _extra(job)
        match outcome:
            case Succeeded(value=value):
                shown = saferepr(value, job.plan.task.resultrepr_maxsize)
                logger.info(
                    "Task %s succeeded in %.6fs: %s", name, runtime, one_line(shown), extra=extra
                )
            case Failed(error=error, traceback=traceback, expected=expected):
                level = logging.INFO if expected else logging.ERROR
                kind = "expected" if expected else "unexpected"
                text = one_line(saferepr(error))
                tail = f"\n{traceback}" if traceback else ""
                logger.log(level, "Task %s raised %s: %s%s", name, kind, text, tail, extra=extra)
            case Retrying(reason=reason):
                logger.info("Task %s retry: %s", name, one_line(str(reason)), extra=extra)
            case Ignored():
                logger.info("Task %s ignored", name, extra=extra)
            case Rejected(reason=reason, requeue=requeue):
                logger.warning(
                    "Task %s rejected%s: %s",
                    name,
                    " and requeued" if requeue else "",
                    one_line(saferepr(reason)),
                    extra=extra,
                )
            case Revoked(reason=why):
                logger.info("Task %s revoked: %s", name, why, extra=extra)
            case Expired():
                logger.info("Task %s expired before it could start", name, extra=extra)
            case Undeliverable(reason=why, detail=detail):
                logger.debug("Task %s: %s: %s", name, why, detail, extra=extra)
            case Released():
                logger.info("Task %s given back", name, extra=extra)


def _name(job: Job) -> str:
    headers = job.message.headers
    shown = headers.get("shadow") or job.message.task
    return one_line(f"{shown}[{job.message.id}]")


def _extra(job: Job) -> dict[str, object]:
    headers = job.message.headers
    return {
        "data": {
            "id": job.message.id,
            "name": job.message.task,
            "args": headers.get("argsrepr"),
            "kwargs": headers.get("kwargsrepr"),
        }
    }
