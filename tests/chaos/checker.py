"""What a history proves: nothing lost, nothing invented, every second start explained.

A second start is explained if the process of the first one was killed before it. If the server
itself was killed, two more causes remain: what the worker had not yet settled then is delivered
again, and what a producer sent then may have been stored twice, once of them unconfirmed.

The input is what tasks, nemesis and caller wrote down independently of the system; the output is
a verdict with the offending tasks. It knows nothing of Umbel.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path


SETTLED = 2.0
"""Seconds after which the end of a task has reached the server, on a very busy machine."""

RESENT = 5.0
"""Seconds after the return of a server in which producers are still sending what they held."""


class Outage(NamedTuple):
    """When a server was killed, and when it answered again."""

    began: float
    ended: float


@dataclass
class Verdict:
    """The findings; each list names tasks."""

    tasks: int = 0
    starts: int = 0
    kills: int = 0
    outages: int = 0
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
            f"{self.tasks} tasks, {self.kills} kills, {self.outages} outages, "
            f"{self.starts} starts, "
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
    unsure: Collection[str] = (),
    *,
    atomic: bool = True,
) -> Verdict:
    """Judge a history.

    Args:
        sent: task id to the value it must return, for every call that was acknowledged.
        results: task id to its state and value, read at the end.
        events: starts, ends, kills, sends and outages; a kill names every process it ended.
        unsure: tasks whose call was refused: they may have run, or not.
        atomic: whether the server replaces a message by another in one step. Without, a message
            may be in its queue twice after an outage, if it was there before.
    """
    history = _History(events, atomic=atomic)
    starts = history.starts
    verdict = Verdict(
        tasks=len(sent),
        starts=sum(map(len, starts.values())),
        kills=history.kills,
        outages=len(history.outages),
        survivors=history.survivors,
        invented=[task for task in starts if task not in sent and task not in unsure],
        doubled=sum(1 for found in starts.values() if len(found) > 1),
        unexplained=[task for task in starts if not history.explains(task)],
    )
    _check_ends(verdict, sent, results, history.ended)
    return verdict


class _History:
    """The events by what they are about."""

    def __init__(self, events: Iterable[Mapping[str, Any]], *, atomic: bool) -> None:
        self._atomic = atomic
        self.starts: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        self.ended: dict[str, float] = {}
        self.sent_at: dict[str, float] = {}
        self.deaths: dict[int, float] = {}
        self.outages: list[Outage] = []
        self.survivors: list[int] = []
        self.kills = 0
        for event in events:
            self._add(event)

    def _add(self, event: Mapping[str, Any]) -> None:
        match event["ev"]:
            case "start":
                self.starts[event["task"]].append(event)
            case "end":
                self.ended.setdefault(event["task"], event["at"])
            case "sent":
                self.sent_at[event["task"]] = event["at"]
            case "kill":
                self.kills += 1
                for pid in event["pids"]:
                    self.deaths.setdefault(pid, event["at"])
            case "outage":
                self.outages.append(Outage(event["began"], event["at"]))
            case "survivor":
                self.survivors.append(event["pid"])

    def explains(self, task: str) -> bool:
        """Whether each start but the first has a cause."""
        return all(
            self._died(first, second) or self._lost_with_server(task, first, second)
            for first, second in pairwise(self.starts[task])
        )

    def _died(self, first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
        return first["pid"] in self.deaths and self.deaths[first["pid"]] <= second["at"]

    def _lost_with_server(
        self, task: str, first: Mapping[str, Any], second: Mapping[str, Any]
    ) -> bool:
        ended = self.ended.get(task, second["at"])
        sent_at = self.sent_at.get(task, float("inf"))
        for began, back in self.outages:
            unsettled = ended + SETTLED >= began and second["at"] >= began
            if unsettled and first["at"] <= back:
                return True
            if unsettled and not self._atomic and sent_at <= back + RESENT:
                return True
            if began - SETTLED <= sent_at <= back + RESENT:
                return True
        return False


def _check_ends(
    verdict: Verdict,
    sent: Mapping[str, Any],
    results: Mapping[str, tuple[str, Any]],
    ended: Collection[str],
) -> None:
    for task, expected in sent.items():
        state, value = results.get(task, ("MISSING", None))
        if state != "SUCCESS":
            verdict.lost.append(task)
        elif value != expected:
            verdict.wrong_result.append(task)
        if state == "SUCCESS" and task not in ended:
            verdict.never_ran.append(task)
