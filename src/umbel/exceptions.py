"""Every error, warning and exit that Umbel raises, in one tree.

::

    Exception
    └── UmbelError                      (also importable as CeleryError)
        ├── ImproperlyConfigured        a setting or argument cannot work
        │   ├── MissingExtra            an optional package is not installed
        │   └── InvalidRate             (a ValueError and a KeyError)
        ├── SecurityError               a signature, certificate or class is not trusted
        ├── TaskPredicate               raised by a task to say how it ends
        │   ├── Ignore
        │   ├── Reject
        │   └── Retry                   (also importable as RetryTaskError)
        ├── TaskError
        │   ├── QueueNotFound           (a KeyError)
        │   ├── NotRegistered           (a KeyError)
        │   ├── AlreadyRegistered
        │   ├── IncompleteStream
        │   ├── TimeoutError            (a built-in TimeoutError)
        │   ├── MaxRetriesExceededError
        │   ├── TaskRevokedError
        │   ├── InvalidTaskError
        │   └── ChordError
        ├── RemoteError                 stands in for an exception class not known here
        ├── SoftTimeLimitExceeded       raised inside the task
        ├── TimeLimitExceeded           the task's process was killed
        ├── WorkerLostError
        ├── Terminated
        ├── LeaseLost                   somebody else owns the message by now
        ├── OperationalError            broker or store out of reach; trying again may help
        ├── UnroutableError             no queue takes the message
        ├── BackendError
        │   ├── BackendGetMetaError
        │   └── BackendStoreError
        ├── StoreError                  a store cannot be used; trying again does not help
        │   ├── SchemaError
        │   └── StoreCorrupt
        └── SerializationError
            ├── EncodeError
            ├── DecodeError
            ├── ContentDisallowed
            └── SerializerNotInstalled
    SystemExit
    ├── WorkerShutdown
    └── WorkerTerminate                 (also importable as SystemTerminate)
    UserWarning
    └── UmbelWarning                    (also importable as CeleryWarning)
        ├── AlwaysEagerIgnored
        ├── DuplicateNodenameWarning
        ├── DuplicateTaskNameWarning
        ├── FixupWarning
        ├── NotConfigured
        └── SecurityWarning
    DeprecationWarning
    └── UmbelDeprecationWarning         (also importable as CDeprecationWarning)
    PendingDeprecationWarning
    └── UmbelPendingDeprecationWarning  (also importable as CPendingDeprecationWarning)

Each class keeps what it knows as fields and builds its own message from them. ``args`` holds
exactly the positional arguments, so ``type(error)(*error.args)`` makes the same error again from
a stored result (without the fields that were given by keyword); pickling keeps every field.
"""
# ruff: noqa: N818 - these names are the ones under which Celery's users import them

from __future__ import annotations

import builtins
import signal
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime
    from types import TracebackType


class UmbelError(Exception):
    """The root: ``except UmbelError`` catches everything Umbel raises about itself.

    It does not catch what a task's own code raised; that arrives as the original exception.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by fields and not by calling the constructor, whatever it demands."""
        return _blank, (type(self),), {**self.__dict__, "args": self.args}


class ImproperlyConfigured(UmbelError):
    """A setting, option or argument cannot work; the text says which and what to do."""


class MissingExtra(ImproperlyConfigured):
    """An optional package is not installed; the message gives the command that installs it.

    Args:
        feature: What was asked for, as it starts a sentence ("redis:// URLs").
        extra: The name of the extra of the ``umbel`` package that brings it.
    """

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(feature, extra)
        self.feature = feature
        self.extra = extra

    def __str__(self) -> str:
        return f'{self.feature} need an optional package: pip install "umbel[{self.extra}]"'


class InvalidRate(ImproperlyConfigured, ValueError, KeyError):
    """A rate limit cannot be read.

    Args:
        limit: What was given.
        reason: What is wrong with it.
    """

    def __init__(self, limit: Any, reason: str = "") -> None:
        super().__init__(limit, reason)
        self.limit = limit
        self.reason = reason

    def __str__(self) -> str:
        said = f" ({self.reason})" if self.reason else ""
        return f"{self.limit!r} is not a rate limit{said}; write it as 5, '5/s', '100/m' or '10/h'"


