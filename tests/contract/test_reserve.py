"""Reserving: one atomic step, in order, fair, and woken by an event."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from patience import Background, wait_until
from posts import QUEUE, Worker, ids, post, posts
from umbel.exceptions import LeaseLost
from umbel.message import Settlement

LONG = 60.0


def test_an_owner_that_is_not_enrolled_gets_nothing(broker):
    """Somebody must be accountable for a claim."""
    broker.publish([post()])
    with pytest.raises(LeaseLost):
        broker.reserve("stranger", [QUEUE], limit=1, wait=0)


def test_no_more_than_the_limit_is_claimed(worker):
    """What is not asked for stays for others."""
    worker.broker.publish(posts(5))
    assert [len(worker.take(2)) for _ in range(4)] == [2, 2, 1, 0]


def test_asking_for_nothing_gives_nothing_at_once(worker):
    """Whether or not there are messages."""
    assert worker.take(0, wait=LONG) == []
    worker.broker.publish([post("kept")])
    assert worker.take(0, wait=LONG) == []
    assert worker.drain() == ["kept"]


def test_messages_arrive_in_the_order_they_were_published(worker):
    """First in, first out, over several publishes."""
    batches = [posts(3), posts(1), posts(2)]
    for batch in batches:
        worker.broker.publish(batch)
    assert ids(worker.take(4)) + ids(worker.take(4)) == ids(m for b in batches for m in b)


@pytest.mark.needs("priorities")
def test_a_higher_priority_comes_first(worker):
    """0 to 9, higher first; a message without priority is a 0."""
    priorities = [3, None, 9, 0, 5, 9]
    worker.broker.publish([post(f"{n}", priority=p) for n, p in enumerate(priorities)])
    assert ids(worker.take()) == ["2", "5", "4", "0", "1", "3"]


@pytest.mark.needs("priorities")
def test_equal_priorities_keep_their_order_however_many_there_are(worker):
    """No inversion among a thousand messages of ten priorities."""
    messages = [post(priority=n * 7 % 10) for n in range(1_000)]
    worker.broker.publish(messages)
    expected = sorted(messages, key=lambda message: -(message.priority or 0))
    assert worker.drain() == ids(expected)


def test_a_claimed_message_is_not_given_to_another_owner(broker):
    """A claim excludes everybody else."""
    broker.publish([post()])
    assert Worker(broker, name="first").take_one()
    assert Worker(broker, name="second").take() == []


def test_each_message_goes_to_one_of_many_owners_at_once(broker):
    """Owners that reserve at the same time share the messages, none twice."""
    broker.publish(batch := posts(400))
    start = Barrier(4)

    def work(name: str) -> list[str]:
        worker = Worker(broker, name=name)
        start.wait()
        return [found for _ in range(40) for found in ids(worker.take(10))]

    with ThreadPoolExecutor(4) as pool:
        found = [one for taken in pool.map(work, "abcd") for one in taken]
    assert sorted(found) == sorted(ids(batch))


def test_only_the_named_queues_are_read(worker):
    """Others keep their messages."""
    worker.broker.publish([post("here", queue="a"), post("there", queue="b")])
    assert ids(worker.take(10, "a")) == ["here"]


def test_a_full_queue_does_not_starve_the_others(worker):
    """Of several queues that hold enough, each gets its share over a few claims."""
    for name in ("a", "b", "c"):
        worker.broker.publish(posts(100, queue=name))
    taken = [delivery for _ in range(6) for delivery in worker.take(10, "a", "b", "c")]
    shares = Counter(delivery.queue for delivery in taken)
    assert sum(shares.values()) == 60
    assert min(shares.values()) >= 15


def test_claims_of_one_message_go_round_the_queues(worker):
    """Fairness holds for the smallest limit too."""
    for name in ("a", "b", "c"):
        worker.broker.publish(posts(10, queue=name))
    taken = [worker.take_one("a", "b", "c").queue for _ in range(9)]
    assert Counter(taken) == {"a": 3, "b": 3, "c": 3}


def test_what_some_queues_cannot_give_comes_from_the_others(worker):
    """A limit is filled as long as any queue has messages."""
    worker.broker.publish(posts(50, queue="a") + posts(1, queue="b"))
    assert len(worker.take(20, "empty", "a", "b")) == 20


def test_the_fence_grows_with_every_claim_of_a_message(worker):
    """Later claims can be told from earlier ones."""
    worker.broker.publish([post()])
    fences = []
    for _ in range(4):
        delivery = worker.take_one()
        fences.append(delivery.fence)
        worker.broker.release([delivery])
    assert fences == sorted(set(fences))


def test_a_claim_names_its_owner_and_its_queue(worker):
    """A delivery says who holds it and where it came from."""
    worker.broker.publish([post(queue="mail")])
    delivery = worker.take_one("mail")
    assert (delivery.owner, delivery.queue) == ("worker", "mail")


def test_reserving_from_nothing_returns_at_once_or_after_the_wait(worker):
    """An empty queue gives an empty list."""
    assert worker.take(10) == []
    assert worker.take(10, wait=0.05) == []


def test_a_waiting_reserve_is_woken_by_a_publish(worker):
    """It does not wait for its polling interval, which is longer than this test."""
    with Background(worker.take, 1, wait=LONG) as waiting:
        waiting.blocks()
        worker.broker.publish([post("news")])
        assert ids(waiting.result()) == ["news"]


def test_a_waiting_reserve_is_woken_by_the_second_of_its_queues(worker):
    """Every queue that is asked for can wake it."""
    with Background(worker.take, 1, "a", "b", wait=LONG) as waiting:
        waiting.blocks()
        worker.broker.publish([post("news", queue="b")])
        assert ids(waiting.result()) == ["news"]


def test_every_waiting_reserve_gets_a_message_of_a_batch(broker):
    """A batch wakes as many as can use it."""
    workers = [Worker(broker, name=f"w{n}") for n in range(3)]
    jobs = [Background(worker.take, 1, wait=LONG) for worker in workers]
    for job in jobs:
        job.start()
        job.blocks()
    broker.publish(batch := posts(3))
    assert sorted(one for job in jobs for one in ids(job.result())) == sorted(ids(batch))


def test_a_waiting_reserve_is_woken_by_a_release(broker):
    """What is given back is news."""
    broker.publish([post("back")])
    held = Worker(broker, name="first").take_one()
    with Background(Worker(broker, name="second").take, 1, wait=LONG) as waiting:
        waiting.blocks()
        broker.release([held])
        assert ids(waiting.result()) == ["back"]


def test_a_waiting_reserve_is_woken_when_an_owner_leaves(broker):
    """What it gives back is news."""
    broker.publish([post("back")])
    Worker(broker, name="leaver").take_one()
    with Background(Worker(broker, name="second").take, 1, wait=LONG) as waiting:
        waiting.blocks()
        broker.retire("leaver")
        assert ids(waiting.result()) == ["back"]


@pytest.mark.needs("leases")
def test_a_waiting_reserve_is_woken_by_the_reaper(site):
    """What the dead held is news."""
    site.broker.publish([post("back")])
    Worker(site.broker, name="mortal", lease=site.unit).take_one()
    with Background(Worker(site.broker, name="second").take, 1, wait=LONG) as waiting:
        waiting.blocks()
        site.advance(2 * site.unit)
        site.broker.reap()
        assert ids(waiting.result()) == ["back"]


@pytest.mark.needs("delays")
def test_a_waiting_reserve_is_woken_by_a_promotion(site):
    """What has become due is news, though this one had reckoned with a later date."""
    site.broker.publish([post("due", due_at=site.now() + site.unit)])
    with Background(Worker(site.broker, name="second").take, 1, wait=LONG) as waiting:
        waiting.blocks()
        site.advance(2 * site.unit)
        site.broker.promote()
        assert ids(waiting.result()) == ["due"]


def test_a_waiting_reserve_is_woken_by_a_follow_up(broker):
    """What a settlement publishes is news."""
    broker.publish([post()])
    held = Worker(broker, name="first").take_one()
    with Background(Worker(broker, name="second").take, 1, wait=LONG) as waiting:
        waiting.blocks()
        broker.settle([Settlement(held, follow=(post("next"),))])
        assert ids(waiting.result()) == ["next"]


def test_a_reserve_that_ended_without_news_does_not_swallow_the_next_wake_up(site):
    """Who has stopped waiting is not woken in place of one who still waits."""
    gone = [Worker(site.another().broker, name=f"gone-{n}") for n in range(5)]
    assert [worker.take(1, wait=0.01) for worker in gone] == [[]] * 5
    with Background(Worker(site.broker, name="here").take, 1, wait=LONG) as waiting:
        waiting.blocks()
        assert [worker.take(1, wait=0.01) for worker in gone] == [[]] * 5
        site.broker.publish([post("news")])
        assert ids(waiting.result()) == ["news"]


def test_interrupt_ends_a_waiting_reserve(worker):
    """It returns an empty list; the broker goes on working."""
    with Background(worker.take, 1, wait=LONG) as waiting:
        waiting.blocks()
        worker.broker.interrupt()
        assert waiting.result() == []
    worker.broker.publish([post("after")])
    assert ids(worker.take(1, wait=LONG)) == ["after"]


def test_interrupt_ends_every_waiting_reserve_of_the_process(broker):
    """Stopping needs one call, however many threads wait."""
    jobs = [Background(Worker(broker, name=f"w{n}").take, 1, wait=LONG) for n in range(3)]
    for job in jobs:
        job.start()
        job.blocks()
    broker.interrupt()
    assert [job.result() for job in jobs] == [[], [], []]


def test_an_interrupt_that_finds_nobody_waiting_ends_the_next_wait(worker):
    """So no stop falls between looking at a flag and beginning to wait."""
    worker.broker.interrupt()
    assert worker.take(1, wait=LONG) == []


def test_an_interrupt_does_not_hide_messages(worker):
    """What is ready is claimed before anybody thinks of waiting."""
    worker.broker.publish([post("ready")])
    worker.broker.interrupt()
    assert ids(worker.take(1, wait=LONG)) == ["ready"]


@pytest.mark.needs("leases")
def test_an_owner_whose_lease_ends_while_it_waits_gets_nothing(site):
    """A claim is granted only under a lease that is in force."""
    worker = Worker(site.broker, lease=site.unit)
    with Background(worker.take, 1, wait=LONG) as waiting:
        waiting.blocks()
        site.advance(2 * site.unit)
        site.broker.publish([post()])
        with pytest.raises(LeaseLost):
            waiting.result()
    wait_until(lambda: ids(Worker(site.broker, name="other").take(1)))
