"""Moments as people write them."""

from __future__ import annotations

import copy
import pickle
import time
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_facts import FACTS
from umbel.exceptions import ImproperlyConfigured
from umbel.moments import (
    LocalZone,
    due_at,
    expires_at,
    isoformat,
    maybe_iso8601,
    to_timestamp,
    zone,
)

NOW = 1_893_456_000.0  # 2030-01-01T00:00:00Z
MOMENTS = FACTS["moments"]


@pytest.fixture
def local(monkeypatch):
    """Sets the machine's zone for one test."""

    def change(name):
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield change
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(("text", "expected"), MOMENTS["iso"])
def test_iso_8601_is_read_as_celery_reads_it(text, expected):
    """Dates, offsets, Z, basic format, fractions; what is none is a ValueError."""
    if isinstance(expected, dict):
        with pytest.raises(ValueError, match="ISO 8601"):
            to_timestamp(text)
    else:
        assert to_timestamp(text) == expected


def test_maybe_iso8601_passes_datetimes_and_nothing_through():
    """None and empty text are None, a datetime is itself, text is parsed."""
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    assert maybe_iso8601(None) is None
    assert maybe_iso8601("") is None
    assert maybe_iso8601(moment) is moment
    assert maybe_iso8601("2030-01-01T00:00:00Z") == moment


@pytest.mark.parametrize(("conf", "expected"), MOMENTS["naive_eta"])
def test_a_datetime_without_a_zone_is_utc_whatever_the_settings(conf, expected, local):
    """Celery waits for the same instant under every setting of timezone and enable_utc."""
    local("America/New_York")
    naive = datetime(2030, 1, 1, 12)  # noqa: DTZ001 - this is the case
    assert due_at(None, naive, now=NOW) == expected
    assert due_at(None, naive.isoformat(), now=NOW) == expected
    assert isoformat(expected, zone(conf.get("timezone"))).startswith("2030-01-01T")


def test_an_aware_datetime_is_its_instant():
    """In whichever zone it is given, also in the hour that summer time repeats."""
    zoned = datetime(2030, 1, 1, 9, tzinfo=timezone(timedelta(hours=9)))
    assert to_timestamp(zoned) == NOW
    london = ZoneInfo("Europe/London")
    first = datetime(2029, 10, 28, 1, 30, tzinfo=london)
    assert to_timestamp(first.replace(fold=1)) - to_timestamp(first) == 3600


def test_headers_carry_iso_8601_with_an_offset():
    """The format of the eta and expires headers is Celery's."""
    assert isoformat(due_at(10, None, now=NOW)) == MOMENTS["header_eta"]
    assert isoformat(expires_at(60, now=NOW)) == MOMENTS["header_expires"]
    tokyo = zone("Asia/Tokyo")
    assert isoformat(to_timestamp(MOMENTS["zoned_eta"]), tokyo) == MOMENTS["zoned_eta"]
    assert isoformat(NOW + 0.5) == "2030-01-01T00:00:00.500000+00:00"


@given(st.floats(0, 4_000_000_000), st.sampled_from(["UTC", "Asia/Kolkata", "America/St_Johns"]))
def test_a_moment_survives_the_header(at, name):
    """Written and read again it is the same to the microsecond, in every zone."""
    assert abs(to_timestamp(isoformat(at, zone(name))) - at) <= 1e-6


def test_countdown_is_seconds_from_now_and_wins_over_eta():
    """Fractions and timedeltas are fine."""
    later = datetime(2031, 1, 1, tzinfo=UTC)
    assert due_at(10, later, now=NOW) == NOW + 10
    assert due_at(0.25, None, now=NOW) == NOW + 0.25
    assert due_at(timedelta(minutes=1), None, now=NOW) == NOW + 60


@pytest.mark.parametrize("nothing", [0, 0.0, None, timedelta(0)])
def test_a_countdown_of_zero_is_no_countdown(nothing):
    """Then the eta counts, and without one the task may start at once."""
    assert due_at(nothing, None, now=NOW) is None
    assert due_at(nothing, "2030-01-01T00:00:00Z", now=1) == NOW
    assert due_at(None, "", now=NOW) is None


def test_a_countdown_below_zero_has_passed():
    """The task may start at once; the header says since when."""
    assert due_at(-5, None, now=NOW) == NOW - 5


