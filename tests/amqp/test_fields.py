"""Tables and properties: the same bytes and values as `pamqp`, and nothing but a clean error."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import decode, encode, header
from pamqp.commands import Basic

from umbel.drivers.amqp import fields, properties
from umbel.drivers.amqp.errors import FrameError
from umbel.exceptions import EncodeError, ImproperlyConfigured

TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)
KEYS = st.text(st.characters(codec="utf-8"), max_size=30)
MOMENTS = st.datetimes(
    min_value=datetime(1970, 1, 1),  # noqa: DTZ001 - the zone is given beside it
    max_value=datetime(2105, 1, 1),  # noqa: DTZ001 - as above
    timezones=st.just(UTC),
).map(lambda moment: moment.replace(microsecond=0))
DECIMALS = st.builds(
    lambda number, scale: Decimal(number).scaleb(-scale),
    st.integers(0, 2**31 - 1),
    st.integers(0, 255),
)
PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    TEXTS,
    st.binary(max_size=40).map(bytearray),
    MOMENTS,
    DECIMALS,
)
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=15,
)
TABLES = st.dictionaries(KEYS, VALUES, max_size=6)
PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "content_type": TEXTS,
        "content_encoding": TEXTS,
        "headers": TABLES,
        "delivery_mode": st.sampled_from([1, 2]),
        "priority": st.integers(0, 255),
        "correlation_id": TEXTS,
        "reply_to": TEXTS,
        "expiration": TEXTS,
        "message_id": TEXTS,
        "timestamp": MOMENTS,
        "type": TEXTS,
        "user_id": TEXTS,
        "app_id": TEXTS,
    },
)


def read(data):
    return fields.read_table(data, 0, len(data))


@given(TABLES)
def test_pamqp_reads_the_tables_that_are_written(table):
    assert decode.field_table(fields.table(table))[1] == table


@given(TABLES)
def test_the_tables_that_pamqp_writes_are_read(table):
    # pamqp writes floats with 32 bits.
    table = _map_floats(table, lambda value: None)
    data = encode.field_table(table)
    assert read(data) == (table, len(data))


@given(TABLES)
def test_a_table_comes_back_as_it_was_written(table):
    data = fields.table(table)
    assert read(data) == (table, len(data))


@given(TABLES, st.binary(max_size=8), st.binary(max_size=8))
def test_a_table_is_read_where_it_stands(table, before, behind):
    data = before + fields.table(table) + behind
    end = len(data) - len(behind)
    assert fields.read_table(data, len(before), len(data)) == (table, end)


def _map_floats(value, change):
    match value:
        case float():
            return change(value)
        case dict():
            return {key: _map_floats(inner, change) for key, inner in value.items()}
        case list():
            return [_map_floats(inner, change) for inner in value]
        case _:
            return value


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"t\x01", True),
        (b"t\x00", False),
        (b"b\xff", -1),
        (b"B\xff", 255),
        (b"s\xff\xff", -1),
        (b"u\xff\xff", 65535),
        (b"I\xff\xff\xff\xff", -1),
        (b"i\xff\xff\xff\xff", 2**32 - 1),
        (b"l" + b"\xff" * 8, -1),
        (b"L" + b"\xff" * 8, -1),
        (b"f" + struct.pack(">f", 0.5), 0.5),
        (b"d" + struct.pack(">d", 0.1), 0.1),
        (b"D\x02\x00\x00\x04\xd2", Decimal("12.34")),
        (b"D\x02\xff\xff\xfb\x2e", Decimal("-12.34")),
        (b"S\x00\x00\x00\x02hi", "hi"),
        (b"S\x00\x00\x00\x02\xff\xfe", b"\xff\xfe"),
        (b"x\x00\x00\x00\x02\xff\xfe", b"\xff\xfe"),
        (b"T" + (86_400).to_bytes(8, "big"), datetime(1970, 1, 2, tzinfo=UTC)),
        (b"T" + (2**63).to_bytes(8, "big"), 2**63),
        (b"A\x00\x00\x00\x03t\x01V", [True, None]),
        (b"F\x00\x00\x00\x03\x01kV", {"k": None}),
        (b"V", None),
    ],
)
def test_every_type_of_field_is_read(field, value):
    data = len(field + b"\x01k").to_bytes(4, "big") + b"\x01k" + field
    assert read(data) == ({"k": value}, len(data))


@pytest.mark.parametrize(
    "value",
    [b"\xff\x00", (1, (2, "x")), Decimal("-1.5"), 2**31, -(2**31), -(2**31) - 1, 2**63 - 1, 1e300],
)
def test_values_keep_their_size_and_type(value):
    back = read(fields.table({"k": value}))[0]["k"]
    assert back == ([1, [2, "x"]] if isinstance(value, tuple) else value)


def test_a_class_that_inherits_is_written_as_what_it_inherits_from():
    class Name(str):
        __slots__ = ()

    class Level(int):
        pass

    assert fields.table({"a": Name("x"), "b": Level(3)}) == fields.table({"a": "x", "b": 3})


def test_a_moment_in_another_zone_is_the_same_moment():
    utc = datetime(2026, 1, 1, 12, tzinfo=UTC)
    there = utc.astimezone(timezone(timedelta(hours=5)))
    assert fields.table({"t": utc}) == fields.table({"t": there})
    assert fields.table({"t": utc.replace(tzinfo=None)}) == fields.table({"t": utc})


@pytest.mark.parametrize(
    ("value", "path", "reason"),
    [
        ({"a": {"b": [1, object()]}}, "a.b.1", "no form for a value of type object"),
        ({"n": 2**63}, "n", "more than 64 bits"),
        ({"n": Decimal("1e300")}, "n", "more than 32 bits"),
        ({"n": Decimal("NaN")}, "n", "no number"),
        ({"n": Decimal("1e-300")}, "n", "more than 32 bits"),
        ({"s": "\ud800"}, "s", "no text that UTF-8 can say"),
        ({"t": datetime(1960, 1, 1, tzinfo=UTC)}, "t", "no moment"),
        ({3: 1}, "3", "no text"),
        ({"k" * 300: 1}, "k" * 80, "takes 255"),
    ],
)
def test_what_has_no_form_is_named_by_its_path(value, path, reason):
    with pytest.raises(EncodeError, match=reason) as caught:
        fields.table(value)
    assert caught.value.path == path


def test_a_table_within_itself_ends_in_an_error():
    table = {}
    table["self"] = table
    with pytest.raises(EncodeError, match="within one another"):
        fields.table(table)


@pytest.mark.parametrize("kind", [b"F", b"A"])
def test_nesting_has_a_bound_when_read(kind):
    data = b""
    for _ in range(3_000):
        inner = kind + len(data).to_bytes(4, "big") + data
        data = b"\x01k" + inner if kind == b"F" else inner
    data = b"\x01k" + data if kind == b"A" else data
    with pytest.raises(FrameError, match="within one another"):
        read(len(data).to_bytes(4, "big") + data)


@given(st.binary(max_size=200))
def test_garbage_is_a_clean_error_or_a_table(data):
    try:
        _, end = read(data)
    except FrameError:
        return
    assert end <= len(data)


@given(TABLES, st.data())
def test_a_damaged_table_is_a_clean_error_or_another_table(table, data):
    whole = bytearray(fields.table(table))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(whole) - 1))
        whole[place] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        _, end = read(cut)
    except FrameError:
        return
    assert end <= len(cut)


@given(PROPERTIES)
def test_pamqp_reads_the_properties_that_are_written(given_properties):
    content = header.ContentHeader()
    content.unmarshal(struct.pack(">HHQ", 60, 0, 7) + properties.write(given_properties))
    for name in properties.NAMES:
        theirs = getattr(content.properties, "message_type" if name == "type" else name)
        expected = given_properties.get(name, "" if name == "cluster_id" else None)
        assert theirs == expected


@given(PROPERTIES)
def test_the_properties_that_pamqp_writes_are_read(given_properties):
    # pamqp leaves out what is empty, and writes floats with 32 bits.
    wanted = {name: value for name, value in given_properties.items() if value != ""}
    if "headers" in wanted:
        wanted["headers"] = _map_floats(wanted["headers"], lambda value: None)
    theirs = {"message_type" if name == "type" else name: v for name, v in wanted.items()}
    data = Basic.Properties(**theirs).marshal()
    if "timestamp" in wanted:
        wanted["timestamp"] = int(wanted["timestamp"].timestamp())
    assert properties.read(data) == wanted


@given(PROPERTIES)
def test_properties_come_back_as_they_were_written(given_properties):
    back = properties.read(properties.write(given_properties))
    if "timestamp" in given_properties:
        back["timestamp"] = datetime.fromtimestamp(back["timestamp"], UTC)
    assert back == given_properties


def test_properties_that_are_none_are_left_out():
    assert properties.read(properties.write({"reply_to": None, "priority": 0})) == {"priority": 0}


def test_an_unknown_property_is_an_error_that_names_the_nearest():
    with pytest.raises(ImproperlyConfigured, match=r"'prioritty' \(did you mean 'priority'"):
        properties.write({"prioritty": 3})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("priority", 256),
        ("priority", "high"),
        ("correlation_id", 7),
        ("message_id", "x" * 256),
        ("timestamp", "soon"),
        ("timestamp", -1),
        ("headers", {"x": object()}),
        ("content_type", b"bytes"),
    ],
)
def test_a_value_that_does_not_fit_its_property_is_named(name, value):
    with pytest.raises(EncodeError) as caught:
        properties.write({name: value})
    assert caught.value.path.startswith(name)


@given(st.binary(max_size=100))
def test_garbage_is_a_clean_error_or_properties(data):
    try:
        found = properties.read(data)
    except FrameError:
        return
    assert set(found) <= set(properties.NAMES)


@given(PROPERTIES, st.integers(0, 400))
def test_properties_that_are_cut_off_are_a_clean_error(given_properties, length):
    whole = properties.write(given_properties)
    if length < len(whole):
        with pytest.raises(FrameError):
            properties.read(whole[:length])
