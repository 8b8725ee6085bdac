"""Messages of other makes"""

from __future__ import annotations

import base64
import datetime as dt
import json
import time
from itertools import count

import pytest
from sides import ORACLE

_numbers = count(1)
JSON = {"content_type": "application/json", "content_encoding": "utf-8"}


def old(lane, name, *args, **fields):
    """A message in protocol 1, and its id."""
    task_id = f"{lane.key}-old-{next(_numbers)}"
    body = {"task": f"parcels.{name}", "id": task_id, "args": args, "kwargs": {}, **fields}
    lane.sender.desk.raw(
        lane.worker.queue, json.dumps(body).encode(), {**JSON, "correlation_id": task_id}
    )
    return task_id


def post(lane, body, *, task="parcels.echo", task_id=None, content=JSON, **headers):
    """A message in protocol 2 with whatever is wrong about it, and its id."""
    task_id = task_id or f"{lane.key}-post-{next(_numbers)}"
    headers = {"task": task, "id": task_id, "lang": "py", **headers}
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    properties = {**content, "headers": headers, "correlation_id": task_id}
    lane.sender.desk.raw(lane.worker.queue, raw, properties)
    return task_id


def dead_letter(lane, fits):
    """The dead letter that fits, once there is one."""
    if ORACLE:
        pytest.fail("Celery keeps no dead letters")
    end = time.monotonic() + 40
    while True:
        letters = lane.worker.desk.dead(lane.worker.queue)
        found = [letter for letter in letters if fits(letter)]
        if found or time.monotonic() > end:
            (letter,) = found
            return letter


def packed_in(letter, body):
    """Whether the raw bytes are this body, or an envelope around it."""
    raw = letter["raw"] or b""
    return raw == body or base64.b64encode(body) in raw


ONE_WAY = ["to_umbel"]


@pytest.mark.case("protocol 1", flows=ONE_WAY)
def test_protocol_1_is_understood(lane):
    task_id = old(lane, "facts", 1, kwargs={"a": "b"}, retries=0, utc=True)
    found = lane.end(task_id)["value"]
    assert (found["id"], found["args"], found["kwargs"]) == (task_id, [1], {"a": "b"})
    assert (found["task"], found["headers"]) == ("parcels.facts", None)


@pytest.mark.case("protocol 1 with only the name of the task and an id", flows=ONE_WAY)
def test_protocol_1_needs_no_more_than_a_name(lane):
    body = {"task": "parcels.describe", "id": f"{lane.key}-bare"}
    lane.sender.desk.raw(lane.worker.queue, json.dumps(body).encode(), JSON)
    assert lane.end(body["id"])["value"] == repr(((), {}))


@pytest.mark.case("protocol 1: retries, limits and group", flows=ONE_WAY)
def test_fields_of_protocol_1_become_headers(lane):
    found = lane.end(old(lane, "facts", retries=2, timelimit=[30, 20], taskset="the-group"))[
        "value"
    ]
    assert (found["retries"], found["timelimit"], found["group"]) == (2, [30, 20], "the-group")


@pytest.mark.case("protocol 1: eta in UTC without zone", flows=ONE_WAY)
def test_protocol_1_eta_is_waited_for(lane):
    eta = dt.datetime.now(dt.UTC).replace(tzinfo=None) + dt.timedelta(seconds=0.5)
    found = lane.end(old(lane, "facts", eta=eta.isoformat(), utc=True))["value"]
    assert found["now"] >= eta.replace(tzinfo=dt.UTC).timestamp()


@pytest.mark.case("protocol 1: expired", flows=ONE_WAY)
def test_protocol_1_expires(lane):
    past = dt.datetime.now(dt.UTC).replace(tzinfo=None) - dt.timedelta(seconds=5)
    ended = lane.end(old(lane, "facts", expires=past.isoformat(), utc=True))
    assert ended["state"] == "REVOKED"


@pytest.mark.case("protocol 1: callbacks and error callbacks", flows=ONE_WAY)
def test_protocol_1_callbacks_follow(lane):
    callback = {
        "task": "parcels.sign",
        "args": [],
        "kwargs": {"key": lane.key},
        "options": {"queue": lane.sender.queue},
        "subtask_type": None,
        "immutable": False,
    }
    old(lane, "add", 2, 3, callbacks=[callback])
    failing = old(lane, "fail", "builtin", errbacks=[callback])
    lines = lane.wait_lines(2)
    assert sorted(str(line["args"]) for line in lines) == sorted(["[5]", f"['{failing}']"])


