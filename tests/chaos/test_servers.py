"""SIGKILL for the server itself, under load: it comes back, and so does everything else."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from threading import Event, Lock
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from arena import SERVERS, arena
from checker import check
from fleet import Fleet

from patience import Background, wait_until
from umbel.exceptions import OperationalError

if TYPE_CHECKING:
    from arena import Arena

LONG = os.environ.get("CHAOS") == "long"
KILLS = 12 if LONG else 1
WORKERS, CHILDREN = 2, 2
BACK = 10.0
"""Seconds after its return within which the fleet must be working."""

REFUSED = 2.0 + 5.0
"""The deadline of a publish, and what a busy machine may add to it."""


@dataclass(frozen=True)
class Refusal:
    at: float
    took: float


class Producer:
    """Sends tasks without pause; what was refused is given up, for it may have been taken."""

    def __init__(self, place: Arena) -> None:
        self._place = place
        self._stopped = Event()
        self._lock = Lock()
        self.sent: dict[str, int] = {}
        self.unsure: set[str] = set()
        self.refusals: list[Refusal] = []

    def run(self) -> None:
        number = 0
        while not self._stopped.wait(0.002):
            many = 1 if number % 3 else 10
            self._send(range(number, number + many))
            number += many

    def _send(self, numbers: range) -> None:
        ids = [str(uuid4()) for _ in numbers]
        began = time.monotonic()
        for task in ids:
            self._place.record({"ev": "sent", "task": task, "at": began})
        try:
            self._publish(numbers, ids)
        except OperationalError:
            self.refusals.append(Refusal(began, time.monotonic() - began))
            self.unsure.update(ids)
        else:
            with self._lock:
                self.sent |= {task: 2 * n for task, n in zip(ids, numbers, strict=True)}

    def _publish(self, numbers: range, ids: list[str]) -> None:
        workload = self._place.workload
        calls = [
            (workload.awork if number % 5 == 0 else workload.work)
            .s(number, 0.005)
            .set(task_id=task)
            for number, task in zip(numbers, ids, strict=True)
        ]
        if len(calls) == 1:
            calls[0].apply_async()
        else:
            workload.app.publish_many(calls)

    def confirmed(self) -> dict[str, int]:
        with self._lock:
            return dict(self.sent)

    def stop(self) -> None:
        self._stopped.set()


@pytest.fixture(params=SERVERS)
def place(request, tmp_path, monkeypatch):
    """An arena with a server that may be killed."""
    with arena(request.param, tmp_path, monkeypatch) as found:
        yield found


@pytest.mark.timeout(900 if LONG else 240)
def test_no_confirmed_task_is_lost_when_the_server_is_killed(place):
    """Nobody restarts a worker or a producer; callers hear of the outage within their deadline."""
    fleet = Fleet(place.environment, workers=WORKERS, children=CHILDREN, record=place.record)
    pids = [worker.pid for worker in fleet.workers]
    producer = Producer(place)
    try:
        with Background(producer.run) as producing:
            try:
                wait_until(lambda: _everyone_works(place))
                delays = [_outage(place, producer) for _ in range(KILLS)]
            finally:
                producer.stop()
            producing.result()
        results = place.results(producer.sent, timeout=600 if LONG else 60)
        # Also what was refused and yet taken runs; nothing stays claimed by one that lives.
        wait_until(lambda: not place.left(), deadline=60)
        alive = [worker.poll() is None for worker in fleet.workers]
        codes = fleet.stop()
    finally:
        fleet.kill()
    atomic = place.workload.app.broker.capabilities.leases  # RabbitMQ knows no transactions
    verdict = check(producer.sent, results, place.events(), producer.unsure, atomic=atomic)
    sys.stdout.write(f"\n{verdict}; working again after {max(delays):.1f} s\n")
    assert verdict.valid, verdict
    assert verdict.outages == KILLS
    assert all(alive)
    assert [worker.pid for worker in fleet.workers] == pids
    assert set(codes) == {0}
    assert max(delays) < BACK
    assert max(refusal.took for refusal in producer.refusals) < REFUSED
    assert not place.left()


def _outage(place: Arena, producer: Producer) -> float:
    """Kill the server, let a caller notice, and start it again; seconds until tasks ran again."""
    assert place.server is not None
    enough = len(producer.confirmed()) + 100
    wait_until(lambda: len(producer.confirmed()) > enough)
    began = time.monotonic()
    place.server.kill()
    wait_until(lambda: any(refusal.at >= began for refusal in list(producer.refusals)))
    place.server.start()
    back = time.monotonic()
    place.record({"ev": "outage", "began": began, "at": back})
    started = wait_until(lambda: _starts_after(place, back), deadline=6 * BACK)
    return min(started) - back


def _everyone_works(place: Arena) -> bool:
    """Whether each child of each worker has started a task."""
    return len({e["pid"] for e in place.events() if e["ev"] == "start"}) >= WORKERS * CHILDREN


def _starts_after(place: Arena, moment: float) -> list[float]:
    """When tasks that were sent after ``moment`` began."""
    events = place.events()
    new = {e["task"] for e in events if e["ev"] == "sent" and e["at"] > moment}
    return [e["at"] for e in events if e["ev"] == "start" and e["task"] in new]
