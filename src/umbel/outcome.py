"""How an attempt ends: exactly one value of a closed union.

Running user code, judging what happened and making it durable are three steps; this module is
the value that passes between the second and the third.  Code that looks at an outcome uses an
exhaustive ``match``, so that a new way to end shows up at every place that must decide about it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from umbel.message import Message


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The task returned."""

    value: Any


@dataclass(frozen=True, slots=True)
class Failed:
    """The task raised, or was stopped by a hard limit or the death of its process.

    ``expected`` is set for the classes named in ``throws``.
    """

    error: BaseException
    traceback: str | None
    expected: bool = False


@dataclass(frozen=True, slots=True)
class Retrying:
    """The task asked for another attempt; ``message`` is that attempt."""

    reason: BaseException
    cause: BaseException
    message: Message | None
    traceback: str | None


@dataclass(frozen=True, slots=True)
class Rejected:
    """The task refused its message: back to the queue, or to the dead letters."""

    reason: BaseException
    requeue: bool


@dataclass(frozen=True, slots=True)
class Ignored:
    """The task ended without a state of its own; ``reason`` is what it raised to say so."""

    reason: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Revoked:
    """The task was cancelled before or while it ran."""

    reason: str
    terminated: bool = False
    signum: int | None = None


@dataclass(frozen=True, slots=True)
class Expired:
    """The task's time to start had passed."""


@dataclass(frozen=True, slots=True)
class Undeliverable:
    """The message cannot be run here at all and goes to the dead letters.

    ``reason`` is one of those of `DeadLetter`.
    """

    reason: str
    detail: str
    error: BaseException


@dataclass(frozen=True, slots=True)
class Released:
    """The attempt was given back, unfinished; somebody will start it anew."""

    charge: bool = False


Outcome: TypeAlias = (
    Succeeded
    | Failed
    | Retrying
    | Rejected
    | Ignored
    | Revoked
    | Expired
    | Undeliverable
    | Released
)
