"""What a task declares about itself, and what the settings fill in where it does not."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, ClassVar

from umbel import current
from umbel.exceptions import MaxRetriesExceededError, OperationalError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from umbel.app import Umbel
    from umbel.arguments import Arguments
    from umbel.backend import Backend
    from umbel.validation import Models

FROM_CONFIG = (
    ("serializer", "task_serializer"),
    ("rate_limit", "task_default_rate_limit"),
    ("priority", "task_default_priority"),
    ("track_started", "task_track_started"),
    ("acks_late", "task_acks_late"),
    ("acks_on_failure_or_timeout", "task_acks_on_failure_or_timeout"),
    ("acks_on_failure", "task_acks_on_failure"),
    ("acks_on_timeout", "task_acks_on_timeout"),
    ("reject_on_worker_lost", "task_reject_on_worker_lost"),
    ("retry_on_worker_lost", "task_retry_on_worker_lost"),
    ("ignore_result", "task_ignore_result"),
    ("store_eager_result", "task_store_eager_result"),
    ("store_errors_even_if_ignored", "task_store_errors_even_if_ignored"),
    ("time_limit", "task_time_limit"),
    ("soft_time_limit", "task_soft_time_limit"),
)
"""Attributes that a setting fills in where the task leaves them None."""

PUBLISH_DEFAULTS = (
    "queue",
    "routing_key",
    "exchange",
    "exchange_type",
    "priority",
    "expires",
    "serializer",
    "delivery_mode",
    "compression",
    "time_limit",
    "soft_time_limit",
    "immediate",
    "mandatory",
)
"""Attributes that are options of every call unless the call says otherwise."""


class Attributes:
    """The attributes of a task class with their defaults.

    ``None`` stands for the setting of the same name, which `bind` fills in. Spans are in seconds.

    Attributes:
        name: what messages call the task; by default module and function.
        typing: check the arguments at the call.
        max_retries: how often `Task.retry` may be used; None is for ever.
        default_retry_delay: seconds until a retry that names no time.
        rate_limit: starts per second, or "100/m", for one worker with all its children.
        time_limit: seconds after which the process that runs it is killed.
        soft_time_limit: seconds after which `SoftTimeLimitExceeded` is raised inside it.
        ignore_result: store no state.
        trail: remember the results of tasks it starts as its children.
        send_events: have workers tell monitors about it.
        store_errors_even_if_ignored: store failures although results are ignored.
        store_eager_result: store states of eager runs too.
        serializer: how its arguments travel.
        track_started: store STARTED when it starts.
        acks_late: acknowledge the message when the task has ended and not before it starts.
        acks_on_failure_or_timeout, acks_on_failure, acks_on_timeout: whether the message of a
            failed attempt is done with; if not, it goes to the dead letters.
        reject_on_worker_lost: run it again when its process was lost.
        retry_on_worker_lost: as ``reject_on_worker_lost``, counted as a retry.
        throws: exceptions that are expected: logged at INFO, not as errors.
        expires: seconds after which a message that has not started is revoked.
        priority: 0 to 9, higher first.
        resultrepr_maxsize: how much of a result logs show.
        abstract: kept for classes that set it; nothing depends on it.
        autoretry_for: exceptions on which it is retried by itself.
        dont_autoretry_for: exceptions among those on which it is not.
        retry_kwargs: arguments for that retry.
        retry_backoff: wait 1, 2, 4, … seconds, times this if it is a number.
        retry_backoff_max: the longest of these waits.
        retry_jitter: choose each wait at random between 0 and that.
        Strategy, Request: kept for classes that set them; the worker has no such hooks.
    """

    name: str | None = None
    typing: bool | None = None
    max_retries: int | None = 3
    default_retry_delay: float = 180
    rate_limit: str | float | None = None
    time_limit: float | None = None
    soft_time_limit: float | None = None
    ignore_result: bool | None = None
    trail: bool = True
    send_events: bool = True
    store_errors_even_if_ignored: bool | None = None
    store_eager_result: bool | None = None
    serializer: str | None = None
    track_started: bool | None = None
    acks_late: bool | None = None
    acks_on_failure_or_timeout: bool | None = None
    acks_on_failure: bool | None = None
    acks_on_timeout: bool | None = None
    reject_on_worker_lost: bool | None = None
    retry_on_worker_lost: bool | None = None
    throws: tuple[type[BaseException], ...] = ()
    expires: Any = None
    priority: int | None = None
    resultrepr_maxsize: int = 1024
    abstract: bool = True
    Strategy: str = "umbel.worker.admission:Admission"
    Request: str = "umbel.worker.admission:Job"

    autoretry_for: tuple[type[BaseException], ...] = ()
    dont_autoretry_for: tuple[type[BaseException], ...] = ()
    retry_kwargs: ClassVar[Mapping[str, Any]] = {}
    retry_backoff: bool | int = False
    retry_backoff_max: int = 600
    retry_jitter: bool = True

    MaxRetriesExceededError = MaxRetriesExceededError
    OperationalError = OperationalError

    is_async: bool = False
    """Whether the body is a coroutine function."""

    _app: ClassVar[Umbel | None] = None
    _bound: ClassVar[bool] = False
    _backend: Backend | None = None
    _arguments: Arguments | None = None
    _models: Models | None = None
    _publish_options: Mapping[str, Any] | None = None
    __wrapped__: Callable[..., Any]

    @classmethod
    def bind(cls, app: Umbel) -> Umbel:
        """Belong to ``app``: fill in from its settings what the task leaves open."""
        was_bound = cls.__dict__.get("_bound", False)  # not its base's
        cls._bound, cls._app = True, app
        conf = app.conf
        if cls.typing is None:
            cls.typing = app.strict_typing
        for attribute, setting in FROM_CONFIG:
            if getattr(cls, attribute, None) is None:
                setattr(cls, attribute, conf[setting])
        if not was_bound:
            cls.annotate()
            cls.on_bound(app)
        return app

    @classmethod
    def on_bound(cls, app: Umbel) -> None:
        """Called when the class is bound to an application."""

    @classmethod
    def annotate(cls) -> None:
        """Apply what ``task_annotations`` says about this task."""
        for key, value in cls._get_app().annotations.of(cls):
            if key.startswith("@"):
                cls.add_around(key[1:], value)
            else:
                setattr(cls, key, value)

    @classmethod
    def add_around(cls, attr: str, around: Callable[..., Any]) -> None:
        """Put ``around(method)`` in place of a method, once.

        The body of a task that is not bound gets no task as its first argument; nor does what is
        put around it.
        """
        inside = getattr(cls, attr)
        if getattr(inside, "__wrapped__", None) is not None:
            return
        method = around(inside)
        method.__wrapped__ = inside
        is_static = isinstance(inspect.getattr_static(cls, attr), staticmethod)
        setattr(cls, attr, staticmethod(method) if is_static else method)

    @classmethod
    def _get_app(cls) -> Umbel:
        if cls._app is None:
            cls._app = current.get_current_app()
        if not cls.__dict__.get("_bound", False):
            cls.bind(cls._app)
        return cls._app

    @property
    def app(self) -> Umbel:
        """The application it belongs to."""
        return self._get_app()

    @property
    def backend(self) -> Backend:
        """Where its results are kept."""
        return self._backend if self._backend is not None else self.app.backend

    @backend.setter
    def backend(self, value: Backend) -> None:
        self._backend = value

    @property
    def is_bound(self) -> bool:
        """Whether the body gets the task as its first argument."""
        return bool(getattr(type(self), "_binds", False))

    @property
    def publish_options(self) -> Mapping[str, Any]:
        """The options its attributes give to every call."""
        if self._publish_options is None:
            found = {name: getattr(self, name, None) for name in PUBLISH_DEFAULTS}
            self._publish_options = {k: v for k, v in found.items() if v is not None}
        return self._publish_options

    def __setattr__(self, name: str, value: Any) -> None:
        if name in PUBLISH_DEFAULTS:
            self.__dict__.pop("_publish_options", None)
        object.__setattr__(self, name, value)


def classes(given: Any) -> tuple[type[BaseException], ...]:
    """The exception classes that ``throws`` and its like hold: none, one, or several."""
    if isinstance(given, type):
        return (given,)
    return tuple(given or ())
