"""Text for any value: bounded, on one line, never an error."""

from __future__ import annotations

import collections
import enum
import json
import pickle
import sys
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_facts import FACTS
from umbel.exceptions import SoftTimeLimitExceeded
from umbel.representation import Secret, one_line, saferepr

ATOMS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5)
)
KEYS = st.integers() | st.text(max_size=5)
VALUES = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(KEYS, inner, max_size=3)
        | st.tuples(inner, inner)
        | st.frozensets(KEYS, max_size=3)
        | st.sets(KEYS, max_size=3)
    ),
    max_leaves=8,
)
Point = collections.namedtuple("Point", "x y")  # noqa: PYI024 - this kind is the one under test


@dataclass
class Order:
    number: int
    lines: list
    card: str = field(default="4111", repr=False)


@dataclass
class Quiet:
    password: str

    def __repr__(self):
        return "Quiet()"


class Colour(enum.StrEnum):
    RED = "red"


class Hostile:
    def __init__(self, act):
        self.act = act

    def __repr__(self):
        return self.act()


def raising(error):
    def act():
        raise error

    return act


@given(VALUES)
def test_an_ordinary_value_looks_as_repr_shows_it(value):
    """Within depth and length nothing is changed."""
    assert saferepr(value, 100_000, 20) == repr(value)


@pytest.mark.parametrize(("value", "text"), FACTS["representations"])
def test_nested_values_look_as_celery_shows_them(value, text):
    """Also where the nesting is deeper than three levels."""
    assert saferepr(value) == text


@given(VALUES, st.integers(3, 60), st.integers(0, 4))
def test_the_text_is_never_longer_than_asked(value, maxlen, maxlevels):
    """maxlen holds for every value and depth."""
    assert len(saferepr(value, maxlen, maxlevels)) <= maxlen


def test_the_default_is_1024_characters_and_three_levels():
    """None means the default, as no argument does."""
    assert len(saferepr("a" * 5000)) <= 1024
    assert saferepr([[[[1]]]]) == saferepr([[[[1]]]], None, None) == "[[[[...]]]]"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a" * 5000, f"'{'a' * 84}...'"),
        (b"a" * 5000, f"b'{'a' * 84}...'"),
        (["b" * 5000], f"['{'b' * 83}...']"),
        ([10] * 5000, f"[{'10, ' * 21}...]"),
    ],
    ids=["text", "bytes", "text in a list", "list"],
)
def test_what_is_cut_shows_dots_and_closes_its_brackets(value, text):
    """The reader sees that there is more, and what kind of value it is."""
    assert saferepr(value, 100) == text


@pytest.mark.parametrize(
    "value",
    [
        range(10**9),
        "x" * 10**7,
        b"x" * 10**7,
        [0] * 10**6,
        {0: [0] * 10**6},
        collections.deque([0] * 10**6),
        Order(1, [0] * 10**6),
        Point([0] * 10**6, 1),
        10**50_000,
        [[[[[[[[[[0] * 10**6]]]]]]]]],
    ],
    ids=lambda value: type(value).__name__,
)
def test_huge_values_cost_no_more_than_what_is_shown(value):
    """The writer stops as soon as it has no more room: it never walks a million items."""
    looked_at = 0

    def count(frame, event, _argument):
        nonlocal looked_at
        looked_at += event == "call"

    sys.setprofile(count)
    try:
        shown = saferepr(value)
    finally:
        sys.setprofile(None)
    assert len(shown) <= 1024
    assert looked_at < 5_000


@pytest.mark.parametrize(
    "error",
    [ValueError("no"), RecursionError("deep"), MemoryError(), KeyError("k"), NotImplementedError()],
)
def test_a_repr_that_raises_is_described(error):
    """The class of object and error is shown, and the rest of the container goes on."""
    hostile = Hostile(raising(error))
    described = f"<Hostile at {id(hostile):#x}, its repr raised {type(error).__name__}>"
    assert saferepr(hostile) == described
    assert saferepr([hostile, 1]) == f"[{described}, 1]"


def test_a_repr_that_is_no_text_is_described():
    """repr() itself raises TypeError then."""
    assert "its repr raised TypeError" in saferepr(Hostile(lambda: 5))
    assert "its repr raised TypeError" in saferepr(type("Mute", (), {"__repr__": None})())


def test_a_container_that_cannot_be_walked_is_described():
    """A subclass may raise anywhere."""

    class Broken(dict):
        def items(self):
            raise OSError

    assert "Broken" in saferepr([Broken(a=1), 2])
    assert saferepr([Broken(a=1), 2]).endswith(", its repr raised OSError>, 2]")