@pytest.mark.case("protocol 1: a retry goes on in protocol 2", flows=ONE_WAY)
def test_protocol_1_retries(lane):
    ended = lane.end(old(lane, "again", 2))
    assert (ended["state"], ended["value"][0]) == ("SUCCESS", 2)


@pytest.mark.case("protocol 1 sent by Celery itself", flows=ONE_WAY)
def test_protocol_1_of_the_real_celery(lane):
    task_id = lane.sender.desk.send_old(
        "parcels.facts", [1], {"a": 2}, {"queue": lane.worker.queue, "countdown": 0.2}
    )
    found = lane.end(task_id)["value"]
    assert (found["id"], found["args"], found["kwargs"]) == (task_id, [1], {"a": 2})


@pytest.mark.case("a message with the least of headers", flows=ONE_WAY)
def test_missing_headers_have_defaults(lane):
    task_id = post(lane, [[5], {}, None])
    assert lane.end(task_id)["value"] == 5


@pytest.mark.case("the headers of protocol 2 with the body of protocol 1", flows=ONE_WAY)
def test_mixed_protocols_are_understood(lane):
    body = {"args": [2], "kwargs": {"y": 3}, "callbacks": None}
    assert lane.end(post(lane, body, task="parcels.add"))["value"] == 5


@pytest.mark.case("headers of later versions are let through", flows=ONE_WAY)
def test_unknown_headers_do_no_harm(lane):
    task_id = post(lane, [[], {}, {"novelty": 1}], task="parcels.facts", novelty={"a": [1]})
    found = lane.end(task_id)["value"]
    assert found["headers"] == {"novelty": {"a": [1]}}


BROKEN = {
    "an unknown task": {"body": [[], {}, {}], "task": "parcels.nobody", "reason": "unknown-task"},
    "a body that is no JSON": {"body": b"{no json", "reason": "undecodable"},
    "a body that is no list of three": {"body": {"no": "list"}, "reason": "undecodable"},
    "arguments that are no list": {"body": ["text", {}, {}], "reason": "undecodable"},
    "keyword arguments that are no mapping": {"body": [[], [], {}], "reason": "undecodable"},
    "a body that is not UTF-8": {"body": b"\xff\xfe\x00", "reason": "undecodable"},
    "a content type nobody has heard of": {
        "body": b"<task/>",
        "content": {"content_type": "application/xml", "content_encoding": "utf-8"},
        "reason": "refused-content",
    },
    "a compression nobody has heard of": {
        "body": [[], {}, {}],
        "headers": {"compression": "application/x-rot13"},
        "reason": "undecodable",
    },
    "a body that is not compressed as it says": {
        "body": b"plain",
        "headers": {"compression": "application/x-gzip"},
        "reason": "undecodable",
    },
}


@pytest.mark.case("{kind} is a dead letter with its bytes, and a FAILURE", flows=ONE_WAY)
@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_message_is_buried(lane, kind):
    broken = dict(BROKEN[kind])
    reason, headers = broken.pop("reason"), broken.pop("headers", {})
    task_id = post(lane, **broken, **headers)
    letter = dead_letter(lane, lambda letter: letter["id"] == task_id)
    assert letter["reason"] == reason
    body = broken["body"]
    assert letter["body"] == (body if isinstance(body, bytes) else json.dumps(body).encode())
    assert lane.end(task_id)["state"] == "FAILURE"
    lane.settled()


ODD = {
    "retries": "many",
    "timelimit": "short",
    "group_index": "first",
    "stamped_headers": 7,
    "parent_id": ["no", "text"],
}


@pytest.mark.case("a nonsensical {header} stops no worker", flows=ONE_WAY)
@pytest.mark.parametrize("header", ODD)
def test_nonsense_in_a_header_stops_nobody(lane, header):
    task_id = post(lane, [[5], {}, {}], **{header: ODD[header]})
    lane.settled()
    ended = lane.end(task_id)
    assert ended["state"] in {"SUCCESS", "FAILURE"}


