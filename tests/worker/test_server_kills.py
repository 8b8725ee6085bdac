"""A server that is killed under load and comes back: workers go on by themselves."""

from __future__ import annotations

import time

import pytest

import servers
from umbel.exceptions import OperationalError

KINDS = ("redis", "postgres", "amqp")
PATIENT = 60.0


@pytest.fixture(params=KINDS)
def server(request, tmp_path):
    """A server of the test's own."""
    with servers.private(request.param, tmp_path) as server:
        yield server


@pytest.fixture
def broker_url(server):
    return server.url


@pytest.fixture
def settings(own_directory):
    return {
        "broker_transport_options": {"visibility_timeout": 5},
        "result_backend": f"sqlite:///{own_directory / 'results.db'}",
        "publish_timeout": 10,
    }


def send(errands, numbers):
    """Call until each call is confirmed; the results."""
    results = []
    for number in numbers:
        end = time.monotonic() + PATIENT
        while True:
            try:
                results.append(errands.add.apply_async((number, 0), task_id=f"call-{number}"))
            except OperationalError:
                assert time.monotonic() < end
            else:
                break
    return results


def test_a_server_that_is_killed_under_load_loses_nothing(server, errands, start):
    """Workers go on by themselves when it is back; every confirmed call ends."""
    worker = start("-c", "2")
    results = send(errands, range(50))
    server.kill()
    server.start()
    results += send(errands, range(50, 100))
    assert [result.get(timeout=PATIENT) for result in results] == list(range(100))
    assert worker.process.poll() is None
    assert worker.stop() == 0
