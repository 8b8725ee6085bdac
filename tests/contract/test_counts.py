"""Two counters: deliveries that were not given back, and starts that ended with a death."""

from __future__ import annotations

import pytest

from posts import Worker, post
from umbel.message import Settlement

pytestmark = [pytest.mark.needs("leases"), pytest.mark.usefixtures("published")]


@pytest.fixture
def mortal(site):
    """An owner whose lease lasts one unit."""
    return Worker(site.broker, name="mortal", lease=site.unit)


@pytest.fixture
def published(broker):
    """One message waits."""
    broker.publish([post("it")])


def counts(delivery):
    return delivery.deliveries, delivery.crashes


def test_the_first_delivery_is_the_first(worker):
    """Nobody held it before."""
    delivery = worker.take_one()
    assert counts(delivery) == (1, 0)
    assert not delivery.redelivered


def test_a_release_charges_nothing(worker):
    """However often it happens."""
    for _ in range(3):
        assert counts(delivery := worker.take_one()) == (1, 0)
        assert worker.broker.release([delivery]) == 1


def test_a_crashed_release_charges_a_delivery_and_a_crash(worker):
    """The process that ran it died."""
    for n in range(3):
        assert counts(delivery := worker.take_one()) == (n + 1, n)
        assert worker.broker.release([delivery], crashed=True) == 1


def test_a_lost_claim_cannot_be_released(worker):
    """Releasing twice charges nothing, and takes nothing from its present owner."""
    stale = worker.take_one()
    worker.broker.release([stale])
    assert worker.broker.release([stale], crashed=True) == 0
    fresh = worker.take_one()
    assert worker.broker.release([stale]) == 0
    assert counts(fresh) == (1, 0)
    assert worker.broker.settle([Settlement(fresh)]) == [True]


def test_releasing_nothing_does_nothing(broker):
    """An empty list is no error."""
    assert broker.release([]) == 0


def test_a_start_that_was_recorded_counts_if_its_owner_dies(site, worker, mortal):
    """Even if nobody is left to tell: the lease ends and the crash is there."""
    delivery = mortal.take_one()
    assert site.broker.begin(delivery)
    site.advance(2 * site.unit)
    site.broker.reap()
    assert counts(worker.take_one()) == (2, 1)


def test_a_claim_that_was_not_started_is_no_crash(site, worker, mortal):
    """Its owner died with the message in its pocket."""
    mortal.take_one()
    site.advance(2 * site.unit)
    site.broker.reap()
    assert counts(worker.take_one()) == (2, 0)


def test_a_start_that_was_recorded_twice_counts_once(site, worker, mortal):
    """Recording is idempotent within a claim."""
    delivery = mortal.take_one()
    assert site.broker.begin(delivery)
    assert site.broker.begin(delivery)
    site.advance(2 * site.unit)
    site.broker.reap()
    assert counts(worker.take_one()) == (2, 1)


def test_a_release_takes_the_recorded_start_back(worker):
    """It did not end with a death."""
    delivery = worker.take_one()
    worker.broker.begin(delivery)
    worker.broker.release([delivery])
    assert counts(worker.take_one()) == (1, 0)


def test_a_crashed_release_counts_the_recorded_start_once(worker):
    """The record and the verdict are about the same death."""
    delivery = worker.take_one()
    worker.broker.begin(delivery)
    worker.broker.release([delivery], crashed=True)
    assert counts(worker.take_one()) == (2, 1)


def test_a_requeue_takes_the_recorded_start_back(worker):
    """The task ended by itself."""
    delivery = worker.take_one()
    worker.broker.begin(delivery)
    worker.broker.settle([Settlement(delivery, requeue=True)])
    assert counts(worker.take_one()) == (2, 0)


def test_a_lost_claim_cannot_be_started(worker):
    """Who lost the message must not run it."""
    stale = worker.take_one()
    worker.broker.release([stale])
    assert not worker.broker.begin(stale)
    assert counts(worker.take_one()) == (1, 0)


def test_a_takeover_leaves_the_verdict_to_the_survivor(broker, worker):
    """The recorded start is not in the count it sees, and is counted once by its verdict."""
    delivery = Worker(broker, name="dead").take_one()
    broker.begin(delivery)
    (moved,) = broker.takeover("dead", "worker")
    assert counts(moved) == (1, 0)
    broker.release([moved], crashed=True)
    assert counts(worker.take_one()) == (2, 1)


def test_a_takeover_can_be_judged_harmless(broker, worker):
    """The survivor knows that the message was not running."""
    Worker(broker, name="dead").take_one()
    (moved,) = broker.takeover("dead", "worker")
    broker.release([moved])
    assert counts(worker.take_one()) == (1, 0)


def test_crashes_stay_counted_over_harmless_deliveries(worker):
    """A good delivery does not wash a message clean."""
    worker.broker.release([worker.take_one()], crashed=True)
    worker.broker.release([worker.take_one()])
    assert counts(worker.take_one()) == (2, 1)
