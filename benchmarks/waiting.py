"""Waits that end: every one has a deadline and says what it waited for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class DeadlineError(Exception):
    """A deadline has passed."""

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(f"{what}: not within {seconds:.0f} s")


def wait_until(
    condition: Callable[[], bool], seconds: float, *, what: str, pause: float = 0.002
) -> None:
    """Return as soon as ``condition`` holds; it is looked at every ``pause`` seconds.

    Raises:
        DeadlineError: it did not hold within ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise DeadlineError(what, seconds)
        time.sleep(pause)
