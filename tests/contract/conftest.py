"""Runs each test of the contract at every site that offers what the test needs."""

from __future__ import annotations

import pytest

from posts import Worker
from result_sites import EVERYTHING, RESULT_SITES
from sites import SITES


def pytest_configure(config):
    config.addinivalue_line("markers", "needs(*capabilities): what the broker must be able to do")
    config.addinivalue_line("markers", "results: runs also where nothing but results is kept")


def pytest_generate_tests(metafunc):
    if "site" in metafunc.fixturenames:
        marks = metafunc.definition.iter_markers("needs")
        needs = {name for mark in marks for name in mark.args}
        needs |= {"coordinator"} & set(metafunc.fixturenames)
        results = metafunc.definition.get_closest_marker("results")
        own = needs | {"backend"} if results else needs
        fitting = [name for name, site in SITES.items() if own <= site.offers() | EVERYTHING]
        if results:
            fitting += [name for name, site in RESULT_SITES.items() if needs <= site.offers()]
        metafunc.parametrize("site", fitting, indirect=True)


@pytest.fixture
def site(request, tmp_path):
    """A fresh server of the driver this test runs on."""
    site = {**SITES, **RESULT_SITES}[request.param](tmp_path)
    yield site
    site.close()


@pytest.fixture
def broker(site):
    return site.broker


@pytest.fixture
def backend(site):
    return site.backend


@pytest.fixture
def coordinator(site):
    return site.coordinator


@pytest.fixture
def worker(broker):
    """An owner with a lease that lasts."""
    return Worker(broker)
