"""Where the time comes from, so that tests can bring their own."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Two readings of time; whoever acts on time is given one of these."""

    def now(self) -> float:
        """The wall clock in seconds since the epoch (UTC); it may be set, also backwards."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start, never going backwards: for spans and deadlines."""
        ...


class SystemClock:
    """The machine's clocks."""

    __slots__ = ()

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)

    def __repr__(self) -> str:
        return "SystemClock()"
