"""A clock that moves only when a test moves it."""

from __future__ import annotations


class FakeClock:
    """A `Clock` whose readings change by `advance` and `step` alone.

    Args:
        now: The first wall reading, in seconds since the epoch.
        monotonic: The first monotonic reading.
    """

    __slots__ = ("_monotonic", "_now")

    def __init__(self, now: float = 1_000_000_000.0, *, monotonic: float = 0.0) -> None:
        self._now = now
        self._monotonic = monotonic

    def now(self) -> float:
        """The wall reading."""
        return self._now

    def monotonic(self) -> float:
        """The monotonic reading."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let time pass on both clocks.

        Raises:
            ValueError: ``seconds`` is negative.
        """
        if seconds < 0:
            raise ValueError("time does not pass backwards; step() sets the wall clock back")
        self._now += seconds
        self._monotonic += seconds

    def step(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an administrator or NTP would."""
        self._now += seconds

    def __repr__(self) -> str:
        return f"FakeClock(now={self._now}, monotonic={self._monotonic})"
