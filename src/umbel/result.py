"""Results: what a caller holds of a task that runs elsewhere."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from umbel import states
from umbel.current import app_or_default, joins_forbidden
from umbel.exceptions import ImproperlyConfigured, TaskRevokedError
from umbel.exceptions import TimeoutError as ResultTimeout
from umbel.lineage import ResultBase
from umbel.waiting import Waiting, as_exception

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from umbel.app import Umbel
    from umbel.backend import Backend

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

JOIN_INSIDE_TASK = (
    "a task must not wait for another task's result: it would hold its slot while it waits, and "
    "all slots may end up waiting. Use link or a chain to go on when the other task is done; "
    "allow_join_result() lifts the check"
)


def task_join_will_block() -> bool:
    """Whether waiting for a result here is refused: this code runs inside a worker's task."""
    return joins_forbidden.get()


def assert_will_not_block() -> None:
    """Refuse to wait inside a task.

    Raises:
        RuntimeError: this code runs inside a worker's task.
    """
    if joins_forbidden.get():
        raise RuntimeError(JOIN_INSIDE_TASK)


@contextmanager
def allow_join_result() -> Iterator[None]:
    """Within the block, waiting for results inside a task is allowed."""
    token = joins_forbidden.set(False)
    try:
        yield
    finally:
        joins_forbidden.reset(token)


@contextmanager
def denied_join_result() -> Iterator[None]:
    """Within the block, waiting for results is refused as inside a task."""
    token = joins_forbidden.set(True)
    try:
        yield
    finally:
        joins_forbidden.reset(token)