class SecurityError(UmbelError):
    """A signature, certificate, content or exception class is not to be trusted."""


# ----------------------------------------------------------- raised by a task to say how it ends


class TaskPredicate(UmbelError):
    """What a task raises, not because it failed but to decide how its attempt ends."""


class Ignore(TaskPredicate):
    """The message is settled and no state is stored: the task says what became of it."""


class Reject(TaskPredicate):
    """The message is refused.

    Args:
        reason: Why; any value, shown in the log.
        requeue: True puts the message back on its queue; False sends it to the dead letters
            and stores a failure.
    """

    def __init__(self, reason: Any = None, requeue: bool = False) -> None:  # noqa: FBT001, FBT002 - positional in Celery
        super().__init__(reason, requeue)
        self.reason = reason
        self.requeue = requeue

    def __repr__(self) -> str:
        return f"reject requeue={self.requeue}: {self.reason}"

    __str__ = __repr__


class Retry(TaskPredicate):
    """The task is to run again later; made by ``Task.retry``.

    Args:
        message: Replaces the text built from the other fields.
        exc: The exception that led here, or its text.
        when: Seconds until, or the moment of, the next attempt.
        is_eager: The task runs in the caller's process.
        sig: The signature of the next attempt.
    """

    message: str | None
    exc: BaseException | None
    excs: str | None

    def __init__(
        self,
        message: str | None = None,
        exc: BaseException | str | None = None,
        when: float | datetime | str | None = None,
        is_eager: bool = False,  # noqa: FBT001, FBT002 - positional in Celery
        sig: Any = None,
    ) -> None:
        super().__init__(message, exc, when)
        self.message = message
        self.exc = None if isinstance(exc, str) else exc
        self.excs = _readable(exc) if isinstance(exc, BaseException) else exc
        self.when = when
        self.is_eager = is_eager
        self.sig = sig

    def humanize(self) -> str:
        """When the task runs again: ``in 180s``, or ``at`` the moment."""
        if isinstance(self.when, (int, float)):
            return f"in {self.when}s"
        return f"at {self.when}"

    def __str__(self) -> str:
        if self.message:
            return self.message
        return f"Retry {self.humanize()}" + (f": {self.excs}" if self.excs else "")


RetryTaskError = Retry


# --------------------------------------------------------------------------- errors about tasks


class TaskError(UmbelError):
    """Something about one task, its message or its result."""


class QueueNotFound(TaskError, KeyError):
    """No queue of that name is configured, and missing queues are not created.

    Args:
        name: The queue that was asked for.
        known: The names that exist, for the suggestion.
    """

    def __init__(self, name: str, known: Iterable[str] = ()) -> None:
        super().__init__(name)
        self.name = name
        self.suggestion = closest(name, known)

    def __str__(self) -> str:
        return (
            f"no queue named {self.name!r} is configured{_meant(self.suggestion)}; "
            "add it to task_queues or let task_create_missing_queues create it"
        )


class NotRegistered(TaskError, KeyError):
    """No task of that name is registered in this process.

    Args:
        name: The task that was asked for.
        known: The names that are registered, for the suggestion.
        aftermath: What happened as a consequence, e.g. where the message went.
    """

    def __init__(
        self, name: str | None, known: Iterable[str] = (), *, aftermath: str | None = None
    ) -> None:
        super().__init__(name)
        self.name = name
        self.suggestion = closest(name, known) if name else None
        self.aftermath = aftermath

    def __str__(self) -> str:
        what = f"no task named {self.name!r} is registered here{_meant(self.suggestion)}"
        return f"{what}; {self.aftermath}" if self.aftermath else what


