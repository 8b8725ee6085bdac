"""The outcome of a run as JSON, as Markdown for the README, and as text for a terminal."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks.figures import FIGURES, Figure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START = "<!-- figures: start (written by the harness) -->"
END = "<!-- figures: end -->"
RIVALS = ("celery-redis", "huey-sqlite")


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
    """Everything that one run found out."""

    date: str
    command: str
    machine: dict[str, Any]
    settings: dict[str, Any]
    versions: dict[str, str] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
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
            "durability": self.durability,
            "figures": figures,
            "failures": self.failures,
        }

    def as_text(self) -> str:
        """One block per figure, one line per system."""
        width = max(map(len, self.titles.values()), default=0)
        lines = [self._summary(), ""]
        for figure, systems in self.measured():
            better = "higher is better" if figure.higher_is_better else "lower is better"
            lines.append(f"{figure.title} [{figure.unit}, {better}]")
            for name, measured in systems.items():
                span = f"{figure.shown(measured.least)} - {figure.shown(measured.most)}"
                ratios = " ".join(f"{r:>9} {v}" for v, r in self._ratios(figure, systems, name))
                median = figure.shown(measured.median)
                lines.append(f"  {self.titles[name]:<{width}} {median:>10}  ({span})  {ratios}")
            lines.append("")
        lines += [f"FAILED {failure}" for failure in self.failures]
        return "\n".join(lines)

    def as_markdown(self) -> str:
        """Two tables (values, ratios) and what a reader needs to judge them."""
        names = list(self.titles)
        heads = [self.titles[name] for name in names]
        values = [["", *heads]]
        ratios = [["", *self._ratio_heads()]]
        for figure, systems in self.measured():
            cells = [_cell(figure, systems.get(name)) for name in names]
            values.append([f"{figure.title} [{figure.unit}]", *cells])
            ratios.append([figure.title, *self._ratio_cells(figure, systems)])
        parts = [
            self._summary(),
            (
                f"Command: `{self.command}`. Median of {self.settings['repetitions']} "
                "interleaved repetitions, smallest and largest in brackets."
            ),
            _table(values),
            "How many times better than the peers (below 1: worse):",
            _table(ratios),
            "What a loss of power costs, as configured:",
            "\n".join(f"- {self.titles[n]}: {text}." for n, text in self.durability.items()),
            *[f"Failed: {failure}" for failure in self.failures],
        ]
        return "\n\n".join(parts) + "\n"

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

    def _ratios(
        self, figure: Figure, systems: dict[str, Measured], name: str
    ) -> Iterator[tuple[str, str]]:
        for rival in RIVALS:
            if rival == name or rival not in systems:
                continue
            times = figure.times_better(systems[name].median, systems[rival].median)
            yield self.titles[rival].partition(" ")[0], "n/a" if times is None else f"{times:,.2f}x"

    def _ratio_heads(self) -> list[str]:
        return [
            f"{self.titles[name]} : {self.titles[rival]}"
            for name in self.titles
            for rival in RIVALS
            if name not in RIVALS and rival in self.titles
        ]

    def _ratio_cells(self, figure: Figure, systems: dict[str, Measured]) -> list[str]:
        cells = []
        for name in self.titles:
            for rival in RIVALS:
                if name in RIVALS or rival not in self.titles:
                    continue
                both = name in systems and rival in systems
                times = both and figure.times_better(systems[name].median, systems[rival].median)
                cells.append(f"{times:,.2f}x" if times else "n/a")
        return cells


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


def _cell(figure: Figure, measured: Measured | None) -> str:
    if measured is None:
        return "n/a"
    span = f"{figure.shown(measured.least)}-{figure.shown(measured.most)}"
    return f"**{figure.shown(measured.median)}** ({span})"


def _table(rows: list[list[str]]) -> str:
    head, *body = rows
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *body])
