"""The figures: what each is called, its unit, and which way is better."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured quantity; ``digits`` are kept behind the point in tables."""

    name: str
    title: str
    unit: str
    higher_is_better: bool = False
    digits: int = 1

    def shown(self, value: float) -> str:
        """The value as tables show it, without its unit."""
        return f"{value:,.{self.digits}f}"

    def times_better(self, value: float, other: float) -> float | None:
        """How many times better ``value`` is than ``other``; None where that has no meaning."""
        if value <= 0 or other <= 0:
            return None
        return value / other if self.higher_is_better else other / value


FIGURES = {
    figure.name: figure
    for figure in (
        Figure("drain", "Drain, no results", "tasks/s", True, 0),
        Figure("drain_results", "Drain, results stored", "tasks/s", True, 0),
        Figure("enqueue_one", "Enqueue one by one", "tasks/s", True, 0),
        Figure("enqueue_one_results", "Enqueue one by one, results on", "tasks/s", True, 0),
        Figure("enqueue_bulk", "Enqueue in bulk", "tasks/s", True, 0),
        Figure("enqueue_bulk_results", "Enqueue in bulk, results on", "tasks/s", True, 0),
        Figure("enqueue_async", "Enqueue from asyncio", "tasks/s", True, 0),
        Figure("start_p50", "delay → start at 100/s, p50", "ms", digits=2),
        Figure("start_p99", "delay → start at 100/s, p99", "ms", digits=2),
        Figure("cpu", "Worker CPU per task, no results", "µs", digits=1),
        Figure("cpu_results", "Worker CPU per task, results stored", "µs", digits=1),
        Figure("pss", "Memory when idle after work (PSS)", "MB", digits=1),
        Figure("idle_cpu", "CPU when idle", "ms/s", digits=1),
        Figure("import", "Import", "ms", digits=1),
        Figure("ready_task", "Worker start → first task runs", "ms", digits=0),
        Figure("ready_line", "Worker start → says it is ready", "ms", digits=0),
        Figure("idle_stop", "SIGTERM when idle → exit", "ms", digits=0),
    )
}
