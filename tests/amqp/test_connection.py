"""Connecting: who lets us in, what is said when nobody does, failover, heartbeats, forks."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from dataclasses import replace
from pathlib import Path

import pytest

import servers
from patience import Background, frame_of, wait_until
from umbel.drivers.amqp.codec import HEARTBEAT
from umbel.drivers.amqp.connection import Connection
from umbel.drivers.amqp.errors import AccessRefused
from umbel.drivers.amqp.messages import Outgoing
from umbel.drivers.amqp.urls import AMQPUrl
from umbel.exceptions import ImproperlyConfigured, OperationalError

DESCRIPTORS = Path("/proc/self/fd")


def test_an_open_connection_knows_its_server(connection):
    connection.open()
    assert connection.is_open
    assert connection.server_properties["product"] == "RabbitMQ"
    assert connection.blocked is None


def test_opening_again_changes_nothing(connection):
    connection.open()
    first = connection._link
    connection.open()
    assert connection._link is first


def test_a_closed_connection_leaves_no_thread_and_may_be_opened_again(connection):
    for _ in range(2):
        connection.open()
        assert [t for t in threading.enumerate() if t.name == "umbel-amqp"]
        connection.close()
        assert not connection.is_open
        assert not [t for t in threading.enumerate() if t.name == "umbel-amqp"]


def test_closing_what_was_never_opened_does_nothing(connection):
    connection.close()
    assert connection.server_properties == {}


def test_closing_gives_back_the_file_descriptors(connection):
    connection.open()
    connection.close()
    before = set(DESCRIPTORS.iterdir())
    connection.open()
    connection.close()
    assert set(DESCRIPTORS.iterdir()) == before


def test_a_channel_opens_the_connection(connection):
    assert connection.channel().is_open
    assert connection.is_open


# ---------------------------------------------------------------------------------------- refused


def test_a_wrong_password_is_said_without_it(connect, url):
    connection = connect(replace(url, password="sesame-open"))
    with pytest.raises(AccessRefused, match="refused the login") as caught:
        connection.open()
    assert url.user in str(caught.value)
    assert "sesame" not in str(caught.value)


def test_a_missing_vhost_is_named_with_the_way_to_make_it(connect, url):
    connection = connect(replace(url, vhost="no-such-vhost"))
    with pytest.raises(AccessRefused, match=r"vhost no-such-vhost not found.*add_vhost"):
        connection.open()


@pytest.mark.parametrize("method", ["AMQPLAIN", "plain"])
def test_login_methods(connect, method):
    connection = connect(login_method=method)
    connection.open()
    assert connection.is_open


def test_a_login_method_that_the_server_lacks_is_named_with_those_it_has(connect):
    connection = connect(login_method="EXTERNAL")
    with pytest.raises(AccessRefused, match=r"does not offer the login method EXTERNAL.*PLAIN"):
        connection.open()


def test_an_unknown_login_method_is_refused_at_once(url):
    with pytest.raises(ImproperlyConfigured, match="'KERBEROS' is none of PLAIN"):
        Connection([url], login_method="KERBEROS")


# ------------------------------------------------------------------------------------ out of reach


def test_a_port_where_nobody_listens_is_an_operational_error(connect):
    port = servers.free_port()
    with pytest.raises(OperationalError, match=rf"cannot reach amqp://guest@127.0.0.1:{port}"):
        connect(AMQPUrl("127.0.0.1", port)).open()


def test_a_host_that_does_not_exist_is_an_operational_error(connect):
    with pytest.raises(OperationalError, match=r"host name 'nowhere\.invalid' is not known"):
        connect(AMQPUrl("nowhere.invalid")).open()


def test_a_server_that_says_nothing_ends_within_the_deadline(connect, answering):
    connection = connect(AMQPUrl("127.0.0.1", answering(None)), connect_timeout=0.2)
    with pytest.raises(OperationalError, match="has not answered AMQP's greeting"):
        connection.open()


def test_the_callers_deadline_ends_the_attempt(connect, answering):
    connection = connect(AMQPUrl("127.0.0.1", answering(None)), connect_timeout=1000)
    with pytest.raises(OperationalError):
        connection.open(timeout=0.2)


def test_a_server_that_hangs_up_is_an_operational_error(connect, answering):
    with pytest.raises(OperationalError, match="closed the connection during the login"):
        connect(AMQPUrl("127.0.0.1", answering(b""))).open()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no RabbitMQ server.*HTTP/1.1"),
        (b"-ERR wrong number of arguments\r\n", "no RabbitMQ server.*-ERR"),
        (b"AMQP\x03\x01\x00\x00", "another version of AMQP"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "expects TLS on this port; use amqps://"),
        (b"\x01\x00\x00\x00\x00\x00\x04\x00\x0a\x00\x33\xce", "Connection.Start was expected"),
    ],
)
def test_what_is_no_rabbitmq_is_said(connect, answering, answer, says):
    with pytest.raises(ImproperlyConfigured, match=says):
        connect(AMQPUrl("127.0.0.1", answering(answer))).open()


def test_a_redis_server_is_not_taken_for_rabbitmq(connect):
    port = int(servers.url("redis").rpartition(":")[2].partition("/")[0])
    with pytest.raises((ImproperlyConfigured, OperationalError), match="RabbitMQ"):
        connect(AMQPUrl("127.0.0.1", port), connect_timeout=0.5).open()


# ---------------------------------------------------------------------------------------- failover


def test_the_next_server_is_tried_when_one_is_away(connect, url):
    connection = connect(AMQPUrl("127.0.0.1", servers.free_port()), url)
    connection.open()
    assert connection.url == url


def test_the_next_server_is_tried_when_one_refuses(connect, url):
    connection = connect(replace(url, password="wrong"), url)
    connection.open()
    assert connection.url == url


def test_the_server_that_answered_is_tried_first_again(connect, url):
    connection = connect(AMQPUrl("127.0.0.1", servers.free_port()), url)
    connection.open()
    connection.close()
    assert connection.url == url


def test_all_servers_are_named_when_none_answers(connect):
    ports = [servers.free_port(), servers.free_port()]
    with pytest.raises(OperationalError) as caught:
        connect(*(AMQPUrl("127.0.0.1", port) for port in ports)).open()
    assert all(str(port) in str(caught.value) for port in ports)


def test_servers_that_all_refuse_are_no_operational_error(connect, url):
    connection = connect(replace(url, password="wrong"), replace(url, vhost="nope"))
    with pytest.raises(ImproperlyConfigured, match=r"refused the login.*nope not found"):
        connection.open()


# -------------------------------------------------------------------------------------- heartbeats


def test_an_idle_connection_sends_heartbeats(connect, url, relay):
    connection = connect(replace(url, host="127.0.0.1", port=relay.port), heartbeat=1)
    connection.open()
    wait_until(lambda: relay.from_client.count(HEARTBEAT) >= 3)
    assert connection.is_open


def test_a_waiting_consumer_sends_heartbeats(connect, url, relay, queue):
    connection = connect(replace(url, host="127.0.0.1", port=relay.port), heartbeat=1)
    channel = connection.channel()
    channel.consume(queue)
    with Background(channel.receive, 1, 60) as waiting:
        wait_until(lambda: relay.from_client.count(HEARTBEAT) >= 3)
        channel.interrupt()
        assert waiting.result() == []


def test_a_server_that_goes_silent_is_noticed_by_its_heartbeats(connect, url, relay):
    connection = connect(replace(url, host="127.0.0.1", port=relay.port), heartbeat=1)
    connection.open()
    relay.be_silent()
    wait_until(lambda: not connection.is_open)


def test_who_waits_is_told_that_heartbeats_are_missing(connect, url, relay, queue):
    connection = connect(replace(url, host="127.0.0.1", port=relay.port), heartbeat=1)
    channel = connection.channel()
    channel.consume(queue)
    with Background(channel.receive, 1, 60) as waiting:
        relay.be_silent()
        with pytest.raises(OperationalError, match="two heartbeats of 1 s are missing"):
            waiting.result()


def test_no_heartbeats_are_agreed_on_where_none_are_wanted(connect):
    connection = connect(heartbeat=None)
    connection.open()
    assert connection._link.tuned.heartbeat == 0


def test_the_url_may_say_how_often(connect, url):
    connection = connect(replace(url, heartbeat=7))
    connection.open()
    assert connection._link.tuned.heartbeat == 7


# ----------------------------------------------------------------------------------------- signals


@pytest.fixture
def when_it_waits():
    """Has a function called in this thread by a signal, once the thread waits for the server."""
    before = signal.getsignal(signal.SIGALRM)
    thread = threading.current_thread()
    main = threading.get_ident()
    watching = []

    def waits():
        frame = frame_of(thread)
        return (
            frame is not None
            and Path(frame.f_code.co_filename).name == "stream.py"
            and frame.f_lasti
        )

    def watch():
        seen, same = None, 0
        while same < 10:
            now = wait_until(waits)
            same = same + 1 if now == seen else 0
            seen = now
            time.sleep(0.002)
        signal.pthread_kill(main, signal.SIGALRM)

    def arm(handler):
        signal.signal(signal.SIGALRM, lambda *_: handler())
        watching.append(Background(watch).start())

    yield arm
    for each in watching:
        each.result()
    signal.signal(signal.SIGALRM, before)


def test_a_signal_that_raises_ends_a_wait_and_leaves_the_connection_good(
    channel, queue, when_it_waits
):
    channel.consume(queue)
    when_it_waits(lambda: pytest.fail("time is over"))
    with pytest.raises(pytest.fail.Exception, match="time is over"):
        channel.receive(1, 60)
    assert channel.declare_queue(queue, passive=True).consumers == 1


def test_a_signal_that_raises_during_a_question_loses_the_connection(
    connect, url, relay, queue, when_it_waits
):
    connection = connect(replace(url, host="127.0.0.1", port=relay.port))
    channel = connection.channel()
    relay.be_silent()
    when_it_waits(lambda: pytest.fail("time is over"))
    with pytest.raises(pytest.fail.Exception, match="time is over"):
        channel.declare_queue(queue)
    with pytest.raises(OperationalError, match=r"Queue\.Declare was interrupted"):
        channel.declare_queue(queue)


def test_a_signal_that_raises_while_writing_loses_the_connection(
    connect, url, relay, queue, when_it_waits
):
    connection = connect(replace(url, host="127.0.0.1", port=relay.port), heartbeat=None)
    channel = connection.channel()
    relay.be_silent()
    when_it_waits(lambda: pytest.fail("time is over"))
    message = Outgoing("", queue, {}, b"x" * 100_000_000)
    with pytest.raises(pytest.fail.Exception, match="time is over"):
        channel.publish([message], timeout=60)
    with pytest.raises(OperationalError, match="writing was interrupted"):
        channel.publish([message], timeout=60)


def test_a_signal_handler_may_interrupt_a_wait(channel, queue, when_it_waits):
    channel.consume(queue)
    when_it_waits(channel.interrupt)
    assert channel.receive(1, 60) == []


def test_a_signal_handler_may_not_wait_within_a_wait(channel, queue, when_it_waits):
    channel.consume(queue)
    when_it_waits(lambda: channel.declare_queue(queue, passive=True))
    with pytest.raises(OperationalError, match="within a signal handler"):
        channel.receive(1, 60)


# ------------------------------------------------------------------------------ threads and forks


def test_threads_share_a_connection(connection, queue):
    def work(number):
        channel = connection.channel()
        channel.select_confirms()
        for turn in range(20):
            last = channel.publish([Outgoing("", queue, {}, b"x")] * 5, timeout=20)
            channel.wait_confirmed(last, 20)
            if turn % 5 == 0:
                channel.declare_queue(queue, passive=True)
        channel.close()
        return number

    workers = [Background(work, number).start() for number in range(6)]
    assert [worker.result() for worker in workers] == list(range(6))
    assert connection.channel().declare_queue(queue, passive=True).messages == 600


def test_threads_that_open_at_once_share_one_socket(connection):
    workers = [Background(connection.channel).start() for _ in range(8)]
    assert len({id(worker.result()._link) for worker in workers}) == 1


def in_a_child(call):
    """What ``call`` returns, as text, in a forked process."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads is the point
        pid = os.fork()
    if pid == 0:
        try:
            os.write(writer, str(call()).encode())
        except BaseException as error:  # noqa: BLE001 - it is reported to the parent
            os.write(writer, repr(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        text = answer.read().decode()
    os.waitpid(pid, 0)
    return text


def test_a_forked_process_connects_by_itself(connection, channel, queue):
    def in_child():
        was_open = connection.is_open
        own = connection.channel()
        count = own.declare_queue(queue, passive=True).messages
        connection.close()
        return was_open, count

    assert in_a_child(in_child) == "(False, 0)"
    assert channel.declare_queue(queue, passive=True).name == queue


def test_a_channel_of_the_parent_says_so_in_a_forked_process(connection, channel, queue):
    text = in_a_child(lambda: channel.declare_queue(queue, passive=True))
    assert "belongs to the process" in text
    assert "ConnectionLost" in text
    assert channel.is_open


def test_a_fork_while_others_wait_leaves_no_lock_held(connection, channel, queue):
    channel.consume(queue)
    other = connection.channel()
    with Background(channel.receive, 1, 60) as waiting:
        waiting.blocks()
        assert in_a_child(lambda: connection.channel().is_open and channel.is_open) == "False"
        other.publish([Outgoing("", queue, {}, b"still here")], timeout=20)
        (message,) = waiting.result()
    assert message.body == b"still here"


# ------------------------------------------------------------------------------------ being closed


def test_closing_wakes_who_waits(connection, channel, queue):
    channel.consume(queue)
    with Background(channel.receive, 1, 60) as waiting:
        waiting.blocks()
        connection.close()
        with pytest.raises(OperationalError, match="was closed here"):
            waiting.result()


def test_a_network_that_breaks_is_an_operational_error(connect, url, relay, queue):
    connection = connect(replace(url, host="127.0.0.1", port=relay.port))
    channel = connection.channel()
    channel.consume(queue)
    with Background(channel.receive, 1, 60) as waiting:
        waiting.blocks()
        relay.close()
        with pytest.raises(OperationalError, match=r"closed the connection|broke"):
            waiting.result()
    assert not connection.is_open


def test_a_silent_server_ends_a_question_within_the_deadline(connect, url, relay, queue):
    connection = connect(replace(url, host="127.0.0.1", port=relay.port), answer_timeout=0.3)
    channel = connection.channel()
    relay.be_silent()
    with pytest.raises(OperationalError, match=r"not answered Queue\.Declare within 0\.3 s"):
        channel.declare_queue(queue)
    assert not connection.is_open


def test_closing_towards_a_silent_server_takes_seconds_only(connect, url, relay):
    connection = connect(replace(url, host="127.0.0.1", port=relay.port))
    connection.open()
    relay.be_silent()
    begun = time.monotonic()
    connection.close()
    assert time.monotonic() - begun < 20
