"""What the options that every command takes have said, and the application they mean.

A session changes its process the way the options ask (directory, environment, module path) and
puts everything back at its end, because an application may run the command line in its own process.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from umbel.cli.console import Console, wants_color
from umbel.cli.ends import USAGE, Failure
from umbel.cli.target import NOTHING_FOUND, Target, find_target, target_of

if TYPE_CHECKING:
    from umbel.app import Umbel
    from umbel.worker.blame import Blame

BROKER, BACKEND, CONFIG = "UMBEL_BROKER_URL", "UMBEL_RESULT_BACKEND", "UMBEL_CONFIG_MODULE"
BROKERS = (BROKER, "CELERY_BROKER_URL")


def load_failure(found: Blame, target: Target) -> Failure:
    """The end of a command whose application cannot be loaded."""
    if found.usage:
        return Failure(f"{found.text}{target.origin}", USAGE)
    return Failure(found.text)


@dataclass
class Session:
    """One run of the command line.

    Attributes:
        given: the application, where it started its own command line.
        app: as after ``-A``; the others likewise after their options.
    """

    given: Umbel | None = None
    app: str | None = None
    broker: str | None = None
    result_backend: str | None = None
    workdir: str | None = None
    config: str | None = None
    quiet: bool = False
    no_color: bool = False
    json: bool = False
    _loaded: list[Umbel] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._cwd = Path.cwd()
        self._environment = dict(os.environ)
        self._path = list(sys.path)

    @cached_property
    def console(self) -> Console:
        """Where results and remarks go."""
        out, err = (
            wants_color(stream, os.environ, refused=self.no_color)
            for stream in (sys.stdout, sys.stderr)
        )
        return Console(json=self.json, quiet=self.quiet, color_out=out, color_err=err)

    def prepare(self) -> None:
        """Put the options into force; what they say wins over the environment and the code."""
        if self.workdir:
            os.chdir(self._cwd / self.workdir)
        for name, value in (
            (BROKER, self.broker),
            (BACKEND, self.result_backend),
            (CONFIG, self.config),
        ):
            if value:
                os.environ[name] = value

    def restore(self) -> None:
        """Leave the process as it was found."""
        for app in self._loaded:
            app.disconnect()
        os.environ.clear()
        os.environ.update(self._environment)
        sys.path[:] = self._path
        os.chdir(self._cwd)

    # -- the application -------------------------------------------------------------------

    def target(self) -> Target:
        """Which application is meant; it is not imported, but can be from now on.

        Raises:
            Failure: none is named, and none lies where one is looked for.
        """
        target = self._find()
        if target is None:
            raise Failure(NOTHING_FOUND, USAGE)
        return target

    @property
    def has_app(self) -> bool:
        """Whether an application is named, or lies where one is looked for."""
        return self.given is not None or self._find() is not None

    def load(self) -> Umbel:
        """The application, with its task modules imported.

        Raises:
            Failure: it cannot be found or imported.
        """
        return self._import(self.target()) if self.given is None else self._finalized(self.given)

    def load_or_bare(self) -> Umbel:
        """As `load`; where none is named but a broker is, an application without any tasks."""
        if self.has_app:
            return self.load()
        if not any(os.environ.get(name) for name in BROKERS):
            raise Failure(f"{NOTHING_FOUND}; or name the broker with -b", USAGE)
        return self.bare()

    def bare(self) -> Umbel:
        """An application without any tasks, for what concerns the broker alone."""
        from umbel.app import Umbel

        app = Umbel("umbel", set_as_current=False)
        self._loaded.append(app)
        return app

    def _find(self) -> Target | None:
        if self.given is not None:
            target: Target | None = target_of(self.given)
        else:
            target = find_target(self.app, Path.cwd())
        if target is not None and target.directory not in sys.path:
            sys.path.insert(0, target.directory)
        return target

    def _finalized(self, app: Umbel) -> Umbel:
        app.loader.import_default_modules()
        app.finalize()
        return app

    def _import(self, target: Target) -> Umbel:
        from umbel.worker.blame import blame
        from umbel.worker.preload import load

        try:
            app = load(target.spec, workdir=None)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - told to the user
            raise load_failure(blame(error), target) from None
        self._loaded.append(app)
        return app
