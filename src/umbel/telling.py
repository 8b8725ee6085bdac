"""Who is told how an attempt ended: the task's handlers and the receivers of signals, in order.

Most tasks have nobody to tell, so whoever calls `tell` looks first whether there is.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, cast

from umbel import signals
from umbel.failure import ExceptionInfo
from umbel.outcome import Failed, Ignored, Rejected, Retrying, Succeeded

if TYPE_CHECKING:
    from umbel.attempt import Plan
    from umbel.context import Context
    from umbel.outcome import Outcome

logger = logging.getLogger("umbel.task")


def tell(plan: Plan, request: Context, outcome: Outcome, state: str, runtime: float) -> None:
    """Call the handlers and send the signals that go with an outcome.

    What a handler raises is logged, and raised only where the task runs eagerly; the signal that
    the task has ended is sent in any case.
    """
    try:
        match outcome:
            case Succeeded(value=value):
                _tell_of_success(plan, request, value, state, runtime)
            case Failed(error=error):
                _tell_of_failure(plan, request, error, state)
            case Retrying():
                _tell_of_retry(plan, request, outcome)
            case _:
                pass
    finally:
        _tell_of_end(plan, request, outcome, state)
    if isinstance(outcome, Rejected) and not outcome.requeue and not request.is_eager:
        _send_failure(plan, request, outcome.reason, ExceptionInfo(outcome.reason))


def anyone_listens() -> bool:
    """Whether a signal that `tell` sends has receivers."""
    return bool(
        signals.task_postrun.receivers
        or signals.task_success.receivers
        or signals.task_failure.receivers
        or signals.task_retry.receivers
    )


def _tell_of_success(plan: Plan, request: Context, value: Any, state: str, runtime: float) -> None:
    _handle(plan, request, "on_success", value, request.id, request.args, request.kwargs)
    signals.task_success.send(sender=plan.task, result=value, runtime=runtime)
    _after_return(plan, request, state, value)


def _tell_of_failure(plan: Plan, request: Context, error: BaseException, state: str) -> None:
    info = ExceptionInfo(error, skip=1)
    _handle(plan, request, "on_failure", error, request.id, request.args, request.kwargs, info)
    _send_failure(plan, request, error, info)
    _after_return(plan, request, state, error)


def _send_failure(plan: Plan, request: Context, error: BaseException, info: ExceptionInfo) -> None:
    signals.task_failure.send(
        sender=plan.task,
        task_id=request.id,
        exception=error,
        args=request.args,
        kwargs=request.kwargs,
        traceback=error.__traceback__,
        einfo=info,
    )


def _tell_of_retry(plan: Plan, request: Context, outcome: Retrying) -> None:
    info = ExceptionInfo(outcome.cause)
    _handle(
        plan, request, "on_retry", outcome.cause, request.id, request.args, request.kwargs, info
    )
    signals.task_retry.send(sender=plan.task, request=request, reason=outcome.reason, einfo=info)


def _tell_of_end(plan: Plan, request: Context, outcome: Outcome, state: str) -> None:
    value: Any = None
    match outcome:
        case Succeeded(value=value):
            pass
        case Failed(error=error):
            value = error
        case Retrying(reason=reason) | Rejected(reason=reason) | Ignored(reason=reason):
            value = reason
        case _:
            return  # it never ran
    signals.task_postrun.send(
        sender=plan.task,
        task_id=request.id,
        task=plan.task,
        args=request.args,
        kwargs=request.kwargs,
        retval=value,
        state=state,
    )


def _after_return(plan: Plan, request: Context, state: str, value: Any) -> None:
    arguments = (state, value, request.id, request.args, request.kwargs, None)
    _handle(plan, request, "after_return", *arguments)


def _handle(plan: Plan, request: Context, name: str, *arguments: Any) -> None:
    """Call one handler, if the task's class defines it."""
    if name not in plan.handlers:
        return
    try:
        getattr(plan.task, name)(*arguments)
    except Exception:
        if request.is_eager:
            raise
        task = cast("str", plan.task.name)
        logger.exception("%s of %s[%s] failed", name, task, request.id)
