"""The one place with module state: which application and which task are current.

``shared_task`` and ``current_app`` need an application nobody passes to them. It is the one made
current in this thread, else the process's default, else a fallback made on first use.  The
running task is kept in a context variable, so that many asynchronous tasks on one loop each see
their own.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, cast

from umbel.local import Proxy, renew_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from umbel.app import Umbel
    from umbel.context import Context
    from umbel.task import Task


class Frame:
    """One running task: the task, its request, and the frame below it."""

    __slots__ = ("below", "request", "task")

    def __init__(self, task: Task[..., Any], request: Context, below: Frame | None) -> None:
        self.task = task
        self.request = request
        self.below = below


running: ContextVar[Frame | None] = ContextVar("umbel-running-task", default=None)

joins_forbidden: ContextVar[bool] = ContextVar("umbel-joins-forbidden", default=False)


class _Apps(threading.local):
    current: Umbel | None = None


_apps = _Apps()
_all: weakref.WeakSet[Umbel] = weakref.WeakSet()
_made: weakref.WeakSet[Umbel] = weakref.WeakSet()
_default: Umbel | None = None
_default_lock = threading.RLock()
_on_finalize: list[Callable[[Umbel], Any]] = []


def set_default_app(app: Umbel | None) -> None:
    """Make ``app`` the one threads see that have no current application."""
    global _default  # noqa: PLW0603 - the process's default is module state by nature
    _default = app


def set_current_app(app: Umbel | None) -> None:
    """Make ``app`` current in this thread."""
    _apps.current = app


def register_app(app: Umbel) -> None:
    """Remember ``app`` among all applications, for tasks shared later."""
    _made.add(app)
    _all.add(app)


def deregister_app(app: Umbel) -> None:
    """Forget ``app``."""
    _all.discard(app)


def all_apps() -> list[Umbel]:
    """Every application that is alive and not closed."""
    return list(_all)


def get_current_app() -> Umbel:
    """The current application; a fallback named ``default`` is made if there is none.

    With ``C_WARN_APP`` in the environment each call prints where it comes from.

    Raises:
        RuntimeError: the environment has ``C_STRICT_APP``, so that nothing may rely on it.
    """
    app = _apps.current or _default
    return app if app is not None else _fallback()


def _strict() -> Umbel:
    """In place of `get_current_app` where the environment has ``C_STRICT_APP``."""
    msg = "the current application is used, which C_STRICT_APP forbids; pass the application"
    raise RuntimeError(msg)


def _telling() -> Umbel:
    """In place of `get_current_app` where the environment has ``C_WARN_APP``."""
    import traceback

    print("-- the current application is used", file=sys.stderr)  # noqa: T201 - asked for
    traceback.print_stack(file=sys.stderr)
    return _quiet()


_quiet = get_current_app
if os.environ.get("C_STRICT_APP"):
    get_current_app = _strict
elif os.environ.get("C_WARN_APP"):
    get_current_app = _telling


def _fallback() -> Umbel:
    from umbel.app import Umbel

    with _default_lock:
        if _default is None:
            loader = os.environ.get("UMBEL_LOADER") or os.environ.get("CELERY_LOADER")
            fallback = Umbel("default", loader=loader or "default", set_as_current=False, fixups=[])
            set_default_app(fallback)
        return cast("Umbel", _default)


def app_or_default(app: Umbel | None = None) -> Umbel:
    """``app``, or the current one."""
    return app if app is not None else get_current_app()


def get_current_task() -> Task[..., Any] | None:
    """The task that runs here, also one called directly."""
    frame = running.get()
    return frame.task if frame is not None else None


def get_current_request() -> Context | None:
    """The request of the nearest task that a message started, directly called ones skipped."""
    frame = running.get()
    while frame is not None:
        if not frame.request.called_directly:
            return frame.request
        frame = frame.below
    return None


def get_current_worker_task() -> Task[..., Any] | None:
    """The task that a message started, directly called ones skipped."""
    frame = running.get()
    while frame is not None:
        if not frame.request.called_directly:
            return frame.task
        frame = frame.below
    return None


def frames() -> Iterator[Frame]:
    """The running tasks, innermost first."""
    frame = running.get()
    while frame is not None:
        yield frame
        frame = frame.below


def connect_on_app_finalize(callback: Callable[[Umbel], Any]) -> Callable[[Umbel], Any]:
    """Have ``callback(app)`` called for every application that is finalized from now on."""
    _on_finalize.append(callback)
    return callback


def announce_finalize(app: Umbel) -> None:
    """Let shared tasks join ``app``."""
    for callback in tuple(_on_finalize):
        callback(app)


def _after_fork() -> None:
    """Let every application of a forked process have locks and connections of its own."""
    global _default_lock  # noqa: PLW0603 - as the default itself
    _default_lock = threading.RLock()
    renew_lock()
    for app in list(_made):
        app.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


current_app: Umbel = cast("Umbel", Proxy(get_current_app, "current_app"))
current_task: Task[..., Any] = cast("Task[..., Any]", Proxy(get_current_task, "current_task"))
