"""SIGKILL at random moments: nothing is lost, and what starts twice was killed in between."""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

import pytest
from checker import check, read
from fleet import Fleet

from umbel import current

if TYPE_CHECKING:
    from pathlib import Path

LONG = os.environ.get("CHAOS") == "long"


@dataclass(frozen=True)
class Plan:
    tasks: int
    kills: int
    pause: float
    seed: int


SHORT_PLAN = Plan(tasks=1_500, kills=15, pause=0.25, seed=1)
LONG_PLAN = Plan(tasks=24_000, kills=320, pause=0.22, seed=2)


@pytest.fixture
def workload(tmp_path, monkeypatch):
    """The workload's application, on a database of its own."""
    history = tmp_path / "history"
    history.mkdir()
    environment = {
        "CHAOS_BROKER": f"sqlite:///{tmp_path / 'chaos.db'}",
        "CHAOS_OPTIONS": json.dumps({"visibility_timeout": 2}),
        "CHAOS_HISTORY": str(history),
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    # Tasks are shared with every application made later, here with this module's next copy.
    monkeypatch.setattr(current, "_on_finalize", [])
    sys.modules.pop("workload", None)
    module = importlib.import_module("workload")
    yield module, environment, history
    module.app.close()
    sys.modules.pop("workload", None)


def test_no_task_is_lost_and_every_double_start_is_explained(workload):
    """Children and supervisors die all the time; every task succeeds, twice only if killed."""
    module, environment, history = workload
    plan = LONG_PLAN if LONG else SHORT_PLAN
    random = Random(plan.seed)
    record = _recorder(history)
    fleet = Fleet(environment, workers=2, children=2, record=record)
    try:
        sent = {}
        for kill in range(plan.kills):
            sent |= _send(module, random, plan, first=len(sent), last=kill == plan.kills - 1)
            time.sleep(plan.pause * random.uniform(0.2, 1.8))
            fleet.strike(random)
        results = _wait_for(module, sent, timeout=600 if LONG else 60)
        codes = fleet.stop()
    finally:
        fleet.kill()
    verdict = check(sent, results, read(history))
    left = {stats.name: stats.ready + stats.claimed for stats in module.app.broker.stats()}
    sys.stdout.write(f"\nseed {plan.seed}: {verdict}\n")
    assert verdict.valid, verdict
    assert verdict.kills >= plan.kills
    assert set(codes) == {0}
    assert not any(left.values()), left


def _recorder(history: Path):
    file = history / "nemesis.jsonl"

    def record(event):
        with file.open("a") as out:
            out.write(json.dumps(event) + "\n")

    return record


def _send(module, random, plan, *, first: int, last: bool) -> dict[str, int]:
    count = plan.tasks - first if last else plan.tasks // plan.kills
    signatures = [
        (module.awork if random.random() < 0.2 else module.work).s(
            first + number, random.choice([0, 0.005, 0.02])
        )
        for number in range(count)
    ]
    results = module.app.publish_many(signatures)
    return {result.id: 2 * sig.args[0] for result, sig in zip(results, signatures, strict=True)}


def _wait_for(module, sent, *, timeout: float) -> dict[str, tuple[str, object]]:
    found = module.app.backend.wait(list(sent), timeout)
    return {task: (meta["status"], meta["result"]) for task, meta in found.items()}
