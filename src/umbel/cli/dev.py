"""``umbel dev``: a worker that is replaced by one with the new code whenever the code changes.

The new worker is started beside the old one.  Only when it is ready is the old one asked to stop,
and it finishes what it runs.  So a module that does not load changes nothing: its traceback is
shown, the old worker goes on, and the next change is the next try.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import subprocess
import sys
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from umbel.cli.changes import ChangeWatch
from umbel.cli.command import Command, Option, session_of
from umbel.cli.console import count_of
from umbel.cli.ends import FAILED, OK
from umbel.cli.leash import READY
from umbel.cli.worker_options import WORK_OPTIONS, adding

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from umbel.cli.console import Console

WAITING = "waiting for a change"

HELP = """Run tasks, and load the code again whenever it changes: a worker for development.

When a Python file below the current directory (or the project's, or --watch) changes, a worker
with the new code is started; when it is ready, the old one finishes what it runs and ends. If the
new code does not load, its traceback is shown and the old worker goes on.

MODULE is the application, as after -A; tasks.py will do.
"""


@click.command(
    "dev",
    cls=Command,
    help=HELP,
    short_help="Run tasks, and load the code again whenever it changes.",
    examples="""
        umbel dev tasks.py
        umbel -A shop dev -c 1 --loglevel DEBUG
        umbel -A shop dev --watch ../library
    """,
)
@click.argument("module", required=False)
@adding(
    [
        Option(
            ["--watch"],
            type=click.Path(exists=True, file_okay=False),
            multiple=True,
            metavar="DIRECTORY",
            help="Watch this directory too.",
        )
    ],
    WORK_OPTIONS,
)
@click.pass_context
def command(ctx: click.Context, /, *, module: str | None, **given: Any) -> int:
    """Run workers until told to stop; returns the exit code."""
    session = session_of(ctx)
    session.app = module or session.app
    target = session.target()
    watched = [Path.cwd(), Path(target.directory), *map(Path, given.pop("watch"))]
    words = ["-A", session.app] if session.app else []
    words += words_for(WORK_OPTIONS, given)
    if given["loglevel"] is None:
        words += ["--loglevel", "INFO"]
    flags = [
        f"--{name}" for name in ("no-color", "json") if getattr(session, name.replace("-", "_"))
    ]
    return Reloader([*words, *flags], outermost(watched), session.console).run()


def words_for(options: Sequence[Option], given: Mapping[str, Any]) -> list[str]:
    """Options and their values as they would be written on a command line."""
    words: list[str] = []
    for option in options:
        value = given[option.name or ""]
        if value is None:
            continue
        values = value if option.multiple else [value]
        for each in values:
            words += [option.opts[-1], ",".join(each) if option.multiple else str(each)]
    return words


def outermost(directories: Sequence[Path]) -> list[Path]:
    """The directories without those that lie in others of them."""
    found = {path.resolve() for path in directories}
    return sorted(path for path in found if not found & set(path.parents))


@dataclass(slots=True)
class Running:
    """One worker process, and our end of its leash."""

    process: subprocess.Popen[bytes]
    leash: socket.socket
    ready: bool = False

    def stop(self) -> None:
        """Ask it to finish what it runs and end."""
        self.process.terminate()


class Reloader:
    """Keeps a worker with the newest code that loads."""

    def __init__(self, words: Sequence[str], directories: Sequence[Path], console: Console) -> None:
        self._words = words
        self._directories = directories
        self._console = console
        self._current: Running | None = None
        self._next: Running | None = None
        self._leaving: list[Running] = []
        self._changes: deque[Collection[Path]] = deque()
        self._signals: deque[int] = deque()
        self._stopping = False
        self._selector = selectors.DefaultSelector()
        self._wake_r, self._wake_w = socket.socketpair()
        self._exit = OK

    def run(self) -> int:
        """Run until told to stop; returns the exit code."""
        self._wake_r.setblocking(False)
        self._wake_w.setblocking(False)
        self._selector.register(self._wake_r, selectors.EVENT_READ, None)
        before = {
            number: signal.signal(number, self._told) for number in (signal.SIGINT, signal.SIGTERM)
        }
        # A signal may strike the thread that watches files; it must wake this one all the same.
        wakeup = signal.set_wakeup_fd(self._wake_w.fileno(), warn_on_full_buffer=False)
        self._next = self._start()
        watch = ChangeWatch(self._directories, self._changed)
        try:
            while not self._over():
                self._step()
        finally:
            watch.close()
            signal.set_wakeup_fd(wakeup)
            self._close()
            for number, handler in before.items():
                signal.signal(number, handler)
        return self._exit

    # -- what happens ----------------------------------------------------------------------

    def _step(self) -> None:
        for key, _ in self._selector.select():
            if key.data is None:
                self._wake_r.recv(512)
            else:
                self._heard(key.data)
        while self._signals:
            self._stop(self._signals.popleft())
        if self._changes and not self._stopping:
            self._reload()

    def _heard(self, worker: Running) -> None:
        """A worker said that it is ready, or is about to be gone."""
        try:
            said = worker.leash.recv(len(READY))
        except OSError:
            said = b""
        if not said:
            self._selector.unregister(worker.leash)
            worker.leash.close()
            self._gone(worker, worker.process.wait())
        elif worker is self._next:
            self._serves(worker)

    def _serves(self, worker: Running) -> None:
        """The newest worker is ready: it takes the place of the one before."""
        old, self._current, self._next = self._current, worker, None
        if old is not None:
            self._console.say("the new code runs; the old worker finishes")
            self._leaving.append(old)
            old.stop()

    def _gone(self, worker: Running, code: int) -> None:
        if worker in self._leaving:
            self._leaving.remove(worker)
        elif worker is self._next:
            self._next = None
            self._did_not_start(code)
        else:
            self._current = None
            if self._stopping:
                self._exit = code
            else:
                self._console.warn(f"the worker ended with exit code {code}; {WAITING}")

    def _did_not_start(self, code: int) -> None:
        if self._stopping:
            return
        if self._current is not None:
            self._console.warn(f"the new code does not load: the old worker goes on, {WAITING}")
        elif code == FAILED:
            self._console.warn(f"the code does not load; {WAITING}")
        else:
            # No change of the code can help: a wrong option, no such module, no broker.
            self._exit, self._stopping = code, True

    def _reload(self) -> None:
        paths = set().union(*self._changes)
        self._changes.clear()
        names = sorted(_shown(path) for path in paths)
        more = f" and {count_of(len(names) - 1, 'other file')}" if len(names) > 1 else ""
        self._console.say(f"{names[0]}{more} changed: starting a worker with the new code")
        if self._next is not None:
            self._leaving.append(self._next)
            self._next.stop()
        self._next = self._start(quiet=self._current is not None)

    def _stop(self, number: int) -> None:
        """First signal: all finish what they run. Second: they give it back."""
        harder = self._stopping
        self._stopping = True
        for worker in self._all():
            worker.process.send_signal(signal.SIGQUIT if harder else signal.SIGTERM)
        if number == signal.SIGINT and not harder:
            self._console.say("")

    # -- plumbing --------------------------------------------------------------------------

    def _start(self, *, quiet: bool = False) -> Running:
        ours, theirs = socket.socketpair()
        leash = ["--leash", str(theirs.fileno())]
        flags = ["--quiet"] if quiet or self._console.quiet else []
        # -P: a file of the project that is called umbel.py must not take our place.
        process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-P", "-m", "umbel", "worker", *self._words, *flags, *leash],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            # Two edits within one second would leave the cache of the first valid.
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            process_group=0,  # a Ctrl-C is for us; what the workers are to do, we tell them
        )
        theirs.close()
        worker = Running(process, ours)
        self._selector.register(ours, selectors.EVENT_READ, worker)
        return worker

    def _all(self) -> list[Running]:
        return [each for each in (self._current, self._next, *self._leaving) if each is not None]

    def _over(self) -> bool:
        return self._stopping and not self._all()

    def _told(self, number: int, _frame: Any) -> None:
        self._signals.append(number)

    def _changed(self, paths: Collection[Path]) -> None:
        self._changes.append(paths)
        with suppress(BlockingIOError):
            self._wake_w.send(b"!")

    def _close(self) -> None:
        for worker in self._all():
            worker.stop()
            worker.leash.close()
            worker.process.wait()
        self._selector.close()
        self._wake_r.close()
        self._wake_w.close()


def _shown(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
