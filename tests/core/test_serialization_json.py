"""JSON: types that come back, plain data for the rest, and one result from both engines."""

from __future__ import annotations

import datetime as dt
import json
import math
import sys
from collections import OrderedDict, namedtuple
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum, IntEnum
from types import ModuleType
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel

from umbel.exceptions import SoftTimeLimitExceeded
from umbel.serialization import DecodeError, EncodeError, Limits, Registry
from umbel.serialization.json_codec import is_plain

FAST, SLOW = Registry(), Registry(fast=False)
BOTH = pytest.mark.parametrize("registry", [FAST, SLOW], ids=["fast", "slow"])
OFFSETS = st.integers(-1439, 1439).map(lambda m: dt.timezone(dt.timedelta(minutes=m)))


def unfolded(moment):
    """ISO 8601 has no word for which of two like hours is meant when the clocks go back."""
    return moment.replace(fold=0)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(max_size=20)
    | st.datetimes().map(unfolded)
    | st.datetimes(timezones=OFFSETS).map(unfolded)
    | st.dates()
    | st.times().map(unfolded)
    | st.times(timezones=OFFSETS).map(unfolded)
    | st.decimals(allow_nan=False)
    | st.uuids()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Tag(str, Enum):  # noqa: UP042 - the older way to write it is meant
    NEW = "new"


class Name(str):
    __slots__ = ()


@dataclass
class Point:
    x: int
    when: dt.date


@dataclass
class Line:
    points: list[Point] = field(default_factory=list)


class Model(BaseModel):
    id: UUID
    when: dt.date


class Opaque:
    pass


class Hooked:
    def __init__(self, value):
        self.value = value

    def __repr__(self):
        return f"Hooked({self.value!r})"

    def __json__(self):
        return {"hooked": self.value}


class Broken:
    def __json__(self):
        raise LookupError("no such row")


Pair = namedtuple("Pair", "left right")  # noqa: PYI024 - the untyped kind is meant
ODD = st.sampled_from(
    [
        math.nan,
        math.inf,
        1e16,
        1e-5,
        -1e300,
        -0.0,
        2**63,
        2**64,
        -(2**63) - 1,
        "\ud800",
        '\x00\x1f\x7f\u2028\U0001f600\\"/',
        Colour.RED,
        Level.HIGH,
        Tag.NEW,
        Name("sub"),
        Pair(1, 2),
        (1, (2,)),
        OrderedDict(a=1),
        Point(1, dt.date(2024, 1, 1)),
        Hooked([1]),
        Broken(),
        Opaque(),
        {1: 2, None: 3, 1.5: 4, False: 5},
        {(1, 2): 3},
        {Tag.NEW: 1},
        {Colour.RED: 1},
        {"\ud800": 1},
        {1, 2},
        UUID(int=5),
        b"\xff",
        [[[]], {}, ()],
    ]
)
ANYTHING = st.recursive(
    SCALARS | ODD,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
WORDS = (
    st.sampled_from([*'[]{},:"\\ \t\n', '\\"', "null", "true", "fals"])
    | st.sampled_from(
        ["1", "-0", "01", "0.1", "1e5", "1E400", "NaN", "Infinity", "1234567890123", "-" + "9" * 20]
    )
    | st.sampled_from(
        [
            "a",
            "\\u00e9",
            "\\ud800",
            "\\ud83d\\ude00",
            "é",
            "__type__",
            "__value__",
            "date",
            "2024-01-01",
        ]
    ).map('"{}"'.format)
)
TEXTS = st.lists(WORDS, max_size=12).map("".join) | VALUES.map(
    lambda v: SLOW.dumps(v).body.decode()
)


def round_trip(value, registry=FAST, **options):
    encoded = registry.dumps(value, "json", **options)
    return registry.loads(encoded.body, encoded.content_type, "utf-8", accept=["json"])


def outcome(function, *args, **options):
    try:
        return repr(function(*args, **options))
    except (EncodeError, DecodeError) as error:
        return type(error), str(error)


@BOTH
@given(VALUES)
def test_every_supported_type_comes_back_as_it_was(registry, value):
    """Value and type survive, however nested."""
    assert repr(round_trip(value, registry)) == repr(value)


@given(ANYTHING)
@example({"a": [Broken()]})
def test_both_engines_write_the_same_bytes_or_the_same_error(value):
    """Whether orjson is installed cannot be told from a message."""
    fast, slow = (outcome(registry.dumps, value) for registry in (FAST, SLOW))
    assert fast == slow


@given(TEXTS)
def test_both_engines_read_the_same_value_or_fail_alike(text):
    """Whether orjson is installed cannot be told from what a task gets."""
    body = text.encode()
    fast, slow = (
        outcome(registry.loads, body, "application/json", "utf-8", accept=["json"])
        for registry in (FAST, SLOW)
    )
    assert fast == slow


@given(st.floats())
def test_floats_that_both_engines_may_write_are_spelled_alike(number):
    """The look before orjson lets no float pass that it would spell differently."""
    if is_plain([number]):
        assert FAST.dumps([number]).body == json.dumps([number]).encode()


@BOTH
@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        (Tag.NEW, "new"),
        (Name("n"), "n"),
        (Pair(1, 2), [1, 2]),
        ((1, (2,)), [1, [2]]),
        (OrderedDict(a=1), {"a": 1}),
        (
            Line([Point(1, dt.date(2024, 1, 1))]),
            {"points": [{"x": 1, "when": dt.date(2024, 1, 1)}]},
        ),
        (
            Model(id=UUID(int=1), when=dt.date(2024, 1, 1)),
            {"id": "00000000-0000-0000-0000-000000000001", "when": "2024-01-01"},
        ),
        (Hooked(Decimal("1.5")), {"hooked": Decimal("1.5")}),
        ({1: 2}, {"1": 2}),
    ],
    ids=repr,
)
def test_structured_values_travel_as_plain_data(registry, value, plain):
    """Enums, dataclasses, models and objects with a hook arrive as what they consist of."""
    for given_value, expected in ((value, plain), ([value], [plain])):
        arrived = round_trip(given_value, registry)
        assert repr(arrived) == repr(expected)


