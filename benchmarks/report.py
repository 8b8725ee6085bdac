"""The outcome of a run as JSON, as Markdown for the README, and as text for a terminal."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks.figures import FIGURES, Figure
from benchmarks.targets import TARGETS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START = "<!-- figures: start (written by the harness) -->"
END = "<!-- figures: end -->"
OURS = "umbel-"
EVERYWHERE = "celery-redis"


@dataclass(frozen=True, slots=True)
class Measured:
    """One figure of one system over all repetitions."""

    median: float
    least: float
    most: float
    samples: list[float]

    @classmethod
    def over(cls, samples: list[float]) -> Measured:
        """The summary of some samples."""
        return cls(statistics.median(samples), min(samples), max(samples), samples)


@dataclass(slots=True)
class Report:
    """Everything that one run found out.

    Attributes:
        titles: system to what it is called in tables; in the order of the tables.
        brokers: kind of broker to the systems on it.
    """

    date: str
    command: str
    machine: dict[str, Any]
    settings: dict[str, Any]
    versions: dict[str, str] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    brokers: dict[str, list[str]] = field(default_factory=dict)
    durability: dict[str, str] = field(default_factory=dict)
    samples: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, system: str, values: dict[str, float]) -> None:
        """Take in what one scenario measured in one repetition."""
        for name, value in values.items():
            self.samples.setdefault(name, {}).setdefault(system, []).append(value)

    def measured(self) -> Iterator[tuple[Figure, dict[str, Measured]]]:
        """The figures that have values, in their order, each with its systems in theirs."""
        for name, figure in FIGURES.items():
            by_system = self.samples.get(name, {})
            if by_system:
                known = [system for system in self.titles if system in by_system]
                yield figure, {system: Measured.over(by_system[system]) for system in known}

    def as_json(self) -> dict[str, Any]:
        """Plain values for a JSON file; samples are rounded to six digits."""
        figures = {}
        for figure, systems in self.measured():
            figures[figure.name] = {
                "title": figure.title,
                "unit": figure.unit,
                "higher_is_better": figure.higher_is_better,
                "systems": {name: _plain(measured) for name, measured in systems.items()},
            }
        return {
            "date": self.date,
            "command": self.command,
            "seconds": round(self.seconds),
            "machine": self.machine,
            "settings": self.settings,
            "versions": self.versions,
            "titles": self.titles,
            "brokers": self.brokers,
            "durability": self.durability,
            "figures": figures,
            "failures": self.failures,
        }

    def as_text(self) -> str:
        """One block per broker and figure, one line per system."""
        width = max(map(len, self.titles.values()), default=0)
        lines = [self._summary(), ""]
        for broker, columns in self._tables():
            for figure, systems in self.measured():
                present = [name for name in columns if name in systems]
                better = "higher is better" if figure.higher_is_better else "lower is better"
                heading = f"{broker}: {figure.title} [{figure.unit}, {better}]"
                lines += [heading] if present else []
                for name in present:
                    median = figure.shown(systems[name].median)
                    span = f"({_span(figure, systems[name])})"
                    ours = columns[0].startswith(OURS)
                    ratio = _times(figure, systems, columns[0], name) if ours else ""
                    lines.append(f"  {self.titles[name]:<{width}} {median:>10} {span:<20} {ratio}")
        lines += ["", *(" | ".join(row) for row in self._judged())]
        lines += [f"FAILED {failure}" for failure in self.failures]
        return "\n".join(lines)

    def as_markdown(self) -> str:
        """Two tables for each broker (values, ratios) and what a reader needs to judge them."""
        parts = [
            self._summary(),
            (
                f"Command: `{self.command}`. Median of up to {self.settings['repetitions']} "
                "interleaved repetitions, smallest and largest in brackets."
            ),
        ]
        for broker, columns in self._tables():
            parts += [f"### {broker}", self._values(columns)]
            if columns[0].startswith(OURS) and len(columns) > 1:
                first = self.titles[columns[0]]
                parts += [
                    f"How many times better {first} is than each (below 1: worse):",
                    self._ratios(columns),
                ]
        parts += [
            "### Wanted and measured",
            _table([["", "measured", "met"], *self._judged()]),
            "What a loss of power costs, as configured:",
            "\n".join(f"- {self.titles[n]}: {text}." for n, text in self.durability.items()),
            *[f"Failed: {failure}" for failure in self.failures],
        ]
        return "\n\n".join(parts) + "\n"

    def _tables(self) -> Iterator[tuple[str, list[str]]]:
        """Each broker with its columns: Celery on Redis is in all, for it is what people know."""
        for broker, names in self.brokers.items():
            more = EVERYWHERE in self.titles and not any("celery" in name for name in names)
            yield broker, [*names, EVERYWHERE] if more else names

    def _values(self, columns: list[str]) -> str:
        rows = [["", *(self.titles[name] for name in columns)]]
        for figure, systems in self.measured():
            if systems.keys() & set(columns):
                cells = [_cell(figure, systems.get(name)) for name in columns]
                rows.append([f"{figure.title} [{figure.unit}]", *cells])
        return _table(rows)

    def _ratios(self, columns: list[str]) -> str:
        ours, *others = columns
        rows = [["", *(self.titles[name] for name in others)]]
        for figure, systems in self.measured():
            cells = [_times(figure, systems, ours, name) for name in others]
            if any(cells):
                rows.append([figure.title, *(cell or "n/a" for cell in cells)])
        return _table(rows)

    def _judged(self) -> list[list[str]]:
        medians = {
            figure.name: {name: each.median for name, each in systems.items()}
            for figure, systems in self.measured()
        }
        found = [target.judged(medians, self.titles) for target in TARGETS]
        return [[text, value, "yes" if met else "no"] for text, value, met in filter(None, found)]

    def _summary(self) -> str:
        machine = self.machine
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return (
            f"{self.date}, {machine['cores']} cores of {machine['cpu']}, "
            f"{machine['memory_gb']} GB, Linux {machine['kernel']}, Python {machine['python']}, "
            f"SQLite {machine['sqlite']} on {machine['filesystem']} "
            f"({machine['syncs_per_second']:,} syncs/s), load before {machine['load_before']}; "
            f"{versions}; {self.seconds:.0f} s."
        )


def put_into(readme: Path, figures: str) -> None:
    """Replace what stands between the two marks of ``readme``."""
    before, _, rest = readme.read_text().partition(START)
    _, _, after = rest.partition(END)
    readme.write_text(f"{before}{START}\n\n{figures}\n{END}{after}")


def _plain(measured: Measured) -> dict[str, Any]:
    return {
        "median": _rounded(measured.median),
        "min": _rounded(measured.least),
        "max": _rounded(measured.most),
        "samples": [_rounded(sample) for sample in measured.samples],
    }


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _span(figure: Figure, measured: Measured) -> str:
    return f"{figure.shown(measured.least)}-{figure.shown(measured.most)}"


def _cell(figure: Figure, measured: Measured | None) -> str:
    if measured is None:
        return "n/a"
    return f"**{figure.shown(measured.median)}** ({_span(figure, measured)})"


def _times(figure: Figure, systems: dict[str, Measured], ours: str, name: str) -> str:
    """How many times better the one is than the other; empty where that cannot be said."""
    if ours == name or ours not in systems or name not in systems:
        return ""
    times = figure.times_better(systems[ours].median, systems[name].median)
    return "" if times is None else f"{times:,.2f}x"


def _table(rows: list[list[str]]) -> str:
    head, *body = rows
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *body])
