"""What the figures are meant to be, and what they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.figures import FIGURES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Medians = dict[str, dict[str, float]]
"""Figure to system to median."""

OTHERS_ON_REDIS = (
    "dramatiq-redis",
    "huey-redis",
    "rq-redis",
    "taskiq-redis",
    "saq-redis",
    "arq-redis",
)


@dataclass(frozen=True, slots=True)
class Ratio:
    """``system`` is at least ``times`` as good as the best of ``against``."""

    figure: str
    system: str
    against: tuple[str, ...]
    times: float

    def judged(self, medians: Medians, titles: Mapping[str, str]) -> tuple[str, str, bool] | None:
        """What is wanted, what was measured, whether it is met; None if it was not measured."""
        values, figure = medians.get(self.figure, {}), FIGURES[self.figure]
        rivals = [name for name in self.against if name in values]
        if self.system not in values or not rivals:
            return None
        best = (max if figure.higher_is_better else min)(rivals, key=values.__getitem__)
        times = figure.times_better(values[self.system], values[best])
        if times is None:
            return None
        wanted = f"{figure.title}: {titles[self.system]} at least {self.times:g}x {titles[best]}"
        return wanted, f"{times:.2f}x", times >= self.times


@dataclass(frozen=True, slots=True)
class Below:
    """``system`` stays below ``most``, in the figure's unit."""

    figure: str
    system: str
    most: float

    def judged(self, medians: Medians, titles: Mapping[str, str]) -> tuple[str, str, bool] | None:
        """What is wanted, what was measured, whether it is met; None if it was not measured."""
        value, figure = medians.get(self.figure, {}).get(self.system), FIGURES[self.figure]
        if value is None:
            return None
        wanted = f"{figure.title}: {titles[self.system]} below {self.most:g} {figure.unit}"
        return wanted, f"{figure.shown(value)} {figure.unit}", value < self.most


def _targets() -> Iterator[Ratio | Below]:
    for drain in ("drain", "drain_results"):
        yield Ratio(drain, "umbel-sqlite", ("celery-redis",), 20)
        yield Ratio(drain, "umbel-sqlite", ("huey-sqlite",), 4)
        yield Ratio(drain, "umbel-sqlite", ("raw-sqlite",), 0.5)
        yield Ratio(drain, "umbel-redis", ("celery-redis",), 20)
        yield Ratio(drain, "umbel-redis", OTHERS_ON_REDIS, 4)
        yield Ratio(drain, "umbel-redis", ("raw-redis",), 0.5)
        yield Ratio(drain, "umbel-rabbitmq", ("celery-rabbitmq",), 5)
        yield Ratio(drain, "umbel-rabbitmq", ("dramatiq-rabbitmq",), 2.5)
        yield Ratio(drain, "umbel-rabbitmq", ("raw-rabbitmq",), 0.5)
        yield Ratio(drain, "umbel-postgres", ("procrastinate",), 10)
        yield Ratio(drain, "umbel-postgres", ("raw-postgres",), 0.5)
    rivals = {"umbel-redis": "celery-redis", "umbel-rabbitmq": "celery-rabbitmq-confirmed"}
    for system, celery in rivals.items():
        yield Ratio("enqueue_one", system, (celery,), 5)
        yield Ratio("enqueue_bulk", system, (celery,), 50)
    for system in ("umbel-sqlite", "umbel-redis", "umbel-rabbitmq", "umbel-postgres"):
        yield Below("start_p50", system, 0.6)
        yield Below("start_p99", system, 3)
        yield Below("import", system, 50)
        yield Below("ready_line", system, 500)
        yield Below("idle_stop", system, 200)
        yield Below("pss", system, 45)


TARGETS = list(_targets())
