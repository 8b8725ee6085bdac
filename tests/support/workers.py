"""Workers in processes of their own, for tests that need real ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

DEADLINE = 20.0
ERRANDS = Path(__file__).resolve().parent.parent / "worker"


def wait_until(condition, what: str, timeout: float = DEADLINE):
    """What ``condition()`` returns once it is true; the test fails if it never is."""
    end = time.monotonic() + timeout
    while not (found := condition()):
        if time.monotonic() > end:
            pytest.fail(f"waited {timeout:.0f} s for {what}")
        time.sleep(0.005)
    return found


class Worker:
    """One worker, and what it has written so far."""

    def __init__(self, folder: Path, *args: str, **environment: str) -> None:
        self.log = folder / f"worker-{time.monotonic_ns()}.log"
        command = [sys.executable, "-m", "umbel", "-A", "errands", "worker"]
        if "-c" not in args:
            args = (*args, "-c", "1")
        if "-l" not in args:
            args = (*args, "-l", "INFO")
        path = os.pathsep.join([str(ERRANDS), *filter(None, [os.environ.get("PYTHONPATH")])])
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, *args],
                stdout=log,
                stderr=log,
                cwd=folder,
                env={**os.environ, **environment, "PYTHONPATH": path},
            )

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_ready(self):
        wait_until(
            lambda: " ready." in self.text or self.process.poll() is not None, "a ready worker"
        )
        assert self.process.poll() is None, self.text
        return self

    def wait_for(self, text: str) -> str:
        wait_until(lambda: text in self.text, f"{text!r} in the log:\n{self.text}")
        return self.text

    def send(self, signum: int) -> None:
        self.process.send_signal(signum)

    def wait(self) -> int:
        return self.process.wait(timeout=DEADLINE)

    def stop(self) -> int:
        """Stop as an operator would; the exit code."""
        self.send(signal.SIGTERM)
        return self.wait()

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def kill(pid: int, signum: int = signal.SIGKILL) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signum)
