"""From a function to a task: the class made for it, its name, its place in the registry."""

from __future__ import annotations

import functools
import inspect
import warnings
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, overload

from umbel import current
from umbel.arguments import Arguments, annotations_of
from umbel.autoretry import add_autoretry
from umbel.exceptions import DuplicateTaskNameWarning, InvalidTaskError, UmbelWarning
from umbel.local import Pending, Proxy, evaluated
from umbel.task import Task
from umbel.validation import Models

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import ParamSpec

    from umbel.app import Umbel
    from umbel.decorators import BoundDecorator, Decorator, ModelDecorator
    from umbel.task import AsyncTask

    P = ParamSpec("P")
R = TypeVar("R")

_PYDANTIC_OPTIONS = ("pydantic", "pydantic_strict", "pydantic_context", "pydantic_dump_kwargs")
_NO_HOOK = "the worker has no such hook; use the handlers of the task, or signals"
_WITHOUT_EFFECT = {
    "Strategy": _NO_HOOK,
    "Request": _NO_HOOK,
    "retry_on_worker_lost": "the message of a lost process is delivered again by the broker; see "
    "reject_on_worker_lost",
}


class TaskFactory:
    """Makes the tasks of one application."""

    def __init__(self, app: Umbel) -> None:
        self.app = app
        self.pending: list[Pending] = []
        self._warned: set[str] = set()

    def decorate(self, function: Callable[..., Any], options: dict[str, Any]) -> Any:
        """The task, or its stand-in until the application is finalized.

        Raises:
            TypeError: it is a task already, or has no name to call it by.
        """
        _refuse_task(function)
        options = dict(options)
        shared = options.pop("shared", True)
        lazy = options.pop("lazy", True)
        keep = options.pop("filter", None) or _same
        if shared:
            current.connect_on_app_finalize(lambda app: app.factory.make(function, options))
        if not lazy or self.app.finalized:
            return keep(self.make(function, options))
        stand_in = Pending(
            functools.partial(self.make, function, options),
            getattr(function, "__name__", None),
            self.app.building,
        )
        self.pending.append(stand_in)
        return keep(stand_in)

    def make(self, function: Callable[..., Any], options: dict[str, Any]) -> Task[..., Any]:
        """The task for ``function``; the one that is there already, if its name is taken.

        Raises:
            RuntimeError: the application was not finalized, and may not be by itself.
        """
        app = self.app
        if not app.finalized and not app.autofinalize:
            raise RuntimeError("Contract breach: app not finalized")
        options = dict(options)
        name = options.pop("name", None) or app.gen_task_name(
            function.__name__, function.__module__
        )
        present = app.registered.get(name)
        if present is not None:
            self._check_duplicate(name, present, function)
            return present
        task = self._instance(function, name, options)
        app.registered[name] = task
        return task

    def _check_duplicate(
        self, name: str, present: Task[..., Any], function: Callable[..., Any]
    ) -> None:
        original = getattr(present, "_function", None)
        if original is function or name in self._warned:
            return
        self._warned.add(name)
        warnings.warn(
            f"two tasks are named {name!r}; the first one, of {_place(original or present)}, is "
            f"kept, the one of {_place(function)} is not",
            DuplicateTaskNameWarning,
            stacklevel=3,
        )

    def _instance(
        self, function: Callable[..., Any], name: str, options: dict[str, Any]
    ) -> Task[..., Any]:
        bind = options.pop("bind", False)
        backend = options.pop("backend", None)
        pydantic = {key: options.pop(key, None) for key in _PYDANTIC_OPTIONS}
        is_async = inspect.iscoroutinefunction(function)
        base = evaluated(options.pop("base", None)) or (
            self.app.AsyncTask if is_async else self.app.Task
        )
        arguments = Arguments(function, name.rpartition(".")[2], bound=bind)
        members = {
            "name": name,
            "run": function if bind else staticmethod(function),
            "is_async": is_async,
            "__doc__": function.__doc__,
            "__module__": function.__module__,
            "__annotations__": annotations_of(function),
            "__signature__": arguments.signature,
            "__wrapped__": property(_wrapped),
            "_app": self.app,
            "_decorated": True,
            "_binds": bind,
            "_function": staticmethod(function),
            "_arguments": arguments,
            "_backend": backend,
            **options,
        }
        cls = cast("type[Task[..., Any]]", type(function.__name__, (base,), members))
        _mention_idle(cls)
        cls.bind(self.app)
        task = cls()
        if pydantic["pydantic"]:
            self._add_models(task, arguments, pydantic)
        add_autoretry(task)
        return task

    def _add_models(
        self, task: Task[..., Any], arguments: Arguments, options: dict[str, Any]
    ) -> None:
        context = {
            "celery_app": self.app,
            "celery_task_name": task.name,
            **(options["pydantic_context"] or {}),
        }
        models = Models(
            arguments,
            strict=bool(options["pydantic_strict"]),
            context=context,
            dump_kwargs=options["pydantic_dump_kwargs"],
        )
        vars(task).update(_models=models, run=models.wrap(task.run, is_async=task.is_async))
        for name in models.names:
            arguments.carriers.pop(name, None)

    def register(self, task: Any, options: dict[str, Any]) -> Task[..., Any]:
        """Add an instance, or make one of a class; a task of the same name gives way.

        Raises:
            InvalidTaskError: it has no name and none can be made.
        """
        task = evaluated(task)
        instance = cast("Task[..., Any]", task() if isinstance(task, type) else task)
        cls = type(instance)
        for key, value in options.items():
            setattr(instance, key, value)
        if not instance.name:
            named: type = cls
            cls.name = self.app.gen_task_name(named.__name__, cls.__module__)
        name = instance.name
        if not name:
            raise InvalidTaskError(f"{cls.__name__} has no name")
        self._mention_replacement(name, cls)
        own: Any = instance
        if instance._arguments is None:  # noqa: SLF001 - its own factory
            own._arguments = Arguments(instance.run, name.rpartition(".")[2])  # noqa: SLF001
            own.is_async = inspect.iscoroutinefunction(instance.run)
        if not cls.__dict__.get("_bound"):
            _mention_idle(cls)
        cls.bind(self.app)
        add_autoretry(instance)
        self.app.registered[name] = instance
        return instance

    def _mention_replacement(self, name: str, cls: type) -> None:
        present = self.app.registered.get(name)
        if present is None or type(present) is cls:
            return
        warnings.warn(
            f"the task {name!r} of {_place(type(present))} is replaced by that of {_place(cls)}",
            DuplicateTaskNameWarning,
            stacklevel=4,
        )


