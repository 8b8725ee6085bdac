"""The states a task goes through, and which of two states is the later one.

A task nobody has heard of is PENDING. RECEIVED, STARTED and RETRY are on the way; SUCCESS,
FAILURE and REVOKED are final. Any other upper-case text is a state of the user's own; it counts
as later than STARTED and as earlier than the end.
"""

from __future__ import annotations

from typing import Final

PENDING: Final = "PENDING"
RECEIVED: Final = "RECEIVED"
STARTED: Final = "STARTED"
SUCCESS: Final = "SUCCESS"
FAILURE: Final = "FAILURE"
REVOKED: Final = "REVOKED"
REJECTED: Final = "REJECTED"
RETRY: Final = "RETRY"
IGNORED: Final = "IGNORED"

READY_STATES: Final = frozenset({SUCCESS, FAILURE, REVOKED})
UNREADY_STATES: Final = frozenset({PENDING, RECEIVED, STARTED, REJECTED, RETRY})
EXCEPTION_STATES: Final = frozenset({RETRY, FAILURE, REVOKED})
PROPAGATE_STATES: Final = frozenset({FAILURE, REVOKED})
ALL_STATES: Final = frozenset({PENDING, RECEIVED, STARTED, SUCCESS, FAILURE, RETRY, REVOKED})

PRECEDENCE: Final = (
    SUCCESS,
    FAILURE,
    None,  # stands for every state of the user's own
    REVOKED,
    STARTED,
    RECEIVED,
    REJECTED,
    RETRY,
    PENDING,
)
_PLACES = {name: place for place, name in enumerate(PRECEDENCE)}
_CUSTOM = _PLACES[None]


def precedence(state: str | None) -> int:
    """The state's place in `PRECEDENCE`; 0 is the state that no other one follows."""
    return _PLACES.get(state, _CUSTOM)


class state(str):  # noqa: N801 - Celery's name
    """A state that compares by precedence: ``state(STARTED) > RECEIVED``.

    It equals, and hashes as, its plain text. Two states of the user's own are neither greater
    nor less than each other.
    """

    __slots__ = ()

    def __gt__(self, other: str) -> bool:
        return precedence(self) < precedence(other)

    def __ge__(self, other: str) -> bool:
        return precedence(self) <= precedence(other)

    def __lt__(self, other: str) -> bool:
        return precedence(self) > precedence(other)

    def __le__(self, other: str) -> bool:
        return precedence(self) >= precedence(other)
