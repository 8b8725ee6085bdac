"""What is acknowledged with which frames, and which published messages are answered for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from umbel.drivers.amqp import properties
from umbel.drivers.amqp.acks import Acks
from umbel.drivers.amqp.confirms import Confirms
from umbel.drivers.amqp.messages import Confirm, Outgoing, Returned


def applied(outstanding, floor, singles):
    """What a server takes as settled; it refuses numbers that it does not wait for."""
    settled = {tag for tag in outstanding if tag <= floor}
    assert not floor or floor in outstanding
    for tag in singles:
        assert tag in outstanding - settled
        settled.add(tag)
    return settled


@given(st.lists(st.sets(st.integers(1, 30)), max_size=12))
def test_exactly_what_is_asked_for_is_settled(calls):
    outstanding, acks = set(range(1, 31)), Acks()
    for tags in calls:
        floor, singles = acks.settle(tags)
        assert applied(outstanding, floor, singles) == tags & outstanding
        outstanding -= tags


@given(
    st.lists(st.tuples(st.booleans(), st.sets(st.integers(1, 20)), st.integers(1, 20)), max_size=9)
)
def test_runs_settled_by_others_are_known(calls):
    outstanding, acks = set(range(1, 21)), Acks()
    for up_to, tags, tag in calls:
        if up_to:
            acks.settle_up_to(tag)
            outstanding -= set(range(1, tag + 1))
        else:
            floor, singles = acks.settle(tags)
            assert applied(outstanding, floor, singles) == tags & outstanding
            outstanding -= tags


def test_a_whole_run_takes_one_frame():
    acks = Acks()
    assert acks.settle(range(1, 501)) == (500, [])
    assert acks.settle(range(501, 1001)) == (1000, [])


def test_behind_an_unsettled_delivery_each_takes_a_frame_of_its_own():
    acks = Acks()
    assert acks.settle([2, 3, 4]) == (0, [2, 3, 4])
    assert acks.settle([1, 5]) == (5, [])


def test_what_is_settled_already_is_left_out():
    acks = Acks()
    acks.settle([1, 2, 4])
    assert acks.settle([1, 2, 4]) == (0, [])


def messages(count, **kwargs):
    return [Outgoing("", f"q{n}", {"message_id": str(n)}, b"same", **kwargs) for n in range(count)]


def test_messages_are_waited_for_until_they_are_confirmed():
    confirms, sent = Confirms(), messages(4)
    assert confirms.add(sent[:2]) == 2
    assert confirms.add(sent[2:]) == 4
    confirms.settle(Confirm(1, 3, multiple=False, ok=True))
    assert confirms.waiting() == [sent[0], sent[1], sent[3]]
    assert not confirms.is_settled(1)
    confirms.settle(Confirm(1, 2, multiple=True, ok=True))
    assert confirms.is_settled(3)
    assert not confirms.is_settled(4)
    confirms.settle(Confirm(1, 4, multiple=True, ok=True))
    assert confirms.is_settled(4)
    assert confirms.take_failures() == []


@given(st.lists(st.tuples(st.integers(1, 20), st.booleans(), st.booleans()), max_size=25))
def test_the_ledger_agrees_with_a_plain_list(answers):
    confirms, waiting, failed = Confirms(), {n: f"q{n - 1}" for n in range(1, 21)}, []
    confirms.add(messages(20))
    for tag, multiple, ok in answers:
        confirms.settle(Confirm(1, tag, multiple, ok))
        ended = [n for n in waiting if n == tag or (multiple and n < tag)]
        failed += [] if ok else [waiting[n] for n in ended]
        waiting = {n: key for n, key in waiting.items() if n not in ended}
    assert [message.routing_key for message in confirms.waiting()] == list(waiting.values())
    assert [each.message.routing_key for each in confirms.take_failures()] == failed


def test_what_could_not_be_written_is_withdrawn():
    confirms, sent = Confirms(), messages(4)
    confirms.add(sent[:2])
    confirms.add(sent[2:])
    confirms.withdraw(2)
    assert confirms.waiting() == sent[:2]
    assert confirms.add(sent[3:]) == 3


def came_back(message, **kwargs):
    raw = properties.write(kwargs.get("properties", message.properties))
    return Returned(1, message.exchange, message.routing_key, "NO_ROUTE", raw, message.body)


def test_refused_and_returned_messages_are_told_apart_and_told_once():
    confirms, sent = Confirms(), messages(3, mandatory=True)
    confirms.add(sent)
    confirms.returned(came_back(sent[1]))
    confirms.settle(Confirm(1, 2, multiple=True, ok=True))
    confirms.settle(Confirm(1, 3, multiple=False, ok=False))
    first = confirms.take_failures(2)
    assert [(each.sequence, each.returned, each.message) for each in first] == [(2, True, sent[1])]
    assert [(each.sequence, each.returned) for each in confirms.take_failures()] == [(3, False)]
    assert confirms.take_failures() == []


def test_equal_messages_that_come_back_are_counted_one_by_one():
    confirms = Confirms()
    sent = [Outgoing("", "nowhere", {}, b"same", mandatory=True) for _ in range(3)]
    confirms.add(sent)
    for message in sent:
        confirms.returned(came_back(message))
    confirms.settle(Confirm(1, 3, multiple=True, ok=True))
    assert [each.sequence for each in confirms.take_failures()] == [1, 2, 3]


def test_a_message_is_known_by_its_properties_where_the_rest_is_equal():
    confirms = Confirms()
    sent = [Outgoing("", "q", {"message_id": n}, b"same", mandatory=True) for n in "ab"]
    confirms.add(sent)
    confirms.returned(came_back(sent[1]))
    confirms.settle(Confirm(1, 2, multiple=True, ok=True))
    assert [each.message for each in confirms.take_failures()] == [sent[1]]


def test_a_message_that_comes_back_with_other_properties_is_known_by_the_rest():
    confirms = Confirms()
    (sent,) = [Outgoing("", "q", {"headers": {"BCC": ["x"]}}, b"1", mandatory=True)]
    confirms.add([sent])
    confirms.returned(came_back(sent, properties={}))
    confirms.settle(Confirm(1, 1, multiple=False, ok=True))
    assert [each.message for each in confirms.take_failures()] == [sent]
