"""Dead letters: what nobody can or may run is kept, with the evidence."""

from __future__ import annotations

import pytest

from posts import QUEUE, Worker, buried, ids, post, posts, succeeded
from umbel.message import DeadLetter, Malformed, Settlement


@pytest.fixture
def bury(worker):
    """Publish a message and send it to the dead letters; returns its letter's number."""

    def bury(task_id, **fields):
        worker.broker.publish([post(task_id)])
        assert worker.broker.settle([buried(worker.take_one(), **fields)]) == [True]
        return worker.broker.dead(limit=1)[0].number

    return bury


def test_a_letter_is_kept_with_its_message_and_the_evidence(worker):
    """Every field comes back."""
    message = post("lost", priority=4, headers={"task": "no.such", "id": "lost"})
    worker.broker.publish([message])
    letter = DeadLetter(
        message,
        QUEUE,
        reason="unknown-task",
        detail="no task named 'no.such'",
        at=1.5e9,
        evidence={"host": "here", "code": -9, "lines": ["a", "b"]},
    )
    assert worker.broker.settle([Settlement(worker.take_one(), dead=letter)]) == [True]
    (found,) = worker.broker.dead()
    assert repr(found.letter) == repr(letter)
    assert worker.take() == []


def test_bytes_that_are_no_message_are_kept_whole(worker):
    """They may be all there is to find out what happened."""
    worker.broker.publish([post()])
    raw = Malformed(b"\x00garbage\xff", "no JSON", "id", QUEUE)
    letter = DeadLetter(raw, QUEUE, reason="malformed", detail="no JSON", at=1.5e9)
    worker.broker.settle([Settlement(worker.take_one(), dead=letter)])
    (found,) = worker.broker.dead()
    assert found.letter == letter


def test_letters_are_listed_newest_first(bury, broker):
    """In pages, or by their numbers."""
    numbers = [bury(f"{n}") for n in range(4)]
    assert numbers == sorted(set(numbers))
    assert [b.letter.message.id for b in broker.dead()] == ["3", "2", "1", "0"]
    assert [b.letter.message.id for b in broker.dead(limit=2, offset=1)] == ["2", "1"]
    chosen = broker.dead(numbers=[numbers[0], numbers[2], 10**6])
    assert [b.number for b in chosen] == [numbers[2], numbers[0]]


def test_a_replayed_letter_is_a_new_message(worker, bury, broker):
    """It waits in its old queue with fresh counters, and is no letter any more."""
    broker.publish([post("again")])
    broker.release([worker.take_one()], crashed=True)
    broker.settle([buried(worker.take_one())])
    (letter,) = broker.dead()
    assert broker.replay([letter.number]) == 1
    delivery = worker.take_one()
    assert (delivery.message.id, delivery.deliveries, delivery.crashes) == ("again", 1, 0)
    assert broker.dead() == []
    assert broker.replay([letter.number]) == 0


def test_replaying_wakes_somebody(broker, bury):
    """A worker that waits gets it at once."""
    from patience import Background

    number = bury("again")
    with Background(Worker(broker, name="other").take, 1, wait=60.0) as waiting:
        waiting.blocks()
        assert broker.replay([number]) == 1
        assert ids(waiting.result()) == ["again"]


def test_replayed_letters_keep_their_order(broker, bury, worker):
    """The first that died runs first."""
    numbers = [bury(f"{n}") for n in range(3)]
    assert broker.replay(reversed(numbers)) == 3
    assert worker.drain() == ["0", "1", "2"]


def test_bytes_that_are_no_message_cannot_be_replayed(worker):
    """They stay, and are not counted."""
    worker.broker.publish(posts(1))
    raw = Malformed(b"garbage", "no JSON", "id", QUEUE)
    letter = DeadLetter(raw, QUEUE, reason="malformed", detail="no JSON", at=1.5e9)
    worker.broker.settle([Settlement(worker.take_one(), dead=letter)])
    (found,) = worker.broker.dead()
    assert worker.broker.replay([found.number]) == 0
    assert worker.broker.dead() == [found]


def test_letters_can_be_deleted(broker, bury):
    """Some, or all; it returns how many there were."""
    numbers = [bury(f"{n}") for n in range(4)]
    assert broker.purge_dead([numbers[1], numbers[2], 10**6]) == 2
    assert [b.letter.message.id for b in broker.dead()] == ["3", "0"]
    assert broker.purge_dead() == 2
    assert broker.purge_dead() == 0


@pytest.mark.needs("atomic_results")
def test_a_letter_and_its_result_are_one_step(site, worker):
    """Who waits for the task learns that it failed."""
    site.broker.publish([post("dead")])
    settlement = buried(worker.take_one())
    settlement.result = succeeded("dead")
    site.broker.settle([settlement])
    assert site.backend.fetch(["dead"])
    assert len(site.broker.dead()) == 1