class AlreadyRegistered(TaskError):
    """Another task already has this name."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"a task named {self.name!r} is already registered; give one of them another name="


class IncompleteStream(TaskError):
    """A tree of results was walked before all of it was ready."""


class TimeoutError(TaskError, builtins.TimeoutError):  # noqa: A001 - Celery's name
    """The wait is over without a result; the task itself goes on.

    Args:
        *args: A text in place of the one built from the fields.
        task_id: The task that was waited for.
        timeout: How many seconds the caller was willing to wait.
    """

    def __init__(
        self, *args: Any, task_id: str | None = None, timeout: float | None = None
    ) -> None:
        super().__init__(*(args or _timeout_text(task_id, timeout)))
        self.task_id = task_id
        self.timeout = timeout

    def __str__(self) -> str:
        return ", ".join(map(str, self.args))


class MaxRetriesExceededError(TaskError):
    """The task was retried as often as it may be.

    Args:
        *args: A text in place of the one built from the fields.
        task: The task's name.
        task_id: The task's id.
        task_args: Positional arguments of the last attempt.
        task_kwargs: Keyword arguments of the last attempt.
    """

    def __init__(
        self,
        *args: Any,
        task: str | None = None,
        task_id: str | None = None,
        task_args: Sequence[Any] = (),
        task_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        self.task = task
        self.task_id = task_id
        self.task_args = task_args
        self.task_kwargs = {} if task_kwargs is None else task_kwargs
        super().__init__(*(args or self._text()))

    def _text(self) -> tuple[str, ...]:
        if self.task is None:
            return ()
        given = f"args {_readable(self.task_args)} kwargs {_readable(self.task_kwargs)}"
        return (f"{self.task}[{self.task_id}] has used up its retries: {given}",)


class TaskRevokedError(TaskError):
    """The task was revoked, terminated or expired before it could end by itself."""


class InvalidTaskError(TaskError):
    """A task definition or a task message lacks what it must have."""


class ChordError(TaskError):
    """The body of a chord cannot run, because a task of its header failed."""


# ------------------------------------------------------------- how an attempt can end from outside


class RemoteError(UmbelError):
    """Stands in for an exception whose class is not known in this process.

    Nothing is imported by name from a stored result, so a class that nobody imported here
    arrives as this one. ``args``, ``str()`` and ``repr()`` are those of the original.

    Args:
        exc_type: The qualified name of the original's class.
        exc_module: The module of the original's class, or None.
        exc_args: The original's ``args``.
    """

    def __init__(
        self, exc_type: str, exc_module: str | None = None, *, exc_args: Iterable[Any] = ()
    ) -> None:
        super().__init__(*exc_args)
        self.exc_type = exc_type
        self.exc_module = exc_module

    def __repr__(self) -> str:
        return f"{self.exc_type}({', '.join(map(_readable, self.args))})"


class SoftTimeLimitExceeded(UmbelError):
    """Raised inside the task when its soft time limit (seconds) is over: time to clean up."""

    def __init__(self, limit: float | None = None) -> None:
        super().__init__(*(() if limit is None else (limit,)))
        self.limit = limit

    def __str__(self) -> str:
        return f"the soft time limit{_of(self.limit)} is over"


class TimeLimitExceeded(UmbelError):
    """The task's hard time limit (seconds) is over; the process that ran it was killed."""

    def __init__(self, limit: float | None = None) -> None:
        super().__init__(*(() if limit is None else (limit,)))
        self.limit = limit

    def __str__(self) -> str:
        return f"the time limit{_of(self.limit)} is over; the process that ran the task was killed"


class WorkerLostError(UmbelError):
    """The process that ran the task ended before the task did.

    Args:
        *args: A text in place of the one built from the fields.
        pid: The process.
        exitcode: Its exit code; a negative one is the signal that killed it.
    """

    def __init__(self, *args: Any, pid: int | None = None, exitcode: int | None = None) -> None:
        super().__init__(*(args or _lost_text(pid, exitcode)))
        self.pid = pid
        self.exitcode = exitcode


class Terminated(UmbelError):
    """The task was stopped by a signal that somebody asked for."""

    def __init__(self, signum: int | str | None = None) -> None:
        super().__init__(*(() if signum is None else (signum,)))
        self.signum = signum

    def __str__(self) -> str:
        return "terminated" if self.signum is None else f"terminated by {_signal(self.signum)}"


class LeaseLost(UmbelError):
    """The lease of an owner has ended, or it never had one; nothing was claimed.

    Args:
        owner: Who holds no lease. What it had claimed may be others' by now.
    """

    def __init__(self, owner: str) -> None:
        super().__init__(owner)
        self.owner = owner

    def __str__(self) -> str:
        return (
            f"{self.owner} holds no lease: it has ended, or was never taken; what was claimed "
            "under it may run elsewhere by now"
        )


# ------------------------------------------------------------------------------ brokers and stores


