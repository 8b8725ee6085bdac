"""A system set up for one measurement: empty broker, producer, probe, and at most one worker."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Self

from benchmarks.probe_file import ProbeFile
from benchmarks.processes import Tree
from benchmarks.producer_link import ProducerLink
from benchmarks.waiting import DeadlineError

if TYPE_CHECKING:
    from benchmarks.servers import Servers
    from benchmarks.systems.system import System

APPS = Path(__file__).parent / "apps"
PLACES = 400_000
PRIVATE = ("PYTHON", "UMBEL", "CELERY", "BENCH", "VIRTUAL_ENV")
STOP_SECONDS = 30
SETTLE_SECONDS = 60


class Installation(AbstractContextManager["Installation"]):
    """Enqueue, start and stop in the same way for every system.

    Leaving the context ends every process that was started here.
    """

    def __init__(self, system: System, servers: Servers, folder: Path) -> None:
        folder.mkdir()
        self.system = system
        self.python = system.python()
        self._folder = folder
        self._workers: list[Tree] = []
        self.probe = ProbeFile(folder / "probe", PLACES)
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(PRIVATE)}
        self._environment = {
            **inherited,
            **system.environment(folder, servers),
            "PYTHONPATH": str(APPS),
            "BENCH_PROBE": str(self.probe.path),
        }
        self._producer = ProducerLink(
            self.python,
            system.app,
            log=folder / "producer.log",
            cwd=folder,
            environment=self._environment,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for worker in self._workers:
            worker.kill()
        self._producer.close()

    def start_worker(self, children: int, *, talkative: bool = False) -> Tree:
        """Start a worker; returns at once."""
        command = self.system.worker(self.python, children=children, talkative=talkative)
        log = self._folder / f"worker-{len(self._workers)}.log"
        tree = Tree(command, log=log, cwd=self._folder, environment=self._environment)
        self._workers.append(tree)
        return tree

    @property
    def worker(self) -> Tree:
        """The worker started last."""
        return self._workers[-1]

    def stop_worker(self) -> float:
        """Stop the worker with SIGTERM; the seconds until it had ended."""
        return self.worker.terminate(STOP_SECONDS)

    def enqueue_one(self, count: int, *, stored: bool = False) -> tuple[range, float]:
        """Enqueue tasks one by one; their numbers, and tasks per second."""
        return self._enqueue("one", count, stored=stored)

    def enqueue_bulk(self, count: int, *, stored: bool = False) -> tuple[range, float]:
        """Enqueue tasks in bulk; their numbers, and tasks per second."""
        return self._enqueue("bulk", count, stored=stored)

    def enqueue_from_asyncio(self, count: int) -> tuple[range, float]:
        """Enqueue tasks from one event loop; their numbers, and tasks per second."""
        return self._enqueue("from_asyncio", count, stored=False)

    def _enqueue(self, how: str, count: int, *, stored: bool) -> tuple[range, float]:
        numbers = self.probe.take(count)
        answer = self._producer.ask(
            how, seconds=drain_seconds(count), start=numbers.start, count=count, stored=stored
        )
        return numbers, count / answer["seconds"]

    def enqueue_at_rate(self, count: int, *, rate: float, seed: int) -> tuple[range, list[int]]:
        """Enqueue tasks at random moments; their numbers, and when each was sent (ns)."""
        numbers = self.probe.take(count)
        answer = self._producer.ask(
            "open_loop",
            seconds=drain_seconds(count) + 2 * count / rate,
            start=numbers.start,
            count=count,
            rate=rate,
            seed=seed,
        )
        return numbers, answer["sent_ns"]

    def results(self) -> int:
        """How many results are stored."""
        return int(self._producer.ask("results", seconds=30)["count"])

    def outstanding(self) -> int:
        """How many messages wait, or are held by a worker where that can be seen."""
        return int(self._producer.ask("outstanding", seconds=30)["count"])

    def durability(self) -> str:
        """What survives a loss of power, in the system's own terms."""
        return str(self._producer.ask("durability", seconds=30)["text"])

    def wait_started(self, numbers: range, seconds: float) -> None:
        """Return when all these tasks have started; raises at once if the worker has ended."""
        self.probe.wait_started(numbers, seconds, runs=lambda: self.worker.running)

    def wait_drained(self, numbers: range, *, results: int = 0) -> int:
        """Return when these tasks have run, nothing is outstanding and so many results are kept.

        The moment is in nanoseconds of CLOCK_MONOTONIC. The broker is not looked at before the
        last task has started, so looking does not slow the drain.
        """
        self.wait_started(numbers, drain_seconds(len(numbers)))
        answer = self._producer.ask(
            "wait_settled", seconds=SETTLE_SECONDS + 5, results=results, within=SETTLE_SECONDS
        )
        if answer["at_ns"] is None:
            raise DeadlineError("settling of all tasks", SETTLE_SECONDS)
        return int(answer["at_ns"])

    def last_words(self) -> str:
        """The end of what the worker printed."""
        return self.worker.output()[-600:].strip() if self._workers else ""


def drain_seconds(count: int) -> float:
    """The deadline for so many tasks: far beyond what the slowest peer takes."""
    return 20 + count / 150
