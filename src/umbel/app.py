"""The application: what tasks, configuration and connections belong to."""

from __future__ import annotations

import os
import sys
import threading
from collections import defaultdict
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, cast, overload

from umbel import current, naming
from umbel.amqp import AMQP
from umbel.configuring import Configuring
from umbel.connections import Building, Connections
from umbel.control import Control
from umbel.loading import LOADERS, Loader
from umbel.making import TaskFactory
from umbel.once import forget, once
from umbel.places import Origin, origin_of
from umbel.registry import TaskRegistry
from umbel.sending import Sending
from umbel.serving import Serving
from umbel.signals import Signal
from umbel.subclassing import from_current_app, subclass_with_self
from umbel.symbols import symbol_by_name
from umbel.task import AsyncTask as BaseAsyncTask
from umbel.task import Task as BaseTask

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
    from types import TracebackType
    from typing import ParamSpec, Self

    from umbel.decorators import BoundDecorator, Decorator, ModelDecorator

    P = ParamSpec("P")
    AnyTask = BaseTask[..., Any]
R = TypeVar("R")
T = TypeVar("T", bound="AnyTask")

_SYSTEM = os.uname().sysname if hasattr(os, "uname") else "Windows"


class Umbel(Configuring, Sending, Serving):
    """An application: tasks, their configuration, and the connections they need.

    Nothing is connected, read or imported when it is made; that happens on first use. It is safe
    to share between threads, survives a fork, and several applications live side by side in one
    process. As a context manager it closes itself.

    Args:
        main: the name to use for ``__main__`` in task names.
        loader: a `Loader` class, its dotted path, or ``app`` or ``default``; by default what
            ``UMBEL_LOADER`` says.
        backend: the result backend: a URL, an alias, a class or its path.
        amqp, events, log, control: classes, or their dotted paths, for the attributes of the same
            name. There are none of our own for ``events`` and ``log``.
        set_as_current: become the current application of this thread.
        tasks: a registry to use, or the class of one.
        broker: the broker's URL; without one, and without ``UMBEL_BROKER_URL``, a SQLite file
            beside the project's ``pyproject.toml``.
        include: modules to import when a worker starts.
        changes: settings, as the topmost layer.
        config_source: as for `config_from_object`.
        fixups: paths ``module:function`` to call with the application.
        task_cls: the base class of tasks, or its dotted path.
        autofinalize: whether reading `tasks` finalizes the application.
        namespace: the prefix of setting names in ``config_source``.
        strict_typing: whether arguments are checked when a task is called.
        config_source_silent: do without ``config_source`` where it cannot be imported.
        **kwargs: any setting; None counts as not given.

    Raises:
        ImproperlyConfigured: a keyword is no setting, or has a value the setting cannot use.
    """

    SYSTEM: ClassVar[str] = _SYSTEM
    IS_macOS: ClassVar[bool] = _SYSTEM == "Darwin"
    IS_WINDOWS: ClassVar[bool] = _SYSTEM == "Windows"

    main: str | None = None
    amqp_cls: Any = AMQP
    backend_cls: Any = None
    control_cls: Any = Control
    events_cls: Any = None
    loader_cls: Any = Loader
    log_cls: Any = None
    registry_cls: Any = TaskRegistry
    task_cls: Any = BaseTask
    builtin_fixups: ClassVar[frozenset[str]] = frozenset()

    def __init__(  # noqa: PLR0913, PLR0917 - Celery's arguments in Celery's order
        self,
        main: str | None = None,
        loader: Any = None,
        backend: Any = None,
        amqp: Any = None,
        events: Any = None,
        log: Any = None,
        control: Any = None,
        set_as_current: bool = True,  # noqa: FBT001, FBT002 - positional in Celery
        tasks: Any = None,
        broker: Any = None,
        include: Iterable[str] | None = None,
        changes: Mapping[str, Any] | None = None,
        config_source: Any = None,
        fixups: Iterable[Any] | None = None,
        task_cls: Any = None,
        autofinalize: bool = True,  # noqa: FBT001, FBT002 - positional in Celery
        namespace: str | None = None,
        strict_typing: bool = True,  # noqa: FBT001, FBT002 - positional in Celery
        config_source_silent: bool = False,  # noqa: FBT001, FBT002 - positional in Celery
        **kwargs: Any,
    ) -> None:
        self.main = main or self.main
        self.autofinalize = autofinalize
        self.namespace = namespace
        self.strict_typing = strict_typing
        self.set_as_current = set_as_current
        self.finalized = False
        self.user_options: dict[str, set[Any]] = defaultdict(set)
        self.amqp_cls = amqp or self.amqp_cls
        self.events_cls = events or self.events_cls
        self.log_cls = log or self.log_cls
        self.control_cls = control or self.control_cls
        self.task_cls = task_cls or self.task_cls
        environ = os.environ.get
        self.loader_cls = (
            loader or environ("UMBEL_LOADER") or environ("CELERY_LOADER") or self.loader_cls
        )
        self.origin: Origin = origin_of(self)
        self.building = Building(self)
        self.connections = Connections(self)
        self._oids = threading.local()
        registry = self.registry_cls if tasks is None else tasks
        registry = symbol_by_name(registry)
        self.registered: TaskRegistry = registry() if isinstance(registry, type) else registry
        self.factory = TaskFactory(self)
        if self.on_configure is None:
            self.on_configure = Signal(name="app.on_configure")
        self.on_after_configure = Signal(name="app.on_after_configure")
        self.on_after_finalize = Signal(name="app.on_after_finalize")
        self.on_after_fork = Signal(name="app.on_after_fork")
        given = {"broker_url": broker, "result_backend": backend, "include": include}
        self._begin_settings(
            changes,
            config_source,
            silent=config_source_silent,
            module=_config_module(self.loader_cls),
            given={**kwargs, **{key: value for key, value in given.items() if value is not None}},
        )
        self._fixups = list(self.builtin_fixups if fixups is None else fixups)
        self.fixups = [
            fixup for path in self._fixups if (fixup := symbol_by_name(path)(self)) is not None
        ]
        if set_as_current:
            self.set_current()
        self.on_init()
        current.register_app(self)

    def __class_getitem__(cls, _: Any) -> type[Self]:
        return cls

    # -- life ------------------------------------------------------------------------------

    def on_init(self) -> None:
        """Called at the end of construction; for subclasses."""

    def set_current(self) -> None:
        """Become the current application of this thread."""
        current.set_current_app(self)

    def set_default(self) -> None:
        """Become the application of threads that have none of their own."""
        current.set_default_app(self)

    def close(self) -> None:
        """Publish what waits, give back connections, and leave the set of applications."""
        self.disconnect()
        current.deregister_app(self)

    def disconnect(self) -> None:
        """Publish what waits and give back connections; they are made anew on next use."""
        client = self.__dict__.get("client")
        if client is not None:
            client.close()
        self.connections.close()

    def after_fork(self) -> None:
        """Start anew in a forked process: no locks held, nothing connected; sends `on_after_fork`.

        Called by the interpreter, in the child, before anything else runs there.
        """
        self.building.after_fork()
        self._conf.after_fork()
        self.connections.after_fork()
        forget(self, "client", "oid", "oids")
        self._oids = threading.local()
        self.on_after_fork.send(sender=self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def finalize(self, auto: bool = False) -> None:  # noqa: FBT001, FBT002 - positional in Celery
        """Make all tasks: shared ones, and those decorated so far.

        If one of them cannot be made, the application stays as it was and the next call tries
        again. Other threads wait until it is done.

        Raises:
            RuntimeError: called by itself (``auto``) although ``autofinalize`` is off.
            Exception: what making a task raised.
        """
        with self.building:
            if self.finalized:
                return
            if auto and not self.autofinalize:
                msg = "Contract breach: app not finalized"
                raise RuntimeError(msg)
            self.finalized = True
            try:
                self._make_tasks()
            except BaseException:
                self.finalized = False
                raise
            self._complete = True
            self.on_after_finalize.send(sender=self)

    def _make_tasks(self) -> None:
        current.announce_finalize(self)
        pending = self.factory.pending
        while pending:
            pending[0]._get_current_object()  # noqa: SLF001 - the proxy's protocol
            pending.pop(0)
        for task in list(self.registered.values()):
            type(task).bind(self)

    _complete: bool = False
    """Whether finalizing has come to its end; other threads must not see half of the tasks."""

    # -- tasks -----------------------------------------------------------------------------

    @overload
    def task(self, fun: Callable[P, Coroutine[Any, Any, R]], /) -> BaseAsyncTask[P, R]: ...
    @overload
    def task(self, fun: Callable[P, R], /) -> BaseTask[P, R]: ...
    @overload
    def task(self, *, bind: Literal[True], **options: Any) -> BoundDecorator: ...
    @overload
    def task(self, *, pydantic: Literal[True], **options: Any) -> ModelDecorator: ...
    @overload
    def task(self, **options: Any) -> Decorator: ...
    def task(self, *args: Any, **options: Any) -> Any:
        """Make a task of a function: ``@app.task`` or ``@app.task(name=…, bind=True, …)``.

        The function's parameters and return type stay those of ``delay``, ``apply_async`` and
        ``AsyncResult.get``. Options are ``name``, ``base``, ``bind``, ``shared``, ``lazy``,
        ``filter``, ``pydantic`` and its kin, and every attribute of `Task`.

        Raises:
            TypeError: something else than one callable is given by position.
        """
        if not args:
            return lambda function: self.factory.decorate(function, options)
        if len(args) == 1 and callable(args[0]):
            return self.factory.decorate(args[0], options)
        if len(args) == 1:
            msg = "argument 1 to @task() must be a callable"
            raise TypeError(msg)
        msg = f"@task() takes exactly 1 argument ({len(args)} given)"
        raise TypeError(msg)

    @overload
    def register_task(self, task: type[T], **options: Any) -> T: ...
    @overload
    def register_task(self, task: T, **options: Any) -> T: ...
    def register_task(self, task: Any, **options: Any) -> Any:
        """Add a class-based task: an instance, or a class to make one of; returns the instance.

        A task of the same name that is there already is replaced, with a warning.
        """
        return self.factory.register(task, options)

    def gen_task_name(self, name: str, module: str | None) -> str:
        """The name of a task that was not given one; may be overridden."""
        return naming.gen_task_name(self, name, module)

    @property
    def tasks(self) -> TaskRegistry:
        """All tasks by name; finalizes the application.

        Raises:
            RuntimeError: it is not finalized, and ``autofinalize`` is off.
        """
        if not self._complete:
            self.finalize(auto=True)
        return self.registered

    @once
    def Task(self) -> type[AnyTask]:  # noqa: N802 - the public name
        """The base class of this application's tasks."""
        return self.create_task_cls()

    @once
    def AsyncTask(self) -> type[AnyTask]:  # noqa: N802 - beside `Task`
        """The base class of this application's asynchronous tasks."""
        if self.task_cls is not BaseTask:
            return self.Task
        made = self.subclass_with_self(BaseAsyncTask, "Task", "_app", keep_reduce=True)
        return cast("type[AnyTask]", made)

    def create_task_cls(self) -> type[AnyTask]:
        """A subclass of the task class that belongs to this application."""
        base = symbol_by_name(self.task_cls)
        made = self.subclass_with_self(base, "Task", "_app", keep_reduce=True, abstract=True)
        return cast("type[AnyTask]", made)

    def subclass_with_self(
        self,
        Class: Any,  # noqa: N803 - the public name
        name: str | None = None,
        attribute: str = "app",
        reverse: str | None = None,
        keep_reduce: bool = False,  # noqa: FBT001, FBT002 - positional in Celery
        **kw: Any,
    ) -> Any:
        """A subclass of ``Class`` whose ``attribute`` is this application.

        Its instances pickle as what the current application has at the attribute path
        ``reverse`` (by default the class's name), called with their ``__reduce_args__()``;
        ``keep_reduce`` leaves pickling to the class. ``kw`` are further members.
        """
        made = {attribute: self, **kw}
        if not keep_reduce:
            made["__reduce__"] = from_current_app(reverse or symbol_by_name(Class).__name__)
        return subclass_with_self(symbol_by_name(Class), name, made)

    def autodiscover_tasks(
        self,
        packages: Iterable[str] | Callable[[], Iterable[str]] | None = None,
        related_name: str | None = "tasks",
        force: bool = False,  # noqa: FBT001, FBT002 - positional in Celery
    ) -> None:
        """Import ``related_name`` of every package, when a worker (or ``force``) asks for it.

        ``packages`` may be a function, which is called then. Without any, the fixups are asked.

        Raises:
            ImportError: with ``force``: a package is missing, or a module in it fails to import
                something.
        """
        from umbel.signals import import_modules

        def discover(**_: Any) -> None:
            names = packages() if callable(packages) else packages
            if not names:
                asked = [getattr(fixup, "autodiscover_tasks", None) for fixup in self.fixups]
                names = [name for ask in asked if ask is not None for name in ask()]
            self.loader.autodiscover_tasks(names, related_name)

        if force:
            discover()
        else:
            import_modules.connect(discover, sender=self, weak=False)

    @property
    def current_task(self) -> AnyTask | None:
        """The task that runs here."""
        return current.get_current_task()

    @property
    def current_worker_task(self) -> AnyTask | None:
        """The task a message started that runs here; directly called ones are skipped."""
        return current.get_current_worker_task()

    # -- parts -----------------------------------------------------------------------------

    @once
    def loader(self) -> Loader:
        """Imports task modules."""
        return cast("Loader", symbol_by_name(self.loader_cls, LOADERS)(self))

    @once
    def amqp(self) -> AMQP:
        """The queues this application knows, and the routes that lead to them."""
        return cast("AMQP", symbol_by_name(self.amqp_cls)(self))

    @once
    def control(self) -> Control:
        """Commands that concern the whole fleet."""
        return cast("Control", symbol_by_name(self.control_cls)(self))

    @once
    def events(self) -> Any:
        """What the class given as ``events`` makes of this application."""
        return self._part("events", self.events_cls)

    @once
    def log(self) -> Any:
        """What the class given as ``log`` makes of this application."""
        return self._part("log", self.log_cls)

    def _part(self, name: str, cls: Any) -> Any:
        if cls is None:
            msg = f"an application has no {name!r} unless a class is given for it"
            raise AttributeError(msg, name=name, obj=self)
        return symbol_by_name(cls)(self)

    # -- running ---------------------------------------------------------------------------

    def start(self, argv: Sequence[str] | None = None) -> None:
        """Run the command line with this application; ``argv`` without the program's name.

        Returns when the command is done.

        Raises:
            SystemExit: the command failed; with its exit code.
        """
        from umbel.cli import run

        run(self, list(sys.argv[1:] if argv is None else argv))

    def worker_main(self, argv: Sequence[str] | None = None) -> None:
        """As `start`, for ``worker`` commands only.

        Raises:
            ValueError: ``argv`` does not say ``worker``.
        """
        words = list(sys.argv[1:] if argv is None else argv)
        if "worker" not in words:
            msg = "worker_main needs the word 'worker' in its arguments"
            raise ValueError(msg)
        self.start(words)

    def bugreport(self) -> str:
        """Versions, platform and settings, censored, as text; connects to nothing."""
        from umbel.report import bugreport

        return bugreport(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.main or '__main__'} at {id(self):#x}>"

    def __reduce__(self) -> Any:
        return _rebuild, (type(self), self.__reduce_keys__(), tuple(self.origin))

    def __reduce_keys__(self) -> dict[str, Any]:
        """The arguments from which an equal application is made: its configuration."""
        settings = self._conf.portable()
        return {
            "main": self.main,
            "changes": settings["changes"],
            "config_source": settings["source"],
            "config_source_silent": settings["silent"],
            "namespace": self.namespace,
            "loader": self.loader_cls,
            "amqp": self.amqp_cls,
            "events": self.events_cls,
            "log": self.log_cls,
            "control": self.control_cls,
            "fixups": self._fixups,
            "task_cls": self.task_cls,
            "autofinalize": self.autofinalize,
            "strict_typing": self.strict_typing,
        }


App = Umbel


def _rebuild(cls: type[Umbel], arguments: dict[str, Any], origin: tuple[Any, Any]) -> Umbel:
    app = cls(set_as_current=False, **arguments)
    app.origin = Origin(*origin)
    return app


def _config_module(loader: Any) -> str | None:
    """The module with settings that a loader looks for by itself."""
    found = LOADERS.get(loader) if isinstance(loader, str) else loader
    return getattr(found, "config_module", None)