class OperationalError(UmbelError):
    """The broker or store cannot be reached at the moment; trying again may help.

    Args:
        reason: What the client library or the server said.
        url: The server, its password masked.
    """

    def __init__(self, reason: str = "", url: str | None = None) -> None:
        super().__init__(*((reason,) if url is None else (reason, url)))
        self.reason = reason
        self.url = url

    def __str__(self) -> str:
        return f"cannot reach {self.url}: {self.reason}" if self.url else self.reason


class UnroutableError(UmbelError):
    """The broker took the message and found no queue for it.

    Args:
        exchange: Where it was published.
        routing_key: Under which key.
        reason: What the broker said.
    """

    def __init__(self, exchange: str, routing_key: str, *, reason: str = "") -> None:
        super().__init__(exchange, routing_key)
        self.exchange = exchange
        self.routing_key = routing_key
        self.reason = reason

    def __str__(self) -> str:
        said = f" ({self.reason})" if self.reason else ""
        return (
            f"no queue is bound to exchange {self.exchange!r} with key {self.routing_key!r}"
            f"{said}; the message was not queued"
        )


class BackendError(UmbelError):
    """The result backend could not do what was asked."""


class BackendGetMetaError(BackendError):
    """A stored result could not be read."""

    def __init__(self, *args: Any, task_id: str = "") -> None:
        super().__init__(*args)
        self.task_id = task_id


class BackendStoreError(BackendError):
    """A result could not be stored."""

    def __init__(self, *args: Any, state: str = "", task_id: str = "") -> None:
        super().__init__(*args)
        self.state = state
        self.task_id = task_id


class StoreError(UmbelError):
    """A store is there but cannot be used as it is; trying again does not help."""


class SchemaError(StoreError):
    """A store was written by a version of Umbel that this one cannot read.

    Args:
        found: The schema version in the store.
        supported: The newest schema version known here.
        store: The file or URL, its password masked.
    """

    def __init__(self, found: int, supported: int, *, store: str = "the store") -> None:
        super().__init__(found, supported)
        self.found = found
        self.supported = supported
        self.store = store

    def __str__(self) -> str:
        remedy = "upgrade umbel here" if self.found > self.supported else "migrate the store"
        return (
            f"{self.store} has schema version {self.found}, this version of umbel works with "
            f"{self.supported}: {remedy}"
        )


class StoreCorrupt(StoreError):
    """A store is damaged.

    Args:
        store: The file or URL, its password masked.
        reason: What is wrong with it.
    """

    def __init__(self, store: str, reason: str = "") -> None:
        super().__init__(store, reason)
        self.store = store
        self.reason = reason

    def __str__(self) -> str:
        said = f" ({self.reason})" if self.reason else ""
        return f"{self.store} is damaged{said}; restore it from a backup or move it away"


# ----------------------------------------------------------------------------------- serialization


class SerializationError(UmbelError):
    """A body could not be made into bytes, or bytes into a body."""


class EncodeError(SerializationError):
    """A value cannot be encoded.

    Args:
        reason: Why not.
        path: Where the value is, e.g. ``args[0].owner``.
    """

    def __init__(self, reason: str = "", path: str | None = None) -> None:
        super().__init__(*((reason,) if path is None else (reason, path)))
        self.reason = reason
        self.path = path

    def __str__(self) -> str:
        return f"{self.path} cannot be encoded: {self.reason}" if self.path else self.reason


class DecodeError(SerializationError):
    """Bytes are not what their content type says, or exceed a bound.

    Args:
        reason: Why not.
        content_type: What the sender said they are.
    """

    def __init__(self, reason: str = "", content_type: str | None = None) -> None:
        super().__init__(*((reason,) if content_type is None else (reason, content_type)))
        self.reason = reason
        self.content_type = content_type

    def __str__(self) -> str:
        if self.content_type is None:
            return self.reason
        return f"this {self.content_type} body cannot be decoded: {self.reason}"


class ContentDisallowed(SerializationError):
    """Content of a type that is not accepted was refused before it was decoded.

    Args:
        content_type: What the sender said it is.
        accepted: The content types that are accepted.
    """

    def __init__(self, content_type: str, accepted: Iterable[str] = ()) -> None:
        super().__init__(content_type)
        self.content_type = content_type
        self.accepted = tuple(sorted(accepted))

    def __str__(self) -> str:
        allowed = f" (accepted: {', '.join(self.accepted)})" if self.accepted else ""
        return (
            f"content of type {self.content_type} is refused{allowed}; "
            "list it in accept_content only if you trust every sender"
        )


