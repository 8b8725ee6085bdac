"""Workers under a nemesis: supervisors started, children found, both killed without warning."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

HERE = Path(__file__).resolve().parent


class Fleet:
    """Some workers on one broker; the ones that are killed are started again."""

    def __init__(
        self, environment: dict[str, str], *, workers: int, children: int, record: object
    ) -> None:
        path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._environment = {**os.environ, **environment, "PYTHONPATH": path}
        self._children = children
        self._record = record
        self.workers = [self._start() for _ in range(workers)]
        self.kills = 0

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "umbel", "-A", "workload", "worker"]
        command += ["-c", str(self._children), "-l", "CRITICAL"]
        return subprocess.Popen(command, env=self._environment, cwd=HERE)

    def strike(self, random: Random) -> None:
        """Kill one child, or one supervisor with all it has."""
        index = random.randrange(len(self.workers))
        worker = self.workers[index]
        below = descendants(worker.pid)
        children = [pid for pid in below if is_child(pid)]
        if random.random() < 0.25 or not children:
            self._kill([worker.pid], [worker.pid, *below])
            worker.wait()
            self._watch_orphans(below)
            self.workers[index] = self._start()
        else:
            pid = random.choice(children)
            self._kill([pid], [pid])

    def _kill(self, victims: list[int], ended: list[int]) -> None:
        at = time.monotonic()
        for pid in victims:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.kills += 1
        self._record({"ev": "kill", "pids": ended, "at": at})

    def _watch_orphans(self, pids: list[int]) -> None:
        """Children must end with their supervisor; the kernel needs a moment on a busy machine."""
        end = time.monotonic() + 5.0
        left = pids
        while left and time.monotonic() < end:
            left = [pid for pid in left if is_alive(pid)]
            time.sleep(0.01)
        for pid in left:
            self._record({"ev": "survivor", "pid": pid, "at": time.monotonic()})
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def stop(self) -> list[int]:
        """Stop every worker as an operator would; their exit codes."""
        for worker in self.workers:
            worker.terminate()
        return [worker.wait(timeout=30) for worker in self.workers]

    def kill(self) -> None:
        """End whatever is left."""
        for worker in self.workers:
            if worker.poll() is None:
                worker.kill()
                worker.wait()


def descendants(pid: int) -> list[int]:
    """Every process below ``pid``."""
    found = []
    try:
        tasks = Path(f"/proc/{pid}/task").iterdir()
        below = [child for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []
    for child in map(int, below):
        found += [child, *descendants(child)]
    return found


def is_child(pid: int) -> bool:
    """Whether the process runs tasks: the fork server's own children do."""
    try:
        threads = len(list(Path(f"/proc/{pid}/task").iterdir()))
    except OSError:
        return False
    return threads > 1


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that only waits to be reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"
