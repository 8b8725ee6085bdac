"""Leases run on a clock that nobody can set and that ends with the boot."""

from __future__ import annotations

import pytest

from files import File
from posts import Worker, ids, post
from umbel.drivers.sqlite import claims
from umbel.exceptions import LeaseLost
from umbel.testing.clock import FakeClock

LEASE = 30.0
DAY = 86_400.0


@pytest.fixture
def worker(file):
    return Worker(file.broker, lease=LEASE)


@pytest.mark.parametrize("jump", [-DAY, -3600.0, 3600.0, DAY])
def test_a_jump_of_the_calendar_ends_no_lease_and_lengthens_none(file, worker, jump):
    """NTP, an administrator or daylight saving: claims last as long as they should."""
    file.broker.publish([post("held")])
    worker.take_one()
    lease = file.coordinator.acquire("leader", "me", LEASE)
    file.clock.step(jump)
    assert file.broker.extend(["worker"], LEASE) == {"worker"}
    assert file.broker.reap() == 0
    assert file.coordinator.acquire("leader", "other", LEASE) is None
    file.clock.advance(LEASE + 1)
    assert file.broker.reap() == 1
    assert file.coordinator.acquire("leader", "other", LEASE).token > lease.token


@pytest.mark.parametrize("uptime", [0.0, 10.0, 4_000.0])
def test_a_boot_ends_every_lease(file, worker, uptime):
    """Nobody who held one is alive, and the clock they were measured by began anew."""
    file.broker.publish([post("held")])
    worker.take_one()
    file.coordinator.acquire("leader", "me", LEASE)
    file.coordinator.enter("db", "me", size=1, ttl=LEASE)
    file.close()
    booted = File(file.path, clock=FakeClock(file.clock.now() + 60, monotonic=uptime))
    with pytest.raises(LeaseLost):
        booted.broker.reserve("worker", ["tasks"], limit=1, wait=0)
    assert booted.broker.extend(["worker"], LEASE) == set()
    assert booted.broker.reap() == 1
    assert ids(Worker(booted.broker, name="next").take()) == ["held"]
    assert booted.coordinator.acquire("leader", "other", LEASE)
    assert booted.coordinator.enter("db", "other", size=1, ttl=LEASE)
    booted.close()


def test_a_boot_leaves_what_goes_by_the_calendar(file):
    """Delays, results and unique keys outlive it."""
    file.broker.publish([post("later", due_at=file.clock.now() + DAY)])
    file.coordinator.claim("report", "task-1", DAY)
    file.close()
    clock = FakeClock(file.clock.now() + 60, monotonic=1.0)
    booted = File(file.path, clock=clock)
    assert booted.coordinator.claim("report", "task-2", DAY) == "task-1"
    assert Worker(booted.broker).take() == []
    clock.advance(DAY)
    assert ids(Worker(booted.broker).take()) == ["later"]
    booted.close()


def test_a_boot_costs_a_bucket_no_more_than_its_tokens(file):
    """A rate does not stand still until the new clock has caught up with the old one."""
    rate = 1.0
    for _ in range(5):
        file.coordinator.take("mail", rate=rate, burst=5)
    file.close()
    booted = File(file.path, clock=FakeClock(monotonic=1.0))
    assert 0 < booted.coordinator.take("mail", rate=rate, burst=5) <= 1.0
    booted.close()


def test_a_renewal_that_others_see_early_is_no_lost_lease(file, worker):
    """Clocks are read before locks are taken, so an end may lie a little too far ahead."""
    file.clock._monotonic -= 2.0
    assert worker.take() == []


def test_a_boot_forgets_old_broadcasts(file):
    """They were for those who listened then."""
    mark, _ = file.broker.listen("control", after=None, wait=0)
    file.broker.broadcast("control", b"before")
    file.close()
    booted = File(file.path, clock=FakeClock(monotonic=1.0))
    booted.broker.broadcast("control", b"after")
    assert booted.broker.listen("control", after=mark, wait=0)[1] == [b"after"]
    booted.close()


def test_a_lease_that_ends_between_looking_and_claiming_claims_nothing(file, worker):
    """The claim asks again, in the step that takes the messages."""
    file.broker.publish([post("kept")])
    line = file.broker._reserving._line
    now = file.clock.monotonic() + LEASE + 1
    claimed, _ = line.write(lambda db: claims.claim(db, "worker", ["tasks"], limit=1, now=now))
    assert claimed == 0
    assert ids(worker.take()) == ["kept"]
