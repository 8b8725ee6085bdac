"""``python -m benchmarks.run``: measure every system in turn, several rounds, and report."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import shutil
import signal
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from benchmarks.figures import FIGURES
from benchmarks.installation import Installation
from benchmarks.machine import commit, machine_facts, package_versions
from benchmarks.report import Report, put_into
from benchmarks.scenarios import QUICK, SCENARIOS, Scale, Scenario
from benchmarks.servers import Servers
from benchmarks.systems import SYSTEMS
from benchmarks.waiting import DeadlineError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.systems.system import System

HERE = Path(__file__).parent
README = HERE / "README.md"
RESULTS = HERE / "results.json"
WHOLE_RUN_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Choice:
    """Which systems and which figures this run is about."""

    systems: list[System]
    figures: frozenset[str]

    @classmethod
    def of(cls, words: list[str]) -> Choice:
        """What ``--only`` names; systems, figures and scenarios may be mixed.

        Raises:
            ValueError: a word is none of these.
        """
        by_name = {kind.name: kind for kind in SYSTEMS}
        by_scenario = {scenario.name: scenario.gives for scenario in SCENARIOS}
        named, figures = [], set()
        for word in words:
            if word.replace("_", "-") in by_name:
                named.append(by_name[word.replace("_", "-")])
            elif word in FIGURES:
                figures.add(word)
            elif word in by_scenario:
                figures |= by_scenario[word]
            else:
                known = [*by_name, *by_scenario, *FIGURES]
                raise ValueError(f"{word!r} is none of {', '.join(dict.fromkeys(known))}")
        kinds = named or [kind for kind in SYSTEMS if not kind.extra]
        return cls([kind() for kind in kinds], frozenset(figures or FIGURES))

    def wanted(self, system: System, scenario: Scenario) -> frozenset[str]:
        """The figures that this scenario shall find for this system."""
        return (scenario.gives & self.figures) - system.lacks


def turns(choice: Choice, rounds: int) -> Iterator[tuple[int, Scenario, System]]:
    """Who is measured when: all systems side by side, another one first in each round."""
    for number in range(rounds):
        for scenario in [each for each in SCENARIOS if number < each.rounds(rounds)]:
            count = len(choice.systems)
            for place in range(count):
                system = choice.systems[(place + number) % count]
                if choice.wanted(system, scenario):
                    yield number, scenario, system


class Run:
    """One run: its servers, its scratch folder and its report."""

    def __init__(self, choice: Choice, scale: Scale, scratch: Path, report: Report) -> None:
        self._choice = choice
        self._scale = scale
        self._scratch = scratch
        self._report = report
        self._given_up: set[tuple[str, str]] = set()

    def measure(self) -> None:
        """Take every turn; a scenario that fails once for a system is not tried again."""
        began = time.monotonic()
        with closing(Servers(self._scratch)) as servers:
            usable = [s for s in self._choice.systems if self._can_start(s, servers)]
            self._choice = replace(self._choice, systems=usable)
            for number, scenario, system in turns(self._choice, self._scale.repetitions):
                if (system.name, scenario.name) not in self._given_up:
                    self._take_turn(number, scenario, system, servers)
            self._note_versions(servers)
        self._report.seconds = time.monotonic() - began

    def _can_start(self, system: System, servers: Servers) -> bool:
        """Install what the system needs and ask it for its durability, before any clock runs."""
        folder = self._scratch / f"check-{system.name}"
        try:
            with Installation(system, servers, folder) as bench:
                self._report.durability[system.name] = bench.durability()
        except Exception as error:  # noqa: BLE001 - one system's fault must not end the others' run
            self._fail(system, "check", error)
            return False
        self._report.titles[system.name] = system.title
        self._report.brokers.setdefault(system.broker, []).append(system.name)
        return True

    def _take_turn(self, number: int, scenario: Scenario, system: System, servers: Servers) -> None:
        wanted = self._choice.wanted(system, scenario)
        folder = self._scratch / f"{number}-{scenario.name}-{system.name}"
        said = f"round {number + 1}/{self._scale.repetitions} {scenario.name:<13} {system.title}"
        print(f"{said} ...", end=" ", file=sys.stderr, flush=True)
        try:
            with Installation(system, servers, folder) as bench:
                values = self._values(bench, scenario, wanted)
        except Exception as error:  # noqa: BLE001 - one system's fault must not end the others' run
            self._given_up.add((system.name, scenario.name))
            self._fail(system, scenario.name, error)
            return
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        shown = {name: value for name, value in values.items() if name in wanted}
        self._report.add(system.name, shown)
        words = [f"{name}={FIGURES[name].shown(value)}" for name, value in shown.items()]
        print(*words, file=sys.stderr, flush=True)

    def _values(
        self, bench: Installation, scenario: Scenario, wanted: frozenset[str]
    ) -> dict[str, float]:
        try:
            return scenario.run(bench, self._scale, wanted)
        except Exception as error:
            if bench.last_words():
                error.add_note(f"the worker said: {bench.last_words()}")
            raise

    def _fail(self, system: System, where: str, error: Exception) -> None:
        words = " | ".join([str(error), *getattr(error, "__notes__", [])])
        self._report.failures.append(f"{system.name} {where}: {type(error).__name__}: {words}")
        print(f"failed: {system.name} {where}", file=sys.stderr, flush=True)

    def _note_versions(self, servers: Servers) -> None:
        versions = self._report.versions
        for system in self._choice.systems:
            versions |= package_versions(system.python(), system.packages)
        versions |= servers.versions()
        if "umbel" in versions:
            versions["umbel"] += f" ({commit()})"


def _arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run of under a minute")
    parser.add_argument(
        "--only", nargs="*", default=[], help="names of systems and figures, with spaces or commas"
    )
    parser.add_argument("--repetitions", type=int, help="rounds (3, quick: 1)")
    parser.add_argument(
        "--tasks", type=int, help="tasks in a drain, of which slow systems get a share (20000)"
    )
    parser.add_argument("--json", type=Path, help="where to write the JSON file")
    parser.add_argument("--scratch", type=Path, help="folder for databases; its disk is measured")
    return parser.parse_args(words)


def _scale(arguments: argparse.Namespace) -> Scale:
    plain = asdict(QUICK if arguments.quick else Scale())
    for name in ("repetitions", "tasks"):
        if getattr(arguments, name):
            plain[name] = getattr(arguments, name)
    return Scale(**plain)


def _raise_too_long(*_: object) -> NoReturn:
    raise SystemExit(str(DeadlineError("the whole run", WHOLE_RUN_SECONDS)))


def _raise_stopped(number: int, _: object) -> NoReturn:
    raise SystemExit(f"stopped by {signal.Signals(number).name}")


def main(words: list[str]) -> int:
    """Run; 0 if every figure was measured, 1 if not, 2 for a wrong argument."""
    arguments = _arguments(words)
    try:
        choice = Choice.of([word for words in arguments.only for word in words.split(",") if word])
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    # An exception, unlike the signal's default, lets every process be stopped on the way out.
    signal.signal(signal.SIGALRM, _raise_too_long)
    for stopping in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stopping, _raise_stopped)
    signal.alarm(WHOLE_RUN_SECONDS)
    parent = arguments.scratch or HERE / ".scratch"
    parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent) as name:
        scratch, scale = Path(name), _scale(arguments)
        report = Report(
            date=dt.datetime.now(dt.UTC).isoformat(timespec="minutes"),
            command=" ".join(["python -m benchmarks.run", *words]),
            machine=machine_facts(scratch),
            settings=asdict(scale),
        )
        Run(choice, scale, scratch, report).measure()
    print(report.as_text())
    _publish(report, arguments)
    return 1 if report.failures else 0


def _publish(report: Report, arguments: argparse.Namespace) -> None:
    """Write the JSON file asked for; a whole run also becomes the README's.

    A peer that failed is named there; a run in which Umbel failed has no figures to show.
    """
    text = json.dumps(report.as_json(), indent=1, ensure_ascii=False) + "\n"
    if arguments.json:
        arguments.json.write_text(text)
    whole = not (arguments.quick or arguments.only or arguments.tasks)
    failed = any(failure.startswith("umbel") for failure in report.failures)
    if failed or not whole or report.settings["repetitions"] < Scale().repetitions:
        return
    RESULTS.write_text(text)
    put_into(README, report.as_markdown())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