@pytest.mark.case("{header} that is no moment makes a dead letter", flows=ONE_WAY)
@pytest.mark.parametrize("header", ["eta", "expires"])
def test_a_moment_that_is_none_is_not_passed_over(lane, header):
    body = [[header, lane.key], {}, {}]
    post(lane, body, **{header: "tomorrow"})
    raw = json.dumps(body).encode()
    letter = dead_letter(lane, lambda letter: packed_in(letter, raw))
    assert letter["reason"] == "malformed"
    lane.settled()


@pytest.mark.case("a message without id is a dead letter", flows=ONE_WAY)
def test_a_message_without_id_is_buried(lane):
    body = json.dumps([["no id", lane.key], {}, {}]).encode()
    headers = {"task": "parcels.echo"}
    lane.sender.desk.raw(lane.worker.queue, body, {**JSON, "headers": headers})
    letter = dead_letter(lane, lambda letter: packed_in(letter, body))
    assert letter["reason"] == "malformed"


@pytest.mark.case("a message that is neither protocol is a dead letter", flows=ONE_WAY)
@pytest.mark.parametrize("body", [b"[1, 2, 3]", b'{"no": "task"}', b"", b"\x80\x04N.", b"null"])
def test_a_message_of_neither_protocol_is_buried(lane, body):
    marked = body + b" " * (next(_numbers) + 1)
    lane.sender.desk.raw(lane.worker.queue, marked, JSON)
    letter = dead_letter(lane, lambda letter: marked in (letter["raw"], letter["body"]))
    assert letter["reason"] in {"malformed", "undecodable"}
    lane.settled()


ENVELOPES = {
    "text": b"no envelope at all %d",
    "another JSON value": b'[1, "list", %d]',
    "no body": b'{"headers": {"task": "parcels.echo", "id": "x"}, "number": %d}',
    "a body that is not base64": (
        b'{"body": "\xc3\xa4%d", "headers": {"task": "parcels.echo", "id": "x"}, "properties":'
        b' {"body_encoding": "base64"}, "content-type": "application/json"}'
    ),
    "headers that are a list": b'{"body": "W10=", "headers": [%d], "properties": {}}',
    "bytes": b"\x00\xff\xfe%d",
    "depth": b'{"deep": ' + b"[" * 100_000 + b"%d",
}


@pytest.mark.case(
    "Redis: an envelope of {kind} is a dead letter with its bytes",
    flows=ONE_WAY,
    brokers=["redis"],
)
@pytest.mark.parametrize("kind", ENVELOPES)
def test_a_broken_envelope_is_buried(lane, kind):
    raw = ENVELOPES[kind] % next(_numbers)
    lane.sender.desk.push(lane.worker.queue, raw)
    letter = dead_letter(lane, lambda letter: letter["raw"] == raw)
    assert letter["reason"] == "malformed"
    lane.settled()


@pytest.mark.case(
    "Redis: an envelope with a body that is not base64 encoded", flows=ONE_WAY, brokers=["redis"]
)
def test_an_envelope_with_a_plain_body_is_read(lane):
    task_id = f"{lane.key}-plain"
    envelope = {
        "body": json.dumps([[5], {}, {}]),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"task": "parcels.echo", "id": task_id},
        "properties": {"delivery_tag": task_id},
    }
    lane.sender.desk.push(lane.worker.queue, json.dumps(envelope).encode())
    assert lane.end(task_id)["value"] == 5


@pytest.mark.case("Redis: an envelope with the least of keys", flows=ONE_WAY, brokers=["redis"])
def test_an_envelope_with_the_least_of_keys_is_read(lane):
    task_id = f"{lane.key}-least"
    body = base64.b64encode(json.dumps([[5], {}, {}]).encode()).decode()
    envelope = {
        "body": body,
        "headers": {"task": "parcels.echo", "id": task_id},
        "properties": {"body_encoding": "base64"},
        "content-type": "application/json",
        "content-encoding": "utf-8",
    }
    lane.sender.desk.push(lane.worker.queue, json.dumps(envelope).encode())
    assert lane.end(task_id)["value"] == 5
