"""Leases: a claim lasts as long as its owner is alive, and no longer."""

from __future__ import annotations

import pytest

from posts import Worker, ended, ids, post, posts
from umbel.exceptions import LeaseLost
from umbel.message import Settlement

pytestmark = pytest.mark.needs("leases")


@pytest.fixture
def mortal(site):
    """An owner whose lease lasts one unit."""
    return Worker(site.broker, name="mortal", lease=site.unit)


def test_what_a_dead_owner_held_comes_back(site, worker, mortal):
    """Once its lease has ended and somebody reaps."""
    site.broker.publish(batch := posts(3))
    mortal.take(2)
    assert site.broker.reap() == 0
    site.advance(2 * site.unit)
    assert site.broker.reap() == 2
    assert worker.drain() == ids(batch)


def test_a_renewed_lease_keeps_its_claims(site, mortal):
    """However often it is renewed, and however long the task runs."""
    site.broker.publish([post()])
    delivery = mortal.take_one()
    for _ in range(5):
        site.advance(0.6 * site.unit)
        assert site.broker.extend(["mortal"], site.unit) == {"mortal"}
        assert site.broker.reap() == 0
    assert site.broker.settle([Settlement(delivery)]) == [True]


def test_extend_tells_which_leases_are_in_force(site, worker, mortal):
    """Those that ended and those that never were are missing."""
    site.advance(2 * site.unit)
    assert site.broker.extend(["worker", "mortal", "stranger"], site.unit) == {"worker"}
    assert site.broker.extend([], site.unit) == set()


def test_a_lease_that_ended_is_not_extended(site, mortal):
    """The owner learns that it was out."""
    site.advance(2 * site.unit)
    assert site.broker.extend(["mortal"], site.unit) == set()
    with pytest.raises(LeaseLost):
        mortal.take()


def test_enrolling_again_renews_a_lease(site, mortal):
    """Also one that has ended; what was not reaped is still held."""
    site.broker.publish([post()])
    delivery = mortal.take_one()
    site.advance(2 * site.unit)
    site.broker.enroll("mortal", site.unit)
    assert site.broker.reap() == 0
    assert site.broker.settle([Settlement(delivery)]) == [True]


def test_a_late_settlement_counts_if_nobody_took_the_message(site, mortal):
    """Work that was done is not thrown away for a lease that nobody missed."""
    site.broker.publish([post("late")])
    delivery = mortal.take_one()
    site.advance(2 * site.unit)
    assert site.broker.settle([ended(delivery)]) == [True]
    assert site.broker.reap() == 0


def test_a_settlement_after_the_reaper_is_refused(site, worker, mortal):
    """A sleeper that wakes up finds its fence stale."""
    site.broker.publish([post("sleeper")])
    stale = mortal.take_one()
    site.advance(2 * site.unit)
    site.broker.reap()
    assert site.broker.settle([Settlement(stale, follow=(post("wrong"),))]) == [False]
    fresh = worker.take_one()
    assert fresh.fence > stale.fence
    assert site.broker.settle([Settlement(stale)]) == [False]
    assert site.broker.settle([Settlement(fresh)]) == [True]
    assert worker.take() == []


def test_a_reaped_delivery_stays_counted(site, worker, mortal):
    """So that a message that kills its owners is noticed."""
    site.broker.publish([post()])
    mortal.take_one()
    site.advance(2 * site.unit)
    site.broker.reap()
    delivery = worker.take_one()
    assert delivery.deliveries == 2
    assert delivery.redelivered


def test_a_reaped_message_has_its_old_place(site, worker, mortal):
    """It was first, so it is first again."""
    site.broker.publish([post("first"), post("second")])
    mortal.take_one()
    site.advance(2 * site.unit)
    site.broker.reap()
    assert worker.drain() == ["first", "second"]


def test_reap_does_no_more_than_it_is_told(site, worker, mortal):
    """The rest comes with the next calls."""
    site.broker.publish(posts(5))
    mortal.take()
    site.advance(2 * site.unit)
    assert [site.broker.reap(limit=2) for _ in range(4)] == [2, 2, 1, 0]
    assert len(worker.drain()) == 5


def test_retiring_gives_everything_back_uncharged(broker, worker):
    """An orderly end: nothing was attempted."""
    broker.publish(batch := posts(3))
    leaver = Worker(broker, name="leaver")
    leaver.take()
    broker.retire("leaver")
    with pytest.raises(LeaseLost):
        leaver.take()
    taken = worker.take()
    assert ids(taken) == ids(batch)
    assert {delivery.deliveries for delivery in taken} == {1}


def test_retiring_an_unknown_owner_does_nothing(broker):
    """It may have been reaped already."""
    broker.retire("stranger")


def test_a_takeover_moves_every_claim_under_new_fences(broker, worker):
    """The survivor holds them; the dead settle nothing any more."""
    broker.publish(batch := posts(3))
    stale = Worker(broker, name="dead").take()
    moved = broker.takeover("dead", "worker")
    assert sorted(ids(moved)) == sorted(ids(batch))
    assert {delivery.owner for delivery in moved} == {"worker"}
    assert min(d.fence for d in moved) > max(d.fence for d in stale)
    assert {delivery.deliveries for delivery in moved} == {1}
    assert broker.settle([Settlement(delivery) for delivery in stale]) == [False] * 3
    assert broker.settle([Settlement(delivery) for delivery in moved]) == [True] * 3


def test_a_takeover_forgets_the_dead_owner(broker, worker):
    """Its name has no lease any more."""
    dead = Worker(broker, name="dead")
    assert broker.takeover("dead", "worker") == []
    with pytest.raises(LeaseLost):
        dead.take()


def test_only_an_enrolled_owner_can_take_over(broker):
    """Else the claims would belong to nobody."""
    broker.publish([post()])
    held = Worker(broker, name="dead").take_one()
    with pytest.raises(LeaseLost):
        broker.takeover("dead", "stranger")
    assert broker.settle([Settlement(held)]) == [True]


def test_what_was_taken_over_is_reaped_with_its_new_owner(site, worker, mortal):
    """The survivor may die as well."""
    site.broker.publish([post("twice")])
    Worker(site.broker, name="dead").take_one()
    site.broker.takeover("dead", "mortal")
    site.advance(2 * site.unit)
    assert site.broker.reap() == 1
    assert ids(worker.take()) == ["twice"]
