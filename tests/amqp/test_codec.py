"""The codec against `pamqp`: what servers send, however it is cut; what we send; hostile bytes."""

from __future__ import annotations

import struct
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import body, commands, frame, header, heartbeat

from umbel.drivers.amqp import codec, methods, properties
from umbel.drivers.amqp.codec import Decoder, Encoder
from umbel.drivers.amqp.errors import FrameError
from umbel.drivers.amqp.messages import Answer, Confirm, Incoming, Outgoing, Returned
from umbel.exceptions import EncodeError

SMALL = 4096
SHORT = st.text(st.characters(codec="utf-8"), max_size=30)
HEADERS = st.dictionaries(SHORT, st.none() | SHORT | st.integers(-9, 9), max_size=4)
CHANNELS = st.integers(1, 65_535)
TAGS = st.integers(0, 2**63 - 1)
BODIES = st.one_of(
    st.binary(max_size=60),
    st.integers(1, 20_000).map(lambda size: bytes(range(256)) * (size // 256) + b"x"),
)


class Seen(tuple):
    """An event, reduced to what can be compared."""

    __slots__ = ()


def seen(event):
    match event:
        case Incoming():
            names = ("consumer_tag", "delivery_tag", "redelivered", "exchange", "routing_key")
            values = tuple(getattr(event, name) for name in names)
            return Seen(("in", event.channel, *values, event.raw_properties, event.body))
        case Answer():
            method = tuple(event.method)
            return Seen(
                (event.method.name, event.channel, method, event.message and seen(event.message))
            )
        case _:
            return Seen((type(event).__name__, *event))


@st.composite
def contents(draw, channel, longest=SMALL):
    """Header and body frames as a server cuts them, and what they carry."""
    raw = properties.write({"headers": draw(HEADERS), "correlation_id": draw(SHORT)})
    payload = draw(BODIES)
    frames = [_frame(2, channel, struct.pack(">HHQ", 60, 0, len(payload)) + raw)]
    size = draw(st.sampled_from([longest - 8, 1000]))
    parts = [payload[start : start + size] for start in range(0, len(payload), size)]
    frames += [frame.marshal(body.ContentBody(part), channel) for part in parts]
    return frames, raw, payload


def _frame(kind, channel, payload):
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


@st.composite
def sent_by_server(draw):
    """One thing a server says on a channel: its frames, and the event they stand for."""
    channel = draw(CHANNELS)
    exchange, key, tag = draw(SHORT), draw(SHORT), draw(TAGS)
    kind = draw(st.sampled_from(["deliver", "get", "return", "ack", "nack", "beat", "method"]))
    if kind in {"ack", "nack"}:
        many = draw(st.booleans())
        if kind == "ack":
            method = commands.Basic.Ack(tag, many)
        else:
            method = commands.Basic.Nack(tag, many, requeue=False)
        event = Confirm(channel, tag, many, kind == "ack")
        return channel, [frame.marshal(method, channel)], [event]
    if kind == "beat":
        return 0, [heartbeat.Heartbeat().marshal()], []
    if kind == "method":
        method = commands.Queue.DeclareOk("q", 3, 4)
        return channel, [frame.marshal(method, channel)], [Answer(channel, method)]
    frames, raw, payload = draw(contents(channel))
    if kind == "return":
        method = commands.Basic.Return(312, "NO_ROUTE", "", "")
        method.exchange, method.routing_key = exchange, key
        event = Returned(channel, exchange, key, "NO_ROUTE", raw, payload)
        first = methods.write(
            channel, commands.Basic.Return, reply_code=312, reply_text="NO_ROUTE",
            exchange=exchange, routing_key=key,
        )  # fmt: skip
        return channel, [first, *frames], [event]
    again = draw(st.booleans())
    if kind == "get":
        values = {"delivery_tag": tag, "redelivered": again, "exchange": exchange}
        first = methods.write(
            channel, commands.Basic.GetOk, **values, routing_key=key, message_count=5
        )
        message = Incoming(channel, "", tag, again, exchange, key, raw, payload)
        event = Answer(channel, methods.read(first), message)
        return channel, [first, *frames], [event]
    consumer = draw(SHORT)
    first = methods.write(
        channel, commands.Basic.Deliver, consumer_tag=consumer, delivery_tag=tag,
        redelivered=again, exchange=exchange, routing_key=key,
    )  # fmt: skip
    event = Incoming(channel, consumer, tag, again, exchange, key, raw, payload)
    return channel, [first, *frames], [event]


def interleaved(said, order):
    """The frames of several channels mixed, each channel's in order; a channel once."""
    queues = [list(frames) for _, frames, _ in said]
    mixed = []
    for choice in order:
        waiting = [queue for queue in queues if queue]
        if not waiting:
            break
        mixed.append(waiting[choice % len(waiting)].pop(0))
    return b"".join([*mixed, *(each for queue in queues for each in queue)])


@given(st.lists(sent_by_server(), max_size=6))
def test_what_a_server_says_is_understood(said):
    data = b"".join(each for _, frames, _ in said for each in frames)
    events = Decoder(frame_max=SMALL).feed(data)
    assert [seen(each) for each in events] == [seen(e) for _, _, es in said for e in es]


@given(
    st.lists(sent_by_server(), max_size=5, unique_by=lambda said: said[0]),
    st.lists(st.integers(0, 4), max_size=60),
)
def test_the_frames_of_several_channels_may_come_mixed(said, order):
    events = Decoder(frame_max=SMALL).feed(interleaved(said, order))
    expected = sorted(repr(seen(e)) for _, _, es in said for e in es)
    assert sorted(repr(seen(each)) for each in events) == expected


@given(st.lists(sent_by_server(), min_size=1, max_size=4), st.data())
def test_it_does_not_matter_how_reads_cut_the_bytes(said, data):
    whole = b"".join(each for _, frames, _ in said for each in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    decoder, events = Decoder(frame_max=SMALL), []
    for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        events += decoder.feed(whole[start:end])
    assert [seen(each) for each in events] == [seen(e) for _, _, es in said for e in es]


def deliveries(count=3, size=40):
    parts = []
    for tag in range(1, count + 1):
        parts += [
            frame.marshal(commands.Basic.Deliver("consumer", tag, False, "ex", "key"), 7),
            frame.marshal(header.ContentHeader(body_size=size), 7),
            frame.marshal(body.ContentBody(b"b" * size), 7),
        ]
    return b"".join(parts)


def test_a_stream_split_at_every_byte_gives_the_same_deliveries():
    whole = deliveries()
    expected = [seen(event) for event in Decoder().feed(whole)]
    assert len(expected) == 3
    for cut in range(len(whole) + 1):
        decoder = Decoder()
        events = decoder.feed(whole[:cut]) + decoder.feed(whole[cut:])
        assert [seen(event) for event in events] == expected
    decoder = Decoder()
    assert [seen(e) for byte in whole for e in decoder.feed(bytes((byte,)))] == expected


def test_a_stream_that_ends_early_gives_what_was_complete():
    whole = deliveries()
    ends = [len(whole) // 3 * part for part in (1, 2, 3)]
    for cut in range(len(whole)):
        assert len(Decoder().feed(whole[:cut])) == sum(end <= cut for end in ends)


@given(st.binary(max_size=200))
def test_garbage_is_a_clean_error_or_nothing_yet(data):
    feed_all(Decoder(frame_max=SMALL), data)


@given(st.binary(max_size=200), st.sampled_from([1, 2, 3, 8]), st.integers(0, 9))
def test_garbage_in_frames_is_a_clean_error(data, kind, channel):
    feed_all(Decoder(frame_max=SMALL), deliveries(1) + _frame(kind, channel, data))


@given(st.sampled_from(sorted(commands.INDEX_MAPPING)), st.binary(max_size=100))
def test_garbage_as_arguments_of_any_method_is_a_clean_error(index, data):
    feed_all(Decoder(frame_max=SMALL), _frame(1, 1, index.to_bytes(4, "big") + data))


@given(st.lists(sent_by_server(), min_size=1, max_size=4), st.data())
def test_flipped_bits_are_a_clean_error_or_other_events(said, data):
    whole = bytearray(b"".join(each for _, frames, _ in said for each in frames))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(whole) - 1))
        whole[place] ^= 1 << data.draw(st.integers(0, 7))
    feed_all(Decoder(frame_max=SMALL), bytes(whole))


@given(st.lists(sent_by_server(), min_size=2, max_size=5), st.randoms())
def test_frames_in_the_wrong_order_are_a_clean_error_or_other_events(said, random):
    frames = [each for _, parts, _ in said for each in parts]
    random.shuffle(frames)
    feed_all(Decoder(frame_max=SMALL), b"".join(frames))


def feed_all(decoder, data):
    """Feed it whole and byte by byte; whatever comes out can be looked at."""
    for pieces in ([data], [data[i : i + 7] for i in range(0, len(data), 7)]):
        try:
            for piece in pieces:
                for event in decoder.feed(piece):
                    if isinstance(event, Incoming):
                        event.properties  # noqa: B018 - read when looked at
        except FrameError:
            pass
        decoder = Decoder(frame_max=SMALL)


def test_a_frame_longer_than_agreed_is_refused_before_it_has_come():
    with pytest.raises(FrameError, match="longer than the 4088 agreed on"):
        Decoder(frame_max=SMALL).feed(struct.pack(">BHI", 3, 1, SMALL))


def test_a_body_longer_than_the_bound_is_refused_before_it_has_come():
    first = frame.marshal(commands.Basic.Deliver("c", 1, False, "", "k"), 1)
    with pytest.raises(FrameError, match="longer than 1000000"):
        Decoder(max_body=1_000_000).feed(
            first + frame.marshal(header.ContentHeader(body_size=2**63), 1)
        )


def test_a_body_longer_than_its_header_says_is_refused():
    data = b"".join([
        frame.marshal(commands.Basic.Deliver("c", 1, False, "", "k"), 1),
        frame.marshal(header.ContentHeader(body_size=3), 1),
        frame.marshal(body.ContentBody(b"four"), 1),
    ])  # fmt: skip
    with pytest.raises(FrameError, match="longer than its header says"):
        Decoder().feed(data)


def test_a_frame_without_its_end_is_refused():
    with pytest.raises(FrameError, match="does not end where it says"):
        Decoder().feed(deliveries(1)[:-1] + b"\x00")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "this is not AMQP: b'HTTP/1.1"),
        (b"AMQP\x00\x01\x00\x00", "another version of AMQP"),
        (b"-ERR unknown command\r\n", "this is not AMQP: b'-ERR"),
        (b"\x15\x03\x03\x00\x02\x02\x46", "this is not AMQP"),
    ],
)
def test_another_protocol_is_named(data, says):
    with pytest.raises(FrameError, match=says.replace("(", r"\(")):
        Decoder().feed(data)


