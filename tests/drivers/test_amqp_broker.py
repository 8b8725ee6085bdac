"""RabbitMQ as a broker: the wire, what the server does on its own, and what a process leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from datetime import UTC, datetime

import pytest

import sites  # noqa: F401 - it comes before the sites made of it
from patience import Background, wait_until
from posts import QUEUE, Worker, buried, ids, post, posts
from site_amqp import CONF, AMQPSite, Noted, NotingConnection, driven, session_url
from umbel import drivers
from umbel.drivers.amqp.errors import DeclarationMismatch
from umbel.drivers.amqp.messages import Outgoing
from umbel.drivers.amqp.urls import parse_many
from umbel.exceptions import ImproperlyConfigured, OperationalError, UnroutableError
from umbel.exchanges import Exchange
from umbel.message import Malformed, Settlement
from umbel.queues import Queue

LONG = 30.0


@pytest.fixture
def site(tmp_path):
    site = AMQPSite(tmp_path)
    yield site
    site.close()


@pytest.fixture
def broker(site):
    return site.broker


@pytest.fixture
def worker(broker):
    return Worker(broker)


@pytest.fixture
def channel(site):
    """A channel of some other program."""
    connection = NotingConnection(parse_many(session_url()))
    connection.noted = site.noted
    channel = connection.channel()
    channel.select_confirms()
    yield channel
    connection.close()


def send(channel, body=b"", queue=QUEUE, **properties):
    channel.wait_confirmed(channel.publish([Outgoing("", queue, properties, body)], timeout=9), 9)


def counts(delivery):
    return delivery.message.id, delivery.deliveries, delivery.crashes


# ------------------------------------------------------------------------------------- the wire


def test_a_message_is_what_celery_would_have_sent(broker, channel):
    """Headers as headers, properties as properties, the body untouched, and nothing of ours."""
    headers = {"lang": "py", "task": "mail.send", "id": "x", "timelimit": [None, 3], "stamps": {}}
    properties = {"correlation_id": "x", "reply_to": "me", "delivery_mode": 2, "expiration": "9999"}
    message = post("x", headers=headers, properties=properties, priority=4, routing_key=QUEUE)
    broker.publish([message])
    found = channel.get(QUEUE, no_ack=True)
    assert (found.exchange, found.routing_key, found.body) == ("", QUEUE, message.body)
    assert found.properties == {
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "priority": 4,
        "headers": headers,
        **properties,
    }


def test_queues_are_declared_as_celery_declares_them(broker, channel):
    """A second declaration with the same arguments is accepted."""
    broker.publish([post(queue="mine")])
    channel.declare_exchange("mine", "direct")
    channel.declare_queue("mine", arguments={"x-max-priority": 10})
    channel.publish([Outgoing("mine", "mine", {}, b"")], timeout=5)
    wait_until(lambda: broker.stats(["mine"])[0].ready == 2)


@pytest.mark.parametrize(
    "headers",
    [
        {"task": "x"},
        {"task": "x", "id": "i", "eta": "tomorrow"},
        {"task": "x", "id": "i", "umbel": {"route": []}},
        {"task": "x", "id": "i", "umbel": {"headers": "{"}},
    ],
)
def test_bytes_that_are_no_message_arrive_whole(broker, channel, worker, headers):
    """They are handed out as such, and can be buried."""
    broker.publish([post()])
    worker.drain()
    send(channel, b"\x00garbage", headers=headers)
    delivery = worker.take_one()
    assert isinstance(delivery.message, Malformed)
    assert delivery.message.raw == b"\x00garbage"
    assert broker.settle([buried(delivery)]) == [True]
    assert broker.dead()[0].letter.message.raw == b"\x00garbage"


def test_counters_that_make_no_sense_count_nothing(broker, channel, worker):
    """Anybody may write the header that holds them."""
    broker.publish([post()])
    worker.drain()
    mine = {"deliveries": "many", "crashes": -3}
    send(channel, headers={"task": "t", "id": "i", "umbel": mine})
    assert counts(worker.take_one()) == ("i", 1, 0)


def test_headers_of_other_programs_are_plain_data(broker, channel, worker):
    """Bytes and moments, too; so the message can be published again."""
    broker.publish([post()])
    worker.drain()
    at = datetime(2020, 1, 1, tzinfo=UTC)
    send(channel, headers={"task": "t", "id": "i", "raw": b"\xff", "at": at, "in": [b"a"]})
    delivery = worker.take_one()
    assert delivery.message.headers["in"] == ["a"]
    assert delivery.message.headers["at"].startswith("2020-01-01")
    broker.settle([Settlement(delivery, follow=(delivery.message,))])
    assert worker.drain() == ["i"]


def test_a_message_that_celery_wants_held_waits_in_the_server(broker, channel, worker):
    """Celery sends an ETA at once and trusts the worker to hold it."""
    broker.publish([post()])
    worker.drain()
    eta = datetime.fromtimestamp(time.time() + 1.5, UTC).isoformat()
    send(channel, headers={"task": "t", "id": "later", "eta": eta})
    assert worker.take() == []
    assert broker.stats([QUEUE])[0].ready == 0
    (delivery,) = worker.take(1, wait=LONG)
    assert delivery.message.id == "later"
    assert time.time() >= delivery.message.due_at
    assert delivery.deliveries == 1


# ------------------------------------------------------------------------------------- queues


def test_an_exchange_that_does_not_exist_is_an_error(broker):
    """And the next message goes its way."""
    with pytest.raises(UnroutableError, match="nowhere"):
        broker.publish([post(exchange="nowhere", routing_key="k")])
    broker.publish([post()])


def test_a_queue_that_was_deleted_is_there_again_for_the_next_message(broker, worker, channel):
    """The publisher had declared it long ago."""
    broker.publish([post()])
    channel.delete_queue(QUEUE)
    broker.publish([post("after")])
    assert worker.drain() == ["after"]


def test_what_a_settlement_publishes_finds_deleted_queues_again(broker, worker, channel):
    """Follow-ups and dead letters, too."""
    broker.publish([post(queue="next"), *posts(3)])
    worker.drain("next")
    first, second, third = worker.take()
    broker.settle([buried(first)])
    channel.delete_queue("next")
    channel.delete_queue("umbel.dead")
    assert broker.settle([buried(second), Settlement(third, follow=(post("f", queue="next"),))])
    assert worker.drain("next") == ["f"]
    assert len(broker.dead()) == 1


def test_a_queue_deleted_under_its_consumer_is_consumed_again(broker, worker, channel):
    """The worker does not sit in front of nothing."""
    with Background(worker.take, 1, wait=LONG) as waiting:
        waiting.blocks()
        channel.delete_queue(QUEUE)
        wait_until(lambda: _exists(channel))
        broker.publish([post("after")])
        assert ids(waiting.result()) == ["after"]


def _exists(channel):
    return channel.declare_queue(QUEUE, arguments={"x-max-priority": 10}).consumers


def test_a_queue_with_other_arguments_is_named(broker, channel):
    """With the argument and both values."""
    channel.declare_queue("odd", arguments={"x-max-priority": 3})
    with pytest.raises(DeclarationMismatch, match=r"'odd'.*x-max-priority.*10.*3"):
        broker.declare([Queue("odd", Exchange("odd"), "odd", max_priority=10)])


def test_a_queue_nobody_described_is_taken_as_it_is(broker, channel, worker):
    """Somebody else may have made it with arguments of his own."""
    channel.declare_queue("theirs", arguments={"x-max-priority": 3})
    broker.publish([post("a", queue="theirs")])
    assert worker.drain("theirs") == ["a"]


def test_a_delayed_message_reaches_its_exchange(broker, worker):
    """Of any type, and every queue bound there."""
    exchange = Exchange("news", "topic")
    queues = [Queue("n1", exchange, "news.*"), Queue("n2", exchange, "#")]
    broker.declare(queues)
    sent = time.time()
    broker.publish(
        [post("x", queue="", exchange="news", routing_key="news.rss", due_at=sent + 0.4)]
    )
    assert ids(worker.take(1, "n1", wait=LONG)) == ["x"]
    assert time.time() >= sent + 0.4
    (delivery,) = worker.take(1, "n2", wait=LONG)
    assert (delivery.message.exchange, delivery.message.routing_key) == ("news", "news.rss")


def test_a_delayed_message_does_not_reach_queues_whose_names_end_alike(broker, worker):
    """The place is one word, dots and all."""
    broker.publish([post(queue="mail"), post(queue="my.mail")])
    assert len(worker.drain("mail", "my.mail")) == 2
    broker.publish([post(queue="mail", due_at=time.time() + 0.1)])
    broker.publish([post("dotted", queue="my.mail", due_at=time.time() + 0.2)])
    assert ids(worker.take(1, "my.mail", wait=LONG)) == ["dotted"]
    assert len(worker.take(5, "mail", wait=LONG)) == 1


# ------------------------------------------------------------------------------------- counting


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_a_message_that_kills_its_processes_is_counted_and_its_neighbour_is_not(
    site, broker, worker, kind
):
    """From the second start on; the first cannot be told from being sent ahead."""
    queue = Queue("deadly", Exchange("deadly"), "deadly", queue_arguments={"x-queue-type": kind})
    broker.declare([queue])
    broker.publish([post("poison", queue="deadly"), post("neighbour", queue="deadly")])
    for _ in range(3):
        _die_with(site, "poison")
    taken = _both(worker)
    assert {counts(delivery) for delivery in taken} >= {("poison", 4, 2)}
    assert next(d for d in taken if d.message.id == "neighbour").crashes == 0
    assert broker.settle([Settlement(delivery) for delivery in taken]) == [True, True]


def _both(worker):
    taken = []
    while len(taken) < 2:
        taken += worker.take(2, "deadly", wait=LONG)
    return taken


def _die_with(site, victim):
    """A process takes both messages, begins one of them, and is killed."""
    pid = os.fork()
    if pid == 0:
        try:
            for delivery in _both(Worker(site.broker, name="mortal")):
                if delivery.message.id == victim and delivery.redelivered:
                    assert site.broker.begin(delivery)
        except BaseException:  # noqa: BLE001 - a forked process must not go on as pytest
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def test_a_start_that_was_recorded_is_settled_like_any_other(broker, worker):
    """And leaves nothing behind."""
    broker.publish([post()])
    broker.release([worker.take_one()])
    delivery = worker.take_one()
    assert delivery.redelivered
    assert broker.begin(delivery)
    assert broker.begin(delivery)
    assert broker.settle([Settlement(delivery)]) == [True]
    assert not broker.begin(delivery)
    broker.retire("worker")
    assert Worker(broker, name="other").take() == []


def test_a_release_takes_the_recorded_start_back(broker, worker):
    """The process did not die of it."""
    broker.publish([post("it")])
    broker.release([worker.take_one()])
    delivery = worker.take_one()
    broker.begin(delivery)
    assert broker.release([delivery]) == 1
    assert counts(worker.take_one()) == ("it", 2, 0)


def test_a_retired_owner_takes_its_recorded_starts_back(broker, worker):
    """It leaves in an orderly way."""
    broker.publish([post("it")])
    broker.release([worker.take_one()])
    broker.begin(worker.take_one())
    broker.retire("worker")
    assert counts(Worker(broker, name="other").take_one())[2] == 0


# ------------------------------------------------------------------------------------- holding


def test_what_was_sent_ahead_is_given_back_when_nobody_asks(broker, worker):
    """A process that runs a long task does not keep others from working."""
    broker.publish([post("first")])
    assert ids(worker.take(10, wait=LONG)) == ["first"]
    broker.publish([post("second")])
    assert ids(Worker(broker, name="idle").take(1, wait=LONG)) == ["second"]


def test_a_busy_owner_is_not_asked_twice(broker, worker):
    """Under load one consumer delivers for many calls, in order."""
    broker.publish(batch := posts(3_000))
    found = []
    while len(found) < len(batch):
        taken = worker.take(100, wait=LONG)
        found += ids(taken)
        assert all(broker.settle([Settlement(delivery) for delivery in taken]))
    assert found == ids(batch)
    assert broker.stats([QUEUE])[0].ready == 0


def test_claims_end_with_the_connection(site, worker):
    """Another process gets the message, and the late settlement changes nothing."""
    site.broker.publish([post("lost")])
    delivery = worker.take_one()
    site.broker._parts.taking._connection.close()
    other = site.another().broker
    assert ids(Worker(other, name="other").take(1, wait=LONG)) == ["lost"]
    assert site.broker.settle([Settlement(delivery, follow=(post("wrong"),))]) == [False]
    assert site.broker.release([delivery]) == 0
    assert not site.broker.begin(delivery)
    assert worker.take() == []


# ------------------------------------------------------------------------------------- letters


def test_letters_survive_being_looked_at(broker, worker):
    """Under the same numbers, in the same order."""
    broker.publish(posts(3))
    broker.settle([buried(delivery) for delivery in worker.take()])
    first = broker.dead()
    assert len(first) == 3
    assert broker.dead() == first
    assert broker.dead(limit=1, offset=1) == first[1:2]


def test_two_who_read_the_letters_wait_for_each_other(site, broker, worker):
    """Neither sees half of them."""
    broker.publish(posts(200))
    broker.settle([buried(delivery) for delivery in worker.take(200)])
    other = site.another().broker
    jobs = [Background(each.dead, limit=500).start() for each in (broker, other) * 3]
    assert [len(job.result()) for job in jobs] == [200] * 6


# ------------------------------------------------------------------------------------- written


@pytest.fixture
def written(site):
    """A broker that does not wait for confirms."""
    broker = driven(site.url, site.noted, {"confirm": "written"})
    yield broker
    broker.close()


def test_what_was_written_arrives(written, worker):
    """In order, whoever waits for it."""
    batch = posts(300)
    for message in batch:
        written.publish([message])
    written.close()
    assert worker.drain() == ids(batch)


def test_what_was_not_confirmed_is_sent_again_on_the_next_connection(written, worker):
    """It may come twice, but it comes."""
    batch = posts(300)
    for number, message in enumerate(batch):
        written.publish([message])
        if number == 150:
            written._parts.sending._connection._link.lose(OperationalError("cut"))
    written.close()
    assert set(worker.drain()) == set(ids(batch))


def test_a_process_that_ends_waits_for_the_last_confirms(site, worker):
    """Nobody has to close anything."""
    code = """
    import sys
    from umbel.drivers import connect
    from umbel.message import Message
    conf = {"task_queue_max_priority": 10}
    broker = connect(sys.argv[1], {"confirm": "written"}, conf).broker
    for n in range(500):
        broker.publish([Message(f"m{n}", {"task": "t", "id": f"m{n}"}, b"", queue="tasks")])
    """
    site.broker.publish([post("first")])
    command = [sys.executable, "-c", textwrap.dedent(code), site.url]
    subprocess.run(command, check=True, timeout=60)
    assert worker.drain() == ["first", *(f"m{n}" for n in range(500))]


def test_a_returned_message_finds_the_queue_made_again(written, worker, channel):
    """It was deleted after it had been declared."""
    written.publish([post("before")])
    written._parts.tracking.flush(LONG)
    channel.delete_queue(QUEUE)
    written.publish([post("after")])
    written.close()
    assert worker.drain() == ["after"]


# ------------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"confrim": "wait"}, "did you mean 'confirm'"),
        ({"confirm": "maybe"}, "'wait' or 'written'"),
        ({"consumer_timeout": 0}, "seconds above 0"),
        ({"dead_letter_queue": ""}, "must be a name"),
        ({"delay_queue_type": "stream"}, "'quorum' or 'classic'"),
    ],
)
def test_an_option_that_cannot_work_is_refused(given, said):
    """Before anything is opened."""
    with pytest.raises(ImproperlyConfigured, match=said):
        drivers.connect("amqp://localhost", given, CONF)


def test_a_server_that_is_away_is_an_error_within_the_deadline():
    """It names the server, without the password."""
    broker = drivers.connect("amqp://me:secret@127.0.0.1:1//").broker
    start = time.monotonic()
    with pytest.raises(OperationalError, match=r"127\.0\.0\.1") as caught:
        broker.publish([post()], timeout=1.0)
    assert "secret" not in str(caught.value)
    assert time.monotonic() - start < 10


def test_looking_into_queues_is_refused_with_the_reason(broker):
    """A wrong answer would be worse."""
    assert not broker.capabilities.browse
    with pytest.raises(ImproperlyConfigured, match="management"):
        broker.browse(QUEUE)
    with pytest.raises(ImproperlyConfigured, match="management"):
        broker.remove(["x"])


def test_the_second_of_two_servers_serves_when_the_first_is_away(site):
    """In one URL, separated by a semicolon."""
    noted = Noted()
    broker = driven(f"amqp://127.0.0.1:1//;{site.url}", noted)
    broker.publish([post("x")])
    assert Worker(broker).drain() == ["x"]
    broker.close()
    noted.remove(site.url)
