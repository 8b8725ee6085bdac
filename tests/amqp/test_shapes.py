"""Reading by shapes is faster and says the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umbel.drivers.amqp import properties, shapes
from umbel.drivers.amqp.errors import FrameError
from umbel.drivers.amqp.messages import Incoming

TEXTS = st.text(max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | TEXTS | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "content_type": TEXTS,
        "headers": st.dictionaries(TEXTS, VALUES, max_size=5),
        "priority": st.integers(0, 9),
        "correlation_id": TEXTS,
        "reply_to": TEXTS,
        "message_id": TEXTS,
        "timestamp": st.integers(0, 2**63),
        "app_id": TEXTS,
    },
)


@pytest.fixture(autouse=True)
def no_shapes():
    """Each test begins and ends without any."""
    forget()
    yield
    forget()


def forget():
    shapes._shapes.clear()
    shapes._seen.clear()


def outcome(read, data):
    try:
        return read(data)
    except FrameError as error:
        return str(error)


def learn(data):
    for _ in range(shapes._OFTEN):
        shapes.read(data)


def message(number, **more):
    headers = {"lang": "py", "task": "mail.send", "id": f"{number:08d}", "none": None, "n": 3}
    headers |= {"limits": [None, None], "stamps": {"a": [1]}, "root": f"{number:08d}", **more}
    return {"content_type": "x", "headers": headers, "correlation_id": f"{number:08d}"}


@given(PROPERTIES)
def test_what_is_read_often_stays_the_same(given_properties):
    data = properties.write(given_properties)
    for _ in range(2 * shapes._OFTEN):
        assert shapes.read(data) == properties.read(data)


@given(PROPERTIES, st.data())
def test_other_bytes_of_the_same_length_are_read_as_without_shapes(given_properties, data):
    raw = properties.write(given_properties)
    learn(raw)
    for _ in range(5):
        changed = bytearray(raw)
        for _ in range(data.draw(st.integers(1, 3))):
            place = data.draw(st.integers(0, len(raw) - 1))
            changed[place] = data.draw(st.integers(0, 255))
        assert outcome(shapes.read, bytes(changed)) == outcome(properties.read, bytes(changed))


@given(st.lists(PROPERTIES, min_size=2, max_size=6), st.lists(st.integers(0, 5), max_size=80))
def test_messages_of_several_shapes_may_come_mixed(several, order):
    raws = [properties.write(each) for each in several]
    for choice in order:
        data = raws[choice % len(raws)]
        assert shapes.read(data) == properties.read(data)


def test_messages_that_look_alike_are_read_by_one_shape():
    learn(properties.write(message(0)))
    (shape,) = shapes._shapes[len(properties.write(message(0)))]
    for number in (1, 99_999_999):
        assert shape.read(properties.write(message(number))) == message(number)


def test_a_value_that_is_no_text_makes_another_shape():
    for n in (1, 2, 1, 2):
        learn(properties.write(message(0, n=n)))
    (known,) = shapes._shapes.values()
    assert len(known) == 2
    assert shapes.read(properties.write(message(5, n=7))) == message(5, n=7)


def test_what_was_read_belongs_to_the_reader():
    raw = properties.write(message(0))
    learn(raw)
    first, second = shapes.read(raw), shapes.read(raw)
    first["headers"]["limits"].append("mine")
    first["headers"]["stamps"]["a"].append("mine")
    first["headers"]["task"] = "other"
    del first["content_type"]
    assert second == shapes.read(raw) == message(0)


def test_a_header_that_stands_there_twice_is_read_as_without_shapes():
    table = b"\x01kS\x00\x00\x00\x01a" + b"\x01kI\x00\x00\x00\x01"
    raw = (1 << 13).to_bytes(2, "big") + len(table).to_bytes(4, "big") + table
    learn(raw)
    assert shapes.read(raw) == properties.read(raw) == {"headers": {"k": 1}}
    assert not shapes._shapes


def test_what_is_remembered_has_a_bound():
    for length in range(2 * shapes._MOST_LENGTHS):
        raw = properties.write({"headers": {"x": "y" * length}})
        learn(raw)
    assert len(shapes._shapes) <= shapes._MOST_LENGTHS + 1
    for n in range(100):
        learn(properties.write(message(0, n=n)))
    assert len(shapes._shapes[len(properties.write(message(0)))]) == shapes._PER_LENGTH


def test_a_message_reads_its_properties_when_asked():
    raw = properties.write(message(0))
    learn(raw)
    incoming = Incoming(1, "c", 1, False, "", "q", raw, b"")
    assert incoming.properties == message(0)
    assert incoming.properties is incoming.properties
    assert incoming.headers["task"] == "mail.send"
