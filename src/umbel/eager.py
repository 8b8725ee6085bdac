"""Running a task here and now, with everything around it that a worker would do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from umbel import attempt, sealing, states
from umbel.callbacks import calls_on_failure, calls_on_success
from umbel.canvas import as_list
from umbel.context import Context
from umbel.current import get_current_request
from umbel.failure import exception_to_data
from umbel.identity import origin
from umbel.outcome import Failed, Retrying, Succeeded
from umbel.result import EagerResult

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from umbel.callbacks import Call
    from umbel.canvas import Signature
    from umbel.outcome import Outcome
    from umbel.task import Task


def apply_eagerly(
    task: Task[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    options: Mapping[str, Any],
    *,
    throw: bool,
) -> EagerResult[Any]:
    """Run ``task``; a retry runs at once, callbacks run inline.

    Raises:
        Exception: what the task raised, with ``throw``; what one of its handlers raised.
    """
    request = _request(task, args, kwargs, options)
    plan = attempt.Plan.of(task)
    if plan.is_async:
        outcome = run_coroutine(attempt.arun(plan, request, seal), task)
    else:
        outcome = attempt.run(plan, request, seal)
    if throw and isinstance(outcome, Failed):
        raise outcome.error
    if isinstance(outcome, Retrying):
        return _again(task, request, outcome, throw=throw)
    state, value = sealing.state_of(outcome)
    traceback = outcome.traceback if isinstance(outcome, Failed) else None
    _store(task, request, state, value, traceback)
    return EagerResult(cast("str", request.id), value, state, traceback, task.name)


def _again(
    task: Task[..., Any], request: Context, outcome: Retrying, *, throw: bool
) -> EagerResult[Any]:
    """The next attempt, now; there is none where `Retry` was raised by hand."""
    if throw:
        raise outcome.reason
    again = cast("Signature[Any] | None", getattr(outcome.reason, "sig", None))
    if again is None:
        return EagerResult(
            cast("str", request.id), outcome.reason, states.RETRY, outcome.traceback, task.name
        )
    return again.apply(retries=request.retries + 1)


def seal(plan: attempt.Plan, request: Context, outcome: Outcome) -> Outcome:
    """Run what follows the task, in place of noting it down for a worker."""
    match outcome:
        case Succeeded(value=value):
            calls = calls_on_success(plan.app, request, value)
        case Failed(error=error, traceback=traceback):
            calls = calls_on_failure(plan.app, request, error, traceback)
        case _:
            calls = []
    for call in calls:
        _apply(plan, call)
    return outcome


def _apply(plan: attempt.Plan, call: Call) -> None:
    plan.app.tasks[call.name].apply(call.args, call.kwargs, **call.options)


def _request(
    task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], options: Mapping[str, Any]
) -> Context:
    parent = get_current_request()
    task_id = options["task_id"]
    get = options.get
    return Context(
        id=task_id,
        task=task.name,
        args=args,
        kwargs=kwargs,
        is_eager=True,
        called_directly=False,
        retries=options["retries"],
        hostname=origin(),
        origin=origin(),
        shadow=get("shadow"),
        callbacks=as_list(get("link")) or None,
        errbacks=as_list(get("link_error")) or None,
        chain=get("chain"),
        headers=get("headers"),
        ignore_result=bool(get("ignore_result")),
        root_id=get("root_id") or (parent.root_id or parent.id if parent else task_id),
        parent_id=get("parent_id") or (parent.id if parent else None),
        group=get("group_id"),
        group_index=get("group_index"),
        timelimit=[get("time_limit"), get("soft_time_limit")],
        stamped_headers=get("stamped_headers"),
        stamps={key: get(key) for key in get("stamped_headers") or ()},
        delivery_info={
            "is_eager": True,
            "exchange": get("exchange"),
            "routing_key": get("routing_key"),
            "priority": get("priority"),
        },
        logfile=get("logfile"),
        loglevel=get("loglevel") or 0,
        umbel_typed=get("typed"),
    )


def run_coroutine(coroutine: Coroutine[Any, Any, Any], task: Task[..., Any] | None = None) -> Any:
    """What a coroutine returns, run to its end on a loop of its own; this thread waits.

    Where a loop is running in this thread already, the new one runs in another thread.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    import contextvars
    from concurrent.futures import ThreadPoolExecutor

    def run() -> Any:
        if task is not None:
            task.app.set_current()
        return asyncio.run(coroutine)

    context = contextvars.copy_context()
    with ThreadPoolExecutor(1, thread_name_prefix="umbel-eager") as pool:
        return pool.submit(context.run, run).result()


def _store(
    task: Task[..., Any], request: Context, state: str, value: Any, traceback: str | None
) -> None:
    if not task.store_eager_result or request.ignore_result:
        return
    if state in states.EXCEPTION_STATES:
        value = exception_to_data(value)
    task.backend.put(cast("str", request.id), value, state, traceback=traceback, request=request)
