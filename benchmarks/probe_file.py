"""The harness's side of the probe: makes the file, waits for places to fill, reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.apps.probe import WIDTH, opened
from benchmarks.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class WorkerEndedError(Exception):
    """The worker ended before it had run all tasks."""

    def __init__(self) -> None:
        super().__init__("the worker ended before it had run all tasks")


class ProbeFile:
    """Start moments of tasks, by number; numbers are handed out once, in runs."""

    def __init__(self, path: Path, places: int) -> None:
        path.write_bytes(bytes(places * WIDTH))
        self.path = path
        self._places = opened(path)
        self._taken = 0

    def take(self, count: int) -> range:
        """Numbers for ``count`` new tasks."""
        numbers = range(self._taken, self._taken + count)
        if numbers.stop > len(self._places):
            raise ValueError(f"the probe file has room for {len(self._places)} tasks only")
        self._taken = numbers.stop
        return numbers

    def wait_started(self, numbers: range, seconds: float, *, runs: Callable[[], bool]) -> None:
        """Return when all these tasks have started; each look resumes where the last ended.

        Raises:
            DeadlineError: not all did within ``seconds``.
            WorkerEndedError: ``runs`` says that nobody is left to start them.
        """
        places, at = self._places, numbers.start

        def all_started() -> bool:
            nonlocal at
            while at < numbers.stop and places[at]:
                at += 1
            if at < numbers.stop and not runs():
                raise WorkerEndedError
            return at == numbers.stop

        try:
            wait_until(all_started, seconds, what="start of all tasks")
        except Exception as error:
            missing = sum(1 for number in numbers if not places[number])
            error.add_note(f"{missing} of {len(numbers)} tasks never started")
            raise

    def starts(self, numbers: range) -> list[int]:
        """When these tasks started, in nanoseconds of CLOCK_MONOTONIC; 0 is never."""
        return self._places[numbers.start : numbers.stop].tolist()
