"""Process trees: started, measured through /proc, and always ended."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.waiting import DeadlineError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TICKS = os.sysconf("SC_CLK_TCK")
DIE_WITH_PARENT = 1
_libc = ctypes.CDLL(None)


@dataclass(frozen=True, slots=True)
class Member:
    """One process of a tree; ``cpu`` counts the dead children it has waited for, in seconds."""

    pid: int
    parent: int
    session: int
    cpu: float


def running_processes() -> list[Member]:
    """Every process of the machine that can be read."""
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            line = Path(entry.path, "stat").read_bytes()
        except OSError:
            continue  # it has just ended
        # The name in brackets may hold anything, so fields are counted from its end.
        fields = line[line.rindex(b")") + 2 :].split()
        ticks = sum(int(field) for field in fields[11:15])
        found.append(Member(int(entry.name), int(fields[1]), int(fields[3]), ticks / TICKS))
    return found


def tree_of(root: int) -> list[Member]:
    """The processes of the session that ``root`` leads, and all descendants of it."""
    everyone = running_processes()
    inside = {member.pid for member in everyone if root in (member.pid, member.session)}
    grown = True
    while grown:
        more = {m.pid for m in everyone if m.parent in inside} - inside
        inside |= more
        grown = bool(more)
    return [member for member in everyone if member.pid in inside]


def pss_bytes(pid: int) -> int:
    """The proportional set size of one process; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


class Tree:
    """A program and everything it starts, in a session of its own.

    Its output goes to a file; ``started_ns`` is the moment before it was started.
    """

    def __init__(
        self, command: Sequence[str], *, log: Path, cwd: Path, environment: Mapping[str, str]
    ) -> None:
        self.log = log
        with log.open("wb") as output:
            self.started_ns = time.monotonic_ns()
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=environment,
                start_new_session=True,
                preexec_fn=end_with_parent,  # noqa: PLW1509 - the harness has one thread
            )
        self._end = os.pidfd_open(self._process.pid)

    @property
    def running(self) -> bool:
        """Whether the root process is alive."""
        return self._process.poll() is None

    def members(self) -> list[Member]:
        """The processes of the tree that are there now."""
        return tree_of(self._process.pid)

    def cpu(self) -> float:
        """Seconds of CPU used by the tree so far, dead children included."""
        return sum(member.cpu for member in self.members())

    def pss(self) -> int:
        """Memory of the tree in bytes; shared pages count in parts."""
        return sum(pss_bytes(member.pid) for member in self.members())

    def output(self) -> str:
        """What the tree has printed so far."""
        return self.log.read_text(errors="replace")

    def terminate(self, seconds: float) -> float:
        """Send SIGTERM to the root and wait for its end; how long it took, in seconds.

        Raises:
            DeadlineError: the root was still there after ``seconds``; the tree was killed.
        """
        began = time.perf_counter()
        self._process.send_signal(signal.SIGTERM)
        ended = bool(select.select([self._end], [], [], seconds)[0])
        took = time.perf_counter() - began
        self.kill()
        if not ended:
            raise DeadlineError("end of the worker after SIGTERM", seconds)
        return took

    def kill(self) -> None:
        """End at once whatever of the tree is left; safe to call again."""
        if self._end < 0:
            return
        for member in self.members():
            with contextlib.suppress(ProcessLookupError):
                os.kill(member.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._end)
        self._end = -1


def end_with_parent() -> None:
    """Ask the kernel to end this process when the harness dies, however it dies."""
    _libc.prctl(DIE_WITH_PARENT, signal.SIGTERM)
