"""How an application and its tasks are found: the loader, autodiscovery, and ``-A``."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from umbel import signals
from umbel.exceptions import ImproperlyConfigured, NotConfigured
from umbel.settings.kinds import TRUE_WORDS
from umbel.settings.sources import CONFIG_MODULE
from umbel.symbols import directory_on_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import ModuleType

    from umbel.app import Umbel
    from umbel.settings import Settings
    from umbel.task import Task

APP_MODULES = ("umbel", "celery")
"""Submodules of a package that ``-A package`` looks into."""


class Loader:
    """Imports what the worker needs; its hooks may be overridden (``Umbel(loader=…)``).

    Attributes:
        config_module: the module with settings to read where the application was told of none.
        builtin_modules: modules every worker imports.
        override_backends: classes, or their paths, for aliases used in ``result_backend``.
        task_modules: the names of the task modules imported so far.
        worker_initialized: whether `init_worker` has been called.
    """

    config_module: str | None = None
    builtin_modules: frozenset[str] = frozenset()
    override_backends: Mapping[str, Any] = MappingProxyType({})
    worker_initialized: bool = False

    def __init__(self, app: Umbel) -> None:
        self.app = app
        self.task_modules: set[str] = set()

    # -- hooks -----------------------------------------------------------------------------

    def read_configuration(self) -> Any:
        """Settings for an application that was told of no source: anything a source can be.

        None leaves it to ``UMBEL_CONFIG_MODULE`` and `config_module`.
        """
        return None

    def on_no_source(self) -> None:
        """Called when settings were read by an application that was told of no source."""

    def on_task_init(self, task_id: str, task: Task[..., Any]) -> None:
        """Called before a task starts."""

    def on_process_cleanup(self) -> None:
        """Called after a task."""

    def on_worker_init(self) -> None:
        """Called when a worker starts."""

    def on_worker_shutdown(self) -> None:
        """Called when a worker has stopped."""

    def on_worker_process_init(self) -> None:
        """Called in every child before its first task."""

    # -- what a worker calls ---------------------------------------------------------------

    def init_worker(self) -> None:
        """Import the task modules and call `on_worker_init`, once."""
        if not self.worker_initialized:
            self.worker_initialized = True
            self.import_default_modules()
            self.on_worker_init()

    def init_worker_process(self) -> None:
        """Call `on_worker_process_init`."""
        self.on_worker_process_init()

    def shutdown_worker(self) -> None:
        """Call `on_worker_shutdown`."""
        self.on_worker_shutdown()

    # -- importing -------------------------------------------------------------------------

    @property
    def conf(self) -> Settings:
        """The application's settings."""
        return self.app.conf

    @property
    def configured(self) -> bool:
        """Whether they have been read."""
        return self.app.configured

    def now(self, utc: bool = True) -> datetime:  # noqa: FBT001, FBT002 - positional in Celery
        """The current time without a zone: UTC, or the machine's own."""
        return datetime.now(UTC if utc else None).replace(tzinfo=None)

    def import_task_module(self, module: str) -> ModuleType:
        """Import a module that holds tasks."""
        self.task_modules.add(module)
        return self.import_from_cwd(module)

    def import_module(self, module: str, package: str | None = None) -> ModuleType:
        """Import a module."""
        return importlib.import_module(module, package)

    def import_from_cwd(
        self,
        module: str,
        imp: Callable[[str], ModuleType] | None = None,
        package: str | None = None,
    ) -> ModuleType:
        """Import a module that may lie in the current directory."""
        with directory_on_path():
            return imp(module) if imp is not None else self.import_module(module, package)

    def import_default_modules(self) -> list[ModuleType]:
        """Import everything the configuration names.

        Raises:
            Exception: the first one that a receiver of ``import_modules`` raised.
        """
        for _, response in signals.import_modules.send(sender=self.app):
            if isinstance(response, Exception):
                raise response
        conf = self.app.conf
        names = [*sorted(self.builtin_modules), *(conf.imports or ()), *(conf.include or ())]
        return [self.import_task_module(name) for name in names]

    def autodiscover_tasks(
        self, packages: Iterable[str], related_name: str | None = "tasks"
    ) -> list[ModuleType]:
        """Import ``related_name`` of every package that has it; returns the modules."""
        found = (find_related_module(package, related_name) for package in packages)
        modules = [module for module in found if module is not None]
        self.task_modules.update(module.__name__ for module in modules)
        return modules


