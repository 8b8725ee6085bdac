"""RabbitMQ fails, stalls, raises alarms and takes claims back; a broker of ours goes on."""

from __future__ import annotations

import time

import pytest

import servers
import sites  # noqa: F401 - it comes before the sites made of it
from patience import Background, wait_until
from posts import QUEUE, Worker, ids, post, posts
from site_amqp import CONF, Noted, driven
from umbel import drivers
from umbel.exceptions import ImproperlyConfigured, OperationalError
from umbel.message import Settlement

LONG = 60.0
CONSUMER_TIMEOUT = 6.0


@pytest.fixture(scope="module")
def lasting_server(tmp_path_factory):
    """A node of this module's own, that takes claims back after seconds."""
    server = servers.private(
        "amqp",
        tmp_path_factory.mktemp("rabbitmq"),
        f"consumer_timeout = {int(CONSUMER_TIMEOUT * 1000)}",
    )
    with server:
        yield server


@pytest.fixture
def server(lasting_server):
    """A node that is there for every test."""
    return lasting_server


@pytest.fixture
def mortal(tmp_path):
    """A node that a test may kill and start again."""
    with servers.private("amqp", tmp_path) as server:
        yield server


@pytest.fixture
def connect_mortal(mortal):
    """Makes brokers of that one."""
    made = []

    def connect(**options):
        made.append(driven(mortal.url, Noted(), options))
        return made[-1]

    yield connect
    for broker in made:
        broker.close()


@pytest.fixture
def connect(server):
    """Makes brokers of that server, and deletes in the end what they declared."""
    made = []
    noted = Noted()

    def connect(**options):
        made.append(driven(server.url, noted, options))
        return made[-1]

    yield connect
    for broker in made:
        broker.close()
    noted.remove(server.url)


def _publish_until_it_works(broker, message):
    def publish():
        try:
            broker.publish([message], timeout=2.0)
        except OperationalError:
            return False
        return True

    wait_until(publish, deadline=LONG)


def test_what_was_confirmed_survives_the_death_of_the_server(mortal, connect_mortal):
    """And a consumer that waited gets it, without being started anew."""
    broker = connect_mortal()
    worker = Worker(broker)
    broker.publish(batch := posts(50))
    held = worker.take(10)
    mortal.kill()
    with pytest.raises(OperationalError):
        broker.publish([post()], timeout=1.0)
    with pytest.raises(OperationalError):
        worker.take(1, wait=1.0)
    mortal.start()
    _publish_until_it_works(broker, last := post("last"))
    found = worker.drain()
    assert found == [*ids(batch), last.id]
    assert broker.settle([Settlement(delivery) for delivery in held]) == [False] * 10


def test_delayed_messages_and_letters_survive_the_death_of_the_server(mortal, connect_mortal):
    """They are in durable queues."""
    from posts import buried

    broker = connect_mortal()
    worker = Worker(broker)
    broker.publish([post("dead"), post("later", due_at=time.time() + 3.0)])
    broker.settle([buried(worker.take_one())])
    mortal.kill()
    mortal.start()
    fresh = connect_mortal()
    wait_until(lambda: ids(Worker(fresh).take(1, wait=1.0)) == ["later"], deadline=LONG)
    assert [found.letter.message.id for found in fresh.dead()] == ["dead"]


def test_an_alarm_stops_publishing_and_nothing_else(server, connect):
    """Enqueueing fails within its deadline; what runs is settled; afterwards all goes on."""
    broker = connect()
    worker = Worker(broker)
    broker.publish(posts(3))
    first, second, third = worker.take()
    server.ctl("set_vm_memory_high_watermark", "0.00001")
    try:
        wait_until(lambda: _is_blocked(broker), deadline=LONG)
        start = time.monotonic()
        with pytest.raises(OperationalError):
            broker.publish([post("late")], timeout=1.0)
        assert time.monotonic() - start < 5
        assert broker.settle([Settlement(first)]) == [True]
        broker._parts.settling._timeout = 1.0
        both = [Settlement(second), Settlement(third, follow=(post("next"),))]
        with pytest.raises(OperationalError):
            broker.settle(both)
    finally:
        server.ctl("set_vm_memory_high_watermark", "0.6")
    broker._parts.settling._timeout = LONG
    assert broker.settle(both) == [True, True]
    assert "next" in worker.drain()


