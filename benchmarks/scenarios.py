"""What is done to a system to get its figures. Each scenario starts from an empty broker."""

from __future__ import annotations

import math
import statistics
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.installation import Installation
    from benchmarks.systems.system import System

NANOSECONDS = 1e9
MILLISECOND = 1e6
RATE = 100
WARM_UP = 1000
READY_SECONDS = 30
IDLE = 2.0
IMPORT_CLOCK = (
    "import time; began = time.perf_counter_ns(); {}; print(time.perf_counter_ns() - began)"
)

Values = dict[str, float]


class LeftoverError(Exception):
    """A worker had run all tasks and was stopped, and messages came back to the queue."""

    def __init__(self, count: int) -> None:
        super().__init__(f"{count} messages were in the queue after the worker had stopped")


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything.

    Attributes:
        tasks: drained in one repetition by a system of the speed of Umbel on SQLite; each system
            gets its share of them.
        singly: of these, so many at most are enqueued one by one.
        timed: tasks in the open loop.
        burst: seconds that a burst for the CPU figures should last.
        imports: fresh interpreters per repetition.
        repetitions: rounds, each with every scenario of every system.
    """

    tasks: int = 20_000
    singly: int = 2_000
    timed: int = 500
    burst: float = 1.5
    imports: int = 7
    repetitions: int = 3
    children: int = 2

    def tasks_of(self, system: System) -> int:
        """How many tasks this system drains in one repetition."""
        return max(100, int(self.tasks * system.share))


QUICK = Scale(tasks=600, singly=100, timed=60, burst=0.2, imports=2, repetitions=1)


@dataclass(frozen=True, slots=True)
class Scenario:
    """A name, the figures it can give, and how it gets those that are wanted.

    Attributes:
        share: in which share of all rounds it is run; what varies little needs fewer.
    """

    name: str
    gives: frozenset[str]
    run: Callable[[Installation, Scale, frozenset[str]], Values]
    share: float = 1.0

    def rounds(self, repetitions: int) -> int:
        """In how many of so many rounds it is run."""
        return max(1, round(repetitions * self.share))


def drain(bench: Installation, scale: Scale, wanted: frozenset[str]) -> Values:
    """Enqueue everything, then start a worker; results are not kept."""
    return _drain(bench, scale, wanted, stored=False)


def drain_results(bench: Installation, scale: Scale, wanted: frozenset[str]) -> Values:
    """The same with results kept, until the last result can be read."""
    plain = frozenset(name.removesuffix("_results") for name in wanted)
    values = _drain(bench, scale, plain, stored=True)
    return {f"{name}_results": value for name, value in values.items()}


def _drain(bench: Installation, scale: Scale, wanted: frozenset[str], *, stored: bool) -> Values:
    values: Values = {}
    tasks = scale.tasks_of(bench.system)
    singly = min(scale.singly, tasks // 4)
    # One message beforehand opens the connection and loads what is loaded at first use.
    first, _ = bench.enqueue_one(1, stored=stored)
    last, values["enqueue_one"] = bench.enqueue_one(singly, stored=stored)
    if wanted & {"drain", "enqueue_bulk"}:
        many = tasks - singly - 1
        last, values["enqueue_bulk"] = bench.enqueue_bulk(many, stored=stored)
    if "enqueue_async" in wanted:
        bench.enqueue_from_asyncio(1)
        last, values["enqueue_async"] = bench.enqueue_from_asyncio(singly)
    if "drain" in wanted:
        values["drain"] = _drained(bench, scale, range(first.start, last.stop), stored=stored)
    return values


def _drained(bench: Installation, scale: Scale, numbers: range, *, stored: bool) -> float:
    """Tasks per second of a worker that is started now and stopped when it has done them all."""
    bench.start_worker(scale.children)
    ended = bench.wait_drained(numbers, results=len(numbers) if stored else 0)
    took = (ended - min(bench.probe.starts(numbers))) / NANOSECONDS
    bench.stop_worker()
    left = bench.outstanding()
    if left:
        raise LeftoverError(left)
    return len(numbers) / took


def serve(bench: Installation, scale: Scale, wanted: frozenset[str]) -> Values:
    """One worker through a day: warm up, tasks now and then, bursts, rest."""
    values: Values = {}
    worker = bench.start_worker(scale.children)
    first, _ = bench.enqueue_one(1)
    bench.wait_started(first, READY_SECONDS)
    warm_up = min(WARM_UP, scale.tasks_of(bench.system))
    numbers, _ = bench.enqueue_bulk(warm_up)
    ended = bench.wait_drained(numbers)
    rate = warm_up / ((ended - min(bench.probe.starts(numbers))) / NANOSECONDS)
    if wanted & {"start_p50", "start_p99"}:
        values |= _latency(bench, scale)
    count = max(500, min(60_000, int(rate * scale.burst)))
    if "cpu" in wanted:
        values["cpu"] = _cpu_per_task(bench, count, stored=False)
    if "cpu_results" in wanted:
        values["cpu_results"] = _cpu_per_task(bench, count, stored=True)
    if wanted & {"pss", "idle_cpu"}:
        time.sleep(IDLE / 2)
        before = worker.cpu()
        time.sleep(IDLE)
        values["idle_cpu"] = (worker.cpu() - before) / IDLE * 1000
        values["pss"] = worker.pss() / 1e6
    bench.stop_worker()
    return values


def _latency(bench: Installation, scale: Scale) -> Values:
    numbers, sent = bench.enqueue_at_rate(scale.timed, rate=RATE, seed=scale.timed)
    bench.wait_drained(numbers)
    starts = bench.probe.starts(numbers)
    waits = [(start - at) / MILLISECOND for start, at in zip(starts, sent, strict=True)]
    return {"start_p50": percentile(waits, 0.50), "start_p99": percentile(waits, 0.99)}


def _cpu_per_task(bench: Installation, count: int, *, stored: bool) -> float:
    """Microseconds of CPU of the whole worker tree per task of one burst."""
    worker = bench.worker
    wanted_results = bench.results() + count if stored else 0
    before = worker.cpu()
    numbers, _ = bench.enqueue_bulk(count, stored=stored)
    bench.wait_drained(numbers, results=wanted_results)
    return (worker.cpu() - before) / count * 1e6


def start_stop(bench: Installation, scale: Scale, wanted: frozenset[str]) -> Values:  # noqa: ARG001
    """Start a worker that has one task to do, let it rest, stop it."""
    numbers, _ = bench.enqueue_one(1)
    worker = bench.start_worker(scale.children, talkative=True)
    line = bench.system.ready_line
    said_at = 0

    def is_up() -> bool:
        nonlocal said_at
        if not said_at and (line is None or line.search(worker.output())):
            said_at = time.monotonic_ns()
        return bool(said_at and bench.probe.starts(numbers)[0])

    wait_until(is_up, READY_SECONDS, what="ready line and first task", pause=0.001)
    ran_at = bench.probe.starts(numbers)[0]
    time.sleep(IDLE / 2)
    return {
        "ready_task": (ran_at - worker.started_ns) / MILLISECOND,
        "ready_line": (said_at - worker.started_ns) / MILLISECOND,
        "idle_stop": bench.stop_worker() * 1000,
    }


def import_time(bench: Installation, scale: Scale, wanted: frozenset[str]) -> Values:  # noqa: ARG001
    """Import the system in fresh interpreters; the clock runs around the import alone."""
    command = [str(bench.python), "-c", IMPORT_CLOCK.format(bench.system.statement)]
    # The first run may have to compile; it is not counted.
    times = [
        int(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)
        for _ in range(scale.imports + 1)
    ]
    return {"import": statistics.median(times[1:]) / MILLISECOND}


def percentile(values: list[float], share: float) -> float:
    """The smallest value that at least ``share`` of all values do not exceed."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


def _given(*names: str) -> frozenset[str]:
    return frozenset(names)


SCENARIOS = [
    Scenario("drain", _given("drain", "enqueue_one", "enqueue_bulk", "enqueue_async"), drain),
    Scenario(
        "drain_results",
        _given("drain_results", "enqueue_one_results", "enqueue_bulk_results"),
        drain_results,
    ),
    Scenario(
        "serve",
        _given("start_p50", "start_p99", "cpu", "cpu_results", "pss", "idle_cpu"),
        serve,
        share=2 / 3,
    ),
    Scenario(
        "start_stop", _given("ready_task", "ready_line", "idle_stop"), start_stop, share=1 / 3
    ),
    Scenario("import", _given("import"), import_time, share=1 / 3),
]
