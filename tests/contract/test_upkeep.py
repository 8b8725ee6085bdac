"""Looking at queues from outside, and emptying them."""

from __future__ import annotations

import pytest

from posts import QUEUE, ids, post, posts
from umbel.ports.broker import QueueStats

pytestmark = pytest.mark.needs("browse", "delays", "leases")


@pytest.fixture
def stood(site, worker):
    """Two messages are claimed, two ready and one delayed."""
    site.broker.publish([post("c1"), post("c2"), post("r1"), post("r2", priority=3)])
    site.broker.release([d for d in worker.take() if d.message.id.startswith("r")])
    site.broker.publish([post("d1", due_at=site.now() + site.unit)])
    return site


def test_stats_count_what_is_ready_delayed_and_claimed(stood):
    """Each message is counted where it stands."""
    (stats,) = stood.broker.stats([QUEUE])
    assert (stats.name, stats.ready, stats.delayed, stats.claimed) == (QUEUE, 2, 1, 2)


def test_stats_tell_the_age_of_the_oldest_that_is_ready(stood):
    """In seconds, on the server's clock."""
    stood.advance(3 * stood.unit)
    (stats,) = stood.broker.stats([QUEUE])
    assert stats.oldest_age is not None
    assert 3 * stood.unit <= stats.oldest_age < 4 * stood.unit


def test_stats_of_an_unknown_queue_are_zero(broker):
    """Asking creates nothing."""
    assert broker.stats(["unknown"]) == [QueueStats("unknown", 0, 0, 0, None)]
    assert broker.stats() == []


def test_stats_without_names_find_every_queue(site, worker):
    """Whatever state their messages are in."""
    site.broker.publish([post(queue=name) for name in ("b", "a", "held")])
    site.broker.publish([post(queue="later", due_at=site.now() + site.unit)])
    worker.take(1, "held")
    assert [stats.name for stats in site.broker.stats()] == ["a", "b", "held", "later"]


def test_browse_lists_what_waits_and_who_holds_it(stood):
    """Held ones first, then those that are ready in the order of delivery, then delayed ones."""
    seen = stood.broker.browse(QUEUE)
    assert [(w.message.id, w.state, w.owner, w.deliveries) for w in seen] == [
        ("c1", "claimed", "worker", 1),
        ("c2", "claimed", "worker", 1),
        ("r2", "ready", None, 0),
        ("r1", "ready", None, 0),
        ("d1", "delayed", None, 0),
    ]


def test_browse_claims_nothing(stood, worker):
    """Everything is delivered afterwards."""
    stood.broker.browse(QUEUE)
    assert worker.drain() == ["r2", "r1"]


@pytest.mark.parametrize("limit", [1, 2, 3, 10])
def test_browsing_page_by_page_sees_each_message_once(stood, limit):
    """Pages join without a gap or an overlap, across states."""
    pages = [stood.broker.browse(QUEUE, limit=limit, offset=at) for at in range(0, 6, limit)]
    assert [w.message.id for page in pages for w in page] == ["c1", "c2", "r2", "r1", "d1"]


def test_remove_deletes_waiting_messages_by_their_task(stood, worker):
    """Ready and delayed ones; what is held is its owner's to end."""
    assert stood.broker.remove(["r1", "d1", "c1", "unknown"]) == 2
    assert [w.message.id for w in stood.broker.browse(QUEUE)] == ["c1", "c2", "r2"]
    assert stood.broker.remove([]) == 0


def test_remove_finds_every_copy(broker):
    """A task may wait twice."""
    broker.publish([post("twin"), post("twin", queue="other"), post("single")])
    assert broker.remove(["twin"]) == 2


def test_purge_deletes_what_nobody_holds(stood, worker):
    """It returns how many; the other queues keep theirs."""
    stood.broker.publish([post("elsewhere", queue="other")])
    assert stood.broker.purge(QUEUE) == 3
    assert [w.message.id for w in stood.broker.browse(QUEUE)] == ["c1", "c2"]
    assert stood.broker.purge(QUEUE) == 0
    assert worker.drain("other") == ["elsewhere"]


def test_purging_many_messages_deletes_all(broker):
    """Also more than fit into one step."""
    broker.publish(posts(12_000, body=b""))
    assert broker.purge(QUEUE) == 12_000
    assert broker.stats() == []


def test_what_was_held_during_a_purge_can_come_back(stood, worker):
    """A purge does not reach claims, and their release is a new chance."""
    held = stood.broker.browse(QUEUE)[:2]
    stood.broker.purge(QUEUE)
    stood.broker.retire("worker")
    stood.broker.enroll("worker", 1e9)
    assert worker.drain() == [w.message.id for w in held]
    assert ids([]) == []
