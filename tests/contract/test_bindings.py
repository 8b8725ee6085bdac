"""Exchanges: a message reaches every queue that is bound for it, whoever bound it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from posts import Worker, ids, post
from umbel.exceptions import UnroutableError
from umbel.exchanges import Binding, Exchange
from umbel.queues import Broadcast, Queue


@pytest.fixture
def send(broker):
    """Publishes to an exchange, as the client does; returns the id."""

    def send(exchange, routing_key="", task_id=None):
        message = post(task_id, queue="", exchange=exchange.name, routing_key=routing_key)
        if broker.capabilities.exchanges:
            broker.publish([message])
        else:
            queues = broker.route(exchange.name, routing_key)
            if not queues:
                raise UnroutableError(exchange.name, routing_key)
            broker.publish([replace(message, queue=queue) for queue in queues])
        return message.id

    return send


def test_a_direct_exchange_reaches_queues_bound_with_the_key(broker, worker, send):
    """And no others."""
    exchange = Exchange("x", "direct")
    broker.declare([Queue("a", exchange, "k"), Queue("b", exchange, "other")])
    sent = send(exchange, "k")
    assert worker.drain("a") == [sent]
    assert worker.take(10, "b") == []


def test_a_topic_exchange_reaches_queues_whose_pattern_matches(broker, worker, send):
    """A star is one word, a hash any number of them."""
    exchange = Exchange("x", "topic")
    patterns = {"one": "feed.*", "any": "feed.#", "all": "#", "none": "news.#"}
    broker.declare([Queue(queue, exchange, key) for queue, key in patterns.items()])
    near, far = send(exchange, "feed.rss"), send(exchange, "feed.rss.daily")
    assert worker.drain("one") == [near]
    assert worker.drain("any") == [near, far]
    assert worker.drain("all") == [near, far]
    assert worker.take(10, "none") == []


def test_a_fanout_exchange_reaches_every_queue(broker, worker, send):
    """Whatever the key says."""
    exchange = Exchange("x", "fanout")
    broker.declare([Queue("a", exchange), Queue("b", exchange, "ignored")])
    sent = send(exchange, "whatever")
    assert worker.drain("a") == [sent]
    assert worker.drain("b") == [sent]


def test_a_queue_with_two_matching_bindings_gets_one_copy(broker, worker, send):
    """A queue is where a message goes, a binding only the reason."""
    exchange = Exchange("x", "topic")
    both = [Binding(exchange, "feed.*"), Binding(exchange, "#")]
    broker.declare([Queue("a", bindings=both)])
    sent = send(exchange, "feed.rss")
    assert worker.drain("a") == [sent]


def test_a_queue_is_reached_through_each_of_its_exchanges(broker, worker, send):
    """Bindings add up, also those of later declarations."""
    first, second = Exchange("x", "direct"), Exchange("y", "fanout")
    broker.declare([Queue("a", first, "k")])
    broker.declare([Queue("a", second)])
    sent = [send(first, "k"), send(second)]
    assert worker.drain("a") == sent


@pytest.mark.needs("shared")
def test_bindings_of_other_processes_count(site, worker, send):
    """What one has declared, every publisher knows."""
    exchange = Exchange("x", "fanout")
    site.another().broker.declare([Queue("a", exchange)])
    sent = send(exchange)
    assert worker.drain("a") == [sent]


def test_declaring_again_changes_nothing(broker, worker, send):
    """Every worker declares what it consumes at each start."""
    queue = Queue("a", Exchange("x", "direct"), "k")
    broker.declare([queue])
    sent = send(queue.exchange, "k")
    broker.declare([queue, queue])
    assert worker.drain("a") == [sent]


def test_an_exchange_without_a_queue_for_it_refuses_a_message(broker, send):
    """The caller hears that nobody would ever get it."""
    exchange = Exchange("x", "direct")
    broker.declare([Queue("a", exchange, "k")])
    with pytest.raises(UnroutableError):
        send(exchange, "other")


def test_a_queue_that_is_not_to_be_declared_is_left_alone(broker, send):
    """Its bindings are somebody else's affair."""
    exchange = Exchange("x", "fanout")
    broker.declare([Queue("a", exchange), Queue("b", exchange, no_declare=True)])
    send(exchange)
    assert not broker.stats(["b"])[0].ready


