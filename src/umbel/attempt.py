"""One attempt at a task, from its message to what is to be made durable.

Running one task is every queue's ugliest function.  Here it is a row of small steps over two
values: a `Context` (the request) going in, an `Outcome` coming out.

* `Plan` is what is known of a task before any message arrives, worked out once.
* `run` (or `arun`) calls the body and never raises what it raised: `judge` turns that into an
  outcome.
* `after` follows, still inside the request: `seal` writes down the state to store and the messages
  that follow, so that what cannot be encoded turns a success into a failure before anybody has
  heard of a success; then handlers and receivers are told.
* `conclude` puts what was sealed into one `Settlement`, with the end of the claim, applied by the
  broker as one step.

Only `SystemExit`, `KeyboardInterrupt` and what they stand for pass through: they end the process,
and the message is given to another one.
"""

from __future__ import annotations

import inspect
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from umbel import signals
from umbel.attributes import classes
from umbel.current import Frame, running
from umbel.exceptions import (
    Ignore,
    Reject,
    Retry,
    SoftTimeLimitExceeded,
    TimeLimitExceeded,
)
from umbel.failure import traceback_text
from umbel.handlers import HANDLERS
from umbel.loading import Loader
from umbel.local import evaluated
from umbel.message import DeadLetter, Delivery, Settlement
from umbel.outcome import (
    Failed,
    Ignored,
    Outcome,
    Rejected,
    Released,
    Retrying,
    Succeeded,
    Undeliverable,
)
from umbel.sealing import seal, state_of
from umbel.task import AsyncTask, Task
from umbel.telling import anyone_listens, tell

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from umbel.app import Umbel
    from umbel.backend import Backend
    from umbel.context import Context

logger = logging.getLogger("umbel.task")

TERMINAL = (SystemExit, KeyboardInterrupt, GeneratorExit)
"""What ends the process (or the coroutine), and is no task's failure."""

_OWN_MODULES = frozenset(
    ["umbel.attempt", "umbel.autoretry", "umbel.retrying", "umbel.task", "umbel.validation"]
)
"""Whose frames are left out at the top of a task's traceback."""


@dataclass(slots=True)
class Plan:
    """What is known of a task before a message arrives.

    Attributes:
        task: the task.
        app: whose it is.
        run: what to call: the body, or the task where its class overrides ``__call__``.
        is_async: whether that gives a coroutine.
        handlers: which handlers the class defines.
        keeps: whether states are stored, if the message does not say.
        acks_late: whether the message is acknowledged only at the end.
        has_typed: whether arguments may have to be built again in their types.
        enters: whether the task's own ``__call__`` is called.
        throws: exceptions that are expected.
        backend: where states go, if not to the application's backend.
        prepares: whether there is anything to do before the body.
        cleans_up: whether the loader wants to know of every end.
    """

    task: Task[..., Any]
    app: Umbel
    run: Callable[..., Any]
    is_async: bool
    handlers: frozenset[str]
    keeps: bool
    acks_late: bool
    has_typed: bool = False
    enters: bool = False
    throws: tuple[type[BaseException], ...] = ()
    backend: Backend | None = None
    prepares: bool = field(init=False)
    cleans_up: bool = field(init=False)

    def __post_init__(self) -> None:
        asks = "before_start" in self.handlers or self.app.watches_tasks
        self.prepares = asks or self.has_typed or self.enters
        loader = type(self.app.loader)
        self.cleans_up = loader.on_process_cleanup is not Loader.on_process_cleanup

    @classmethod
    def of(cls, task: Task[..., Any]) -> Plan:
        """The plan of ``task``; made again when its attributes change."""
        task = cast("Task[..., Any]", evaluated(task))
        kind = type(task)
        enters = kind.__call__ not in (Task.__call__, AsyncTask.__call__)
        body: Any = kind.__call__ if enters else task.run
        return cls(
            task=task,
            app=task.app,
            run=task if enters else task.run,
            is_async=inspect.iscoroutinefunction(body) or (enters and task.is_async),
            handlers=frozenset(
                name for name in HANDLERS if getattr(kind, name) is not getattr(Task, name)
            ),
            keeps=not task.ignore_result,
            acks_late=bool(task.acks_late),
            has_typed=bool(task._arguments and task._arguments.carriers),  # noqa: SLF001 - its plan
            enters=enters,
            throws=classes(task.throws),
            backend=task._backend,  # noqa: SLF001 - as above
        )

    def keeps_result(self, request: Context) -> bool:
        """Whether the state of this attempt is stored; the message decides over the task."""
        ignored = request.__dict__.get("ignore_result")
        return self.keeps if ignored is None else not ignored


