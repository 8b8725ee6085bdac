"""Values as JSON, tables, and spans of time."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from uuid import UUID

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umbel.cli.console import count_of, layout, plain, shortened, span
from umbel.cli.words import ARRAY, NAMES, Concurrency, Moment, joined


class Size(Enum):
    SMALL = "s"


@dataclass
class Item:
    name: str
    price: Decimal


class Rude:
    def __repr__(self):
        raise RuntimeError


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.dates()
    | st.datetimes()
    | st.timedeltas()
    | st.decimals()
    | st.uuids()
    | st.just(Size.SMALL)
    | st.builds(Rude)
    | st.builds(Item, st.text(), st.decimals())
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers() | st.tuples(st.integers()), inner)
    ),
)


@settings(max_examples=60)
@given(VALUES)
def test_every_value_becomes_json(value):
    """Whatever a task returned: strict JSON, and no error."""
    text = json.dumps(plain(value), allow_nan=False)
    json.loads(text)


@settings(max_examples=30)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_json_stays_as_it_is(value):
    """What JSON can hold is not changed."""
    assert plain(value) == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("nan"), "nan"),
        (datetime(2030, 1, 2, tzinfo=UTC), "2030-01-02T00:00:00+00:00"),
        (date(2030, 1, 2), "2030-01-02"),
        (timedelta(minutes=1), 60.0),
        (Decimal("1.50"), "1.50"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (b"text", "text"),
        (b"\xff", "/w=="),
        (Size.SMALL, "s"),
        (Item("pen", Decimal(2)), {"name": "pen", "price": "2"}),
        (ValueError("no"), {"type": "ValueError", "message": "no"}),
        ({1: {(2,)}}, {"1": [[2]]}),
    ],
)
def test_other_values_become_what_people_expect(value, expected):
    """Moments in ISO 8601, exact numbers as text, bytes as text or base64."""
    assert plain(value) == expected


def test_values_without_end_have_one():
    """A list that holds itself."""
    value = []
    value.append(value)
    assert "..." in json.dumps(plain(value))


def test_tables_are_aligned_and_the_last_column_gives_way():
    """No line is wider than the terminal."""
    rows = [["N", "NAME", "DETAIL"], ["7", "a", "x" * 100], ["12", "bcd", "y"]]
    lines = layout(rows, 40, {0})
    assert lines == [
        " N  NAME  DETAIL",
        f" 7  a     {'x' * 27}...",
        "12  bcd   y",
    ]


def test_shortened_text_ends_in_dots():
    """And text that fits does not."""
    assert shortened("abcdef", 6) == "abcdef"
    assert shortened("abcdefg", 6) == "abc..."


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0, "0.0s"),
        (-1, "0.0s"),
        (9.94, "9.9s"),
        (12, "12s"),
        (60, "1m"),
        (303, "5m 3s"),
        (7500, "2h 5m"),
        (3600, "1h"),
        (90061, "1d 1h"),
        (86400 * 400, "400d"),
    ],
)
def test_spans_are_short(seconds, text):
    """Two units at most."""
    assert span(seconds) == text


def test_counts_know_their_number():
    """One message, two messages."""
    assert [count_of(n, "message") for n in (0, 1, 1234)] == [
        "0 messages",
        "1 message",
        "1,234 messages",
    ]


def convert(kind, text):
    return kind.convert(text, None, None)


def test_names_are_separated_by_commas():
    """Blanks do not count, doubles count once."""
    assert convert(NAMES, "a, b,,c") == ("a", "b", "c")
    assert joined((("a", "b"), ("b", "c"))) == ("a", "b", "c")


@pytest.mark.parametrize(("text", "number"), [("3", 3), ("auto", None), ("0", None)])
def test_concurrency_is_a_number_or_auto(text, number):
    """0 and auto leave the choice to the application."""
    assert convert(Concurrency(), text) == number


def test_moments_may_be_seconds():
    """Where an expiry may."""
    assert convert(Moment(seconds=True), "1.5") == 1.5
    assert convert(Moment(seconds=True), "2030-01-02T03:04:05Z") == datetime(
        2030, 1, 2, 3, 4, 5, tzinfo=UTC
    )
    with pytest.raises(click.BadParameter):
        convert(Moment(), "1.5")


def test_json_must_be_of_the_right_kind():
    """An object is no array."""
    assert convert(ARRAY, "[1]") == [1]
    with pytest.raises(click.BadParameter, match="not a JSON array"):
        convert(ARRAY, "{}")
