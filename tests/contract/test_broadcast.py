"""Broadcasts reach everyone who listens."""

from __future__ import annotations

import pytest

from patience import Background

pytestmark = pytest.mark.needs("fanout")

LONG = 60.0


def test_a_listener_hears_what_comes_after_its_mark(broker):
    """Nothing from before it began, everything since, in order."""
    broker.broadcast("control", b"before")
    mark, heard = broker.listen("control", after=None, wait=LONG)
    assert heard == []
    broker.broadcast("control", b"one")
    broker.broadcast("control", b"two")
    mark, heard = broker.listen("control", after=mark, wait=LONG)
    assert heard == [b"one", b"two"]
    assert broker.listen("control", after=mark, wait=0)[1] == []


def test_every_listener_hears_everything(broker):
    """Hearing takes nothing away from others."""
    marks = [broker.listen("control", after=None, wait=0)[0] for _ in range(3)]
    broker.broadcast("control", b"all")
    assert [broker.listen("control", after=m, wait=0)[1] for m in marks] == [[b"all"]] * 3


def test_channels_do_not_mix(broker):
    """A listener hears its own channel."""
    mark, _ = broker.listen("control", after=None, wait=0)
    broker.broadcast("other", b"not for you")
    assert broker.listen("control", after=mark, wait=0)[1] == []


def test_a_channel_is_no_queue(broker, worker):
    """Even if it is called the same."""
    mark, _ = broker.listen("tasks", after=None, wait=0)
    broker.broadcast("tasks", b"hello")
    assert worker.take(1) == []
    assert broker.listen("tasks", after=mark, wait=0)[1] == [b"hello"]


def test_waiting_listeners_are_woken(broker):
    """All of them, and not by their polling interval."""
    mark, _ = broker.listen("control", after=None, wait=0)
    jobs = [Background(broker.listen, "control", after=mark, wait=LONG).start() for _ in range(2)]
    for job in jobs:
        job.blocks()
    broker.broadcast("control", b"now")
    assert [job.result()[1] for job in jobs] == [[b"now"]] * 2


def test_a_listener_that_hears_nothing_gets_a_mark_all_the_same(broker):
    """It can go on from there."""
    mark, _ = broker.listen("control", after=None, wait=0)
    mark, heard = broker.listen("control", after=mark, wait=0.02)
    assert heard == []
    broker.broadcast("control", b"later")
    assert broker.listen("control", after=mark, wait=LONG)[1] == [b"later"]


def test_interrupt_ends_a_waiting_listen(broker):
    """A process that stops does not wait for news."""
    mark, _ = broker.listen("control", after=None, wait=0)
    with Background(broker.listen, "control", after=mark, wait=LONG) as waiting:
        waiting.blocks()
        broker.interrupt()
        assert waiting.result()[1] == []


@pytest.mark.needs("leases")
def test_old_broadcasts_are_forgotten(site):
    """They are for those who listen now."""
    mark, _ = site.broker.listen("control", after=None, wait=0)
    site.broker.broadcast("control", b"old")
    site.advance(site.unit)
    site.broker.broadcast("control", b"new")
    assert site.broker.listen("control", after=mark, wait=0)[1] == [b"new"]
