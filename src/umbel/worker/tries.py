"""How often, and how long apart, a server that is away is tried."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_PAUSE, LAST_PAUSE = 0.2, 5.0
"""Seconds; the last is short enough for a worker to be back within ten of the server's return."""


@dataclass(slots=True)
class Tries:
    """Failures in a row, against how many of them are put up with.

    Attributes:
        limit: how many tries follow the first failure; None is without end.
        failures: how many have failed in a row.
    """

    limit: int | None
    failures: int = 0

    def fail(self) -> float | None:
        """Count a failure: the seconds to wait before the next try, or None if there is none."""
        self.failures += 1
        if self.limit is not None and self.failures > self.limit:
            return None
        return float(min(FIRST_PAUSE * 2.0 ** min(self.failures - 1, 10), LAST_PAUSE))

    def succeed(self) -> None:
        """Begin to count anew."""
        self.failures = 0

    @property
    def shown(self) -> str:
        """Which try comes next, for the log."""
        of = "" if self.limit is None else f" of {self.limit}"
        return f"try {self.failures}{of}"
