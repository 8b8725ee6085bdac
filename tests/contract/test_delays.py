"""Messages that are not due wait in the broker."""

from __future__ import annotations

import time

import pytest

from patience import Background
from posts import Worker, ids, post, posts

pytestmark = pytest.mark.needs("delays")

LONG = 60.0


@pytest.fixture
def later(site):
    """A message that is due after so many units."""
    start = site.now()
    return lambda units, *args, **fields: post(*args, due_at=start + units * site.unit, **fields)


def test_a_message_is_not_delivered_before_it_is_due(site, worker, later):
    """Early is wrong even if nobody else has work."""
    site.broker.publish([later(2, "later")])
    site.advance(1 * site.unit)
    assert worker.take() == []
    site.advance(1 * site.unit)
    assert ids(worker.take()) == ["later"]


def test_a_message_that_was_due_before_it_came_is_delivered_at_once(worker, later):
    """A date in the past is no delay."""
    worker.broker.publish([later(-5, "past")])
    assert ids(worker.take()) == ["past"]


def test_messages_are_delivered_in_the_order_they_become_due(site, worker, later):
    """The order of publishing does not matter; that of equal dates does."""
    site.broker.publish([later(3, "c"), later(1, "a"), later(2, "b"), later(1, "a2")])
    site.advance(4 * site.unit)
    assert ids(worker.take()) == ["a", "a2", "b", "c"]


def test_a_due_message_joins_the_end_of_its_queue(site, worker, later):
    """Who was ready before comes first."""
    site.broker.publish([later(1, "delayed")])
    site.broker.publish([post("ready")])
    site.advance(2 * site.unit)
    assert ids(worker.take()) == ["ready", "delayed"]


@pytest.mark.needs("priorities")
def test_a_due_message_has_its_priority(site, worker, later):
    """Waiting for its date has not changed it."""
    site.broker.publish([later(1, "urgent", priority=9), post("usual")])
    site.advance(2 * site.unit)
    assert ids(worker.take()) == ["urgent", "usual"]


@pytest.mark.needs("browse")
def test_promote_tells_how_long_the_next_one_takes(site, later):
    """Seconds until the first is due, None if nothing is delayed."""
    assert site.broker.promote() is None
    site.broker.publish([later(4), later(2)])
    seconds = site.broker.promote()
    assert seconds is not None
    assert site.unit < seconds <= 2 * site.unit
    site.advance(3 * site.unit)
    seconds = site.broker.promote()
    assert seconds is not None
    assert 0 < seconds <= site.unit


@pytest.mark.needs("browse")
def test_promote_does_no_more_than_it_is_told(site, later):
    """A flood of due messages is let in piece by piece."""
    site.broker.publish([later(1) for _ in range(5)])
    site.advance(2 * site.unit)
    assert site.broker.promote(limit=2) == 0.0
    (stats,) = site.broker.stats(["tasks"])
    assert (stats.ready, stats.delayed) == (2, 3)


def test_a_waiting_reserve_gets_a_message_when_it_becomes_due(worker):
    """Nobody else has to promote it."""
    worker.broker.publish([post("soon", due_at=time.time() + 0.2)])
    assert ids(worker.take(1, wait=LONG)) == ["soon"]


def test_a_waiting_reserve_learns_of_a_nearer_date(worker):
    """A delayed message that arrives during the wait is not slept through."""
    worker.broker.publish([post("far", due_at=time.time() + 1e6)])
    with Background(worker.take, 1, wait=LONG) as waiting:
        waiting.blocks()
        worker.broker.publish([post("near", due_at=time.time() + 0.2)])
        assert ids(waiting.result()) == ["near"]


def test_a_follow_up_can_be_delayed(site, worker, later):
    """A retry waits in the broker, not in a worker."""
    from umbel.message import Settlement

    site.broker.publish([post()])
    assert site.broker.settle([Settlement(worker.take_one(), follow=(later(2, "again"),))])
    assert worker.take() == []
    site.advance(3 * site.unit)
    assert ids(worker.take()) == ["again"]


def test_a_delayed_message_survives_all_connections(site, later):
    """Whoever comes later finds it."""
    site.broker.publish([later(1, "later")])
    site.broker.close()
    site.advance(2 * site.unit)
    assert ids(Worker(site.another().broker).take()) == ["later"]


def test_a_message_that_was_released_after_its_date_is_ready(site, worker, later):
    """Its delay is over for good."""
    site.broker.publish([later(1, "once")])
    site.advance(2 * site.unit)
    site.broker.release(worker.take())
    assert ids(worker.take()) == ["once"]


def test_many_dates_come_out_sorted(site, worker, later):
    """In whichever order they were sent."""
    dates = [n * 37 % site.many for n in range(site.many)]
    site.broker.publish([later(n + 1, f"{n}") for n in dates])
    site.advance((site.many + 1) * site.unit)
    assert worker.drain() == [f"{n}" for n in range(site.many)]


def test_delays_of_other_queues_do_not_count(site, worker, later):
    """Each queue gets its own messages."""
    site.broker.publish([later(1, "a", queue="a"), *posts(1, queue="b")])
    site.advance(2 * site.unit)
    assert ids(worker.take(10, "a")) == ["a"]