def test_lazy_translations_travel_as_text(monkeypatch):
    """A text of Django that is translated when it is shown is translated when it is sent."""

    class Promise:
        def __str__(self):
            return "Hallo"

    module = ModuleType("django.utils.functional")
    module.Promise = Promise
    monkeypatch.setitem(sys.modules, "django.utils.functional", module)
    assert round_trip([Promise()]) == ["Hallo"]


@BOTH
def test_nan_and_infinity_travel_as_they_do_in_celery(registry):
    """They are no JSON, but Celery's workers write and read them."""
    assert registry.dumps([math.nan, math.inf, -math.inf]).body == b"[NaN,Infinity,-Infinity]"
    assert repr(round_trip([math.nan, math.inf], registry)) == "[nan, inf]"


@BOTH
@pytest.mark.parametrize(
    ("value", "path", "reason"),
    [
        ([[1, {"user": {"key": Opaque()}}], {}], "args[1].user.key", "Opaque'> has no json form"),
        ([[], {"a b": [{1, 2}]}], "kwargs['a b'][0]", "<class 'set'> has no json form"),
        ([[Line([Opaque()])], {}], "args[0].points[0]", "Opaque'> has no json form"),
        ([[Hooked(Opaque())], {}], "args[0].hooked", "Opaque'> has no json form"),
        ([[Broken()], {}], "args[0]", "raises LookupError: no such row"),
        ([[{(1, 2): 3}], {}], "args[0]", "keys must be str, int, float, bool or None, not tuple"),
        ([[], {"n": 10**5000}], "kwargs.n", "Exceeds the limit (4300 digits)"),
        ([["ok", "\ud800"], {}], "args[1]", "half of a surrogate pair"),
        ([[{"\udfff": 1}], {}], "args[0]", "half of a surrogate pair"),
        ([[dt.timedelta(1)], {}], "args[0]", "timedelta'> has no json form"),
        ([[Point], {}], "args[0]", "<class 'type'> has no json form"),
        ([[], {}, {"link": Opaque()}], "[2].link", "Opaque'> has no json form"),
    ],
)
def test_what_cannot_be_encoded_is_named_by_its_path(registry, value, path, reason):
    """The error says which argument it is and what is wrong with it."""
    with pytest.raises(EncodeError) as caught:
        registry.dumps(value, "json", where=("args", "kwargs"))
    assert caught.value.path == path
    assert reason in str(caught.value)


@BOTH
def test_a_value_that_holds_itself_is_refused(registry):
    """A cycle is an error with a path, not a hang or a RecursionError."""
    cycle = {"a": []}
    cycle["a"].append(cycle)
    with pytest.raises(EncodeError, match=r"result\.a\[0\] cannot be encoded: it holds itself"):
        registry.dumps(cycle, where="result")


