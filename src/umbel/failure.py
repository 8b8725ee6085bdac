"""Exceptions as data: type name, module and arguments, never code.

An exception crosses processes as three fields.  It is built again only from a class that is
already imported here and is an `Exception`; nothing is ever imported, or called, because a stored
result named it.  What cannot be built becomes a `RemoteError` that looks like the original, and so
does what is meant to end a process or a coroutine: a stored result must not be able to do that.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from umbel import exceptions
from umbel.exceptions import RemoteError, SecurityError
from umbel.representation import saferepr

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

_PLAIN = (str, int, float, bool, type(None))
_DEEPEST = 8
_ABROAD = {
    **dict.fromkeys(
        (
            *("AlreadyRegistered", "BackendError", "BackendGetMetaError", "BackendStoreError"),
            *("ChordError", "Ignore", "ImproperlyConfigured", "IncompleteStream"),
            *("InvalidTaskError", "MaxRetriesExceededError", "NotRegistered", "QueueNotFound"),
            *("Reject", "Retry", "SecurityError", "TaskError", "TaskPredicate"),
            *("TaskRevokedError", "TimeoutError"),
        ),
        "celery.exceptions",
    ),
    **dict.fromkeys(
        (
            *("ContentDisallowed", "DecodeError", "EncodeError", "OperationalError"),
            *("SerializationError", "SerializerNotInstalled"),
        ),
        "kombu.exceptions",
    ),
    **dict.fromkeys(
        ("SoftTimeLimitExceeded", "Terminated", "TimeLimitExceeded", "WorkerLostError"),
        "billiard.exceptions",
    ),
}
"""Where Celery's users find the exceptions that both have."""

_FOREIGN = frozenset(_ABROAD.values())


def exception_to_data(
    error: BaseException, encodes: Callable[[Any], bool] | None = None
) -> dict[str, Any]:
    """``exc_type``, ``exc_message`` (the arguments) and ``exc_module``; never raises.

    Arguments that are not plain data, and that ``encodes`` does not say yes to, are represented.
    """
    cls = type(error)
    name, module = cls.__qualname__, cls.__module__
    if module == exceptions.__name__:
        module = _ABROAD.get(name, module)
    return {
        "exc_type": name,
        "exc_message": [_plain(value, encodes, _DEEPEST) for value in _arguments(error)],
        "exc_module": module,
    }


def _arguments(error: BaseException) -> tuple[Any, ...]:
    try:
        return tuple(error.args)
    except Exception:  # noqa: BLE001 - a user's class may break anything
        return (saferepr(error),)


def _plain(value: Any, encodes: Callable[[Any], bool] | None, levels: int) -> Any:
    kind = type(value)
    if kind is str:
        return _encodable(value)
    if kind in _PLAIN:
        return value
    if levels > 0 and kind in (list, tuple):
        return [_plain(item, encodes, levels - 1) for item in value]
    if levels > 0 and kind is dict:
        return {str(key): _plain(item, encodes, levels - 1) for key, item in value.items()}
    if encodes is not None and encodes(value):
        return value
    return saferepr(value)


def _encodable(text: str) -> str:
    """The text, with halves of surrogate pairs (as in odd file names) written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def exception_from_data(data: Mapping[str, Any] | BaseException | str) -> BaseException:
    """The exception that `exception_to_data` described, or the nearest that is safe to build.

    Raises:
        SecurityError: the name leads to something that is no exception.
        ValueError: there is no type name.
    """
    if isinstance(data, BaseException):
        return data
    if not isinstance(data, dict):
        return RemoteError("Exception", None, exc_args=(data,))
    name = data.get("exc_type")
    if not isinstance(name, str) or not name:
        msg = "the stored exception has no type name"
        raise ValueError(msg)
    arguments = data.get("exc_message")
    if not isinstance(arguments, (list, tuple)):
        arguments = [] if arguments is None else [arguments]
    module = data.get("exc_module")
    module = module if isinstance(module, str) else None
    cls = _find_class(name, module)
    if cls is None or not issubclass(cls, Exception):
        return RemoteError(name, module, exc_args=arguments)
    try:
        return cls(*arguments)
    except Exception:  # noqa: BLE001 - a constructor of the user's with other arguments
        return RemoteError(name, module, exc_args=arguments)


def _find_class(name: str, module: str | None) -> type[BaseException] | None:
    """The class, looked up in what is there: no ``__getattr__`` of a module or class is asked."""
    found: Any = sys.modules.get(module or "builtins")
    if module in _FOREIGN and name in _ABROAD:
        found = exceptions
    for part in name.split("."):
        found = _member(found, part)
        if found is None:
            return None
    if not (isinstance(found, type) and issubclass(found, BaseException)):
        msg = f"{module}.{name} is not an exception class; it is not built from stored data"
        raise SecurityError(msg)
    return found


def _member(owner: Any, name: str) -> Any:
    if isinstance(owner, ModuleType):
        return vars(owner).get(name)
    if isinstance(owner, type):
        return next((vars(cls)[name] for cls in owner.__mro__ if name in vars(cls)), None)
    return None


def picklable(error: BaseException) -> BaseException:
    """``error`` itself if it comes out of a pickle as what it is, else a `RemoteError` like it."""
    import pickle

    try:
        again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    except Exception:  # noqa: BLE001 - whatever a user's class does
        again = None
    if type(again) is type(error):
        return error
    data = exception_to_data(error)
    return RemoteError(data["exc_type"], data["exc_module"], exc_args=data["exc_message"])


class RemoteTraceback(Exception):  # noqa: N818 - shown as the cause of an error, never raised
    """Where in the worker a task failed: the cause of the exception that ``get()`` raises."""

    def __str__(self) -> str:
        return '\n"""\n{}"""'.format(*self.args)


class ExceptionInfo:
    """What handlers and signals get as ``einfo``: the exception and its traceback as text."""

    __slots__ = ("exception", "traceback", "type")

    def __init__(self, error: BaseException, *, skip: int = 0) -> None:
        self.type = type(error)
        self.exception = error
        self.traceback = traceback_text(error, skip=skip)

    @property
    def tb(self) -> TracebackType | None:
        """The live traceback, where there still is one."""
        return self.exception.__traceback__

    def __str__(self) -> str:
        return self.traceback

    def __repr__(self) -> str:
        return f"<ExceptionInfo: {saferepr(self.exception)}>"


def traceback_text(error: BaseException, *, skip: int = 0) -> str:
    """The traceback as Python prints it, without the ``skip`` outermost frames; never raises."""
    import traceback

    frame = error.__traceback__
    for _ in range(skip):
        if frame is None or frame.tb_next is None:
            break
        frame = frame.tb_next
    try:
        return _encodable("".join(traceback.format_exception(type(error), error, frame)))
    except Exception:  # noqa: BLE001 - an exception that cannot be printed is still reported
        lines = traceback.format_tb(frame)
        return "".join([*lines, f"{type(error).__qualname__}: {saferepr(error)}\n"])