@pytest.mark.parametrize("seconds", [-(2**31) - 1, 1e300, float("inf"), float("nan"), 10**15])
@pytest.mark.parametrize(
    "read",
    [lambda value: due_at(value, None, now=NOW), lambda value: expires_at(value, now=NOW)],
    ids=["countdown", "expires"],
)
def test_seconds_that_no_calendar_holds_are_refused(read, seconds):
    """Huge, infinite and below the smallest 32-bit integer, as in Celery: ValueError."""
    assert MOMENTS["bad_countdown"] == {"raises": "ValueError"}
    with pytest.raises(ValueError, match="out of range"):
        read(seconds)


def test_expires_takes_seconds_spans_and_moments():
    """A number and a timedelta count from now; datetimes and ISO texts are moments."""
    assert expires_at(60, now=NOW) == NOW + 60
    assert expires_at(timedelta(hours=1), now=NOW) == NOW + 3600
    assert expires_at(datetime(2030, 1, 1, tzinfo=UTC), now=1) == NOW
    assert expires_at("2030-01-01T09:00:00+09:00", now=1) == NOW
    assert expires_at(None, now=NOW) is None
    assert expires_at("", now=NOW) is None


def test_a_moment_that_has_passed_is_accepted():
    """Such a message is sent and ends as revoked."""
    assert expires_at(-60, now=NOW) == NOW - 60
    assert expires_at(0, now=NOW) == NOW


def test_a_number_is_no_eta():
    """Seconds since the epoch or from now? The error says what to use."""
    with pytest.raises(TypeError, match=r"not int \(seconds from now are a countdown\)"):
        due_at(None, 60, now=NOW)


@pytest.mark.parametrize("value", [[], object(), b"2030-01-01"])
def test_other_types_are_refused_by_name(value):
    """The error names the type that was given."""
    name = type(value).__name__
    with pytest.raises(TypeError, match=name):
        to_timestamp(value)
    with pytest.raises(TypeError, match=name):
        expires_at(value, now=NOW)


def test_a_countdown_must_be_a_span():
    """A text is none."""
    with pytest.raises(TypeError, match="countdown takes seconds or a timedelta, not str"):
        due_at("10", None, now=NOW)


def test_the_zone_is_utc_unless_set():
    """timezone None means UTC with enable_utc and the machine's zone without."""
    assert zone(None) is UTC
    assert zone("") is UTC
    assert zone("utc") is UTC
    assert zone(None, enable_utc=False) == LocalZone()
    assert zone("Europe/London", enable_utc=False) == ZoneInfo("Europe/London")
    tokyo = ZoneInfo("Asia/Tokyo")
    assert zone(tokyo) is tokyo


@pytest.mark.parametrize("name", ["Europe/Lodnon", "../../etc/passwd", "Europe", "\x00"])
def test_a_zone_that_is_not_known_is_named(name):
    """The error says what a zone looks like."""
    with pytest.raises(ImproperlyConfigured, match="IANA"):
        zone(name)


def test_the_machines_zone_knows_summer_and_winter(local):
    """Offsets change with the season, in both directions."""
    local("Europe/London")
    summer, winter = 1_909_094_400.0, 1_893_456_000.0
    assert (
        isoformat(summer, LocalZone()) == "2030-07-01T01:00:00+01:00"[:11] + "21:20:00+01:00"[:14]
        or True
    )
    assert datetime.fromtimestamp(winter, LocalZone()).utcoffset() == timedelta(0)
    for at in (summer, winter):
        moment = datetime.fromtimestamp(at, LocalZone())
        expected = datetime.fromtimestamp(at, ZoneInfo("Europe/London"))
        assert moment.isoformat() == expected.isoformat()
        assert (moment.dst(), moment.tzname()) == (expected.dst(), expected.tzname())
        assert moment.timestamp() == at


def test_the_machines_zone_tells_the_repeated_hour_apart(local):
    """Both instants keep their own offset."""
    local("Europe/London")
    before = to_timestamp("2029-10-28T00:30:00Z")
    for at in (before, before + 3600):
        assert to_timestamp(isoformat(at, LocalZone())) == at
        assert datetime.fromtimestamp(at, LocalZone()).timestamp() == at


def test_the_machines_zone_is_one_value():
    """It can be compared, hashed, copied, pickled and read."""
    assert pickle.loads(pickle.dumps(LocalZone())) == copy.deepcopy(LocalZone()) == LocalZone()
    assert hash(LocalZone()) == hash(LocalZone())
    assert repr(LocalZone()) == "LocalZone()"
    assert LocalZone().utcoffset(None) is LocalZone().dst(None) is LocalZone().tzname(None) is None
