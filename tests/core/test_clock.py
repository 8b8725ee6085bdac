"""Where the time comes from."""

from __future__ import annotations

import time

import pytest

from umbel.clock import Clock, SystemClock
from umbel.testing.clock import FakeClock


def test_the_system_clock_reads_the_machines_clocks():
    """now() is the epoch in seconds, monotonic() never goes back."""
    clock: Clock = SystemClock()
    before, now, after = time.time(), clock.now(), time.time()
    assert before <= now <= after
    first = clock.monotonic()
    assert clock.monotonic() >= first


def test_a_fake_clock_stands_still():
    """Two readings are the same unless the test moves it."""
    clock: Clock = FakeClock()
    assert clock.now() == clock.now()
    assert clock.monotonic() == clock.monotonic()


def test_advancing_moves_both_readings():
    """Time passes on the wall and on the stopwatch alike."""
    clock = FakeClock(100.0, monotonic=5.0)
    clock.advance(2.5)
    assert (clock.now(), clock.monotonic()) == (102.5, 7.5)


def test_stepping_moves_the_wall_alone():
    """Somebody sets the clock: spans are not affected."""
    clock = FakeClock(100.0)
    clock.step(-50)
    assert (clock.now(), clock.monotonic()) == (50.0, 0.0)


def test_time_does_not_pass_backwards():
    """A negative advance is a mistake in the test, and an error."""
    with pytest.raises(ValueError, match="step"):
        FakeClock().advance(-1)


def test_clocks_say_what_they_are():
    """A failing test shows where its clock stood."""
    assert repr(FakeClock(1.0)) == "FakeClock(now=1.0, monotonic=0.0)"
    assert repr(SystemClock()) == "SystemClock()"