def test_deeply_nested_headers_do_not_exhaust_the_stack():
    table = b""
    for _ in range(500):
        table = b"\x01kF" + len(table).to_bytes(4, "big") + table
    raw = struct.pack(">HI", 1 << 13, len(table)) + table
    first = frame.marshal(commands.Basic.Deliver("c", 1, False, "", "k"), 1)
    (event,) = Decoder().feed(first + _frame(2, 1, struct.pack(">HHQ", 60, 0, 0) + raw))
    with pytest.raises(FrameError, match="within one another"):
        event.properties  # noqa: B018 - read when looked at


# ------------------------------------------------------------------------------------- what we send


def read_all(data):
    frames = []
    while data:
        used, channel, value = frame.unmarshal(data)
        frames.append((channel, value))
        data = data[used:]
    return frames


@given(
    CHANNELS,
    st.lists(
        st.builds(
            Outgoing,
            SHORT,
            SHORT,
            st.fixed_dictionaries({"headers": HEADERS, "priority": st.integers(0, 9)}),
            BODIES,
            st.booleans(),
        ),
        max_size=4,
    ),
)
def test_pamqp_reads_what_is_published(channel, messages):
    data = Encoder(channel, SMALL).publish(messages)
    frames = read_all(data)
    for message in messages:
        number, method = frames.pop(0)
        assert (number, method.name, method.mandatory) == (
            channel,
            "Basic.Publish",
            message.mandatory,
        )
        assert (method.exchange, method.routing_key) == (message.exchange, message.routing_key)
        _, head = frames.pop(0)
        assert head.body_size == len(message.body)
        assert head.properties.headers == message.properties["headers"]
        assert head.properties.priority == message.properties["priority"]
        payload = b""
        while len(payload) < len(message.body):
            payload += frames.pop(0)[1].value
        assert payload == message.body
    assert not frames


