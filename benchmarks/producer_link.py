"""The harness's side of a producer process: one order per line, one answer per line."""

from __future__ import annotations

import json
import os
import select
import subprocess
from typing import TYPE_CHECKING, Any

from benchmarks.processes import end_with_parent
from benchmarks.waiting import DeadlineError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class ProducerError(Exception):
    """The producer process ended; ``log`` is what it printed, whose last line tells most."""

    def __init__(self, order: str, log: str) -> None:
        last = log.strip().rpartition("\n")[2]
        super().__init__(f"the producer ended during {order!r}: {last}")


class ProducerLink:
    """A running producer; `close` ends it."""

    def __init__(
        self, python: Path, app: str, *, log: Path, cwd: Path, environment: Mapping[str, str]
    ) -> None:
        self._log = log
        script = environment["PYTHONPATH"] + "/producer.py"
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [str(python), script, app],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=cwd,
                env=environment,
                preexec_fn=end_with_parent,  # noqa: PLW1509 - the harness has one thread
            )

    def ask(self, order: str, *, seconds: float, **arguments: Any) -> dict[str, Any]:
        """Have one order carried out; its answer.

        Raises:
            ProducerError: the process ended instead.
            DeadlineError: no answer within ``seconds``.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(json.dumps({"do": order, **arguments}).encode() + b"\n")
            stdin.flush()
        except BrokenPipeError:
            raise self._failed(order) from None
        answer = b""
        while not answer.endswith(b"\n"):
            if not select.select([stdout], [], [], seconds)[0]:
                raise DeadlineError(f"answer of the producer to {order!r}", seconds)
            part = os.read(stdout.fileno(), 1 << 20)
            if not part:
                raise self._failed(order)
            answer += part
        result: dict[str, Any] = json.loads(answer)
        return result

    def _failed(self, order: str) -> ProducerError:
        return ProducerError(order, self._log.read_text(errors="replace"))

    def close(self) -> None:
        """End the process; safe to call again."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