class DefaultLoader(Loader):
    """Also reads settings from a module ``celeryconfig`` in the current directory, if there is one.

    Where there is none, `NotConfigured` is warned of if the environment has ``C_WNOCONF``.
    """

    config_module = "celeryconfig"

    def on_no_source(self) -> None:
        """Say so if there is no configuration at all, and somebody wants to know."""
        named = any(os.environ.get(variable) for variable in CONFIG_MODULE)
        if named or self.config_module in sys.modules:
            return
        if os.environ.get("C_WNOCONF", "").lower() in TRUE_WORDS:
            import warnings

            warnings.warn(
                f"there is no module {self.config_module!r}, so all settings have their defaults",
                NotConfigured,
                stacklevel=2,
            )


LOADERS: Mapping[str, type[Loader]] = MappingProxyType({"app": Loader, "default": DefaultLoader})
"""Loaders by the names under which they can be asked for."""


def find_related_module(package: str, related_name: str | None) -> ModuleType | None:
    """``package.related_name``, or None if there is no such module.

    ``package`` may also be the path of something inside a package (``pkg.apps.Config``); then the
    package around it counts. Without ``related_name`` the package itself is imported.

    Raises:
        ImportError: there is no such package, or a module that is there fails to import
            something.
    """
    module = _import_package(package)
    if related_name is None:
        return module
    around = package
    if module.__name__ != package:
        around = module.__name__ if hasattr(module, "__path__") else str(module.__package__)
    name = f"{around}.{related_name}"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name == name:
            return None
        raise


def _import_package(path: str) -> ModuleType:
    """The module at ``path``, or the one that has the object at ``path`` in it."""
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        above, _, attribute = path.rpartition(".")
        if not above or error.name != path:
            raise
        module = _import_package(above)
        if not hasattr(module, attribute):
            raise
        return module


class AppNotFound(ImproperlyConfigured):
    """``-A`` names nothing that is an application; the text says what was tried."""


def find_app(spec: str, is_app: Callable[[Any], bool]) -> Umbel:
    """The application that ``-A spec`` means.

    ``mod:attr`` is exact. ``mod`` is the attribute ``app``, else ``celery`` or ``umbel``, else
    the submodule ``umbel`` or ``celery`` of a package, else the only application in the module.

    Raises:
        AppNotFound: there is none.
        Exception: whatever importing the module raised.
    """
    module_name, _, attribute = spec.partition(":")
    if module_name.endswith(".py") and not attribute:
        module_name = module_name.removesuffix(".py").replace(os.sep, ".")
    module = _import_app_module(module_name, spec)
    if attribute:
        return _exact(module, attribute, spec, is_app)
    found = _app_in(module, is_app)
    if found is not None:
        return found
    if hasattr(module, "__path__"):
        for name in APP_MODULES:
            full = f"{module_name}.{name}"
            if importlib.util.find_spec(full) is not None:
                found = _app_in(importlib.import_module(full), is_app)
                if found is not None:
                    return found
    msg = (
        f"-A {spec}: module {module_name!r} has no application in it; expected an attribute "
        f"'app', or name it with -A {module_name}:NAME"
    )
    raise AppNotFound(msg)


def _import_app_module(name: str, spec: str) -> ModuleType:
    cwd = os.getcwd()  # noqa: PTH109 - sys.path holds strings
    if cwd not in sys.path:
        sys.path.insert(0, cwd)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            msg = f"-A {spec}: no module named {error.name!r} (looked in {cwd} and on sys.path)"
            raise AppNotFound(msg) from None
        raise


def _exact(module: ModuleType, attribute: str, spec: str, is_app: Callable[[Any], bool]) -> Umbel:
    found: Any = module
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if not is_app(found):
        state = "there is none" if found is None else f"it is {type(found).__name__}"
        msg = f"-A {spec}: {attribute!r} in module {module.__name__!r} is no application: {state}"
        raise AppNotFound(msg)
    app: Umbel = found
    return app


def _app_in(module: ModuleType, is_app: Callable[[Any], bool]) -> Umbel | None:
    for name in ("app", *APP_MODULES):
        found: Any = getattr(module, name, None)
        if is_app(found):
            app: Umbel = found
            return app
    for found in vars(module).values():
        if is_app(found):
            first: Umbel = found
            return first
    return None