class SerializerNotInstalled(SerializationError):
    """No serializer or compression of that name is available.

    Args:
        name: The one that was asked for.
        known: The names that are available, for the suggestion.
        extra: The extra of the ``umbel`` package that brings it, if one does.
    """

    def __init__(self, name: str, known: Iterable[str] = (), *, extra: str | None = None) -> None:
        super().__init__(name)
        self.name = name
        self.suggestion = closest(name, known)
        self.extra = extra

    def __str__(self) -> str:
        if self.extra:
            return f'{self.name!r} is not installed: pip install "umbel[{self.extra}]"'
        return f"{self.name!r} is not a registered codec{_meant(self.suggestion)}"


# -------------------------------------------------------------------------------- exits, warnings


class WorkerShutdown(SystemExit):
    """Asks the worker to stop after the tasks that are running."""


class WorkerTerminate(SystemExit):
    """Asks the worker to stop at once, giving back what it was running."""


SystemTerminate = WorkerTerminate


class UmbelWarning(UserWarning):
    """The root of Umbel's warnings."""


class AlwaysEagerIgnored(UmbelWarning):
    """``send_task`` publishes even though ``task_always_eager`` is set."""


class DuplicateNodenameWarning(UmbelWarning):
    """Several workers use the same node name."""


class DuplicateTaskNameWarning(UmbelWarning):
    """Two different functions were registered as tasks under one name."""


class FixupWarning(UmbelWarning):
    """A framework integration found something that will not work."""


class NotConfigured(UmbelWarning):
    """No configuration was found; defaults are used."""


class SecurityWarning(UmbelWarning):
    """A setting or environment weakens security."""


class UmbelDeprecationWarning(DeprecationWarning):
    """A name, argument or setting will be removed."""


class UmbelPendingDeprecationWarning(PendingDeprecationWarning):
    """A name, argument or setting will be deprecated."""


CeleryError = UmbelError
CeleryWarning = UmbelWarning
CDeprecationWarning = UmbelDeprecationWarning
CPendingDeprecationWarning = UmbelPendingDeprecationWarning


# --------------------------------------------------------------------------------- building texts


def reraise(
    tp: type[BaseException], value: BaseException, tb: TracebackType | None = None
) -> NoReturn:
    """Raise ``value`` with the given traceback; ``tp`` is there for Celery's callers."""
    del tp
    raise value.with_traceback(tb) if value.__traceback__ is not tb else value


def _blank(cls: type[UmbelError]) -> UmbelError:
    return cls.__new__(cls)


def closest(name: str, known: Iterable[str]) -> str | None:
    """The name that was probably meant, or None when nothing comes near."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(name, known, n=1)), None)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The name that was probably meant as ``(did you mean 'x'?)``, a space before, or nothing."""
    return _meant(closest(name, known))


def _meant(suggestion: str | None) -> str:
    return f" (did you mean {suggestion!r}?)" if suggestion else ""


def _of(limit: float | None) -> str:
    return "" if limit is None else f" of {limit}s"


def _signal(signum: int | str) -> str:
    if isinstance(signum, str):
        return f"signal {signum}"
    try:
        return f"signal {int(signum)} ({signal.Signals(signum).name})"
    except ValueError:
        return f"signal {signum}"


def _timeout_text(task_id: str | None, timeout: float | None) -> tuple[str, ...]:
    if task_id is None and timeout is None:
        return ()
    within = "in time" if timeout is None else f"within {timeout}s"
    return (f"no result of {task_id or 'the task'} {within}; the task itself goes on",)


def _lost_text(pid: int | None, exitcode: int | None) -> tuple[str, ...]:
    if pid is None and exitcode is None:
        return ()
    who = "a worker process" if pid is None else f"worker process {pid}"
    if exitcode is None:
        return (f"{who} disappeared while it ran the task",)
    how = _signal(-exitcode) if exitcode < 0 else f"exit code {exitcode}"
    return (f"{who} ended with {how} while it ran the task",)


def _readable(value: Any) -> str:
    from umbel.representation import saferepr

    return saferepr(value)
