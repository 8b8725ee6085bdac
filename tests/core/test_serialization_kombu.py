"""What kombu writes is read as kombu reads it, and what is written kombu reads.

The cases were recorded from the real kombu (record_serialization_cases.py).
"""

from __future__ import annotations

import datetime as dt
import decimal
import json
import uuid
from base64 import b64decode
from math import inf, nan
from pathlib import Path
from pprint import pformat

import msgpack
import pytest
import yaml

from umbel import serialization
from umbel.serialization import DecodeError, EncodeError, Registry

CASES = json.loads(Path(__file__).with_name("serialization_cases.json").read_text("utf-8"))
NAMESPACE = {
    "datetime": dt,
    "decimal": decimal,
    "uuid": uuid,
    "tz": dt.timezone,
    "nan": nan,
    "inf": inf,
}
ENGINES = pytest.mark.parametrize("registry", [Registry(), Registry(fast=False)], ids="fs")
# An empty body is no JSON; kombu hands it through undecoded.
REFUSED_HERE_ALONE = {b""}


def value_of(case):
    return eval(case["value"], dict(NAMESPACE))


def written(serializer):
    cases = [case for case in CASES["written"] if case["serializer"] == serializer]
    return pytest.mark.parametrize("case", cases, ids=[case["value"][:40] for case in cases])


def read(registry, case, body):
    return registry.loads(
        body, case["content_type"], case["content_encoding"], accept=[case["serializer"]]
    )


@ENGINES
@written("json")
def test_json_is_written_as_kombu_writes_it(registry, case):
    """The same document, whatever its blanks; and what kombu refuses is refused."""
    if case.get("refused"):
        with pytest.raises(EncodeError):
            registry.dumps(value_of(case), "json")
        return
    encoded = registry.dumps(value_of(case), "json")
    assert encoded[:2] == (case["content_type"], case["content_encoding"])
    assert repr(json.loads(encoded.body)) == repr(json.loads(b64decode(case["body"])))


@ENGINES
@written("json")
def test_json_of_kombu_is_read_as_kombu_reads_it(registry, case):
    """The same value of the same type."""
    if "back" in case:
        assert repr(read(registry, case, b64decode(case["body"]))) == case["back"]


@ENGINES
@pytest.mark.parametrize("case", CASES["read"], ids=lambda case: repr(b64decode(case["body"])))
def test_any_json_is_read_or_refused_as_by_kombu(registry, case):
    """Blanks, escapes, repeated keys, odd numbers and markers mean the same on both sides."""
    body = b64decode(case["body"])
    if case.get("refused") or body in REFUSED_HERE_ALONE:
        with pytest.raises(DecodeError):
            registry.loads(body, "application/json", "utf-8", accept=["json"])
    else:
        value = registry.loads(body, "application/json", "utf-8", accept=["json"])
        assert repr(value) == case["value"]


@written("yaml")
def test_yaml_goes_both_ways(case):
    """kombu reads with the plain safe loader; what that makes of our YAML, it makes of kombu's."""
    if case.get("refused"):
        return
    if case.get("unreadable"):
        with pytest.raises(EncodeError):
            serialization.dumps(value_of(case), "yaml")
        return
    encoded = serialization.dumps(value_of(case), "yaml")
    assert encoded[:2] == (case["content_type"], case["content_encoding"])
    back = pformat(eval(case["back"], dict(NAMESPACE)))  # kombu sorts the keys
    assert pformat(yaml.safe_load(encoded.body)) == back
    if "__type__" not in case["value"]:
        assert pformat(read(serialization, case, b64decode(case["body"]))) == back


@written("msgpack")
def test_msgpack_goes_both_ways(case):
    """kombu unpacks to the same value, and we unpack what kombu packed."""
    if case.get("refused"):
        return
    if case["value"] == "{(1, 2): 3}":
        with pytest.raises(EncodeError):
            serialization.dumps(value_of(case), "msgpack")
        return
    encoded = serialization.dumps(value_of(case), "msgpack")
    assert encoded[:2] == (case["content_type"], case["content_encoding"])
    assert encoded.body == b64decode(case["body"])
    if "back" in case:
        assert repr(msgpack.unpackb(encoded.body, raw=False)) == case["back"]
    if "back" in case and "__type__" not in case["value"]:
        assert repr(read(serialization, case, encoded.body)) == case["back"]


@pytest.mark.parametrize("case", CASES["compressed"], ids=lambda case: case["name"])
def test_compression_goes_both_ways(case):
    """Names and content types are kombu's, and so is what is in the body."""
    plain = b64decode(case["plain"])
    small, content_type = serialization.compress(plain, case["name"])
    assert content_type == case["content_type"]
    for body in (small, b64decode(case["body"])):
        assert serialization.decompress(body, content_type, limit=10_000) == plain


def test_compressed_results_of_celery_are_read():
    """A stored result that Celery compressed opens, and ours carries the same mark."""
    stored = b64decode(CASES["result"])
    plain = serialization.decompress_result(stored)
    assert plain == b64decode(CASES["compressed"][0]["plain"])
    assert serialization.compress_result(plain, "gzip") == stored


def test_raw_bodies_are_labelled_as_by_kombu():
    """Bytes are binary, text is UTF-8; both are application/data."""
    assert list(serialization.dumps(b"\xff", "raw")[:2]) == CASES["raw"]["bytes"]
    assert list(serialization.dumps("é", "raw")[:2]) == CASES["raw"]["text"]
