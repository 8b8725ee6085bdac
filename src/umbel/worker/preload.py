"""Imported once by the fork server, before it forks children: loads the application.

Children then share its memory pages instead of importing it each.  The application is named by an
environment variable, because a preloaded module takes no arguments.  Whatever goes wrong is kept
for the first child to report: a fork server that dies cannot say why.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umbel.loading import find_app
from umbel.worker import lifeline

if TYPE_CHECKING:
    from umbel.app import Umbel

VARIABLE = "UMBEL_PRELOAD"

loaded: Umbel | None = None
failure: BaseException | None = None
threads_after_import: tuple[str, ...] = ()


def load(spec: str, *, workdir: str | None, include: tuple[str, ...] = ()) -> Umbel:
    """The application that ``spec`` names, with its task modules imported and finalized.

    Raises:
        AppNotFound: there is none.
        Exception: whatever importing it raised.
    """
    if workdir:
        os.chdir(workdir)
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    app = find_app(spec, is_app)
    app.set_default()
    app.set_current()
    if include:
        app.conf.include = (*(app.conf.include or ()), *include)
    app.loader.import_default_modules()
    app.finalize()
    return app


def is_app(value: Any) -> bool:
    """Whether ``value`` is an application, not a stand-in for one."""
    from umbel.app import Umbel

    return isinstance(value, Umbel) and type(value).__module__ != "umbel.local"


def _preload() -> None:
    global loaded, failure, threads_after_import  # noqa: PLW0603 - what the module is for
    # Not left for what a task may start: a worker or a command line of its own.
    wanted = os.environ.pop(VARIABLE, None)
    if not wanted or loaded is not None:
        return
    options = json.loads(wanted)
    lifeline.arm(options["supervisor"])
    # Sent to the whole process group, these are for the supervisor to act on.
    for name in ("SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    for entry in reversed(options["path"]):
        if entry not in sys.path:
            sys.path.insert(0, entry)
    try:
        loaded = load(options["app"], workdir=options["workdir"], include=tuple(options["include"]))
    except BaseException as error:  # noqa: BLE001 - the first child reports it
        failure = error
    threads_after_import = tuple(
        thread.name for thread in threading.enumerate() if thread is not threading.main_thread()
    )
    gc.collect()
    gc.freeze()


_preload()