if TYPE_CHECKING:
    Seal: TypeAlias = Callable[[Plan, Context, Outcome], Outcome]


# -- running -------------------------------------------------------------------------------


def run(plan: Plan, request: Context, sealed_by: Seal | None = None) -> Outcome:
    """Call the body of a ``def`` task, with its handlers and signals around it."""
    token = running.set(Frame(plan.task, request, running.get()))
    outcome: Outcome | None = None
    started = time.perf_counter()
    try:
        try:
            if plan.prepares or signals.task_prerun.receivers:
                before(plan, request)
            outcome = Succeeded(plan.run(*request.args, **request.kwargs))
        except TERMINAL:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever the body raises is its outcome
            outcome = judge(plan, request, error)
        return _after(plan, request, outcome, started, sealed_by)
    except SoftTimeLimitExceeded as error:
        # The limit passed when the body had ended already: that changes nothing.
        return outcome or judge(plan, request, error)
    finally:
        running.reset(token)


async def arun(plan: Plan, request: Context, sealed_by: Seal | None = None) -> Outcome:
    """As `run`, for an ``async def`` task."""
    token = running.set(Frame(plan.task, request, running.get()))
    started = time.perf_counter()
    try:
        try:
            if plan.prepares or signals.task_prerun.receivers:
                before(plan, request)
            outcome: Outcome = Succeeded(await plan.run(*request.args, **request.kwargs))
        except TERMINAL:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever the body raises is its outcome
            outcome = judge(plan, request, error)
        return _after(plan, request, outcome, started, sealed_by)
    finally:
        running.reset(token)


def before(plan: Plan, request: Context) -> None:
    """What happens before the body: typed arguments, signals, ``before_start``."""
    task = plan.task
    if plan.has_typed and request.umbel_typed:
        arguments = cast("Any", task._arguments)  # noqa: SLF001 - the task's own plan
        request.args, request.kwargs = arguments.receive(
            request.args, request.kwargs, request.umbel_typed
        )
    if signals.task_prerun.receivers:
        signals.task_prerun.send(
            sender=task,
            task_id=request.id,
            task=task,
            args=request.args,
            kwargs=request.kwargs,
        )
    if plan.app.watches_tasks:
        plan.app.loader.on_task_init(cast("str", request.id), task)
    if "before_start" in plan.handlers:
        task.before_start(cast("str", request.id), request.args, request.kwargs)
    if plan.enters:
        request.entering = True


def judge(plan: Plan, request: Context, error: BaseException) -> Outcome:
    """What it means that the body raised ``error``."""
    if isinstance(error, Retry):
        cause = error.exc if isinstance(error.exc, BaseException) else error
        return Retrying(error, cause, request.again, _traceback(error))
    if isinstance(error, Ignore):
        return Ignored(error)
    if isinstance(error, Reject):
        return Rejected(error, requeue=bool(error.requeue))
    expected = bool(plan.throws) and isinstance(error, plan.throws)
    return Failed(error, _traceback(error), expected)


def _traceback(error: BaseException) -> str:
    """The traceback from the first frame that is not ours."""
    frame, ours = error.__traceback__, 0
    while frame is not None and frame.tb_frame.f_globals.get("__name__") in _OWN_MODULES:
        frame, ours = frame.tb_next, ours + 1
    return traceback_text(error, skip=ours)


