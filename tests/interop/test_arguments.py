"""Arguments and results"""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal

import pytest

PLAIN = {"text": "ä€𝄞 \x00", "number": 2**53, "float": 0.1, "none": None, "list": [1, [True]]}
ZONE = dt.timezone(dt.timedelta(hours=5, minutes=30))
TYPES = {
    "datetime": dt.datetime(2030, 1, 31, 12, 30, 1, 5, tzinfo=ZONE),
    "naive datetime": dt.datetime(2030, 1, 31, 12, 30),  # noqa: DTZ001 - that is the case
    "date": dt.date(2030, 1, 31),
    "time": dt.time(12, 30, 1),
    "Decimal": Decimal("1.10"),
    "UUID": uuid.UUID("12345678-1234-5678-1234-567812345678"),
    "bytes that are text": b"text",
    "bytes that are none": b"\xff\x00",
}


@pytest.mark.case("arguments and keyword arguments in {serializer}")
@pytest.mark.parametrize("serializer", ["json", "yaml", "msgpack", "pickle"])
def test_plain_arguments_arrive_as_they_were_sent(lane, serializer):
    sent = {"value": PLAIN, "other": [serializer]}
    found = lane.run("facts", PLAIN, 2, kwargs=sent, serializer=serializer)
    assert (list(found["args"]), found["kwargs"]) == ([PLAIN, 2], sent)


@pytest.mark.case("a body compressed with {method}")
@pytest.mark.parametrize("method", ["gzip", "bzip2", "lzma", "brotli", "zstd"])
def test_compressed_bodies_are_read(lane, method):
    value = "long " * 1000
    assert lane.run("echo", value, compression=method) == value


@pytest.mark.case("msgpack compressed with zstd, binary in binary")
def test_binary_formats_combine(lane):
    value = {"long": "long " * 1000}
    assert lane.run("echo", value, compression="zstd", serializer="msgpack") == value


@pytest.mark.case("{kind} as an argument in JSON")
@pytest.mark.parametrize("kind", TYPES)
def test_json_keeps_types_of_arguments(lane, kind):
    value = TYPES[kind]
    assert lane.run("describe", value, kwargs={"other": [value]}) == repr(
        ((value,), {"other": [value]})
    )


@pytest.mark.case("{kind} as a result in JSON")
@pytest.mark.parametrize("kind", TYPES)
def test_json_keeps_types_of_results(lane, kind):
    value = TYPES[kind]
    assert lane.run("echo", value) == value


@pytest.mark.case("sets and tuples in pickle")
def test_pickle_keeps_every_type(lane):
    value = ({1, 2}, (3, (4,)), frozenset(["x"]), 2j)
    # No result is wanted: Celery could not store the arguments with it.
    lane.send("show", lane.key, value, serializer="pickle")
    assert lane.wait_lines(1)[0]["args"] == repr((value,))


@pytest.mark.case("tuples become lists in JSON")
def test_tuples_become_lists_in_json(lane):
    assert lane.run("describe", (1, (2,))) == repr((([1, [2]],), {}))


@pytest.mark.case("a body of one million bytes, and a result of as many")
def test_large_bodies_and_results(lane):
    value = "x" * 1_000_000
    assert lane.run("echo", value) == value


@pytest.mark.case("text with control characters and separators")
def test_odd_text_survives(lane):
    value = "\x06\x16 \x7f \u2028"
    assert lane.run("echo", value) == value


@pytest.mark.case("arguments that do not fit are a TypeError of the task")
def test_wrong_arguments_fail_where_the_task_runs(lane):
    ended = lane.end(lane.send("add", 1, 2, 3))
    assert (ended["state"], ended["error"]["type"]) == ("FAILURE", "TypeError")
