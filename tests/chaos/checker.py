"""What a history proves: nothing lost, nothing invented, every second start explained.

The input is what tasks, nemesis and caller wrote down independently of the system; the output is
a verdict with the offending tasks. It knows nothing of Umbel.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


@dataclass
class Verdict:
    """The findings; each list names tasks."""

    tasks: int = 0
    starts: int = 0
    kills: int = 0
    lost: list[str] = field(default_factory=list)
    invented: list[str] = field(default_factory=list)
    never_ran: list[str] = field(default_factory=list)
    wrong_result: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)
    doubled: int = 0
    survivors: list[int] = field(default_factory=list)

    @property
    def valid(self) -> bool:
        """Whether nothing was found."""
        return not (
            self.lost
            or self.invented
            or self.never_ran
            or self.wrong_result
            or self.unexplained
            or self.survivors
        )

    def __str__(self) -> str:
        return (
            f"{self.tasks} tasks, {self.kills} kills, {self.starts} starts, "
            f"{self.doubled} tasks started more than once; lost {len(self.lost)}, "
            f"invented {len(self.invented)}, succeeded without running {len(self.never_ran)}, "
            f"wrong results {len(self.wrong_result)}, "
            f"unexplained starts {len(self.unexplained)}, orphans {len(self.survivors)}"
        )


def read(folder: Path) -> list[dict[str, Any]]:
    """All lines of all processes in the order in which they were written; torn ones are left."""
    events = []
    for path in folder.glob("*.jsonl"):
        for line in path.read_bytes().splitlines():
            try:
                events.append(json.loads(line))
            except ValueError:
                continue
    return sorted(events, key=lambda event: event["at"])


def check(
    sent: Mapping[str, Any],
    results: Mapping[str, tuple[str, Any]],
    events: Iterable[Mapping[str, Any]],
) -> Verdict:
    """Judge a history.

    Args:
        sent: task id to the value it must return, for every call that was acknowledged.
        results: task id to its state and value, read at the end.
        events: starts, ends and kills; a kill names every process it ended.
    """
    verdict = Verdict(tasks=len(sent))
    starts: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    ended: set[str] = set()
    deaths: dict[int, float] = {}
    for event in events:
        match event["ev"]:
            case "start":
                starts[event["task"]].append(event)
            case "end":
                ended.add(event["task"])
            case "kill":
                verdict.kills += 1
                for pid in event["pids"]:
                    deaths.setdefault(pid, event["at"])
            case "survivor":
                verdict.survivors.append(event["pid"])
    verdict.starts = sum(map(len, starts.values()))
    verdict.invented = [task for task in starts if task not in sent]
    _check_ends(verdict, sent, results, ended)
    verdict.doubled = sum(1 for history in starts.values() if len(history) > 1)
    verdict.unexplained = [
        task for task, history in starts.items() if not _explained(history, deaths)
    ]
    return verdict


def _check_ends(
    verdict: Verdict,
    sent: Mapping[str, Any],
    results: Mapping[str, tuple[str, Any]],
    ended: set[str],
) -> None:
    for task, expected in sent.items():
        state, value = results.get(task, ("MISSING", None))
        if state != "SUCCESS":
            verdict.lost.append(task)
        elif value != expected:
            verdict.wrong_result.append(task)
        if state == "SUCCESS" and task not in ended:
            verdict.never_ran.append(task)


def _explained(history: list[Mapping[str, Any]], deaths: Mapping[int, float]) -> bool:
    """Whether the process of each start but the last died before the next one."""
    return all(
        first["pid"] in deaths and deaths[first["pid"]] <= second["at"]
        for first, second in pairwise(history)
    )
