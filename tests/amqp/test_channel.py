"""Channels: declarations, publishing with confirms, consuming with acknowledgements."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import pytest

from patience import Background, wait_until
from umbel.drivers.amqp.errors import (
    ChannelClosed,
    ConsumerCancelled,
    DeclarationMismatch,
    Nacked,
    NotFound,
    Unroutable,
    Unsent,
)
from umbel.drivers.amqp.messages import Outgoing
from umbel.exceptions import EncodeError, ImproperlyConfigured, OperationalError, UnroutableError


def waiting(channel, queue):
    return channel.declare_queue(queue, passive=True).messages


def send(channel, queue, *bodies, **properties):
    channel.select_confirms()
    last = channel.publish([Outgoing("", queue, properties, body) for body in bodies], timeout=20)
    channel.wait_confirmed(last, 20)


def receive_all(channel, count):
    got = []
    while len(got) < count:
        got += channel.receive(1000, 20) or pytest.fail(f"only {len(got)} of {count} came")
    return got


# ------------------------------------------------------------------------------------ declarations


def test_a_declared_queue_is_described(channel, name):
    assert channel.declare_queue(name) == (name, 0, 0)
    send(channel, name, b"a", b"b")
    assert channel.declare_queue(name) == (name, 2, 0)


def test_the_server_may_choose_the_name(channel):
    found = channel.declare_queue("", exclusive=True)
    assert found.name.startswith("amq.gen-")
    channel.delete_queue(found.name)


def test_names_may_be_any_text(channel):
    name = "umbel-test-gürtel {%}!"
    assert channel.declare_queue(name, exclusive=True, durable=False).name == name
    channel.delete_queue(name)


def test_other_arguments_are_named_with_the_way_out(channel, queue):
    with pytest.raises(DeclarationMismatch) as caught:
        channel.declare_queue(queue, arguments={"x-max-priority": 9})
    text = str(caught.value)
    assert f"queue {queue!r} exists with another x-max-priority" in text
    assert "delete the queue" in text
    assert isinstance(caught.value, ImproperlyConfigured)


def test_an_exchange_of_another_kind_is_named(channel, name):
    channel.declare_exchange(name, "topic")
    with pytest.raises(DeclarationMismatch, match=f"exchange '{name}' exists with another type"):
        channel.declare_exchange(name, "direct")


def test_an_unknown_kind_of_exchange_is_refused(channel, name):
    with pytest.raises(OperationalError, match="unknown exchange type"):
        channel.declare_exchange(name, "sideways")


def test_an_argument_that_cannot_work_is_no_operational_error(channel, name):
    with pytest.raises(ImproperlyConfigured, match="x-message-ttl"):
        channel.declare_queue(name, arguments={"x-message-ttl": -1})


def test_a_failed_declaration_ends_the_channel_and_not_the_connection(connection, channel, queue):
    with pytest.raises(DeclarationMismatch):
        channel.declare_queue(queue, durable=False)
    assert not channel.is_open
    with pytest.raises(DeclarationMismatch):
        channel.declare_queue(queue)
    assert connection.is_open
    assert connection.channel().declare_queue(queue).name == queue


def test_what_is_missing_is_not_found(connection, name):
    for ask in (
        lambda channel: channel.declare_queue(name, passive=True),
        lambda channel: channel.declare_exchange(name, passive=True),
        lambda channel: channel.purge_queue(name),
        lambda channel: channel.bind_queue("amq.gen-none", name),
        lambda channel: channel.consume(name),
        lambda channel: channel.get(name),
    ):
        with pytest.raises(NotFound, match=name) as caught:
            ask(connection.channel())
        assert caught.value.code == 404


def test_deleting_what_is_missing_does_nothing(channel, name):
    assert channel.delete_queue(name) == 0
    channel.delete_exchange(name)


def test_numbers_of_closed_channels_are_used_again(connection, name):
    kept = connection.channel()
    for _ in range(3):
        channel = connection.channel()
        assert channel._number == 2
        channel.close()
    with pytest.raises(NotFound):
        (failed := connection.channel()).purge_queue(name)
    assert failed._number == connection.channel()._number == 2
    assert kept.is_open


def test_purging_and_deleting_count(channel, queue):
    send(channel, queue, b"a", b"b")
    assert channel.purge_queue(queue) == 2
    send(channel, queue, b"c")
    with pytest.raises(OperationalError, match="not empty"):
        channel.delete_queue(queue, if_empty=True)


def test_bindings_route(channel, queue, name):
    channel.declare_exchange(name, "topic", durable=False)
    channel.bind_queue(queue, name, "a.#")
    channel.select_confirms()
    sent = [Outgoing(name, key, mandatory=True) for key in ("a.b", "a")]
    channel.wait_confirmed(channel.publish(sent, timeout=20), 20)
    assert waiting(channel, queue) == 2
    channel.unbind_queue(queue, name, "a.#")
    last = channel.publish(sent[:1], timeout=20)
    with pytest.raises(Unroutable):
        channel.wait_confirmed(last, 20)


def test_exchanges_are_bound_to_exchanges(channel, queue, name):
    channel.declare_exchange(name, "fanout", durable=False)
    channel.bind_queue(queue, name)
    channel.bind_exchange(name, "amq.direct", queue)
    channel.select_confirms()
    last = channel.publish([Outgoing("amq.direct", queue, {}, b"x", mandatory=True)], timeout=20)
    channel.wait_confirmed(last, 20)
    assert waiting(channel, queue) == 1


def test_a_queue_of_another_connection_alone_is_locked(connect, name):
    owner, other = connect().channel(), connect().channel()
    owner.declare_queue(name, exclusive=True)
    with pytest.raises(ChannelClosed, match="exclusive"):
        other.declare_queue(name, passive=True)
    owner.delete_queue(name)


# -------------------------------------------------------------------------------------- publishing


def test_messages_arrive_as_they_were_sent(channel, queue):
    properties = {
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "headers": {"id": "x", "n": None, "deep": {"list": [1, 2.5, True]}, "raw": b"\xff"},
        "delivery_mode": 2,
        "priority": 3,
        "correlation_id": "c",
        "reply_to": "r",
        "expiration": "60000",
        "message_id": "m",
        "timestamp": 1_700_000_000,
        "type": "t",
        "app_id": "a",
    }
    send(channel, queue, b"body", **properties)
    channel.consume(queue)
    (message,) = channel.receive(10, 20)
    assert message.properties == properties
    assert message.headers["id"] == "x"
    assert (message.body, message.exchange, message.routing_key) == (b"body", "", queue)
    assert (message.delivery_tag, message.redelivered) == (1, False)


@pytest.mark.parametrize("size", [0, 1, 131_064, 131_065, 1_000_000])
def test_bodies_of_any_size_arrive(channel, queue, size):
    body = bytes(range(256)) * (size // 256) + b"e" * (size % 256)
    send(channel, queue, body, b"next")
    channel.consume(queue)
    assert [message.body for message in receive_all(channel, 2)] == [body, b"next"]


def test_large_batches_are_confirmed_and_arrive_in_order(channel, queue):
    bodies = [b"%d" % number for number in range(5_000)]
    channel.select_confirms()
    for start in range(0, len(bodies), 500):
        messages = [Outgoing("", queue, {"delivery_mode": 1}, b) for b in bodies[start:][:500]]
        last = channel.publish(messages, timeout=20)
    channel.wait_confirmed(last, 60)
    assert channel.unconfirmed() == []
    channel.qos(200)
    channel.consume(queue)
    got = []
    while len(got) < len(bodies):
        batch = receive_all(channel, 1)
        channel.ack_many([message.delivery_tag for message in batch])
        got += [message.body for message in batch]
    assert got == bodies


def test_publishing_nothing_is_confirmed_at_once(channel):
    channel.select_confirms()
    channel.wait_confirmed(channel.publish([], timeout=20), 20)


def test_without_confirms_nothing_is_waited_for(channel, queue):
    assert channel.publish([Outgoing("", queue)], timeout=20) == 0
    channel.wait_confirmed(0, 20)
    assert channel.unconfirmed() == []
    wait_until(lambda: waiting(channel, queue) == 1)


def test_mandatory_messages_that_no_queue_takes_come_back(channel, queue, name):
    channel.select_confirms()
    lost = [Outgoing("", f"{name}-none", {"message_id": str(n)}, b"x", True) for n in range(3)]
    kept = Outgoing("", queue, {}, b"y", mandatory=True)
    last = channel.publish([lost[0], kept, *lost[1:]], timeout=20)
    with pytest.raises(Unroutable, match=f"{name}-none") as caught:
        channel.wait_confirmed(last, 20)
    assert caught.value.messages == tuple(lost)
    assert isinstance(caught.value, UnroutableError)
    assert waiting(channel, queue) == 1
    channel.wait_confirmed(last, 20)


def test_failures_nobody_waited_for_can_be_asked_for(channel, name):
    channel.select_confirms()
    message = Outgoing("", f"{name}-none", {}, b"x", mandatory=True)
    channel.publish([message], timeout=20)
    channel.declare_exchange("amq.direct", passive=True)
    wait_until(lambda: not channel.unconfirmed())
    (failure,) = channel.take_failures()
    assert (failure.message, failure.returned) == (message, True)
    assert channel.take_failures() == []


def test_messages_that_a_full_queue_refuses_are_named(channel, name):
    channel.declare_queue(name, arguments={"x-max-length": 2, "x-overflow": "reject-publish"})
    channel.select_confirms()
    messages = [Outgoing("", name, {}, b"%d" % number) for number in range(5)]
    for message in messages[:2]:
        channel.wait_confirmed(channel.publish([message], timeout=20), 20)
    last = channel.publish(messages[2:], timeout=20)
    with pytest.raises(Nacked, match=rf"refused 3 message\(s\) for '{name}'") as caught:
        channel.wait_confirmed(last, 20)
    assert caught.value.messages == tuple(messages[2:])


def test_an_exchange_that_does_not_exist_ends_the_channel(channel, queue, name):
    channel.select_confirms()
    message = Outgoing(name, "key", {}, b"x")
    last = channel.publish([message], timeout=20)
    with pytest.raises(NotFound, match=name):
        channel.wait_confirmed(last, 20)
    assert channel.unconfirmed() == [message]
    with pytest.raises(NotFound):
        channel.publish([message], timeout=20)


def test_what_cannot_be_written_is_refused_before_anything_is_sent(channel, queue):
    channel.select_confirms()
    with pytest.raises(EncodeError):
        channel.publish([Outgoing("", queue), Outgoing("", queue, {"priority": -1})], timeout=20)
    assert channel.unconfirmed() == []
    assert waiting(channel, queue) == 0


def test_a_confirm_that_does_not_come_ends_within_the_deadline(connect, url, relay, queue):
    connection = connect(replace(url, host="127.0.0.1", port=relay.port))
    channel = connection.channel()
    channel.select_confirms()
    relay.be_silent()
    message = Outgoing("", queue, {}, b"x")
    last = channel.publish([message], timeout=20)
    with pytest.raises(OperationalError, match="has not confirmed 1 message"):
        channel.wait_confirmed(last, 0.2)
    assert channel.unconfirmed() == [message]
    relay.speak()
    channel.wait_confirmed(last, 20)
    assert channel.unconfirmed() == []


def test_what_was_not_confirmed_is_known_when_the_connection_is_lost(connect, url, relay, queue):
    connection = connect(replace(url, host="127.0.0.1", port=relay.port))
    channel = connection.channel()
    channel.select_confirms()
    relay.be_silent()
    messages = [Outgoing("", queue, {}, b"%d" % number) for number in range(3)]
    last = channel.publish(messages, timeout=20)
    relay.close()
    with pytest.raises(OperationalError):
        channel.wait_confirmed(last, 20)
    assert channel.unconfirmed() == messages


def test_a_server_that_takes_nothing_more_ends_publishing_within_the_deadline(
    connect, url, relay, queue
):
    connection = connect(replace(url, host="127.0.0.1", port=relay.port), heartbeat=None)
    channel = connection.channel()
    channel.select_confirms()
    relay.be_silent()
    message = Outgoing("", queue, {}, b"x" * 1_000_000)
    written = fill(channel, message)
    assert len(channel.unconfirmed()) == written
    relay.speak()
    last = channel.publish([message], timeout=20)
    channel.wait_confirmed(last, 60)
    assert last == written + 1
    assert waiting(channel, queue) == last


def fill(channel, message):
    """How often ``message`` can be published until the server takes no more."""
    for written in count():
        try:
            channel.publish([message], timeout=0.2)
        except Unsent:
            return written
    raise AssertionError


def test_acknowledgements_wait_until_the_server_takes_them(connect, url, relay, queue):
    connection = connect(replace(url, host="127.0.0.1", port=relay.port), heartbeat=None)
    channel = connection.channel()
    send(channel, queue, b"x", b"y")
    channel.consume(queue)
    tags = [message.delivery_tag for message in receive_all(channel, 2)]
    other = connection.channel()
    relay.be_silent()
    fill(other, Outgoing("", "umbel-test-nobody", {}, b"x" * 1_000_000))
    channel.ack_many(tags[:1])
    channel.ack(tags[1])
    relay.speak()
    channel.close()
    assert not channel.is_open
    assert waiting(connection.channel(), queue) == 0


# --------------------------------------------------------------------------------------- consuming


def test_receiving_ends_with_the_timeout(channel, queue):
    channel.consume(queue)
    assert channel.receive(10, 0.05) == []


def test_receiving_takes_at_most_the_limit(channel, queue):
    send(channel, queue, *(b"%d" % number for number in range(5)))
    channel.consume(queue)
    got = []
    while len(got) < 5:
        batch = channel.receive(2, 20)
        assert 1 <= len(batch) <= 2
        got += [message.body for message in batch]
    assert got == [b"0", b"1", b"2", b"3", b"4"]


def test_a_message_wakes_who_receives(connection, channel, queue):
    other = connection.channel()
    channel.consume(queue)
    with Background(channel.receive, 1, 60) as receiving:
        receiving.blocks()
        send(other, queue, b"wake up")
        assert [message.body for message in receiving.result()] == [b"wake up"]


def test_an_interrupt_ends_a_wait(channel, queue):
    channel.consume(queue)
    with Background(channel.receive, 1, 60) as receiving:
        receiving.blocks()
        channel.interrupt()
        assert receiving.result() == []


def test_an_interrupt_before_a_wait_ends_the_next_and_no_other(channel, queue):
    channel.consume(queue)
    channel.interrupt()
    assert channel.receive(1, 60) == []
    with Background(channel.receive, 1, 60) as receiving:
        receiving.blocks()
        channel.interrupt()
        receiving.result()


def test_questions_are_answered_while_another_thread_receives(connection, channel, queue):
    channel.consume(queue)
    other = connection.channel()
    with Background(channel.receive, 1, 60) as receiving:
        receiving.blocks()
        for _ in range(20):
            assert other.declare_queue(queue, passive=True).consumers == 1
        channel.interrupt()
        assert receiving.result() == []


def test_a_consumer_whose_queue_is_deleted_is_told(connection, channel, queue):
    send(channel, queue, b"last words")
    tag = channel.consume(queue)
    wait_until(lambda: waiting(connection.channel(), queue) == 0)
    connection.channel().delete_queue(queue)
    assert [message.body for message in receive_all(channel, 1)] == [b"last words"]
    with pytest.raises(ConsumerCancelled, match=f"queue '{queue}'") as caught:
        channel.receive(1, 20)
    assert (caught.value.queue, caught.value.tag) == (queue, tag)
    channel.declare_queue(queue)
    channel.consume(queue)
    send(channel, queue, b"again")
    assert [message.body for message in receive_all(channel, 1)] == [b"again"]


def test_a_cancelled_consumer_gets_nothing_more(channel, queue):
    tag = channel.consume(queue)
    channel.cancel(tag)
    send(channel, queue, b"x")
    assert channel.receive(1, 0.05) == []
    assert waiting(channel, queue) == 1


def test_a_consumer_holds_as_many_as_its_prefetch(channel, queue):
    send(channel, queue, *[b"x"] * 10)
    channel.qos(3)
    channel.consume(queue)
    got = receive_all(channel, 3)
    assert channel.receive(10, 0.05) == []
    channel.ack(got[1].delivery_tag, multiple=True)
    assert len(receive_all(channel, 2)) == 2


def test_what_is_acknowledged_is_gone_and_the_rest_comes_again(connection, channel, queue):
    send(channel, queue, *(b"%d" % number for number in range(10)))
    channel.consume(queue)
    got = receive_all(channel, 10)
    channel.ack_many([got[n].delivery_tag for n in (0, 1, 2, 5, 7)])
    channel.ack_many([got[3].delivery_tag])
    channel.close()
    other = connection.channel()
    other.consume(queue)
    again = receive_all(other, 4)
    assert [message.body for message in again] == [b"4", b"6", b"8", b"9"]
    assert all(message.redelivered for message in again)


def test_acknowledging_twice_does_not_end_the_channel(channel, queue):
    send(channel, queue, *[b"x"] * 4)
    channel.consume(queue)
    tags = [message.delivery_tag for message in receive_all(channel, 4)]
    channel.ack_many(tags[1:3])
    channel.ack_many(tags[1:])
    channel.ack_many(tags)
    assert waiting(channel, queue) == 0


def test_acknowledgements_of_all_kinds_mix(channel, queue):
    send(channel, queue, *[b"x"] * 12)
    channel.consume(queue)
    tags = [message.delivery_tag for message in receive_all(channel, 12)]
    channel.ack(tags[2])
    channel.ack(tags[1], multiple=True)
    channel.ack_many(tags[4:6])
    channel.nack(tags[3], requeue=False)
    channel.ack_many(tags[6:9])
    channel.nack(tags[10], multiple=True, requeue=False)
    channel.ack_many(tags)
    channel.close()
    assert not channel.is_open


def test_a_delivery_can_be_given_back(channel, queue):
    send(channel, queue, b"x")
    channel.consume(queue)
    (message,) = receive_all(channel, 1)
    channel.nack(message.delivery_tag)
    (again,) = receive_all(channel, 1)
    assert again.redelivered


def test_a_discarded_delivery_goes_to_the_dead_letters(channel, queue, name):
    source = channel.declare_queue(
        "",
        exclusive=True,
        arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue},
    ).name
    send(channel, source, b"x")
    channel.consume(source)
    (message,) = receive_all(channel, 1)
    channel.nack(message.delivery_tag, requeue=False)
    found = wait_until(lambda: channel.get(queue))
    assert found.headers["x-death"][0]["reason"] == "rejected"
    channel.delete_queue(source)


def test_an_unknown_delivery_ends_the_channel(channel, queue):
    channel.consume(queue)
    channel.ack(77)
    with pytest.raises(ChannelClosed, match="unknown delivery tag 77") as caught:
        channel.receive(1, 20)
    assert caught.value.code == 406


def test_one_message_can_be_taken_without_a_consumer(channel, queue):
    assert channel.get(queue) is None
    send(channel, queue, b"a", b"b")
    first, second = channel.get(queue), channel.get(queue, no_ack=True)
    assert (first.body, second.body) == (b"a", b"b")
    channel.ack_many([first.delivery_tag])
    channel.close()
    assert not channel.is_open


def test_a_consumer_without_acknowledgements_needs_none(channel, queue):
    channel.consume(queue, no_ack=True)
    send(channel, queue, *[b"x"] * 3)
    receive_all(channel, 3)
    send(channel, queue, b"y")
    receive_all(channel, 1)
    channel.close()
    assert waiting_anew(channel, queue) == 0


def waiting_anew(channel, queue):
    other = type(channel)(channel._link, 20)
    try:
        return waiting(other, queue)
    finally:
        other.close()


def test_closing_a_channel_ends_who_receives_on_it(channel, queue):
    channel.consume(queue)
    with Background(channel.receive, 1, 60) as receiving:
        receiving.blocks()
        channel.close()
        with pytest.raises(ChannelClosed, match="closed here"):
            receiving.result()


def test_a_consumer_that_shall_be_alone_is(connect, queue):
    first, second = connect().channel(), connect().channel()
    first.consume(queue, exclusive=True)
    with pytest.raises(ImproperlyConfigured, match="exclusive"):
        second.consume(queue)
