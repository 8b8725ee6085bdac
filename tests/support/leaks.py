"""Finds what a test left behind: threads, processes and files.

Threads count if they keep the interpreter alive (non-daemon) or are the product's own (named
``umbel-…``).  Processes are found in two ways, because a process whose parent died is nobody's
child any more: the children of this process, and everything that carries this test's mark in the
environment it was started with.  Files count when they are new in the repository; what tests
write belongs in their temporary directory.

Ends take a moment: whatever is gone within a short grace is not left behind.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from multiprocessing import resource_tracker
from pathlib import Path

GRACE = 3.0
MARK = "PYTEST_LEAK_MARK"
PROCESSES = Path("/proc")

_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Process:
    """One row of the process table."""

    pid: int
    parent: int
    command: str

    def __str__(self) -> str:
        return f"process {self.pid} ({self.command})"


class Watch:
    """What there is when a test starts, to be compared with what there is when it ends."""

    def __init__(self, repository: Repository, name: str) -> None:
        self._repository = repository
        self._files = repository.files()
        self._threads = set(threading.enumerate())
        self._pids = _pids()
        self._mark = f"{os.getpid()}-{next(_numbers)}-{name}"
        self._mark_before = os.environ.get(MARK)
        os.environ[MARK] = self._mark

    def left(self) -> list[str]:
        """Names of what is left after the grace; processes among it are killed."""
        if self._mark_before is None:
            os.environ.pop(MARK, None)
        else:
            os.environ[MARK] = self._mark_before
        deadline = time.monotonic() + GRACE
        while self._running() and time.monotonic() < deadline:
            time.sleep(0.01)
        left = self._running()
        for process in self._left_processes():
            with suppress(OSError):
                os.kill(process.pid, signal.SIGKILL)
            with suppress(OSError):
                os.waitpid(process.pid, 0)
        return left + [f"file {name}" for name in sorted(self._repository.files() - self._files)]

    def _running(self) -> list[str]:
        return [*map(str, self._left_processes()), *self._left_threads()]

    def _left_threads(self) -> list[str]:
        return [
            f"thread {thread.name!r}"
            for thread in threading.enumerate()
            if thread not in self._threads
            and (not thread.daemon or thread.name.startswith("umbel-"))
        ]

    def _left_processes(self) -> list[Process]:
        multiprocessing.active_children()  # reaps those that have ended
        # The standard library keeps one tracker for as long as the interpreter runs.
        tracker = getattr(resource_tracker._resource_tracker, "_pid", None)
        started = _pids() - self._pids - {tracker}
        return [
            process
            for process in filter(None, map(_process, sorted(started)))
            if process.parent == os.getpid() or _mark_of(process.pid) == self._mark
        ]


class Repository:
    """The files of a source tree, but for caches; a directory is read again when it has changed."""

    # People edit while tests run; what tests write by accident is none of these. On a machine of
    # its own (CI) every new file counts.
    SOURCES = frozenset({".py", ".pyi", ".md", ".toml", ".yml", ".sql", ".lua", ".txt", ".ini"})
    CACHES = frozenset({"__pycache__", "build"})
    SETTLED = 0.1

    def __init__(self, root: Path, *, every_file: bool) -> None:
        self._root = root
        self._ignored: frozenset[str] = frozenset() if every_file else self.SOURCES
        self._read: dict[str, tuple[int, set[str], list[str]]] = {}

    def files(self) -> set[str]:
        """Paths of the files there are, relative to the root."""
        found: set[str] = set()
        directories = [str(self._root)]
        while directories:
            files, below = self._list(directories.pop())
            found |= files
            directories += below
        return found

    def _list(self, directory: str) -> tuple[set[str], list[str]]:
        try:
            changed_at = Path(directory).stat().st_mtime_ns
            known = self._read.get(directory)
            if known and known[0] == changed_at:
                return known[1], known[2]
            files, below = self._read_directory(directory)
        except FileNotFoundError:
            return set(), []
        # Within one tick of the clock a directory can change twice and show it once.
        if changed_at < time.time_ns() - self.SETTLED * 1e9:
            self._read[directory] = (changed_at, files, below)
        return files, below

    def _read_directory(self, directory: str) -> tuple[set[str], list[str]]:
        files: set[str] = set()
        below: list[str] = []
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name in self.CACHES:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    below.append(entry.path)
                elif Path(entry.name).suffix not in self._ignored:
                    files.add(os.path.relpath(entry.path, self._root))
        return files, below


def _pids() -> set[int]:
    if not PROCESSES.is_dir():
        return {process.pid or 0 for process in multiprocessing.active_children()}
    return {int(entry.name) for entry in PROCESSES.iterdir() if entry.name.isdigit()}


def _process(pid: int) -> Process | None:
    """The process, or None if it has ended meanwhile."""
    try:
        text = (PROCESSES / str(pid) / "stat").read_text("utf-8", "replace")
    except OSError:
        return None
    # "pid (command) state ppid …"; a command may itself hold brackets and blanks.
    command, _, rest = text.partition("(")[2].rpartition(")")
    return Process(pid, int(rest.split()[1]), command)


def _mark_of(pid: int) -> str | None:
    try:
        environment = (PROCESSES / str(pid) / "environ").read_bytes()
    except OSError:
        return None
    for pair in environment.split(b"\0"):
        name, _, value = pair.partition(b"=")
        if name == MARK.encode():
            return value.decode("utf-8", "replace")
    return None