@BOTH
def test_nesting_without_end_is_refused(registry):
    """Neither a million levels nor a hook that returns ever new objects exhausts the stack."""

    class Endless:
        def __json__(self):
            return [Endless()]

    tower = []
    for _ in range(1_000_000):
        tower = [tower]
    try:
        for value in (tower, Endless()):
            with pytest.raises(EncodeError, match="nested too deeply"):
                registry.dumps(value)
    finally:
        while tower:  # a million levels are taken down one by one: freeing them recurses
            tower = tower.pop()


@BOTH
def test_a_soft_time_limit_while_encoding_is_not_swallowed(registry):
    """It reaches the task as what it is, from a hook as from the search for a culprit."""

    class Late:
        def __json__(self):
            raise SoftTimeLimitExceeded(5)

    for value in (Late(), [Late()]):
        with pytest.raises(SoftTimeLimitExceeded):
            registry.dumps(value)


def test_threads_share_one_encoder():
    """Encoding the same object in many threads at once is no circle."""
    shared = [Hooked([Hooked(i) for i in range(50)])] * 3
    expected = SLOW.dumps(shared)
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: SLOW.dumps(shared) == expected, range(200)))


@BOTH
def test_a_registered_type_comes_back_and_an_unregistered_one_does_not(registry):
    """Both sides must know the marker; where it is unknown the error says so."""
    registry.types.register(
        Opaque, "opaque", lambda _: {"at": dt.date(2024, 1, 1)}, lambda plain: plain["at"]
    )
    try:
        body = registry.dumps({"deep": [Opaque()]}).body
        assert round_trip({"deep": [Opaque()]}, registry) == {"deep": [dt.date(2024, 1, 1)]}
    finally:
        registry.types.unregister(Opaque)
    with pytest.raises(DecodeError, match="type 'opaque' is not registered here"):
        registry.loads(body, "application/json", "utf-8", accept=["json"])
    with pytest.raises(EncodeError):
        registry.dumps(Opaque())
    with pytest.raises(KeyError):
        registry.types.unregister(Opaque)


def test_a_type_without_a_marker_travels_as_what_its_encoder_returns():
    """Nothing marks it, so it arrives as plain data; a marker without decoder does too."""
    registry = Registry()
    registry.types.register(Opaque, None, lambda _: [1])
    assert round_trip(Opaque(), registry) == [1]
    registry.types.register(Opaque, "opaque", lambda _: [1])
    assert round_trip(Opaque(), registry) == [1]


def test_subclasses_and_virtual_subclasses_use_the_form_of_their_class():
    """The nearest registered ancestor decides; a datetime is no date."""

    class Stamp(dt.datetime):
        pass

    assert round_trip(Stamp(2024, 1, 1)) == dt.datetime(2024, 1, 1)  # noqa: DTZ001 - naive is meant

    from collections.abc import Set as AbstractSet

    registry = Registry()
    registry.types.register(AbstractSet, "set", sorted, set)
    assert round_trip([{2, 1}], registry) == [{1, 2}]


@BOTH
def test_half_of_a_surrogate_pair_is_refused_when_it_arrives(registry):
    """Escaped in any place of the body; a whole pair is a character like any other."""
    for body in (b'"\\ud800"', b'{"\\uDFFF": 1}', b'[{"a": ["\\ud800\\ud800"]}]'):
        with pytest.raises(DecodeError, match="surrogate"):
            registry.loads(body, "application/json", "utf-8", accept=["json"])
    whole = registry.loads(b'["\\ud83d\\ude00"]', "application/json", "utf-8", accept=["json"])
    assert whole == ["😀"]


@BOTH
def test_an_undecodable_body_does_not_quote_itself(registry):
    """Bodies hold secrets, and errors end in logs."""
    for body in (b'{"password": hunter2}', b'{"__type__":"datetime","__value__":"hunter2"}'):
        with pytest.raises(DecodeError) as caught:
            registry.loads(body, "application/json", "utf-8", accept=["json"])
        assert "hunter2" not in str(caught.value)


def test_shared_containers_are_looked_at_a_bounded_number_of_times():
    """Many references to few lists end the look before orjson, not the process."""
    shared = []
    for _ in range(40):
        shared = [shared, shared]
    assert not is_plain(shared)


def test_limits_hold_for_what_is_sent():
    """A body that every receiver would refuse is refused where it is made."""
    tower = []
    for _ in range(64):
        tower = [tower]
    with pytest.raises(EncodeError, match="receivers would refuse the body: it is nested deeper"):
        FAST.dumps(tower)
    assert FAST.dumps(tower, limits=Limits(depth=65)).body == b"[" * 65 + b"]" * 65
    with pytest.raises(EncodeError, match="has 102 bytes, the limit is 100"):
        FAST.dumps("x" * 100, limits=Limits(body=100))
