"""Which deliveries of a channel are settled, so that as few frames as possible settle the rest.

The server numbers the deliveries of a channel from 1 without gaps.  An acknowledgement of *all up
to n* settles a whole run in one frame, but it is right only if nothing below n is to stay
unsettled.  So the ledger knows the floor: everything up to it is settled.  What a call lifts the
floor by goes out as one frame; what lies above, behind an unsettled delivery, one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Acks:
    """The ledger of one channel; the caller sees to it that one thread uses it at a time."""

    def __init__(self) -> None:
        self._floor = 0
        self._above: set[int] = set()

    def settle(self, tags: Iterable[int]) -> tuple[int, list[int]]:
        """Settle exactly ``tags``; returns up to where all may be settled at once, and single ones.

        The first is 0 if there is no such run. What was settled before is left out.
        """
        floor, above = self._floor, self._above
        new = {tag for tag in tags if tag > floor and tag not in above}
        above |= new
        while floor + 1 in above:
            floor += 1
            above.discard(floor)
        self._floor = floor
        singles = [tag for tag in new if tag > floor]
        if len(singles) == len(new):
            return 0, sorted(singles)
        return max(tag for tag in new if tag <= floor), sorted(singles)

    def settle_up_to(self, tag: int) -> None:
        """Everything up to ``tag`` is settled."""
        if tag > self._floor:
            self._floor = tag
            self._above = {above for above in self._above if above > tag}
            self.settle(())