def test_a_dropped_queue_goes_with_bindings_and_messages(broker, worker, send):
    """As many as it says."""
    exchange = Exchange("x", "fanout")
    broker.declare([Queue("a", exchange), Queue("b", exchange)])
    sent = send(exchange)
    assert broker.drop("a") == 1
    later = send(exchange)
    assert worker.drain("b") == [sent, later]
    assert broker.drop("b") == 0
    with pytest.raises(UnroutableError):
        send(exchange)


def test_dropping_an_unknown_queue_does_nothing(broker):
    """It may have been dropped by somebody else."""
    assert broker.drop("a") == 0


def test_a_broadcast_reaches_the_queue_of_every_worker(broker, send):
    """Each has one of its own."""
    workers = [Worker(broker, name=each) for each in ("ann", "bob")]
    queues = [Broadcast("x") for _ in workers]
    for worker, queue in zip(workers, queues, strict=True):
        broker.declare([queue], owner=worker.name)
    sent = send(queues[0].exchange)
    for worker, queue in zip(workers, queues, strict=True):
        assert worker.drain(queue.name) == [sent]
    for worker in workers:
        broker.retire(worker.name)


@pytest.mark.needs("leases")
def test_a_temporary_queue_goes_with_its_owner(broker, worker, send):
    """With what is in it; queues that stay are not touched."""
    exchange = Exchange("x", "fanout")
    Worker(broker, name="leaver")
    mine = Broadcast("x")
    broker.declare([mine, Queue("stays", exchange)], owner="leaver")
    sent = send(exchange)
    broker.retire("leaver")
    assert broker.stats([mine.name])[0].ready == 0
    assert broker.route(exchange.name, "") == ["stays"]
    assert worker.drain("stays") == [sent]


@pytest.mark.needs("leases")
def test_a_temporary_queue_of_a_dead_owner_goes_when_it_is_reaped(site, send):
    """Nobody else would ever consume from it."""
    Worker(site.broker, name="mortal", lease=site.unit)
    mine = Broadcast("x")
    site.broker.declare([mine], owner="mortal")
    send(mine.exchange)
    site.advance(2 * site.unit)
    site.broker.reap()
    assert site.broker.stats([mine.name])[0].ready == 0
    assert site.broker.route("x", "") == []


@pytest.mark.needs("leases")
def test_a_temporary_queue_stays_for_its_other_owners(broker, worker):
    """It goes with the last of them."""
    exchange = Exchange("x", "fanout")
    shared = Queue("shared", exchange, auto_delete=True)
    for owner in ("ann", "bob"):
        Worker(broker, name=owner)
        broker.declare([shared], owner=owner)
    broker.publish([post("kept", queue=shared.name)])
    broker.retire("ann")
    assert broker.route(exchange.name, "") == [shared.name]
    assert worker.drain(shared.name) == ["kept"]
    broker.retire("bob")
    assert broker.route(exchange.name, "") == []


@pytest.mark.needs("leases")
def test_owners_are_listed_with_what_they_hold(site, broker, worker):
    """How long their leases last still, and how many messages they have claimed."""
    broker.publish([post() for _ in range(3)])
    mortal = Worker(broker, name="mortal", lease=site.unit)
    mortal.take(2)
    found = {each.name: each for each in broker.owners()}
    assert set(found) >= {"mortal", "worker"}
    assert (found["mortal"].claimed, found["worker"].claimed) == (2, 0)
    assert 0 < found["mortal"].lease_left <= site.unit
    site.advance(2 * site.unit)
    (late,) = (each for each in broker.owners() if each.name == "mortal")
    assert late.lease_left < 0
    broker.reap()
    assert "mortal" not in {each.name for each in broker.owners()}
    assert ids(worker.take())
