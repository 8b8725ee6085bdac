"""What a supervisor is told of an application that it does not import."""

from __future__ import annotations

import pickle
import ssl

import pytest

from umbel import Queue, Umbel
from umbel.exceptions import ImproperlyConfigured
from umbel.exchanges import Exchange
from umbel.queues import Broadcast
from umbel.worker.facts import facts_of
from umbel.worker.options import WorkerOptions


@pytest.fixture
def facts():
    """The facts about an application with these settings."""
    made = []

    def facts(*, words=None, broker="memory://facts", **settings):
        app = Umbel("told", broker=broker, set_as_current=False, **settings)
        made.append(app)
        return facts_of(app, WorkerOptions(pool="solo", **(words or {})))

    yield facts
    for app in made:
        app.close()


def order(brokers):
    """A function of the application's own."""
    return iter(brokers)


def test_settings_that_drivers_read_are_told_as_plain_data(facts):
    """Nothing in them needs the application's code to be understood."""
    told = facts(
        broker_use_ssl={"cert_reqs": ssl.CERT_REQUIRED, "ca_certs": "/ca.pem"},
        broker_failover_strategy=order,
        redis_password="secret",
    ).conf
    assert told["broker_use_ssl"] == {"cert_reqs": 2, "ca_certs": "/ca.pem"}
    assert type(told["broker_use_ssl"]["cert_reqs"]) is int
    assert told["redis_password"] == "secret"
    assert "broker_failover_strategy" not in told


def test_facts_travel_with_their_queues(facts):
    """A broadcast queue keeps the name that was invented for it."""
    told = facts(task_queues=[Queue("mail", max_priority=9), Broadcast("all")])
    again = pickle.loads(pickle.dumps(told))
    assert again == told
    assert [queue.name for queue in again.declared] == list(told.queues)
    assert again.declared[0].arguments == {"x-max-priority": 9}


@pytest.mark.parametrize(
    ("settings", "limits"),
    [
        ({}, (100, 100)),
        ({"broker_connection_max_retries": 0}, (None, None)),
        ({"broker_connection_retry": False}, (0, 0)),
        ({"broker_connection_retry_on_startup": False}, (100, 0)),
        ({"broker_connection_retry": False, "broker_connection_retry_on_startup": True}, (0, 100)),
    ],
)
def test_how_often_a_lost_broker_is_tried(facts, settings, limits):
    """After the start, and at the start."""
    told = facts(broker="redis://localhost:1", **settings)
    assert (told.retry_limit, told.start_retry_limit) == limits


def test_a_file_that_cannot_be_opened_is_not_waited_for(facts):
    """It is no server that comes back."""
    assert facts().start_retry_limit == 0


@pytest.mark.parametrize(
    ("settings", "words", "prefetch"),
    [
        ({}, {}, None),
        ({"worker_prefetch_multiplier": 4}, {}, 4),
        ({"worker_prefetch_multiplier": 4}, {"prefetch_multiplier": 2}, 2),
        ({"worker_disable_prefetch": True, "worker_prefetch_multiplier": 4}, {}, 0),
    ],
)
def test_how_much_is_held_unstarted(facts, settings, words, prefetch):
    """Measured, as the settings say, as the command line says, or nothing."""
    assert facts(words=words, **settings).prefetch == prefetch


def test_no_bound_on_what_is_held_is_a_large_number(facts):
    """Celery's multiplier of 0."""
    assert (facts(worker_prefetch_multiplier=0).prefetch or 0) > 1000


def test_bounds_that_only_rabbitmq_keeps_are_warned_of(facts):
    """A queue that was to lose messages keeps them."""
    told = facts(task_queues=[Queue("short", max_length=10, message_ttl=5), Queue("long")])
    assert told.warnings == (
        "queue 'short': message_ttl, max_length has an effect on RabbitMQ alone",
    )


def test_an_exchange_that_this_broker_cannot_be_is_refused(facts):
    """At the start, with what can be had."""
    with pytest.raises(ImproperlyConfigured, match="headers exchange 'h'"):
        facts(task_queues=[Queue("q", Exchange("h", "headers"))])


def test_a_worker_without_queues_is_refused(facts):
    """It would wait for ever."""
    with pytest.raises(ImproperlyConfigured, match="-X"):
        facts(words={"exclude_queues": ("celery",)})


@pytest.mark.parametrize(("given", "lease"), [({}, 30), (5, 5), (43_200, 30)])
def test_a_lease_need_not_outlast_the_longest_task(facts, given, lease):
    """What Celery projects set to hours would be how long the work of a dead worker waits."""
    options = {"visibility_timeout": given} if given else {}
    assert facts(broker_transport_options=options).lease == lease