def test_a_limit_that_strikes_within_a_repr_is_not_swallowed():
    """The soft time limit is for the task, wherever it arrives."""
    with pytest.raises(SoftTimeLimitExceeded):
        saferepr([Hostile(raising(SoftTimeLimitExceeded()))])


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_exit_within_a_repr_is_not_swallowed(error):
    """Whoever wants the process to end gets it."""
    with pytest.raises(error):
        saferepr(Hostile(raising(error())))


def test_a_container_that_holds_itself_ends():
    """A cycle is shown as dots."""
    cycle = [1]
    cycle.append(cycle)
    assert saferepr(cycle) == "[1, [...]]"
    loop = {}
    loop["a"] = (loop,)
    assert saferepr(loop) == "{'a': ({...},)}"


def test_the_same_container_twice_is_no_cycle():
    """Only what is within itself is cut."""
    part = [1]
    assert saferepr([part, part]) == "[[1], [1]]"


def test_deep_nesting_does_not_reach_the_recursion_limit():
    """However many levels are asked for."""
    deep = []
    for _ in range(100_000):
        deep = [deep]
    assert saferepr(deep, 100_000, 100_000).count("[") == 51


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Point(1, (2,)), "Point(x=1, y=(2,))"),
        (Order(1, [2]), "Order(number=1, lines=[2])"),
        (Quiet("secret"), "Quiet()"),
        (collections.OrderedDict(a=1), "OrderedDict({'a': 1})"),
        (collections.Counter("aa"), "Counter({'a': 2})"),
        (collections.defaultdict(int, a=1), "defaultdict({'a': 1})"),
        (collections.deque([1]), "deque([1])"),
        (frozenset(), "frozenset()"),
        (bytearray(b"a"), "bytearray(b'a')"),
        (Colour.RED, "<Colour.RED: 'red'>"),
        (int, "<class 'int'>"),
        (10**4000, "<int of 13288 bits>"),
    ],
)
def test_well_known_shapes_are_shown_item_by_item(value, text):
    """Named tuples, dataclasses and the collections are bounded as the built-in containers are."""
    assert saferepr(value) == text


def test_a_dataclass_field_without_repr_stays_hidden():
    """repr=False is respected."""
    assert "4111" not in saferepr([Order(1, [])])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ünïcode 漢字 🙂", "plain ünïcode 漢字 🙂"),
        ("done\n[ERROR] fake", "done\\n[ERROR] fake"),
        ("a\r\nb\tc", "a\\r\\nb\\tc"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x9b31m", "\\x9b31m"),
        ("a\u202eb\u2066c\u200f", "a\\u202eb\\u2066c\\u200f"),
        ("a\u2028b\u2029c\x85", "a\\u2028b\\u2029c\\x85"),
        ("\ud800", "\\ud800"),
        ("\x00\x7f", "\\x00\\x7f"),
        ("", ""),
    ],
)
def test_text_cannot_forge_a_log_line(text, shown):
    """Line ends, terminal escapes, bidirectional marks and lone surrogates are escaped."""
    assert one_line(text) == shown


@given(st.text())
def test_one_line_is_printable_and_stays_so(text):
    """Whatever goes in, what comes out has nothing left to escape."""
    shown = one_line(text)
    assert shown.isprintable()
    assert one_line(shown) == shown


def test_a_traceback_keeps_its_line_ends():
    """The caller says which characters are welcome."""
    assert one_line("a\n\x1b", keep="\n") == "a\n\\x1b"


@given(VALUES)
def test_a_representation_is_one_line(value):
    """Whatever the value holds."""
    assert saferepr(value).isprintable()


def test_a_foreign_repr_is_escaped_too():
    """Objects decide what they say, not how many lines they take."""
    assert saferepr(Hostile(lambda: "a\n\x1b[2J")) == "a\\n\\x1b[2J"


def test_a_long_foreign_repr_is_cut():
    """Also within a container."""
    shown = saferepr([Hostile(lambda: "h" * 10**6)])
    assert len(shown) <= 1024
    assert shown.endswith("h...]")


def test_a_secret_is_never_shown():
    """In arguments, keyword arguments and nested values only stars appear."""
    secret = Secret("hunter2")
    for value in (secret, (secret,), {"password": secret}, [[secret]], Order(1, [secret])):
        assert "********" in saferepr(value)
        assert "hunter2" not in saferepr(value)
        assert "hunter2" not in repr(value)


def test_a_secret_is_the_text_for_everything_else():
    """It compares, is sent in a message and is pickled as the text it is."""
    secret = Secret("hunter2")
    assert secret == "hunter2"
    assert str(secret) == f"{secret}" == "hunter2"
    assert json.loads(json.dumps([secret])) == ["hunter2"]
    arrived = pickle.loads(pickle.dumps(secret))
    assert (type(arrived), arrived) == (Secret, "hunter2")