class AsyncResult(Waiting, Generic[R_co]):
    """The state and value of one task, asked of the result backend when needed.

    Args:
        id: the task's id.
        backend: where to ask; by default the application's.
        task_name: ignored, kept for callers of Celery.
        app: the application; by default the current one.
        parent: the result this one follows in a chain.

    Raises:
        ValueError: there is no id.
    """

    TimeoutError = ResultTimeout

    def __init__(
        self,
        id: str,  # noqa: A002 - the public name
        backend: Backend | None = None,
        task_name: str | None = None,  # noqa: ARG002 - Celery's argument
        app: Umbel | None = None,
        parent: ResultBase | None = None,
    ) -> None:
        if not id:
            msg = f"AsyncResult needs a task id, not {id!r}"
            raise ValueError(msg)
        self.id = id
        self.app = app_or_default(app if app is not None else getattr(backend, "app", None))
        self._backend = backend
        self.parent = parent
        self.ignored = False
        self._meta: dict[str, Any] | None = None

    @property
    def backend(self) -> Backend:
        """Where the state is read."""
        return self._backend if self._backend is not None else self.app.backend

    @property
    def task_id(self) -> str:
        """The task's id."""
        return self.id

    # -- waiting ---------------------------------------------------------------------------

    def get(  # noqa: PLR0913, PLR0917 - Celery's arguments in Celery's order
        self,
        timeout: float | None = None,
        propagate: bool = True,  # noqa: FBT001, FBT002 - positional in Celery
        interval: float = 0.5,
        no_ack: bool = True,  # noqa: ARG002, FBT001, FBT002 - positional in Celery
        follow_parents: bool = True,  # noqa: FBT001, FBT002 - positional in Celery
        callback: Callable[[str, Any], Any] | None = None,
        on_message: Callable[[Any], Any] | None = None,
        on_interval: Callable[[], Any] | None = None,
        disable_sync_subtasks: bool = True,  # noqa: FBT001, FBT002 - positional in Celery
    ) -> R_co:
        """The task's return value, as soon as it is there.

        Blocks up to ``timeout`` seconds, for ever if None; ``timeout=0`` looks once. Waiting
        wakes on the result, so ``interval`` only says how often ``on_interval`` is called, and
        ``no_ack`` changes nothing. ``callback`` is called with id and value.

        Raises:
            TimeoutError: not ready in time; the task goes on.
            RuntimeError: called inside a task (see `allow_join_result`).
            Exception: what the task raised, with ``propagate``; otherwise it is returned. With
                ``follow_parents`` also what a task before it in the chain raised.
            ImproperlyConfigured: ``on_message`` is given, which needs another kind of backend.
        """
        if self.ignored:
            return cast("R_co", None)
        if disable_sync_subtasks:
            assert_will_not_block()
        if on_message is not None:
            msg = (
                "on_message is not supported: callers are told of the end of a task alone; ask for "
                "the state in on_interval to follow its progress"
            )
            raise ImproperlyConfigured(msg)
        chain = self._parents() if follow_parents and propagate else []
        self._wait(chain, timeout, on_interval, interval)
        return self._value(propagate=propagate, callback=callback)

    wait = get

    async def aget(
        self,
        timeout: float | None = None,  # noqa: ASYNC109 - as `get`
        *,
        propagate: bool = True,
        follow_parents: bool = True,
    ) -> R_co:
        """As `get`, without blocking the event loop; ``await result`` is `aget` without arguments.

        Raises:
            TimeoutError: not ready in time; the task goes on.
            Exception: what the task raised, with ``propagate``; otherwise it is returned.
        """
        if self.ignored:
            return cast("R_co", None)
        chain = self._parents() if follow_parents and propagate else []
        await self._await(chain, timeout)
        return self._value(propagate=propagate, callback=None)

    def __await__(self) -> Generator[Any, None, R_co]:
        return self.aget().__await__()

    def _value(self, *, propagate: bool, callback: Callable[[str, Any], Any] | None) -> R_co:
        meta = self._get_meta()
        if propagate and meta["status"] in states.PROPAGATE_STATES:
            raise as_exception(meta)
        if callback is not None:
            callback(self.id, meta["result"])
        return cast("R_co", meta["result"])

    def then(
        self,
        callback: Callable[[AsyncResult[Any]], Any],
        on_error: Callable[[BaseException], Any] | None = None,
        weak: bool = False,  # noqa: ARG002, FBT001, FBT002 - positional in Celery
    ) -> Callable[[], None]:
        """Have ``callback(result)`` called when the task is done, however it ended.

        It is called in another thread, or at once in this one if the task is done already; it
        should be short. What it raises goes to ``on_error``, or is logged. Returns what takes the
        request back.
        """

        def arrived() -> None:
            try:
                callback(self)
            except Exception as error:  # noqa: BLE001 - the thread belongs to all who wait
                _report(error, on_error)

        return self.backend.watch(self.id, arrived)

    # -- state -----------------------------------------------------------------------------

    def _get_meta(self) -> dict[str, Any]:
        known = self._known_final()
        if known is not None:
            return known
        self._meta = self.backend.get(self.id)
        return self._meta

    @property
    def state(self) -> str:
        """PENDING (also for unknown ids), STARTED, RETRY, SUCCESS, FAILURE, REVOKED or custom."""
        return cast("str", self._get_meta()["status"])

    status = state

    @property
    def result(self) -> Any:
        """The return value, the exception, or the data of a custom state."""
        return self._get_meta()["result"]

    info = result

    @property
    def traceback(self) -> str | None:
        """The remote traceback as text."""
        return self._get_meta().get("traceback")

    def ready(self) -> bool:
        """Whether the state is final."""
        return self.state in states.READY_STATES

    def successful(self) -> bool:
        """Whether the task returned."""
        return self.state == states.SUCCESS

    def failed(self) -> bool:
        """Whether the task raised; a revoked one has not failed."""
        return self.state == states.FAILURE

    def exists(self) -> bool:
        """Whether the backend knows anything about this id."""
        return self.backend.exists(self.id)

    @property
    def children(self) -> list[ResultBase] | None:
        """Results of the tasks this one started, once it is done."""
        children = self._get_meta().get("children")
        if children is None:
            return None
        return [cast("ResultBase", result_from_tuple(child, self.app)) for child in children]

    @property
    def date_done(self) -> datetime | None:
        """When the final state was reached."""
        moment = self._get_meta().get("date_done")
        return datetime.fromisoformat(moment) if isinstance(moment, str) else moment

    @property
    def name(self) -> str | None:
        """The task's name, with ``result_extended``."""
        return self._get_meta().get("name")

    @property
    def args(self) -> Any:
        """The task's arguments, with ``result_extended``."""
        return self._get_meta().get("args")

    @property
    def kwargs(self) -> Any:
        """The task's keyword arguments, with ``result_extended``."""
        return self._get_meta().get("kwargs")

    @property
    def worker(self) -> str | None:
        """The node that ran it, with ``result_extended``."""
        return self._get_meta().get("worker")

    @property
    def retries(self) -> int | None:
        """How often it was retried, with ``result_extended``."""
        return self._get_meta().get("retries")

    @property
    def queue(self) -> str | None:
        """The queue it came through, with ``result_extended``."""
        return self._get_meta().get("queue")

    # -- acting ----------------------------------------------------------------------------

    def maybe_throw(
        self,
        propagate: bool = True,  # noqa: FBT001, FBT002 - positional in Celery
        callback: Callable[[str, Any], Any] | None = None,
    ) -> Any:
        """Raise what the task raised, if it is known to have failed; else its current value.

        Does not wait.
        """
        return self._value(propagate=propagate, callback=callback)

    maybe_reraise = maybe_throw

    def forget(self) -> None:
        """Delete the stored state, and those of the results before it in the chain."""
        self._meta = None
        self.backend.forget([self.id])
        if isinstance(self.parent, AsyncResult):
            self.parent.forget()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, AsyncResult):
            return bool(other.id == self.id)
        if isinstance(other, str):
            return other == self.id
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __str__(self) -> str:
        return str(self.id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id}>"

    def __reduce__(self) -> Any:
        return type(self), (self.id, None, None, None, self.parent)

    def __copy__(self) -> AsyncResult[R_co]:
        return type(self)(self.id, self._backend, None, self.app, self.parent)


