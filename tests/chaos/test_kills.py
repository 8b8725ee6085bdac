"""SIGKILL at random moments: nothing is lost, and what starts twice was killed in between."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from random import Random

import pytest
from arena import SERVERS, arena
from checker import check
from fleet import Fleet

LONG = os.environ.get("CHAOS") == "long"


@dataclass(frozen=True)
class Plan:
    tasks: int
    kills: int
    pause: float
    seed: int


SHORT_PLAN = Plan(tasks=1_500, kills=15, pause=0.25, seed=1)
LONG_PLAN = Plan(tasks=24_000, kills=320, pause=0.22, seed=2)


@pytest.fixture(params=["sqlite", *SERVERS])
def place(request, tmp_path, monkeypatch):
    """An arena on each broker."""
    with arena(request.param, tmp_path, monkeypatch) as found:
        yield found


@pytest.mark.timeout(1800 if LONG else 240)
def test_no_task_is_lost_and_every_double_start_is_explained(place):
    """Children and supervisors die all the time; every task succeeds, twice only if killed."""
    plan = LONG_PLAN if LONG else SHORT_PLAN
    random = Random(plan.seed)
    fleet = Fleet(place.environment, workers=2, children=2, record=place.record)
    try:
        sent = {}
        for kill in range(plan.kills):
            last = kill == plan.kills - 1
            sent |= _send(place.workload, random, plan, first=len(sent), last=last)
            time.sleep(plan.pause * random.uniform(0.2, 1.8))
            fleet.strike(random)
        results = place.results(sent, timeout=600 if LONG else 60)
        codes = fleet.stop()
    finally:
        fleet.kill()
    verdict = check(sent, results, place.events())
    sys.stdout.write(f"\nseed {plan.seed}: {verdict}\n")
    assert verdict.valid, verdict
    assert verdict.kills >= plan.kills
    assert set(codes) == {0}
    assert not place.left()


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
