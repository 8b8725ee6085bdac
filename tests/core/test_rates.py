"""Rate limits of one process."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_facts import FACTS
from umbel.exceptions import InvalidRate
from umbel.rates import TokenBucket, rate
from umbel.testing.clock import FakeClock

NUMBERS = FACTS["numbers"]


@pytest.mark.parametrize(("limit", "per_second"), NUMBERS["rates"])
def test_a_limit_is_a_number_or_text_with_a_unit(limit, per_second):
    """None, numbers, N, N/s, N/m and N/h mean what they mean in Celery."""
    assert rate(limit) == pytest.approx(per_second)


@pytest.mark.parametrize(("limit", "error"), NUMBERS["bad_rates"])
def test_a_bad_limit_is_the_error_it_is_in_celery(limit, error):
    """An unknown unit is a KeyError, a bad number a ValueError; ours is both."""
    with pytest.raises({"KeyError": KeyError, "ValueError": ValueError}[error]):
        rate(limit)


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ("5/d", "the unit is s, m or h and not 'd'"),
        ("x/m", "'x' is not a number"),
        ("-1/s", "it is below zero or not finite"),
        (float("inf"), "it is below zero or not finite"),
        ("nan", "it is below zero or not finite"),
        (-5, "it is below zero or not finite"),
    ],
)
def test_a_bad_limit_says_what_is_wrong(limit, reason):
    """The error shows the limit, the reason and how to write one."""
    with pytest.raises(InvalidRate) as caught:
        rate(limit)
    assert str(caught.value) == (
        f"{limit!r} is not a rate limit ({reason}); write it as 5, '5/s', '100/m' or '10/h'"
    )


def test_spaces_in_a_limit_do_not_matter():
    """People write them."""
    assert rate(" 30 / m ") == 0.5


def test_the_first_start_is_allowed_at_once():
    """A bucket begins with its one token."""
    assert TokenBucket(1.0, FakeClock()).take() == 0.0


def test_starts_are_spread_evenly():
    """60/m is one each second and not sixty at once."""
    clock = FakeClock()
    bucket = TokenBucket(rate("60/m"), clock)
    starts = []
    while len(starts) < 10:
        wait = bucket.take()
        if wait == 0.0:
            starts.append(clock.monotonic())
        clock.advance(wait)
    assert starts == pytest.approx([float(second) for second in range(10)])


def test_a_refusal_says_how_long_to_wait():
    """Asking again after that many seconds succeeds, and asking does not push it away."""
    clock = FakeClock()
    bucket = TokenBucket(0.1, clock)
    bucket.take()
    clock.advance(4)
    assert bucket.take() == pytest.approx(6)
    assert bucket.take() == pytest.approx(6)
    clock.advance(6)
    assert bucket.take() == 0.0


def test_no_tokens_are_saved_up():
    """After a long pause there is one, not the sum of all that were not used."""
    clock = FakeClock()
    bucket = TokenBucket(10.0, clock)
    bucket.take()
    clock.advance(3600)
    assert bucket.take() == 0.0
    assert bucket.take() == pytest.approx(0.1)


def test_setting_the_wall_clock_changes_nothing():
    """Spans are measured on the monotonic clock."""
    clock = FakeClock()
    bucket = TokenBucket(1.0, clock)
    bucket.take()
    clock.step(-3600)
    clock.advance(1)
    assert bucket.take() == 0.0


@given(
    st.floats(0.01, 1000),
    st.lists(st.floats(0, 10), min_size=1, max_size=50),
)
def test_no_two_starts_are_closer_than_the_rate_allows(per_second, pauses):
    """Whenever it is asked."""
    clock = FakeClock()
    bucket = TokenBucket(per_second, clock)
    starts = []
    for pause in pauses:
        if bucket.take() == 0.0:
            starts.append(clock.monotonic())
        clock.advance(pause)
    gaps = [later - earlier for earlier, later in pairwise(starts)]
    assert all(gap >= 1 / per_second - 1e-9 for gap in gaps)


def test_a_bucket_needs_a_rate():
    """0 is no limit, and no bucket."""
    with pytest.raises(ValueError, match="above zero"):
        TokenBucket(0.0, FakeClock())