class EagerResult(AsyncResult[R_co]):
    """The result of a task that ran here and now."""

    def __init__(
        self,
        id: str,  # noqa: A002 - the public name
        ret_value: Any,
        state: str,
        traceback: str | None = None,
        name: str | None = None,
    ) -> None:
        self.id = id
        self.parent = None
        self.ignored = False
        self._backend = None
        self._meta = {
            "status": state,
            "result": ret_value,
            "traceback": traceback,
            "children": None,
            "date_done": None,
            "task_id": id,
            "name": name,
        }

    def _get_meta(self) -> dict[str, Any]:
        return cast("dict[str, Any]", self._meta)

    def ready(self) -> bool:
        """Always."""
        return True

    def get(  # noqa: PLR0913, PLR0917 - Celery's arguments in Celery's order
        self,
        timeout: float | None = None,  # noqa: ARG002 - nothing is waited for
        propagate: bool = True,  # noqa: FBT001, FBT002 - positional in Celery
        interval: float = 0.5,  # noqa: ARG002 - nothing is waited for
        no_ack: bool = True,  # noqa: ARG002, FBT001, FBT002 - positional in Celery
        follow_parents: bool = True,  # noqa: ARG002, FBT001, FBT002 - positional in Celery
        callback: Callable[[str, Any], Any] | None = None,
        on_message: Callable[[Any], Any] | None = None,  # noqa: ARG002 - as in Celery
        on_interval: Callable[[], Any] | None = None,  # noqa: ARG002 - nothing is waited for
        disable_sync_subtasks: bool = True,  # noqa: FBT001, FBT002 - positional in Celery
    ) -> R_co:
        """The value; raises what the task raised, or returns it without ``propagate``.

        A state that is neither success nor failure gives None.

        Raises:
            RuntimeError: called inside a task (see `allow_join_result`).
        """
        if disable_sync_subtasks:
            assert_will_not_block()
        return self._outcome(propagate=propagate, callback=callback)

    wait = get

    def _outcome(
        self, *, propagate: bool, callback: Callable[[str, Any], Any] | None = None
    ) -> R_co:
        if self.state == states.SUCCESS or self.state in states.PROPAGATE_STATES:
            return self._value(propagate=propagate, callback=callback)
        return cast("R_co", None)

    async def aget(
        self,
        timeout: float | None = None,  # noqa: ARG002, ASYNC109 - nothing is waited for
        *,
        propagate: bool = True,
        follow_parents: bool = True,  # noqa: ARG002 - it has none
    ) -> R_co:
        """As `get`."""
        return self._outcome(propagate=propagate)

    def then(
        self,
        callback: Callable[[AsyncResult[Any]], Any],
        on_error: Callable[[BaseException], Any] | None = None,  # noqa: ARG002 - raised instead
        weak: bool = False,  # noqa: ARG002, FBT001, FBT002 - positional in Celery
    ) -> Callable[[], None]:
        """Call ``callback(result)`` now."""
        callback(self)
        return lambda: None

    def revoke(self, *_: Any, **__: Any) -> None:
        """Take its value away: it counts as revoked from now on."""
        meta = self._get_meta()
        meta["status"], meta["result"] = states.REVOKED, TaskRevokedError("revoked")

    def forget(self) -> None:
        """Nothing is stored, nothing is deleted."""

    def exists(self) -> bool:
        """Always: it is here."""
        return True

    def __reduce__(self) -> Any:
        meta = self._get_meta()
        arguments = (self.id, meta["result"], meta["status"], meta["traceback"], meta["name"])
        return EagerResult, arguments

    def __copy__(self) -> EagerResult[R_co]:
        made, arguments = self.__reduce__()
        return cast("EagerResult[R_co]", made(*arguments))

    def __repr__(self) -> str:
        return f"<EagerResult: {self.id}>"


def _report(error: Exception, on_error: Callable[[BaseException], Any] | None) -> None:
    if on_error is not None:
        on_error(error)
        return
    import logging

    logging.getLogger("umbel.result").error("a callback of then() raised", exc_info=error)


def result_from_tuple(data: Any, app: Umbel | None = None) -> ResultBase | None:
    """The result that ``as_tuple`` described; results are returned as they are."""
    if data is None or isinstance(data, ResultBase):
        return data
    head, nodes = data
    if nodes is not None:
        msg = "groups of results are not supported by this version"
        raise NotImplementedError(msg)
    task_id, parent = head if isinstance(head, (list, tuple)) else (head, None)
    if parent is not None:
        parent = result_from_tuple(parent, app)
    return AsyncResult[Any](task_id, app=app, parent=parent)


__all__ = [
    "AsyncResult",
    "EagerResult",
    "ResultBase",
    "allow_join_result",
    "assert_will_not_block",
    "denied_join_result",
    "result_from_tuple",
    "task_join_will_block",
]