def test_no_frame_is_longer_than_agreed():
    data = Encoder(1, SMALL).publish([Outgoing("", "q", {}, b"x" * 3 * SMALL)])
    sizes = [len(value.value) for _, value in read_all(data)[2:]]
    assert max(sizes) == SMALL - 8
    assert sum(sizes) == 3 * SMALL


def test_headers_that_exceed_a_frame_are_refused_here():
    with pytest.raises(EncodeError, match=r"headers cannot be encoded: .* RabbitMQ takes 4088"):
        Encoder(1, SMALL).publish([Outgoing("", "q", {"headers": {"x": "y" * SMALL}})])


@given(CHANNELS, TAGS, st.booleans(), st.booleans())
def test_acknowledgements_are_those_of_pamqp(channel, tag, multiple, requeue):
    encoder = Encoder(channel)
    ack = frame.marshal(commands.Basic.Ack(tag, multiple), channel)
    nack = frame.marshal(commands.Basic.Nack(tag, multiple, requeue), channel)
    assert encoder.ack(tag, multiple=multiple) == ack
    assert encoder.nack(tag, multiple=multiple, requeue=requeue) == nack


@pytest.mark.parametrize(
    ("method", "values"),
    [
        (commands.Connection.StartOk, {"client_properties": {"a": "b"}, "response": "\0u\0p"}),
        (commands.Connection.TuneOk, {"channel_max": 7, "frame_max": 4096, "heartbeat": 3}),
        (commands.Connection.Open, {"virtual_host": "v"}),
        (commands.Connection.CloseOk, {}),
        (commands.Channel.Open, {}),
        (commands.Queue.Declare, {"queue": "q", "durable": True, "auto_delete": True}),
        (commands.Queue.Declare, {"queue": "q", "arguments": {"x": "y"}, "passive": True}),
        (commands.Exchange.Declare, {"exchange": "e", "exchange_type": "topic", "internal": True}),
        (commands.Basic.Consume, {"queue": "q", "consumer_tag": "c", "no_ack": True}),
        (commands.Basic.Qos, {"prefetch_count": 65_535}),
        (commands.Queue.Bind, {"queue": "q", "exchange": "e", "routing_key": "k"}),
        (commands.Queue.Delete, {"queue": "q", "if_empty": True}),
        (commands.Confirm.Select, {}),
    ],
)
def test_methods_are_those_of_pamqp(method, values):
    # What pamqp fills in by itself is said, as ours leaves out nothing but zeroes.
    theirs = method(**values)
    ours = methods.write(9, method, **dict(theirs))
    assert ours == frame.marshal(theirs, 9)
    assert methods.read(ours).name == method.name


