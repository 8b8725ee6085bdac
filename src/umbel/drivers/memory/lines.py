"""Messages and where they stand: the data behind the broker."""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from umbel.message import Delivery, Message


@dataclass(slots=True)
class Place:
    """One message and where it stands: delayed, claimed or ready."""

    number: int
    message: Message
    rank: int
    due_at: float | None
    enqueued_at: float
    owner: str | None = None
    fence: int = 0
    deliveries: int = 0
    crashes: int = 0
    begun: bool = False

    @property
    def state(self) -> str:
        """``claimed``, ``delayed`` or ``ready``."""
        if self.owner is not None:
            return "claimed"
        return "ready" if self.due_at is None else "delayed"

    @property
    def turn(self) -> tuple[int, int, int]:
        """Sorts the messages of a queue: best priority first, then oldest first."""
        return -(self.message.priority or 0), self.rank, self.number


class Lines:
    """Every message, by number and by what it waits for."""

    def __init__(self) -> None:
        self._places: dict[int, Place] = {}
        self._ready: dict[str, list[tuple[int, int, int]]] = {}
        self._delayed: list[tuple[float, int]] = []

    def add(self, place: Place) -> None:
        """Let a message in, or back in line after it was taken out of it."""
        self._places[place.number] = place
        if place.state == "ready":
            insort(self._ready.setdefault(place.message.queue, []), place.turn)
        elif place.due_at is not None:
            insort(self._delayed, (place.due_at, place.number))

    def take_out(self, place: Place) -> None:
        """Out of line; the message is still known."""
        if place.state == "ready":
            line = self._ready[place.message.queue]
            del line[bisect_left(line, place.turn)]
            if not line:
                del self._ready[place.message.queue]
        elif place.due_at is not None:
            del self._delayed[bisect_left(self._delayed, (place.due_at, place.number))]

    def delete(self, place: Place) -> None:
        """The message is gone."""
        self.take_out(place)
        del self._places[place.number]

    def first(self, queue: str) -> Place | None:
        """The next to be delivered from ``queue``."""
        line = self._ready.get(queue)
        return self._places[line[0][-1]] if line else None

    def first_due(self) -> Place | None:
        """The delayed message that is due first."""
        return self._places[self._delayed[0][1]] if self._delayed else None

    def held(self, delivery: Delivery) -> Place | None:
        """The message of a claim, unless the claim was lost."""
        place = self._places.get(delivery.tag)
        if place is None or place.owner is None or place.fence != delivery.fence:
            return None
        return place

    def __iter__(self) -> Iterator[Place]:
        return iter(self._places.values())