@overload
def shared_task(fun: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
@overload
def shared_task(fun: Callable[P, R], /) -> Task[P, R]: ...
@overload
def shared_task(*, bind: Literal[True], **options: Any) -> BoundDecorator: ...
@overload
def shared_task(*, pydantic: Literal[True], **options: Any) -> ModelDecorator: ...
@overload
def shared_task(**options: Any) -> Decorator: ...
def shared_task(*args: Any, **options: Any) -> Any:
    """A task without an application: every application gets it, now or when it is finalized.

    Used as ``@shared_task`` or ``@shared_task(…)``; what it returns is the current application's
    task of that name, looked up at each use.

    Raises:
        TypeError: applied to a task, or to what cannot be called.
    """
    if not args:
        return functools.partial(_share, options=options)
    if len(args) == 1 and callable(args[0]) and not options:
        return _share(args[0], options)
    raise TypeError("shared_task takes a function, or keyword arguments")


def _share(function: Callable[..., Any], options: dict[str, Any]) -> Any:
    _refuse_task(function)
    name = options.get("name")
    own = {key: options[key] for key in options.keys() - {"shared", "lazy", "filter"}}

    def make(app: Umbel) -> Any:
        return app.factory.make(function, own)

    current.connect_on_app_finalize(make)
    for app in current.all_apps():
        if app.finalized:
            make(app)

    def find() -> Any:
        app = current.get_current_app()
        return app.tasks[name or app.gen_task_name(function.__name__, function.__module__)]

    return Proxy(find, function.__name__)


def _refuse_task(function: Any) -> None:
    if type(function) in (Proxy, Pending) or isinstance(function, Task):
        raise TypeError(f"{function!r} is a task already")
    if not hasattr(function, "__name__"):
        raise TypeError(
            f"a task is made of a function, not of {type(function).__name__}; wrap it in one"
        )


def _mention_idle(cls: type[Task[..., Any]]) -> None:
    """Warn of attributes that are accepted and do nothing here."""
    for name, why in _WITHOUT_EFFECT.items():
        value = getattr(cls, name)
        if value and value != getattr(Task, name):
            warnings.warn(
                f"{name} of the task {cls.name or cls.__name__!r} has no effect: {why}",
                UmbelWarning,
                stacklevel=4,
            )


def _same(task: Any) -> Any:
    return task


def _wrapped(task: Any) -> Any:
    return task.run


def _place(thing: Any) -> str:
    module = getattr(thing, "__module__", "?")
    code = getattr(thing, "__code__", None)
    return f"{module}:{code.co_firstlineno}" if code is not None else str(module)
