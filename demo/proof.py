"""What the census must fulfil, checked from three independent records.

The files are what the runner published, the counts are what `AsyncResult.get` returned, and the
starts are what the tasks themselves noted down.  The rules are plain: every file is counted once,
every count is right, and whatever was started twice was first started in the child that was killed.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from umbel.ports.broker import Buried, QueueStats

    Count = Mapping[str, Any]
    Start = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Kill:
    """Which child was killed, and when (epoch seconds)."""

    pid: int
    at: float


@dataclass(frozen=True, slots=True)
class Finding:
    """One statement, and what speaks against it: it holds if nothing does."""

    statement: str
    against: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Nothing speaks against it."""
        return not self.against


def counted_once(files: Sequence[str], counts: Sequence[Count]) -> Finding:
    """The files and the counts are the same set, without a gap or a repetition."""
    found = Counter(count["path"] for count in counts)
    missing = [f"not counted: {path}" for path in files if path not in found]
    repeated = [f"counted {times} times: {path}" for path, times in found.items() if times > 1]
    unknown = [f"never published: {path}" for path in sorted(found.keys() - set(files))]
    return Finding(
        f"each of the {len(files):,} files is in the totals once, none is lost",
        (*missing, *repeated, *unknown),
    )


def counted_right(counts: Sequence[Count], again: Iterable[Count]) -> Finding:
    """Lines and SHA-256 of every file, and all of those counted ``again`` here, are the same."""
    wrong = []
    for count in counts:
        source = Path(count["path"]).read_bytes()
        here = (len(source.splitlines()), hashlib.sha256(source).hexdigest())
        if (count["lines"], count["sha256"]) != here:
            wrong.append(f"lines or hash differ: {count['path']}")
    by_path = {count["path"]: count for count in counts}
    sample = list(again)
    for here_count in sample:
        there = by_path.get(here_count["path"], {})
        wrong += [
            f"{name} differ: {here_count['path']}"
            for name in ("functions", "classes", "valid")
            if there.get(name) != here_count[name]
        ]
    return Finding(
        f"lines and SHA-256 of all files, and a second parse of {len(sample)}, agree",
        tuple(wrong),
    )


def starts_explained(counts: Sequence[Count], starts: Sequence[Start], kill: Kill) -> Finding:
    """A file has one start, or each start but the last was in the killed child, before the kill.

    The count comes from the last start: the work of a child that lost its claim is not used.
    """
    wrong = []
    by_path = _by_path(starts)
    for count in counts:
        path = count["path"]
        if path not in by_path:
            wrong.append(f"counted without a start: {path}")
            continue
        *earlier, last = by_path[path]
        if last["pid"] != count["pid"]:
            wrong.append(f"counted by {count['pid']}, last started by {last['pid']}: {path}")
        wrong += [
            f"started again without a reason: {path}"
            for start in earlier
            if start["pid"] != kill.pid or start["at"] > kill.at
        ]
    return Finding(
        f"{len(starts):,} starts: every second one was first in the killed child", tuple(wrong)
    )


def child_replaced(counts: Sequence[Count], kill: Kill, *, children: int) -> Finding:
    """The killed child had worked, and another took its place."""
    pids = {count["pid"] for count in counts}
    wrong = []
    if kill.pid not in pids:
        wrong.append(f"{kill.pid} had counted nothing when it was killed")
    if len(pids) != children + 1:
        wrong.append(f"{len(pids)} children worked, not {children + 1}")
    return Finding(f"child {kill.pid} was killed at work and replaced", tuple(wrong))


def queue_done(stats: Iterable[QueueStats], dead: Sequence[Buried]) -> Finding:
    """No message waits or is held by anybody, and none was given up."""
    wrong = [
        f"{queue.name}: {queue.ready} wait, {queue.delayed} are delayed, {queue.claimed} are held"
        for queue in stats
        if queue.ready or queue.delayed or queue.claimed
    ]
    wrong += [f"dead letter: {buried.letter.reason}" for buried in dead]
    return Finding("the queue is empty, and there are no dead letters", tuple(wrong))


def restarted(starts: Sequence[Start]) -> list[tuple[str, list[int]]]:
    """Files that were started more than once, with the processes in the order of their starts."""
    return [
        (path, [start["pid"] for start in of_path])
        for path, of_path in sorted(_by_path(starts).items())
        if len(of_path) > 1
    ]


def _by_path(starts: Sequence[Start]) -> dict[str, list[Start]]:
    by_path: dict[str, list[Start]] = defaultdict(list)
    for start in sorted(starts, key=lambda start: float(start["at"])):
        by_path[start["path"]].append(start)
    return by_path
