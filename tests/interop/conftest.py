"""Both sides, started once, and each test run in every direction it is meant for.

A test says with the mark ``case`` what it shows; the page docs/reference/interop.md is made of
these marks by scripts/interop_reference.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sides import Fleet, Lane

import servers
import sites  # noqa: F401 - before site_amqp, which it imports
from site_amqp import session_url

ROOT = Path(__file__).resolve().parents[2]
BROKERS = ("redis", "amqp")
FLOWS = {"to_umbel": ("celery", "umbel"), "to_celery": ("umbel", "celery")}

# Read when this is imported: tests run without settings of the machine they run on.
_GIVEN = {key: os.environ[key] for key in ("UMBEL_TEST_CELERY_PYTHON",) if key in os.environ}


def pytest_configure(config):
    config.addinivalue_line(
        "markers",
        "case(title, brokers=…, flows=…): what a test of interoperation shows, and where it runs",
    )


def pytest_generate_tests(metafunc):
    if "lane" not in metafunc.fixturenames:
        return
    mark = metafunc.definition.get_closest_marker("case")
    brokers = mark.kwargs.get("brokers", BROKERS) if mark else BROKERS
    flows = mark.kwargs.get("flows", tuple(FLOWS)) if mark else tuple(FLOWS)
    lanes = [(broker, flow) for broker in brokers for flow in flows]
    metafunc.parametrize("lane", lanes, ids=["-".join(lane) for lane in lanes], indirect=True)


@pytest.fixture(scope="session")
def celery_python():
    """The interpreter with the real Celery."""
    made = subprocess.run(
        [ROOT / "scripts" / "celery_environment"],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **_GIVEN, "VENV": sys.prefix},
    )
    if made.returncode:
        pytest.fail(made.stderr.strip(), pytrace=False)
    return made.stdout.strip()


def amqp_url():
    """A virtual host that no other test of this session empties, where one can be made."""
    return session_url.__wrapped__()


@pytest.fixture(scope="session")
def fleets(request, celery_python, tmp_path_factory):
    """Both sides on every broker that a test of this session asks for."""
    asked = {
        item.callspec.params["lane"][0]
        for item in request.session.items
        if "lane" in getattr(getattr(item, "callspec", None), "params", {})
    }
    directory = tmp_path_factory.mktemp("interop")
    # A server of our own: what is left in it can be looked at, and nobody else is in the way.
    redis = servers.private("redis", directory, "--appendonly", "no")
    fleets = {}
    try:
        redis.start()
        for broker in sorted(asked):
            url = redis.url if broker == "redis" else amqp_url()
            fleets[broker] = Fleet(url, redis.url, directory / broker, celery_python)
            fleets[broker].start()
        for fleet in fleets.values():
            fleet.wait_ready()
        yield fleets
        for fleet in fleets.values():
            fleet.stop()
        for fleet in fleets.values():
            fleet.end()
    finally:
        for fleet in fleets.values():
            fleet.kill()
        redis.kill()


@pytest.fixture
def lane(request, fleets):
    """One broker in one direction."""
    broker, flow = request.param
    return Lane(fleets[broker], broker, *FLOWS[flow])
