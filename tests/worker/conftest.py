"""Real workers in processes of their own, on a database of the test's."""

from __future__ import annotations

import importlib
import json
import sys

import pytest

from umbel import current
from workers import ERRANDS, Worker, wait_until


@pytest.fixture
def settings():
    """The application's settings; a test may change them before it asks for `errands`."""
    return {"broker_transport_options": {"visibility_timeout": 3}}


@pytest.fixture
def broker_url(own_directory):
    """The broker of application and workers; a module may name another."""
    return f"sqlite:///{own_directory / 'errands.db'}"


@pytest.fixture
def errands(own_directory, monkeypatch, settings, broker_url):
    """The application, in this process, as a client."""
    monkeypatch.setenv("ERRANDS_BROKER", broker_url)
    monkeypatch.setenv("ERRANDS_SETTINGS", json.dumps(settings))
    monkeypatch.syspath_prepend(str(ERRANDS))
    # Tasks are shared with every application made later, here with this module's next copy.
    monkeypatch.setattr(current, "_on_finalize", [])
    sys.modules.pop("errands", None)
    module = importlib.import_module("errands")
    yield module
    module.app.close()
    sys.modules.pop("errands", None)


@pytest.fixture
def start(own_directory, errands):
    """Starts workers; they are ended with the test, and what they logged is shown if it fails."""
    workers: list[Worker] = []

    def start(*args: str, ready: bool = True, **environment: str) -> Worker:
        worker = Worker(own_directory, *args, **environment)
        workers.append(worker)
        return worker.wait_ready() if ready else worker

    yield start
    for worker in workers:
        worker.end()
        sys.stdout.write(f"--- {worker.log.name}\n{worker.text}\n")


@pytest.fixture
def notes(own_directory):
    """The lines that tasks have noted so far."""

    def notes() -> list[str]:
        path = own_directory / "notes"
        return path.read_text().splitlines() if path.exists() else []

    return notes


@pytest.fixture
def holding(notes):
    """Waits until so many tasks hold; their process ids."""

    def holding(count: int = 1) -> list[int]:
        def pids():
            found = [int(line.split()[1]) for line in notes() if line.startswith("holding")]
            return found if len(found) >= count else None

        return wait_until(pids, f"{count} tasks to start")

    return holding


@pytest.fixture
def let_go(own_directory):
    """Lets all held tasks end."""
    return (own_directory / "go").touch
