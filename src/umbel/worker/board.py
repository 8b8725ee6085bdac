"""Shared memory between a supervisor and its children: who runs what, since when, until when.

The supervisor has to judge children that may be stuck: in C code that holds the interpreter lock,
in a busy loop, in a stopped process.  So children never report by message; they write what they
are about to do into memory that the supervisor reads, at the cost of a few hundred nanoseconds
per task.  Each child has one row: a header (beat, counters) and one entry per slot.  Only the
child writes its row, so there is nothing to lock; an entry is valid when its id is set, which is
the last thing written when a task starts and the first when it ends.

The board also holds the next free start time of every rate-limited task, shared by all children
of one worker; those are updated under a record lock, which the kernel drops when its holder dies.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ID_SIZE = 64
_ENTRY = struct.Struct(f"<{ID_SIZE}sdddQ")
_HEADER = struct.Struct("<dQQQQQ")
_TIMES = struct.Struct("<ddd")
_MOMENT = struct.Struct("<d")
_FREE = bytes(1)
RATE_SLOTS = 4096

REQUEUE_WHEN_LOST = 1
"""Flag of an entry: should the process die, the task is to be started again."""


def noted(task_id: str) -> str:
    """A task's id as an entry holds it: what does not fit is cut off."""
    return task_id.encode()[:ID_SIZE].decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Entry:
    """One running task: times are on the monotonic clock, 0 is no limit."""

    slot: int
    task_id: str
    started: float
    soft: float
    hard: float
    flags: int


@dataclass(frozen=True, slots=True)
class Header:
    """How a child does: when it last moved, what it has run and claimed, what it holds."""

    beat: float
    executed: int
    failed: int
    held: int
    active: int
    claimed: int


class Board:
    """The shared memory, seen by the supervisor; a child gets its own `Row`."""

    def __init__(self, rows: int, slots: int, fd: int | None = None) -> None:
        self.rows = rows
        self.slots = slots
        self._row_size = _HEADER.size + slots * _ENTRY.size
        self._rates_at = rows * self._row_size
        size = self._rates_at + RATE_SLOTS * _MOMENT.size
        if fd is None:
            self._file = tempfile.TemporaryFile(prefix="umbel-board-")  # noqa: SIM115 - kept open
            fd = self._file.fileno()
            os.ftruncate(fd, size)
        self.fd = fd
        self._memory = mmap.mmap(fd, size)

    def row(self, index: int) -> Row:
        """The row of one child."""
        return Row(self._memory, index * self._row_size, self.slots)

    def clear(self, index: int) -> None:
        """Empty a row before another child takes it."""
        start = index * self._row_size
        self._memory[start : start + self._row_size] = bytes(self._row_size)

    def next_start(self, slot: int, now: float, interval: float) -> float:
        """Reserve the next start of a rate-limited task: now, or later; evenly spread."""
        at = self._rates_at + (slot % RATE_SLOTS) * _MOMENT.size
        fcntl.lockf(self.fd, fcntl.LOCK_EX)
        try:
            (free,) = _MOMENT.unpack_from(self._memory, at)
            start = max(now, free)
            _MOMENT.pack_into(self._memory, at, start + interval)
        finally:
            fcntl.lockf(self.fd, fcntl.LOCK_UN)
        return float(start)

    def close(self) -> None:
        """Give the memory back."""
        self._memory.close()
        file = getattr(self, "_file", None)
        if file is not None:
            file.close()
        else:
            os.close(self.fd)


class Row:
    """One child's row."""

    __slots__ = ("_at", "_memory", "_slots")

    def __init__(self, memory: mmap.mmap, at: int, slots: int) -> None:
        self._memory = memory
        self._at = at
        self._slots = slots

    def start(
        self, slot: int, task_id: str, now: float, soft: float, hard: float, flags: int
    ) -> None:
        """Note that a task starts."""
        at = self._at + _HEADER.size + slot * _ENTRY.size
        _ENTRY.pack_into(self._memory, at, task_id.encode()[:ID_SIZE], now, soft, hard, flags)

    def finish(self, slot: int) -> None:
        """Note that the task in ``slot`` has ended."""
        at = self._at + _HEADER.size + slot * _ENTRY.size
        self._memory[at : at + 1] = _FREE

    def disarm_soft(self, slot: int) -> None:
        """Note that the soft limit has been delivered."""
        at = self._at + _HEADER.size + slot * _ENTRY.size
        started, _, hard = _TIMES.unpack_from(self._memory, at + ID_SIZE)
        _TIMES.pack_into(self._memory, at + ID_SIZE, started, 0.0, hard)

    def beat(
        self, now: float, executed: int, failed: int, held: int, active: int, claimed: int
    ) -> None:
        """Note that the child is alive, and how it does."""
        _HEADER.pack_into(self._memory, self._at, now, executed, failed, held, active, claimed)

    def header(self) -> Header:
        """How the child does."""
        return Header(*_HEADER.unpack_from(self._memory, self._at))

    def entry(self, slot: int) -> Entry | None:
        """The task in ``slot``, if one is running."""
        at = self._at + _HEADER.size + slot * _ENTRY.size
        name, started, soft, hard, flags = _ENTRY.unpack_from(self._memory, at)
        if name[:1] == _FREE:
            return None
        task_id = name.rstrip(b"\0").decode("utf-8", "replace")
        return Entry(slot, task_id, started, soft, hard, flags)

    def entries(self) -> Iterator[Entry]:
        """All tasks that are running."""
        for slot in range(self._slots):
            found = self.entry(slot)
            if found is not None:
                yield found
