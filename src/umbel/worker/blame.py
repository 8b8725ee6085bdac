"""Why an application cannot be loaded, in the words of whoever has to mend it.

A mistake in the configuration is one sentence.  An exception out of the user's own code is the
user's own traceback: the frames of Umbel and of the import system in front of and behind theirs
say nothing about it.
"""

from __future__ import annotations

import sysconfig
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from umbel.exceptions import ImproperlyConfigured, UmbelError

if TYPE_CHECKING:
    from traceback import FrameSummary, TracebackException

OURS = str(Path(__file__).resolve().parents[1])
LIBRARY = sysconfig.get_path("stdlib")


@dataclass(frozen=True, slots=True)
class Blame:
    """What to show, and whether the way the application was asked for is to blame.

    ``usage`` is True where a name or setting is wrong, False where the user's code raised.
    """

    text: str
    usage: bool


def blame(error: BaseException) -> Blame:
    """What to tell about an exception that loading an application raised."""
    told = traceback.TracebackException.from_exception(error)
    theirs = _theirs(told.stack)
    if isinstance(error, ImproperlyConfigured) or (isinstance(error, UmbelError) and not theirs):
        last = next((frame for frame in reversed(theirs) if not _is_ours_or_library(frame)), None)
        where = f" ({last.filename}, line {last.lineno})" if last else ""
        return Blame(f"{error}{where}", usage=True)
    _trim(told)
    return Blame("".join(told.format()).rstrip(), usage=False)


def _trim(told: TracebackException) -> None:
    """Leave only what is not ours at both ends of a traceback, and of those it follows from."""
    told.stack[:] = _theirs(told.stack)
    for before in (told.__cause__, told.__context__):
        if before is not None:
            _trim(before)


def _theirs(stack: list[FrameSummary]) -> list[FrameSummary]:
    """From the first frame of their code to the last, with what that called in the library."""
    outside = [number for number, frame in enumerate(stack) if not _is_ours_or_library(frame)]
    if not outside:
        return []
    end = outside[-1] + 1
    while end < len(stack) and not stack[end].filename.startswith(OURS):
        end += 1
    return stack[outside[0] : end]


def _is_ours_or_library(frame: FrameSummary) -> bool:
    name = frame.filename
    if name.startswith((OURS, "<frozen importlib")):
        return True
    return name.startswith(LIBRARY) and "site-packages" not in name
