"""Notices that source files have changed.

Where watchfiles is installed the operating system tells; otherwise their times are looked at again
and again.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

LOOK_EVERY = 0.3
"""Seconds between two looks."""

SETTLE = 0.1
"""Seconds without any change after which an editor counts as done."""

SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages", "venv"})


class ChangeWatch:
    """Watches directories in a thread; ``on_change(paths)`` is called there with what changed."""

    def __init__(
        self, directories: Sequence[Path], on_change: Callable[[Collection[Path]], None]
    ) -> None:
        self._stop = Event()
        watch = notified if find_spec("watchfiles") else polled
        self._changes = watch(directories, self._stop)
        self._on_change = on_change
        self._thread = Thread(target=self._run, name="umbel-changes", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        for paths in self._changes:
            self._on_change(paths)


def notified(directories: Sequence[Path], stop: Event) -> Iterator[Collection[Path]]:
    """Sets of changed files, as the operating system tells of them, until ``stop`` is set."""
    from watchfiles import watch

    def wanted(_change: object, name: str) -> bool:
        path = Path(name)
        return is_source(path.name) and not any(map(_is_skipped, path.parts[:-1]))

    for changes in watch(
        *directories, watch_filter=wanted, stop_event=stop, step=int(SETTLE * 1000)
    ):
        yield {Path(name) for _, name in changes}


def polled(directories: Sequence[Path], stop: Event) -> Iterator[Collection[Path]]:
    """The same, found by comparing the times of all files again and again."""
    before = times(directories)
    while not stop.wait(LOOK_EVERY):
        now = times(directories)
        if now == before:
            continue
        while not stop.wait(SETTLE):
            later = times(directories)
            if later == now:
                break
            now = later
        yield {path for path in before.keys() | now.keys() if before.get(path) != now.get(path)}
        before = now


def times(directories: Sequence[Path]) -> dict[Path, int]:
    """When each source file below these directories was last written."""
    found: dict[Path, int] = {}
    for root in directories:
        for directory, below, files in os.walk(root):
            below[:] = [name for name in below if not _is_skipped(name, directory)]
            for name in filter(is_source, files):
                path = Path(directory, name)
                try:
                    found[path] = path.stat().st_mtime_ns
                except OSError:
                    continue
    return found


def is_source(name: str) -> bool:
    """Whether a file of this name is code, and nobody's half-written copy of it."""
    return name.endswith(".py") and not name.startswith((".", "#"))


def _is_skipped(name: str, parent: str = "") -> bool:
    if name.startswith(".") or name in SKIPPED:
        return True
    return bool(parent) and os.path.exists(os.path.join(parent, name, "pyvenv.cfg"))  # noqa: PTH110, PTH118 - twice as fast
