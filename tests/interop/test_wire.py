"""What is on the wire"""

from __future__ import annotations

import json
import re

import pytest

ONE = ["to_celery"]
OWN = ("id", "root_id", "correlation_id", "reply_to", "delivery_tag", "origin")


def both(lane, name, *args, **options):
    """The same call sent by both sides, as it is on the wire."""
    found = {}
    for side in lane.fleet.sides.values():
        queue = lane.fresh_queue()
        lane.fleet.sides["celery"].desk.declare(queue)
        side.desk.send(f"parcels.{name}", args, {}, {"queue": queue, **options})
        (found[side.name],) = lane.fleet.sides["celery"].desk.take(queue, 1)
    return found["umbel"], found["celery"]


def known(values):
    """Which keys have a value, and the values that are the same for every message."""
    return {key: "set" if key in OWN else value for key, value in values.items()}


CALLS = {
    "no options": {},
    "limits": {"time_limit": 30, "soft_time_limit": 20},
    "a shadow": {"shadow": "other"},
    "headers": {"headers": {"tenant": "acme"}},
    "yaml": {"serializer": "yaml"},
    "msgpack": {"serializer": "msgpack"},
    "pickle": {"serializer": "pickle"},
    "gzip": {"compression": "gzip"},
    "a group": {"group_id": "g", "group_index": 1},
    "an ignored result": {"ignore_result": True},
    "a transient message": {"delivery_mode": 1},
    "a callback": {"link": [("parcels.note", ["x"], {}, {"queue": "q"}, False)]},
    "a stamp": {"stamped_headers": ["tenant"], "tenant": "acme"},
}


@pytest.mark.case("headers of a call with {call}: the same names and values", flows=ONE)
@pytest.mark.parametrize("call", CALLS)
def test_headers_are_those_of_celery(lane, call):
    ours, theirs = both(lane, "add", 2, 3, **CALLS[call])
    assert known(ours["headers"]) == known(theirs["headers"])
    if lane.broker == "redis":  # RabbitMQ gives headers in the order they were sent, too
        assert list(ours["headers"]) == list(theirs["headers"])


@pytest.mark.case("properties and content type of a call with {call}", flows=ONE)
@pytest.mark.parametrize("call", CALLS)
def test_properties_are_those_of_celery(lane, call):
    ours, theirs = both(lane, "add", 2, 3, **CALLS[call])
    for message in (ours, theirs):
        message["properties"].pop("application_headers", None)
        message["properties"].setdefault("priority", 0)
        info = message["properties"].pop("delivery_info", {})
        assert info.get("routing_key", "").startswith(lane.fleet.name) or not info
    assert known(ours["properties"]) == known(theirs["properties"])
    for key in ("content_type", "content_encoding"):
        assert ours[key] == theirs[key]


@pytest.mark.case("body of a call with {call}", flows=ONE)
@pytest.mark.parametrize("call", ["no options", "a callback"])
def test_bodies_are_those_of_celery(lane, call):
    ours, theirs = both(lane, "add", 2, "ä", **CALLS[call])
    assert json.loads(ours["body"]) == json.loads(theirs["body"])


@pytest.mark.case("eta and expires have the same form", flows=ONE)
def test_moments_have_the_form_of_celery(lane):
    ours, theirs = both(lane, "add", 2, 3, countdown=0, expires=3600)
    for name in ("expires", "eta"):
        shapes = [re.sub(r"\d", "0", str(each["headers"][name])) for each in (ours, theirs)]
        assert shapes[0] == shapes[1]
    spans = [int(each["properties"]["expiration"]) for each in (ours, theirs)]
    assert abs(spans[0] - spans[1]) < 60_000


@pytest.mark.case("a stored {state} has the keys of Celery, in their order", brokers=["redis"])
@pytest.mark.parametrize("state", ["SUCCESS", "FAILURE"])
def test_stored_results_have_the_keys_of_celery(lane, state):
    metas = {}
    for side in lane.fleet.sides.values():
        name, args = ("add", [2, 3]) if state == "SUCCESS" else ("fail", ["builtin"])
        task_id = side.desk.send(f"parcels.{name}", args, {}, {"queue": side.queue})
        assert lane.end(task_id)["state"] == state
        metas[side.name] = json.loads(lane.sender.desk.stored(task_id))
    ours, theirs = metas["umbel"], metas["celery"]
    assert list(ours) == list(theirs)
    for changing in ("date_done", "task_id", "worker", "queue", "traceback"):
        assert type(ours.pop(changing)) is type(theirs.pop(changing))
    assert ours == theirs


@pytest.mark.case("a stored result expires", brokers=["redis"])
def test_stored_results_expire(lane):
    task_id = lane.send("echo", 1)
    lane.end(task_id)
    assert 0 < lane.sender.desk.time_to_live(task_id) <= 600
