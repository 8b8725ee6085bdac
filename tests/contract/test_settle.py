"""Settling: a claim ends once, with all that goes with it or with nothing."""

from __future__ import annotations

import pytest

from posts import QUEUE, Worker, buried, ended, ids, post, posts, succeeded
from umbel.message import Settlement


def claims_lost(worker):
    """One claim lost in each way there is, under the way's name."""
    broker = worker.broker

    def settled():
        delivery = worker.take_one()
        broker.settle([Settlement(delivery)])
        return delivery

    def released():
        delivery = worker.take_one()
        broker.release([delivery])
        assert worker.take_one().fence > delivery.fence
        return delivery

    return {"settled": settled, "released": released}


def test_a_settled_message_is_gone(worker):
    """Nobody gets it again, whatever happens to its owner."""
    worker.broker.publish([post()])
    assert worker.broker.settle([Settlement(worker.take_one())]) == [True]
    worker.broker.retire("worker")
    assert Worker(worker.broker, name="other").take() == []


def test_settling_nothing_does_nothing(broker):
    """An empty list of settlements is no error."""
    assert broker.settle([]) == []


@pytest.mark.parametrize("way", ["settled", "released"])
def test_a_lost_claim_settles_nothing_and_publishes_nothing(worker, way):
    """A stale fence is refused whole: the message, its follow-up and its dead letter."""
    worker.broker.publish([post()])
    stale = claims_lost(worker)[way]()
    everything = buried(stale)
    everything.follow = (post("follow"),)
    assert worker.broker.settle([everything]) == [False]
    assert worker.take() == []
    assert worker.broker.dead() == []


@pytest.mark.needs("atomic_results")
@pytest.mark.parametrize("way", ["settled", "released"])
def test_a_lost_claim_stores_no_result(site, worker, way):
    """The result of an attempt that lost its message is not the task's result."""
    site.broker.publish([post("twice")])
    stale = claims_lost(worker)[way]()
    assert site.broker.settle([ended(stale)]) == [False]
    assert site.backend.fetch(["twice"]) == {}


def test_a_lost_claim_leaves_the_new_one_in_force(worker):
    """A late settlement does not take the message from its present owner."""
    worker.broker.publish([post()])
    stale = worker.take_one()
    worker.broker.release([stale])
    fresh = Worker(worker.broker, name="other").take_one()
    assert worker.broker.settle([Settlement(stale)]) == [False]
    assert worker.broker.settle([Settlement(fresh)]) == [True]


def test_a_lost_claim_does_not_spoil_the_others_of_its_batch(worker):
    """Each settlement of a call is judged by itself."""
    worker.broker.publish(posts(3))
    first, lost, last = worker.take()
    worker.broker.release([lost])
    follow = [post(f"after-{n}", queue="next") for n in range(3)]
    settlements = [
        Settlement(d, follow=(f,)) for d, f in zip([first, lost, last], follow, strict=True)
    ]
    assert worker.broker.settle(settlements) == [True, False, True]
    assert worker.drain("next") == ["after-0", "after-2"]
    assert worker.drain() == ids([lost])


def test_a_claim_ends_once_within_one_call(worker):
    """Of two settlements of the same claim, the first counts."""
    worker.broker.publish([post()])
    delivery = worker.take_one()
    first, second = (
        Settlement(delivery, follow=(post("1"),)),
        Settlement(delivery, follow=(post("2"),)),
    )
    assert worker.broker.settle([first, second]) == [True, False]
    assert worker.drain() == ["1"]


def test_claims_of_several_reserves_are_settled_together(worker):
    """A batch need not be one claim."""
    worker.broker.publish(posts(6))
    held = [*worker.take(2), *worker.take(3), *worker.take(1)]
    assert worker.broker.settle([Settlement(d) for d in reversed(held)]) == [True] * 6


def test_follow_ups_are_published_in_order(worker):
    """A chain's next steps, callbacks and retries keep their order."""
    worker.broker.publish([post()])
    follow = posts(5)
    worker.broker.settle([Settlement(worker.take_one(), follow=tuple(follow))])
    assert worker.drain() == ids(follow)


@pytest.mark.needs("atomic_results")
def test_a_settlement_stores_its_result(site, worker):
    """Acknowledged and stored in one step."""
    site.broker.publish([post("one")])
    delivery = worker.take_one()
    result = succeeded("one", expires=60.0)
    assert site.broker.settle([Settlement(delivery, result=result)]) == [True]
    assert site.backend.fetch(["one"]) == {"one": result}


@pytest.mark.needs("atomic_results")
def test_a_settlement_without_a_claim_is_always_accepted(site):
    """A message that was acknowledged before it ran still has a result and follow-ups."""
    settlement = Settlement(None, result=succeeded("early"), follow=(post("next"),))
    assert site.broker.settle([settlement]) == [True]
    assert site.backend.fetch(["early"]).keys() == {"early"}
    assert Worker(site.broker).drain() == ["next"]


def test_a_requeued_message_comes_again_and_its_delivery_stays_counted(worker):
    """The task refused it; that was a delivery all the same."""
    worker.broker.publish([post("refused")])
    assert worker.broker.settle([Settlement(worker.take_one(), requeue=True)]) == [True]
    delivery = worker.take_one()
    assert (ids([delivery]), delivery.deliveries) == (["refused"], 2)


def test_a_lost_claim_cannot_be_requeued(worker):
    """Nor does the attempt spoil the rest of its call."""
    worker.broker.publish(posts(2))
    lost, held = worker.take()
    worker.broker.release([lost])
    settlements = [Settlement(held), Settlement(lost, requeue=True)]
    assert worker.broker.settle(settlements) == [True, False]


def test_a_requeued_message_wakes_somebody(broker):
    """Another owner that waits gets it."""
    from patience import Background

    broker.publish([post("refused")])
    held = Worker(broker, name="first").take_one()
    with Background(Worker(broker, name="second").take, 1, wait=60.0) as waiting:
        waiting.blocks()
        broker.settle([Settlement(held, requeue=True)])
        assert ids(waiting.result()) == ["refused"]


def test_a_follow_up_that_cannot_be_encoded_refuses_the_whole_call(worker):
    """The claim stays, so that the attempt can be settled in another way."""
    from umbel.exceptions import EncodeError

    worker.broker.publish([post()])
    delivery = worker.take_one()
    with pytest.raises(EncodeError):
        worker.broker.settle([Settlement(delivery, follow=(post(headers={"x": object()}),))])
    assert worker.broker.settle([Settlement(delivery)]) == [True]


@pytest.mark.parametrize("number", [1, 3, 500])
@pytest.mark.needs("atomic_results")
def test_batches_of_any_size_are_settled_whole(site, worker, number):
    """Results, follow-ups and ends of a batch are all there."""
    site.broker.publish(posts(number, queue="in"))
    held = worker.take(number, "in")
    follow = posts(number)
    settlements = [ended(d, follow=(f,)) for d, f in zip(held, follow, strict=True)]
    assert site.broker.settle(settlements) == [True] * number
    assert site.backend.fetch(ids(held)).keys() == set(ids(held))
    assert worker.drain(QUEUE) == ids(follow)
    assert worker.take(1, "in") == []
