"""The task: what ``@app.task`` makes of a function, and the base class of class-based tasks."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast, overload

from umbel import current, serialization
from umbel.attributes import Attributes
from umbel.canvas import Signature, signature
from umbel.context import Context
from umbel.handlers import Handlers
from umbel.identity import uuid7
from umbel.local import evaluated
from umbel.request_stack import RequestStack

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

    from umbel import result as results
    from umbel.exceptions import Retry
    from umbel.message import Message

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Task(Attributes, Handlers, Generic[P, R_co]):
    """A callable that can also be called through a queue.

    There is one instance per process; attributes set on it last as long as the process.
    """

    _idle_request: Context | None = None

    # -- being called ----------------------------------------------------------------------

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """The body of the task; class-based tasks define it."""
        raise NotImplementedError(f"{type(self).__name__} has to define run()")

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Run the body here and now, in a request of its own.

        A worker calls it only where a class has overridden it; the request is then the message's.
        """
        frame = current.running.get()
        if frame is not None and frame.task is self and frame.request.entering:
            frame.request.entering = False
            return cast("R_co", self.run(*args, **kwargs))
        request = Context(args=args, kwargs=kwargs)
        frame = current.Frame(self, request, frame)
        if self.is_async:
            return cast("R_co", _awaited(frame, self.run(*args, **kwargs)))
        token = current.running.set(frame)
        try:
            return cast("R_co", self.run(*args, **kwargs))
        finally:
            current.running.reset(token)

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> results.AsyncResult[R_co]:
        """Send the call to a worker; `apply_async` without options."""
        return self.apply_async(args, kwargs)

    async def adelay(self, *args: P.args, **kwargs: P.kwargs) -> results.AsyncResult[R_co]:
        """As `delay`, without blocking the event loop."""
        return await self.aapply_async(args, kwargs)

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        task_id: str | None = None,
        producer: Any = None,
        link: Any = None,
        link_error: Any = None,
        shadow: str | None = None,
        **options: Any,
    ) -> results.AsyncResult[R_co]:
        """Send the call to a worker.

        Blocks until the broker has stored the message durably, at most ``publish_timeout``
        seconds.

        Args:
            args: positional arguments.
            kwargs: keyword arguments.
            task_id: the id to use; a new one by default.
            producer: ignored; kept for callers of Celery.
            link: signature(s) to send with the result when the task succeeds.
            link_error: signature(s) to call when it fails.
            shadow: a name for logs in place of the task's.
            **options: ``countdown`` (s), ``eta`` (datetime or ISO text), ``expires`` (s, datetime
                or ISO text), ``queue``, ``exchange``, ``routing_key``, ``priority`` (0 to 9,
                higher first), ``serializer``, ``compression``, ``headers``, ``time_limit``,
                ``soft_time_limit``, ``ignore_result``, ``retry``, ``retry_policy``, ``timeout``,
                ``add_to_parent``, …; unknown ones become properties of the message.

        Raises:
            TypeError: the arguments do not fit the function.
            EncodeError: an argument cannot be encoded, or its type would not come back.
            OperationalError: the broker did not store it in time.
        """
        del producer
        given = {"task_id": task_id, "link": link, "link_error": link_error, "shadow": shadow}
        options.update({key: value for key, value in given.items() if value is not None})
        app = self.app
        if app.conf.task_always_eager:
            return self._apply_eagerly(args, kwargs, options)
        message, options = self.build(args, kwargs, options)
        app.client.publish((message,), options)
        return self._result_of(message.id, options)

    async def aapply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> results.AsyncResult[R_co]:
        """As `apply_async`, without blocking the event loop; concurrent calls are batched."""
        app = self.app
        if app.conf.task_always_eager:
            return self._apply_eagerly(args, kwargs, options)
        message, options = self.build(args, kwargs, options)
        await app.client.apublish((message,), options)
        return self._result_of(message.id, options)

    def build(
        self,
        args: Sequence[Any] | None,
        kwargs: Mapping[str, Any] | None,
        options: Mapping[str, Any],
        *,
        follows: bool = False,
    ) -> tuple[Message, dict[str, Any]]:
        """The message of a call, not sent, and the options it was built with.

        With ``follows`` the arguments hold the result of another task. It is not the caller's to
        choose, so it may become plain data, and only the task itself says whether it fits.
        """
        args, kwargs, merged = self._prepare(args, kwargs, options, check=not follows)
        name = cast("str", self.name)
        client = self.app.client
        message = client.message(name, args, kwargs, task=self, options=merged, exact=not follows)
        return message, merged

    def _prepare(
        self,
        args: Sequence[Any] | None,
        kwargs: Mapping[str, Any] | None,
        options: Mapping[str, Any],
        *,
        check: bool = True,
    ) -> tuple[Sequence[Any], Mapping[str, Any], dict[str, Any]]:
        """Checked and plain arguments, and the call's options over the task's."""
        args, kwargs = _collections(self.name, args, kwargs)
        arguments = self._arguments
        merged = {**self.publish_options, **options}
        if arguments is not None:
            if check and self.typing:
                arguments.check(args, kwargs)
            if arguments.carriers and merged.get("serializer") != "pickle":
                args, kwargs, typed = arguments.send(args, kwargs)
                if typed:
                    merged["typed"] = sorted({*typed, *(merged.get("typed") or ())})
        if self._models is not None and merged.get("serializer") != "pickle":
            args, kwargs = self._models.dump(args, kwargs)
        _check_limits(merged)
        if not options.get("shadow") and type(self).shadow_name is not Task.shadow_name:
            merged["shadow"] = self.shadow_name(args, kwargs, merged)
        if options.get("ignore_result") is None:
            merged["ignore_result"] = self.ignore_result
        return args, kwargs, merged

    def _result_of(self, task_id: str, options: Mapping[str, Any]) -> results.AsyncResult[R_co]:
        result_cls = options.get("result_cls")
        result = result_cls(task_id) if result_cls else self.AsyncResult(task_id)
        result.ignored = bool(options.get("ignore_result"))
        if options.get("add_to_parent", True):
            parent = current.get_current_worker_task()
            if parent is not None:
                parent.add_trail(result)
        return cast("results.AsyncResult[R_co]", result)

    def _apply_eagerly(
        self,
        args: Sequence[Any] | None,
        kwargs: Mapping[str, Any] | None,
        options: Mapping[str, Any],
    ) -> results.EagerResult[R_co]:
        """Run in place of sending, with arguments as a worker would have got them."""
        from umbel.result import denied_join_result

        args, kwargs, options = self._prepare(args, kwargs, options)
        name = options.get("serializer") or self.app.conf.task_serializer
        encoded = serialization.dumps([args, kwargs], name, where=("args", "kwargs"), exact=True)
        args, kwargs = serialization.loads(
            encoded.body, encoded.content_type, encoded.content_encoding, accept=[name]
        )
        with denied_join_result():
            return self.apply(args, kwargs, **options)

    def apply(  # noqa: PLR0913, PLR0917 - the order of Celery
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        link: Any = None,
        link_error: Any = None,
        task_id: str | None = None,
        retries: int | None = None,
        throw: bool | None = None,  # noqa: FBT001 - positional in Celery
        logfile: str | None = None,
        loglevel: int | None = None,
        headers: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> results.EagerResult[R_co]:
        """Run the task here and now, with all its handlers, signals and callbacks.

        Returns a result that is ready. A retry runs at once. Raises what the task raised only
        with ``throw`` (by default the setting ``task_eager_propagates``), and what a handler of
        the task raised.
        """
        from umbel.eager import apply_eagerly

        given = {
            "link": link,
            "link_error": link_error,
            "task_id": task_id or uuid7(),
            "retries": retries or 0,
            "logfile": logfile,
            "loglevel": loglevel,
            "headers": headers,
        }
        propagate = self.app.conf.task_eager_propagates if throw is None else throw
        args, kwargs = _collections(self.name, args, kwargs)
        return apply_eagerly(self, tuple(args), dict(kwargs), {**options, **given}, throw=propagate)

    # -- signatures ------------------------------------------------------------------------

    @overload
    def s(self, *args: P.args, **kwargs: P.kwargs) -> Signature[R_co]: ...
    @overload
    def s(self, *args: Any, **kwargs: Any) -> Signature[R_co]: ...
    def s(self, *args: Any, **kwargs: Any) -> Signature[R_co]:
        """A signature of this call, to which further arguments may be added in front."""
        return self.signature(args, kwargs)

    def si(self, *args: P.args, **kwargs: P.kwargs) -> Signature[R_co]:
        """A signature of this call that takes no further arguments."""
        return self.signature(args, kwargs, immutable=True)

    def signature(
        self, args: Sequence[Any] | None = None, *starargs: Any, **starkwargs: Any
    ) -> Signature[R_co]:
        """A signature from a sequence of arguments; keyword arguments as for `Signature`."""
        starkwargs.setdefault("app", self.app)
        return signature(self, args, *starargs, **starkwargs)

    subtask = signature

    def signature_from_request(
        self,
        request: Context | None = None,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        queue: str | None = None,
        **extra: Any,
    ) -> Signature[R_co]:
        """A signature that sends this request again under the same id, to where it came from."""
        request = self.request if request is None else request
        args = request.args if args is None else args
        kwargs = request.kwargs if kwargs is None else kwargs
        options = {**request.as_execution_options(), **extra}
        info = request.delivery_info or {}
        if info.get("priority") is not None:
            options.setdefault("priority", info["priority"])
        if queue:
            options["queue"] = queue
        elif extra.keys().isdisjoint(("queue", "exchange", "routing_key")):
            if info.get("exchange"):
                options["exchange"] = info["exchange"]
                options["routing_key"] = info.get("routing_key")
            elif info.get("routing_key"):
                options["queue"] = info["routing_key"]
        return self.signature(args, kwargs, options=options)

    subtask_from_request = signature_from_request

    # -- inside the running task -----------------------------------------------------------

    @property
    def request(self) -> Context:
        """The request this task is running for; an empty one when it does not run."""
        frame = current.running.get()
        while frame is not None:
            if frame.task is self:
                return frame.request
            frame = frame.below
        if self._idle_request is None:
            self._idle_request = Context()
        return self._idle_request

    @property
    def request_stack(self) -> RequestStack:
        """The requests this task is running for."""
        return RequestStack(self)

    def push_request(self, *args: Any, **kwargs: Any) -> None:
        """Make up a request for `request` to return (for tests); the fields of `Context`."""
        self.request_stack.push(Context(*args, **kwargs))

    def pop_request(self) -> None:
        """Undo `push_request`."""
        self.request_stack.pop()

    def retry(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        exc: BaseException | None = None,
        throw: bool = True,  # noqa: FBT001, FBT002 - positional in Celery
        eta: Any = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Retry:
        """End this attempt and have the task run again later, under the same id.

        The new message is stored in the same step that ends this attempt: there is never none of
        the two, nor both. It waits in the broker until it is due. Called again in the same
        attempt, it replaces what was asked for before.

        Args:
            args: arguments of the next attempt; by default those of this one.
            kwargs: keyword arguments of the next attempt.
            exc: what to raise when there are no retries left.
            throw: raise `Retry`; if False it is returned and the task goes on to its own end.
            eta: when to run again.
            countdown: in how many seconds; by default ``default_retry_delay``.
            max_retries: for this call, in place of the attribute.
            **options: as for `apply_async`.

        Raises:
            Retry: always, unless ``throw`` is False.
            MaxRetriesExceededError: no retries are left and there is no ``exc``.
            Reject: the next attempt could not be encoded or routed.
        """
        from umbel.retrying import retry

        options.update(eta=eta, countdown=countdown)
        ret = retry(self, args, kwargs, exc=exc, max_retries=max_retries, options=options)
        if throw:
            raise ret from exc
        return ret

    def update_state(
        self,
        task_id: str | None = None,
        state: str | None = None,
        meta: Any = None,
        **kwargs: Any,
    ) -> None:
        """Store a state of one's own choosing; by default for the task that runs.

        Raises:
            ValueError: there is no state, or no task to store it for.
            EncodeError: ``meta`` cannot be encoded.
            BackendStoreError: it was not stored.
        """
        request = self.request
        target = task_id or request.id
        if target is None:
            raise ValueError("update_state needs a task id when no task is running")
        if not state:
            raise ValueError("update_state needs a state, such as 'PROGRESS'")
        self.app.put_state(target, meta, state, request=request, **kwargs)

    def add_trail(self, result: Any) -> Any:
        """Remember a result as one of the running task's children; returns it."""
        if self.trail:
            self.request.children.append(result)
        return result

    # -- the rest --------------------------------------------------------------------------

    def AsyncResult(self, task_id: str, **kwargs: Any) -> results.AsyncResult[R_co]:  # noqa: N802
        """The result of ``task_id``, read from this task's backend."""
        kwargs.setdefault("backend", self._backend)
        return cast("results.AsyncResult[R_co]", self.app.AsyncResult(task_id, **kwargs))

    @property
    def __name__(self) -> str:
        return type.__dict__["__name__"].__get__(type(self))  # type: ignore[no-any-return]

    def __reduce__(self) -> Any:
        return _unpickle, (self.name, type(self).__module__)

    def __repr__(self) -> str:
        from umbel.naming import describe_app

        return f"<@task: {self.name} of {describe_app(self._app)}>"


class AsyncTask(Task[P, R_co]):
    """A task whose body is a coroutine function; calling it directly gives the coroutine."""

    is_async = True

    if TYPE_CHECKING:

        def __call__(  # type: ignore[override]
            self, *args: P.args, **kwargs: P.kwargs
        ) -> Coroutine[Any, Any, R_co]:
            """Run the body here; await the result."""
            raise NotImplementedError


async def _awaited(frame: current.Frame, body: Any) -> Any:
    """Await the body with its request around it."""
    token = current.running.set(frame)
    try:
        return await body
    finally:
        current.running.reset(token)


def _collections(
    name: str | None, args: Any, kwargs: Any
) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """Arguments that are not even collections are refused before anything else looks at them."""
    if args is None:
        args = ()
    elif not isinstance(args, (list, tuple)):
        raise TypeError(f"args of {name} must be a list or tuple, not {type(args).__name__}")
    if kwargs is None:
        kwargs = {}
    elif not isinstance(kwargs, dict):
        try:
            kwargs = dict(kwargs.items())
        except AttributeError:
            kind = type(kwargs).__name__
            raise TypeError(f"kwargs of {name} must be a mapping, not {kind}") from None
    return args, kwargs


def _check_limits(options: Mapping[str, Any]) -> None:
    soft, hard = options.get("soft_time_limit"), options.get("time_limit")
    if soft and hard and soft > hard:
        raise ValueError(f"soft_time_limit ({soft}) must not be longer than time_limit ({hard})")


def _unpickle(name: str, module: str) -> Task[..., Any]:
    """The current application's task of this name, importing its module if it is missing."""
    app = current.get_current_app()
    if name not in app.tasks and module not in sys.modules and module != "__main__":
        __import__(module)
    return cast("Task[..., Any]", evaluated(app.tasks[name]))


__all__ = ["AsyncTask", "Task"]
