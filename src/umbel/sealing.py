"""What an outcome leaves behind, written down while the request is still there.

`seal` encodes the state to store and builds the messages that follow, before anybody is told how
the attempt ended.  What cannot be encoded makes a failure of a success here; from here on nothing
can go wrong but the broker.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, cast

from umbel import signals, states
from umbel.callbacks import calls_on_failure, calls_on_success, message_of
from umbel.exceptions import EncodeError, SoftTimeLimitExceeded, TaskRevokedError
from umbel.failure import ExceptionInfo, traceback_text
from umbel.outcome import (
    Expired,
    Failed,
    Ignored,
    Rejected,
    Released,
    Retrying,
    Revoked,
    Succeeded,
    Undeliverable,
)

if TYPE_CHECKING:
    from umbel.attempt import Plan
    from umbel.context import Context
    from umbel.message import Message, StoredResult
    from umbel.outcome import Outcome

logger = logging.getLogger("umbel.task")


def seal(plan: Plan, request: Context, outcome: Outcome) -> Outcome:
    """Write down what `umbel.attempt.conclude` will make durable.

    Error callbacks that are called on the spot are called here. Returns the outcome, which has
    become a failure if a success could not be written down.
    """
    try:
        if type(outcome) is Succeeded:
            value = outcome.value
            keeps = plan.keeps_result(request)
            result = _stored(plan, request, states.SUCCESS, value) if keeps else None
            request.sealed = outcome, result, _after_success(plan, request, value)
        else:
            request.sealed = outcome, *_written(plan, request, outcome)
    except SoftTimeLimitExceeded:
        return seal(plan, request, outcome)  # it comes once for each task
    except EncodeError as error:
        return seal(plan, request, Failed(error, traceback_text(error)))
    except Exception as error:
        if isinstance(outcome, Failed):
            raise
        logger.exception("the end of %s[%s] cannot be written down", plan.task.name, request.id)
        return seal(plan, request, internal_failure(plan, request, error))
    return outcome


def _after_success(plan: Plan, request: Context, value: Any) -> tuple[Message, ...]:
    """The messages that follow a success; nothing follows most of them."""
    again = request.again
    if not request.callbacks and not request.chain:
        return () if again is None else (again,)
    calls = calls_on_success(plan.app, request, value)
    messages = [message_of(plan.app, call) for call in calls]
    return tuple(messages) if again is None else (again, *messages)


def _written(  # noqa: PLR0911 - one for each way to end
    plan: Plan, request: Context, outcome: Outcome
) -> tuple[StoredResult | None, tuple[Message, ...]]:
    """The state to store and the messages to publish, for whatever is no success."""
    again = () if request.again is None else (request.again,)
    state, value = state_of(outcome)
    match outcome:
        case Rejected(requeue=True) | Released():
            return None, ()
        case Ignored():
            return None, again
        case Rejected(reason=error):
            follow = (*again, *_errbacks(plan, request, error, None))
            return _kept(plan, request, states.FAILURE, error), follow
        case Failed(error=error, traceback=text):
            follow = (*again, *_errbacks(plan, request, error, text))
            return _kept(plan, request, state, error, text), follow
        case Undeliverable(error=error):
            follow = (*again, *_errbacks(plan, request, error, None))
            return _kept(plan, request, state, error), follow
        case Retrying(traceback=text):
            return _kept(plan, request, state, value, text), again
        case _:
            return _kept(plan, request, state, value), again


def _errbacks(
    plan: Plan, request: Context, error: BaseException, traceback: str | None
) -> tuple[Message, ...]:
    if not request.errbacks:
        return ()
    messages = []
    for call in calls_on_failure(plan.app, request, error, traceback):
        try:
            messages.append(message_of(plan.app, call))
        except Exception:
            logger.exception("error callback %s of %s cannot be sent", call.name, request.id)
    return tuple(messages)


def _kept(
    plan: Plan, request: Context, state: str, value: Any, traceback: str | None = None
) -> StoredResult | None:
    """The state to store, or None where this task keeps none of this kind."""
    keeps = plan.keeps_result(request) or (
        state in states.EXCEPTION_STATES and plan.task.store_errors_even_if_ignored
    )
    return _stored(plan, request, state, value, traceback) if keeps else None


def _stored(
    plan: Plan, request: Context, state: str, value: Any, traceback: str | None = None
) -> StoredResult | None:
    codec = plan.app.result_codec if plan.backend is None else plan.backend.codec
    if codec is None:
        return None
    children = request._children  # noqa: SLF001 - not to create the list
    return codec.encode(
        cast("str", request.id),
        state,
        value,
        traceback=traceback,
        request=request,
        children=[child.as_tuple() for child in children] if children else [],
    )


def state_of(outcome: Outcome) -> tuple[str, Any]:  # noqa: PLR0911 - one for each way to end
    """The state an outcome is stored as, and the value that goes with it."""
    match outcome:
        case Succeeded(value=value):
            return states.SUCCESS, value
        case Failed(error=error):
            return states.FAILURE, error
        case Retrying(cause=cause):
            return states.RETRY, cause
        case Rejected(reason=reason):
            return states.REJECTED, reason
        case Ignored(reason=reason):
            return states.IGNORED, reason
        case Revoked(reason=reason):
            return states.REVOKED, TaskRevokedError(reason)
        case Expired():
            return states.REVOKED, TaskRevokedError("expired")
        case Undeliverable(error=error):
            return states.FAILURE, error
        case Released():
            return states.PENDING, None


def internal_failure(plan: Plan, request: Context, error: Exception) -> Failed:
    """The outcome of a task around which Umbel itself failed."""
    info = ExceptionInfo(error)
    signals.task_internal_error.send(
        sender=plan.task,
        task_id=request.id,
        args=request.args,
        kwargs=request.kwargs,
        request=request,
        exception=error,
        traceback=error.__traceback__,
        einfo=info,
    )
    return Failed(error, info.traceback)