def after(plan: Plan, request: Context, outcome: Outcome) -> Outcome:
    """What happens after the body, for an outcome that `run` did not see.

    The end is written down, handlers and signals are told. Returns the outcome, which has become
    a failure if a success could not be written down.
    """
    frame = running.get()
    if frame is not None and frame.request is request:
        return _after(plan, request, outcome, None, None)
    token = running.set(Frame(plan.task, request, frame))
    try:
        return _after(plan, request, outcome, None, None)
    finally:
        running.reset(token)


def _after(
    plan: Plan,
    request: Context,
    outcome: Outcome,
    started: float | None,
    sealed_by: Seal | None,
) -> Outcome:
    outcome = (
        seal(plan, request, outcome) if sealed_by is None else sealed_by(plan, request, outcome)
    )
    if plan.handlers or anyone_listens():
        runtime = 0.0 if started is None else time.perf_counter() - started
        tell(plan, request, outcome, state_of(outcome)[0], runtime)
    if plan.cleans_up:
        _clean_up(plan)
    return outcome


def _clean_up(plan: Plan) -> None:
    try:
        plan.app.loader.on_process_cleanup()
    except Exception:
        logger.exception("on_process_cleanup of the loader failed")


def is_quiet(outcome: Outcome) -> bool:
    """Whether an outcome is told only to those who want the ordinary lines."""
    match outcome:
        case Failed(expected=expected):
            return expected
        case Rejected():
            return False
        case _:
            return True


# -- concluding ----------------------------------------------------------------------------


def conclude(
    plan: Plan, request: Context, delivery: Delivery | None, outcome: Outcome
) -> Settlement:
    """Everything the outcome makes durable, as one step."""
    sealed = request.sealed
    if sealed is None or sealed[0] is not outcome:
        outcome = seal(plan, request, outcome)
        sealed = cast("Any", request.sealed)
    _, result, follow = sealed
    if result is not None and plan.backend is not None:
        plan.backend.store.store([result])
        result = None
    if type(outcome) is Succeeded:
        return Settlement(delivery, result, follow)
    if isinstance(outcome, (Failed, Retrying)):
        _let_go(outcome)
    match outcome:
        case Rejected(reason=reason, requeue=False):
            dead = _dead_letter(delivery, "rejected", str(reason))
            return Settlement(delivery, result, follow, dead)
        case Failed(error=error) if not _is_done_with(plan.task, error):
            detail = f"{type(error).__name__}, and the task keeps failed messages"
            return Settlement(delivery, result, follow, _dead_letter(delivery, "rejected", detail))
        case Undeliverable(reason=why, detail=detail):
            return Settlement(delivery, result, follow, _dead_letter(delivery, why, detail))
        case Rejected() | Released():
            return Settlement(delivery, requeue=delivery is not None)
        case _:
            return Settlement(delivery, result, follow)


def _let_go(outcome: Failed | Retrying) -> None:
    """Drop the frames of the body: with them it would hold itself, and all its variables, alive."""
    error = outcome.error if isinstance(outcome, Failed) else outcome.reason
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        one = pending.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            one.__traceback__ = None
            pending += one.__cause__, one.__context__


def _is_done_with(task: Task[..., Any], error: BaseException) -> bool:
    """Whether the message of a failed attempt is removed, and not kept as a dead letter."""
    own = task.acks_on_timeout if isinstance(error, TimeLimitExceeded) else task.acks_on_failure
    for choice in (own, task.acks_on_failure_or_timeout):
        if choice is not None:
            return choice
    return True


def _dead_letter(delivery: Delivery | None, reason: str, detail: str) -> DeadLetter | None:
    if delivery is None:
        return None
    return DeadLetter(delivery.message, delivery.queue, reason, detail, time.time())
