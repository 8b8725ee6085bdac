"""How long to wait before trying again."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_facts import FACTS
from umbel.exceptions import ImproperlyConfigured
from umbel.retry import PublishRetry, backoff, publish_intervals

NUMBERS = FACTS["numbers"]


@pytest.mark.parametrize(("factor", "retries", "maximum", "expected"), NUMBERS["backoffs"])
def test_backoff_doubles_up_to_its_maximum(factor, retries, maximum, expected):
    """min(maximum, factor * 2 ** retries), as Celery computes it."""
    assert backoff(factor, retries, maximum=maximum) == expected


@pytest.mark.parametrize(
    ("factor", "seconds"), [(True, 4), (1, 4), (0.5, 4), (2.9, 8), (3, 12), (-1, 4)]
)
def test_the_factor_is_a_whole_number_of_at_least_one(factor, seconds):
    """retry_backoff=True is 1; fractions are cut."""
    assert backoff(factor, 2) == seconds


def test_full_jitter_chooses_among_all_seconds_up_to_the_backoff():
    """Both ends can come out."""
    asked = []

    def first(below):
        asked.append(below)
        return 0

    assert backoff(1, 3, full_jitter=True, random=first) == 0
    assert asked == [9]
    assert backoff(1, 3, full_jitter=True, random=lambda below: below - 1) == 8


@given(
    st.floats(0, 1e6),
    st.integers(-1, 10**6),
    st.floats(-10, 1e6),
    st.booleans(),
)
def test_backoff_is_never_negative_nor_above_its_maximum(factor, retries, maximum, full_jitter):
    """However many retries there were: no overflow, whole seconds."""
    seconds = backoff(factor, retries, maximum=maximum, full_jitter=full_jitter)
    assert 0 <= seconds <= max(0, maximum)
    assert isinstance(seconds, int)


@pytest.mark.parametrize(("start", "step", "longest", "expected"), NUMBERS["intervals"])
def test_publish_waits_grow_as_the_policy_says(start, step, longest, expected):
    """interval_start, then interval_step more each time, at most interval_max more."""
    policy = PublishRetry(
        max_retries=None, interval_start=start, interval_step=step, interval_max=longest
    )
    assert list(islice(policy.intervals(), 6)) == pytest.approx(expected)


def test_the_default_policy_retries_three_times():
    """At once, after 0.2 and after 0.4 seconds."""
    assert list(publish_intervals(None)) == pytest.approx([0, 0.2, 0.4])
    assert list(publish_intervals({})) == pytest.approx([0, 0.2, 0.4])


@pytest.mark.parametrize(("max_retries", "waits"), [(0, 0), (1, 1), (7, 7)])
def test_there_are_as_many_waits_as_retries(max_retries, waits):
    """0 is none."""
    assert len(list(publish_intervals({"max_retries": max_retries}))) == waits


def test_retrying_for_ever_never_runs_out():
    """max_retries None has no end."""
    endless = publish_intervals({"max_retries": None})
    assert len(list(islice(endless, 10_000))) == 10_000


def test_a_policy_keeps_the_classes_to_retry_on():
    """retry_errors and timeout are for whoever publishes."""
    policy = PublishRetry.of({"retry_errors": (OSError,), "timeout": 5})
    assert (policy.retry_errors, policy.timeout) == ((OSError,), 5)


def test_an_unknown_key_of_a_policy_is_named_with_the_one_meant():
    """A misspelt key is not silently ignored."""
    with pytest.raises(ImproperlyConfigured, match="did you mean 'max_retries'"):
        PublishRetry.of({"max_retry": 3})


@pytest.mark.parametrize(
    "policy",
    [{"max_retries": -1}, {"interval_start": "1"}, {"interval_max": float("nan")}],
)
def test_a_number_that_makes_no_sense_is_refused(policy):
    """The error names key and value."""
    with pytest.raises(ImproperlyConfigured, match=next(iter(policy))):
        PublishRetry.of(policy)