def test_names_that_pamqp_refuses_are_written():
    name = "gürtel{%}!"
    data = methods.write(1, commands.Queue.Declare, queue=name)
    assert methods.read(data).queue == name


def test_arguments_keep_their_types():
    arguments = {"x-max-priority": 9, "ratio": 0.1, "since": datetime(2026, 1, 1, tzinfo=UTC)}
    data = methods.write(1, commands.Queue.Declare, queue="q", arguments=arguments)
    assert methods.read(data).arguments == arguments


def test_an_argument_without_a_form_is_named():
    with pytest.raises(EncodeError, match=r"arguments\.x cannot be encoded"):
        methods.write(1, commands.Queue.Declare, queue="q", arguments={"x": object()})


def test_a_name_that_is_too_long_is_named():
    with pytest.raises(EncodeError, match=r"queue cannot be encoded: .* takes 255"):
        methods.write(1, commands.Queue.Declare, queue="q" * 256)


def test_what_repeats_is_remembered_within_a_bound():
    encoder, decoder = Encoder(1), Decoder()
    for number in range(2 * codec._MOST_KNOWN):
        encoder.publish([Outgoing("", f"q{number}")])
        decoder.feed(
            frame.marshal(commands.Basic.Deliver(f"c{number}", 1, False, "", f"q{number}"), 1)
            + frame.marshal(header.ContentHeader(body_size=0), 1)
        )
    assert len(encoder._methods) <= codec._MOST_KNOWN + 1
    assert len(decoder._routes) <= codec._MOST_KNOWN + 1
    assert len(decoder._texts) <= codec._MOST_KNOWN + 1
