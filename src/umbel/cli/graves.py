"""Finding dead letters: all that fit, page by page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from umbel.ports.broker import Broker, Buried

PAGE = 200
LETTERS_COUNTED = 1000


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which dead letters; what is None or empty does not narrow them down."""

    numbers: Collection[int] = ()
    task: str | None = None
    reason: str | None = None
    queue: str | None = None

    @property
    def is_all(self) -> bool:
        """Whether every letter fits."""
        return not (self.numbers or self.task or self.reason or self.queue)

    def fits(self, buried: Buried) -> bool:
        """Whether this one is meant."""
        letter = buried.letter
        return (
            (self.task is None or task_of(buried) == self.task)
            and (self.reason is None or letter.reason == self.reason)
            and (self.queue is None or letter.queue == self.queue)
        )


def task_of(buried: Buried) -> str:
    """The task's name; empty for a message that is none."""
    return getattr(buried.letter.message, "task", "")


def find_letters(broker: Broker, wanted: Wanted) -> Iterator[Buried]:
    """The letters that fit, newest first."""
    numbers = wanted.numbers or None
    offset = 0
    while True:
        page = broker.dead(limit=PAGE, offset=offset, numbers=numbers)
        yield from filter(wanted.fits, page)
        if len(page) < PAGE:
            return
        offset += PAGE


def count_letters(broker: Broker) -> tuple[int, bool]:
    """How many letters there are, counted up to a bound, and whether there are more."""
    count = 0
    for _ in find_letters(broker, Wanted()):
        if count == LETTERS_COUNTED:
            return count, True
        count += 1
    return count, False
