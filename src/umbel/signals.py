"""Signals: functions of the user's own that are called when something happens.

A receiver is connected to a signal, perhaps only for one sender, and is called in the thread and
process where the thing happens, in the order of connecting. It must take ``**kwargs``, since
every signal passes ``signal`` and ``sender`` besides its own arguments and may pass more in
later versions. What a receiver raises is logged and never reaches whoever sent the signal.

Connections are weak by default: when a receiver is garbage collected its connection goes. So a
lambda or a nested function needs ``weak=False``.

Senders are compared by identity, texts by value. The ``*_task_publish`` signals are sent with
the task's *name*, because the publisher may not have the task; all others about tasks are sent
with the task itself.

Whoever sends a signal on a hot path first looks at `Signal.receivers`, which is empty and false
as long as nobody is connected.
"""

from __future__ import annotations

import time
import weakref
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeVar, overload

from umbel.representation import saferepr
from umbel.retry import PublishRetry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Receiver = TypeVar("Receiver", bound="Callable[..., Any]")

_VARIABLE_KEYWORDS = 0x08  # inspect.CO_VARKEYWORDS, without importing inspect for it
_AGAIN = PublishRetry(max_retries=None, interval_start=2, interval_step=2, interval_max=28)


class Signal:
    """Something that happens, and who wants to know.

    Args:
        providing_args: The names of the arguments that receivers get; for documentation.
        use_caching: Without effect; sending is quick without.
        name: What the signal is called in logs.
        sleep: Waits between the attempts of receivers connected with ``retry``.
    """

    __slots__ = ("__weakref__", "_lock", "_sleep", "name", "providing_args", "receivers")

    receivers: tuple[_Connection, ...]

    def __init__(
        self,
        providing_args: Iterable[str] | None = None,
        use_caching: bool = False,  # noqa: ARG002, FBT001, FBT002 - Celery's order
        name: str | None = None,
        *,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.name = name
        self.providing_args = frozenset(providing_args or ())
        self.receivers = ()
        self._sleep = sleep
        self._lock = RLock()  # a receiver may die, and so disconnect, at any moment

    @overload
    def connect(
        self,
        receiver: Receiver,
        sender: Any = None,
        *,
        weak: bool = True,
        dispatch_uid: Any = None,
        retry: bool = False,
    ) -> Receiver: ...

    @overload
    def connect(
        self,
        receiver: None = None,
        sender: Any = None,
        *,
        weak: bool = True,
        dispatch_uid: Any = None,
        retry: bool = False,
    ) -> Callable[[Receiver], Receiver]: ...

    def connect(
        self,
        receiver: Any = None,
        sender: Any = None,
        *,
        weak: bool = True,
        dispatch_uid: Any = None,
        retry: bool = False,
    ) -> Any:
        """Call ``receiver`` whenever the signal is sent; returns it, so this is a decorator too.

        Args:
            receiver: What to call; left out, a decorator that takes it is returned.
            sender: Call it only for this sender; a lazy task counts as what it turns into.
            weak: Whether the connection goes when the receiver is garbage collected.
            dispatch_uid: Connect only once under this id, whatever the receiver is.
            retry: Call again, after 2, 4, 6 and up to 30 seconds, until it does not raise.
                This blocks whoever sends the signal.

        Raises:
            TypeError: The receiver cannot be called.
            ValueError: The receiver does not take ``**kwargs``.
        """

        def connect(receiver: Receiver) -> Receiver:
            _check(receiver)
            key = _receiver_key(receiver, dispatch_uid)
            _once_made(
                sender, lambda made: self._add(receiver, made, key=key, weak=weak, retry=retry)
            )
            return receiver

        return connect if receiver is None else connect(receiver)

    def disconnect(
        self,
        receiver: Any = None,
        sender: Any = None,
        weak: bool | None = None,  # noqa: FBT001 - Celery's order
        dispatch_uid: Any = None,
    ) -> bool:
        """Do not call the receiver any more; whether it was connected.

        ``sender`` and ``dispatch_uid`` must be those it was connected with; ``weak`` is without
        effect.
        """
        if weak is not None:
            import warnings

            from umbel.exceptions import UmbelDeprecationWarning

            warnings.warn(
                "disconnect(weak=...) has no effect", UmbelDeprecationWarning, stacklevel=2
            )
        key = (_receiver_key(receiver, dispatch_uid), _sender_key(sender))
        with self._lock:
            rest = tuple(each for each in self.receivers if each.key != key)
            found = len(rest) < len(self.receivers)
            self.receivers = rest
        return found

    def send(self, sender: Any = None, /, **named: Any) -> list[tuple[Any, Any]]:
        """Call every receiver connected to this sender, or to any.

        Returns each receiver with what it returned or, if it raised, with the exception, which
        has been logged.
        """
        sender = named.pop("sender", sender)
        if not self.receivers:
            return []
        return [
            (receiver, self._call(each, receiver, sender, named))
            for each, receiver in self._listening(sender)
        ]

    send_robust = send

    def has_listeners(self, sender: Any = None) -> bool:
        """Whether anybody would be called for this sender."""
        return any(True for _ in self._listening(sender))

    def __repr__(self) -> str:
        provided = ", ".join(map(repr, sorted(self.providing_args)))
        shown = f"{{{provided}}}" if provided else "set()"
        return f"<Signal: {self.name} providing_args={shown}>"

    def _add(self, receiver: Any, sender: Any, *, key: Any, weak: bool, retry: bool) -> None:
        connection = _Connection(
            (key, _sender_key(sender)),
            _reference(receiver, self._prune) if weak else _strong(receiver),
            None if sender is None else _reference(sender, self._prune),
            retry=retry,
        )
        with self._lock:
            living = tuple(each for each in self.receivers if each.is_alive())
            if all(each.key != connection.key for each in living):
                self.receivers = (*living, connection)

    def _prune(self, _reference: Any) -> None:
        with self._lock:
            self.receivers = tuple(each for each in self.receivers if each.is_alive())

    def _listening(self, sender: Any) -> Iterator[tuple[_Connection, Any]]:
        key = _sender_key(sender)
        for each in self.receivers:
            wanted = each.key[1]
            if (wanted is None or wanted == key) and (receiver := each.receiver()) is not None:
                yield each, receiver

    def _call(
        self, connection: _Connection, receiver: Any, sender: Any, named: dict[str, Any]
    ) -> Any:
        pauses = _AGAIN.intervals() if connection.retry else iter(())
        while True:
            try:
                return receiver(signal=self, sender=sender, **named)
            except Exception as error:  # noqa: BLE001 - receivers are other people's code
                _log(self, receiver, error)
                pause = next(pauses, None)
                if pause is None:
                    return error
            self._sleep(pause)


class _Connection:
    """One receiver of a signal."""

    __slots__ = ("key", "receiver", "retry", "sender")

    def __init__(
        self,
        key: tuple[Any, Any],
        receiver: Callable[[], Any],
        sender: Callable[[], Any] | None,
        *,
        retry: bool,
    ) -> None:
        self.key = key
        self.receiver = receiver
        self.sender = sender
        self.retry = retry

    def is_alive(self) -> bool:
        """Whether its receiver, and the sender it is about, still exist."""
        if self.receiver() is None:
            return False
        return self.sender is None or self.sender() is not None


def _check(receiver: Any) -> None:
    if not callable(receiver):
        raise TypeError(f"a receiver must be callable, not {saferepr(receiver)}")
    code = getattr(receiver, "__code__", None)
    if code is not None and code.co_flags & _VARIABLE_KEYWORDS:
        return
    import inspect

    try:
        parameters = inspect.signature(receiver).parameters.values()
    except ValueError:
        parameters = {}.values()
    if all(each.kind is not inspect.Parameter.VAR_KEYWORD for each in parameters):
        raise ValueError(f"the receiver {saferepr(receiver)} must accept **kwargs")


def _receiver_key(receiver: Any, dispatch_uid: Any) -> Any:
    if dispatch_uid is not None:
        return dispatch_uid
    if hasattr(receiver, "__func__") and hasattr(receiver, "__self__"):
        return (id(receiver.__self__), id(receiver.__func__))
    return id(receiver)


def _sender_key(sender: Any) -> Any:
    if sender is None:
        return None
    made = _made(sender)
    return made if isinstance(made, (str, bytes)) else id(made)


def _made(sender: Any) -> Any:
    """What a lazy object stands for, or the object itself."""
    # The type is asked, because a proxy answers everything else for its object.
    find = getattr(type(sender), "_get_current_object", None)
    return sender if find is None else find(sender)


def _once_made(sender: Any, call: Callable[[Any], None]) -> None:
    then = getattr(type(sender), "__then__", None)
    if then is None:
        call(_made(sender))
    else:
        then(sender, call)


def _reference(target: Any, gone: Callable[[Any], None]) -> Callable[[], Any]:
    """A weak reference, or a strong one to what cannot be referred to weakly."""
    try:
        if hasattr(target, "__func__") and hasattr(target, "__self__"):
            return weakref.WeakMethod(target, gone)
        return weakref.ref(target, gone)
    except TypeError:
        return _strong(target)


def _strong(target: Any) -> Callable[[], Any]:
    return lambda: target


def _log(signal: Signal, receiver: Any, error: Exception) -> None:
    import logging

    logging.getLogger("umbel.signals").error(
        "receiver %s of signal %s raised %s",
        saferepr(receiver),
        signal.name,
        saferepr(error),
        exc_info=error,
    )


# ------------------------------------------------------------------------------------- publishing

before_task_publish = Signal(
    {"body", "exchange", "routing_key", "headers", "properties", "declare", "retry_policy"},
    name="before_task_publish",
)
"""A message is about to be published; ``headers`` and ``properties`` may be changed.

Sent by the client with the task's name. ``body`` is what is encoded in the message.
"""

after_task_publish = Signal(
    {"headers", "body", "exchange", "routing_key"}, name="after_task_publish"
)
"""The broker has taken a message. Sent by the client with the task's name."""

task_sent = Signal({"task_id", "task", "args", "kwargs", "eta", "taskset"}, name="task_sent")
"""Deprecated and not sent; use `after_task_publish`."""


# ------------------------------------------------------- tasks, in the process that runs them

task_prerun = Signal({"task_id", "task", "args", "kwargs"}, name="task_prerun")
"""A task is about to run. Sent with the task."""

task_postrun = Signal({"task_id", "task", "args", "kwargs", "retval", "state"}, name="task_postrun")
"""A task has ended, in whatever way; ``state`` says which. Sent with the task."""

task_success = Signal({"result", "runtime"}, name="task_success")
"""A task has returned ``result`` after ``runtime`` seconds. Sent with the task."""

task_retry = Signal({"request", "reason", "einfo"}, name="task_retry")
"""A task will run again because of ``reason``. Sent with the task."""

task_failure = Signal(
    {"task_id", "exception", "args", "kwargs", "traceback", "einfo"}, name="task_failure"
)
"""A task has failed. Sent with the task; by the supervisor if the process that ran it is gone."""

task_internal_error = Signal(
    {"task_id", "args", "kwargs", "request", "exception", "traceback", "einfo"},
    name="task_internal_error",
)
"""Something outside a task's own code went wrong while it was run. Sent with the task."""


# ---------------------------------------------------------------------- tasks, seen by the worker

task_received = Signal({"request"}, name="task_received")
"""A message has arrived and will be run. Sent with the consumer."""

task_revoked = Signal({"request", "terminated", "signum", "expired"}, name="task_revoked")
"""A task was revoked or had expired. Sent with the task."""

task_unknown = Signal({"message", "exc", "name", "id"}, name="task_unknown")
"""A message names a task that is not registered here. Sent with the consumer."""

task_rejected = Signal({"message", "exc"}, name="task_rejected")
"""A message was refused: ``exc`` says why, None if it is no task. Sent with the consumer."""

import_modules = Signal(name="import_modules")
"""Task modules are to be imported now. Sent with the application; what is raised propagates."""


# ----------------------------------------------------------------------------- the worker's life

celeryd_init = Signal({"instance", "conf", "options"}, name="celeryd_init")
"""A worker was made and not set up yet: ``conf`` may be changed. Sent with its node name."""

celeryd_after_setup = Signal({"instance", "conf"}, name="celeryd_after_setup")
"""A worker is set up and not started yet. Sent with its node name."""

worker_init = Signal(name="worker_init")
"""A worker is about to start. Sent with the worker."""

worker_before_create_process = Signal(name="worker_before_create_process")
"""A child process is about to be started. Sent in the supervisor, with what starts it."""

worker_process_init = Signal(name="worker_process_init")
"""A child process is ready and runs nothing yet. Sent in the child, with its host's name."""

worker_process_shutdown = Signal({"pid", "exitcode"}, name="worker_process_shutdown")
"""A child process is about to end. Sent in the child, with its host's name."""

worker_ready = Signal(name="worker_ready")
"""A worker takes messages from now on. Sent with the consumer."""

worker_shutting_down = Signal({"sig", "how", "exitcode"}, name="worker_shutting_down")
"""A worker was asked to stop: ``how`` is Warm or Cold. Sent with its node name."""

worker_shutdown = Signal(name="worker_shutdown")
"""A worker is about to end. Sent with the worker."""

heartbeat_sent = Signal(name="heartbeat_sent")
"""A worker has told the others that it is alive. Sent with what sends the heartbeats."""


# -------------------------------------------------------------- logging, beat and command line

setup_logging = Signal({"loglevel", "logfile", "format", "colorize"}, name="setup_logging")
"""Logging is to be set up; if anybody is connected, Umbel sets up nothing. Sent with None."""

after_setup_logger = Signal(
    {"logger", "loglevel", "logfile", "format", "colorize"}, name="after_setup_logger"
)
"""The root logger is set up: handlers may be added. Sent with None."""

after_setup_task_logger = Signal(
    {"logger", "loglevel", "logfile", "format", "colorize"}, name="after_setup_task_logger"
)
"""The tasks' logger is set up: handlers may be added. Sent with None."""

beat_init = Signal(name="beat_init")
"""Beat is about to start, on its own or within a worker. Sent with the service."""

beat_embedded_init = Signal(name="beat_embedded_init")
"""Beat is about to start within a worker. Sent with the service."""

user_preload_options = Signal({"app", "options"}, name="user_preload_options")
"""The user's own options of the command line are known. Sent with the command's function."""


# --------------------------------------------------------------- kept for code that connects them

eventlet_pool_started = Signal(name="eventlet_pool_started")
"""Not sent: there is no eventlet pool."""

eventlet_pool_preshutdown = Signal(name="eventlet_pool_preshutdown")
"""Not sent: there is no eventlet pool."""

eventlet_pool_postshutdown = Signal(name="eventlet_pool_postshutdown")
"""Not sent: there is no eventlet pool."""

eventlet_pool_apply = Signal({"target", "args", "kwargs"}, name="eventlet_pool_apply")
"""Not sent: there is no eventlet pool."""
