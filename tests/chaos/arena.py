"""Where chaos takes place: one broker, the workload's application on it, and its history."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from checker import read

import servers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    import pytest

SERVERS = ("redis", "amqp", "postgres")
LEASE = 2


class Arena:
    """A broker of the test's own and everything that is written down about what happens on it.

    Attributes:
        server: the server process, which may be killed; None for SQLite.
        environment: what workers need to find it.
        workload: the module with the application and its tasks.
    """

    def __init__(self, folder: Path, server: servers.Server | None, broker: str) -> None:
        self.server = server
        self._history = folder / "history"
        self._history.mkdir()
        self.environment = {
            "CHAOS_BROKER": broker,
            "CHAOS_BACKEND": _backend(broker, folder),
            "CHAOS_OPTIONS": json.dumps({"visibility_timeout": LEASE}),
            "CHAOS_HISTORY": str(self._history),
        }
        self.workload: ModuleType

    def record(self, event: dict[str, Any]) -> None:
        """Write down what the nemesis or a producer did."""
        with (self._history / "nemesis.jsonl").open("a") as out:
            out.write(json.dumps({"at": time.monotonic(), **event}) + "\n")

    def events(self) -> list[dict[str, Any]]:
        """Everything that was written down so far, in its order."""
        return read(self._history)

    def results(self, sent: dict[str, int], timeout: float) -> dict[str, tuple[str, object]]:
        """State and value of each task, once all have ended or the time is up."""
        found = self.workload.app.backend.wait(list(sent), timeout)
        return {task: (meta["status"], meta["result"]) for task, meta in found.items()}

    def left(self) -> dict[str, int]:
        """What is still in the queues."""
        stats = self.workload.app.broker.stats()
        return {each.name: count for each in stats if (count := each.ready + each.claimed)}


def _backend(broker: str, folder: Path) -> str:
    """Results beside the messages; RabbitMQ keeps none."""
    return f"sqlite:///{folder / 'results.db'}" if broker.startswith("amqp") else broker


@contextmanager
def arena(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Arena]:
    """An arena on ``kind``, whose server runs meanwhile."""
    # Not below pytest's folder: each pytest that starts closes that to other users, and with it a
    # PostgreSQL that runs as one.
    home = Path(tempfile.mkdtemp(prefix="umbel-chaos-"))
    server = None if kind == "sqlite" else servers.private(kind, home)
    try:
        if server is not None:
            server.start()
        broker = f"sqlite:///{folder / 'chaos.db'}" if server is None else server.url
        place = Arena(folder, server, broker)
        for name, value in place.environment.items():
            monkeypatch.setenv(name, value)
        sys.modules.pop("workload", None)
        place.workload = importlib.import_module("workload")
        try:
            yield place
        finally:
            place.workload.app.close()
            sys.modules.pop("workload", None)
    finally:
        if server is not None:
            server.kill()
        shutil.rmtree(home, ignore_errors=True)
