"""Rate limits of one process: how they are written, and when the next start is allowed.

A limit is a number of starts per second, or text with a unit: ``"5/s"``, ``"100/m"``, ``"10/h"``.
The bucket holds one token, so starts are spread evenly: ``"60/m"`` is one each second and never
sixty at once. (A limit for the whole fleet is the coordinator's; this one is Celery's
``rate_limit``, which counts in each worker process.)
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from umbel.exceptions import InvalidRate

if TYPE_CHECKING:
    from umbel.clock import Clock

_UNITS: Final = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def rate(limit: float | str | None) -> float:
    """Starts per second that a limit allows; 0.0 is no limit (None, 0 and empty text).

    Raises:
        InvalidRate: The number or the unit is wrong. It is a ValueError and a KeyError.
    """
    if not limit:
        return 0.0
    number, _, unit = str(limit).partition("/")
    if unit.strip() not in _UNITS:
        raise InvalidRate(limit, f"the unit is s, m or h and not {unit.strip()!r}")
    try:
        per_second = float(number) / _UNITS[unit.strip()]
    except ValueError:
        raise InvalidRate(limit, f"{number!r} is not a number") from None
    if not math.isfinite(per_second) or per_second < 0:
        raise InvalidRate(limit, "it is below zero or not finite")
    return per_second


class TokenBucket:
    """One token that comes back ``1 / rate`` seconds after it was taken.

    It is for one thread. The first token is there from the start; none are saved up.

    Args:
        rate: Tokens per second, above zero.
        clock: Where the time comes from; its monotonic reading is used.
    """

    __slots__ = ("_clock", "_interval", "_next")

    def __init__(self, rate: float, clock: Clock) -> None:
        if rate <= 0:
            raise ValueError(f"a bucket needs a rate above zero, not {rate!r}")
        self._interval = 1.0 / rate
        self._clock = clock
        self._next = -math.inf

    def take(self) -> float:
        """Take the token; 0.0 if it was there, else in how many seconds to ask again."""
        now = self._clock.monotonic()
        if now < self._next:
            return self._next - now
        self._next = now + self._interval
        return 0.0
