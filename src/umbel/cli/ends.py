"""How a command ends: its exit code, and the sentence that goes with a failure.

The codes are those of click (2), of ``sysexits.h`` where Celery uses them, and of shells (130).
"""

from __future__ import annotations

import sys
from typing import IO, Any, Final

import click

from umbel.exceptions import (
    BackendError,
    ImproperlyConfigured,
    OperationalError,
    StoreError,
    UmbelError,
)

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
UNAVAILABLE: Final = 69
CANNOT_CREATE: Final = 73
NOT_YET: Final = 75
INTERRUPTED: Final = 130

MEANINGS: Final = {
    OK: "It is done.",
    FAILED: "It failed: the task raised, nothing of that name or number exists, the application's "
    "own code raised, or a worker was made to stop at once.",
    USAGE: "It cannot be done as it was asked for: a wrong option, module or setting, or a "
    "confirmation that nobody can give.",
    UNAVAILABLE: "The broker or the result backend cannot be used.",
    CANNOT_CREATE: "The file for the process id cannot be made, or belongs to a running worker.",
    NOT_YET: "There is no result yet; the task may still be waiting or running.",
    INTERRUPTED: "It was interrupted with Ctrl-C. (A worker that was asked to stop exits with 0.)",
}
"""What each exit code means, for the reference page."""


class Failure(click.ClickException):
    """A command that cannot go on: what to say, and the exit code."""

    def __init__(self, text: str, code: int = FAILED) -> None:
        super().__init__(text)
        self.exit_code = code  # type: ignore[misc]

    def show(self, file: IO[Any] | None = None) -> None:
        """Say it on the standard error stream; a traceback stands for itself."""
        is_traceback = "\n" in self.message
        click.echo(self.message if is_traceback else f"Error: {self.message}", file or sys.stderr)


def failure_of(error: UmbelError) -> Failure:
    """What an error of ours means for the command in which nobody caught it."""
    return Failure(str(error), _code_of(error))


def _code_of(error: UmbelError) -> int:
    match error:
        case ImproperlyConfigured():
            return USAGE
        case OperationalError() | StoreError() | BackendError():
            return UNAVAILABLE
        case _:
            return FAILED
