"""Publishing: what goes in comes out, all of it, once, unchanged."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from posts import QUEUE, ids, post, posts
from umbel.exceptions import EncodeError
from umbel.message import Message

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.text(max_size=10)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
names = st.text(st.characters(codec="utf-8"), max_size=20)
messages = st.builds(
    Message,
    id=names.filter(bool),
    headers=st.dictionaries(st.text(max_size=10), plain, max_size=5),
    body=st.binary(max_size=200),
    content_type=names,
    content_encoding=names,
    properties=st.dictionaries(st.text(max_size=10), plain, max_size=3),
    queue=st.just(QUEUE),
    exchange=names,
    routing_key=names,
    priority=st.none() | st.integers(0, 9),
    due_at=st.none() | st.floats(0, 1e9),
    expires_at=st.none() | st.floats(0, 4e9),
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(message=messages)
def test_a_message_arrives_as_it_was_published(worker, message):
    """Every field comes back with the same value and type, whatever plain data it holds."""
    if worker.broker.capabilities.exchanges:
        message.exchange = ""  # it would lead somewhere
    worker.broker.publish([message])
    delivery = worker.take_one()
    assert repr(delivery.message) == repr(message)
    assert delivery.queue == QUEUE
    worker.drain()
    worker.broker.retire("worker")
    worker.broker.enroll("worker", 1e9)
    worker.drain()


@pytest.mark.parametrize("body", [b"", b"\x00\xff", "ünïcode".encode(), b"x" * 3_000_000])
def test_any_bytes_can_be_a_body(worker, body):
    """A body is bytes, short or long."""
    worker.broker.publish([post(body=body)])
    assert worker.take_one().message.body == body


def test_lone_surrogates_in_headers_survive(worker):
    """Text that is no valid Unicode, such as a file name, is carried all the same."""
    worker.broker.publish([post(headers={"file": "a\udcff"})])
    assert worker.take_one().message.headers == {"file": "a\udcff"}


def test_publishing_nothing_does_nothing(worker):
    """An empty batch is no error."""
    worker.broker.publish([])
    assert worker.take() == []


@pytest.mark.parametrize("number", [1, 2, 37, 1_000])
def test_every_message_of_a_batch_is_delivered_once_and_none_is_invented(worker, number):
    """Batches of any size arrive complete and in order."""
    batch = posts(number)
    worker.broker.publish(batch)
    assert worker.drain() == ids(batch)


@pytest.mark.parametrize("header", [object(), {1, 2}, b"bytes", {"deep": [object()]}])
def test_a_batch_with_a_message_that_cannot_be_encoded_is_refused_whole(worker, header):
    """Nothing of it is stored, and the error says which message."""
    with pytest.raises(EncodeError, match="bad-one"):
        worker.broker.publish([post(), post("bad-one", headers={"x": header}), post()])
    assert worker.take() == []


def test_a_second_copy_of_a_message_is_delivered_as_such(worker):
    """The broker does not judge by ids."""
    worker.broker.publish([post("twin"), post("twin")])
    assert worker.drain() == ["twin", "twin"]


def test_what_the_publisher_does_to_its_message_later_changes_nothing(worker):
    """A published message is a copy."""
    headers = {"task": "mail.send", "to": ["a"]}
    worker.broker.publish([post(headers=headers)])
    headers["to"].append("b")
    assert worker.take_one().message.headers["to"] == ["a"]


def test_queues_are_created_by_the_first_message(worker):
    """No queue has to be declared."""
    worker.broker.publish([post("a", queue="never seen"), post("b", queue="ünseen")])
    assert worker.drain("never seen") == ["a"]
    assert worker.drain("ünseen") == ["b"]