def _is_blocked(broker):
    try:
        broker.publish([post("probe", queue="probe")], timeout=0.2)
    except OperationalError:
        return True
    return False


@pytest.fixture
def strict(server):
    """The server looks for old claims twice a second, and not once a minute."""
    server.ctl("eval", "application:set_env(rabbit, channel_tick_interval, 500).")


@pytest.mark.usefixtures("strict")
def test_a_long_task_outlives_the_consumer_timeout(connect):
    """What is held for long is claimed anew, as often as it takes, and counted nowhere."""
    broker = connect(consumer_timeout=CONSUMER_TIMEOUT)
    worker = Worker(broker)
    broker.publish([post("long")])
    (delivery,) = worker.take(1, wait=LONG)
    end = time.monotonic() + 2.5 * CONSUMER_TIMEOUT
    idle = Worker(connect(), name="idle")
    while time.monotonic() < end:
        assert idle.take(1, wait=0.5) == []
    assert broker.settle([Settlement(delivery)]) == [True]
    assert idle.take(1, wait=0.5) == []


@pytest.mark.usefixtures("strict")
def test_a_consumer_timeout_nobody_told_us_of_is_learned(connect, caplog):
    """The first claim is lost, and said so; the next ones are not."""
    broker = connect()
    worker = Worker(broker)
    broker.publish([post("long")])
    (stale,) = worker.take(1, wait=LONG)

    def lost():
        try:
            return worker.take(1, wait=0.5)
        except OperationalError:
            return []

    (delivery,) = wait_until(lost, deadline=LONG)
    assert "consumer_timeout is 6 s" in caplog.text
    assert broker.settle([Settlement(stale)]) == [False]
    end = time.monotonic() + 2 * CONSUMER_TIMEOUT
    idle = Worker(connect(), name="idle")
    while time.monotonic() < end:
        assert idle.take(1, wait=0.5) == []
    assert broker.settle([Settlement(delivery)]) == [True]


def test_a_server_that_stalls_is_an_error_within_the_deadline(server, connect):
    """The connection is there, and nothing is answered; later all goes on."""
    broker = connect()
    broker.publish([post("before")])
    server.pause()
    try:
        with Background(_publish, broker, post("during")) as publishing:
            error, seconds = publishing.result()
        assert isinstance(error, OperationalError)
        assert seconds < 10
    finally:
        server.resume()
    _publish_until_it_works(broker, post("after"))
    assert {"before", "after"} <= set(Worker(broker).drain())


def _publish(broker, message):
    start = time.monotonic()
    try:
        broker.publish([message], timeout=1.0)
    except OperationalError as error:
        return error, time.monotonic() - start
    return None, 0.0


def test_written_messages_outlive_the_death_of_the_server(mortal, connect_mortal):
    """They are kept here until it has them."""
    broker = connect_mortal(confirm="written")
    broker.publish([post("first")])
    broker._parts.tracking.flush(LONG)
    for number in range(100):
        broker.publish([post(f"m{number}")])
    mortal.kill()
    mortal.start()
    assert broker._parts.tracking.flush(LONG) == 0
    found = Worker(connect_mortal()).drain()
    assert set(found) == {"first", *(f"m{number}" for number in range(100))}


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("guest:wrong@127.0.0.1:{port}//", "password"),
        ("guest:guest@127.0.0.1:{port}/nowhere", "add_vhost"),
    ],
)
def test_a_login_that_is_refused_says_what_to_do(server, place, said):
    """Trying again would not help."""
    broker = drivers.connect("amqp://" + place.format(port=server.port), {}, CONF).broker
    with pytest.raises(ImproperlyConfigured, match=said):
        broker.publish([post()])
    broker.close()


def test_closing_all_connections_stops_nobody(server, connect):
    """An operator's command: consumers are back with the next call."""
    broker = connect()
    worker = Worker(broker)
    broker.publish(posts(2))
    worker.take(1)
    server.ctl("close_all_connections", "maintenance")
    wait_until(lambda: not broker._parts.taking.is_open, deadline=LONG)
    assert len(worker.take(5, QUEUE, wait=LONG)) + len(worker.take(5)) == 2
