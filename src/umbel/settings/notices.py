"""The warnings that settings give rise to."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING

from umbel.exceptions import UmbelDeprecationWarning, UmbelWarning
from umbel.settings.names import OLD_TO_NEW
from umbel.settings.table import TABLE

if TYPE_CHECKING:
    from collections.abc import Iterable


def mention_inert(names: Iterable[str], mentioned: set[str]) -> None:
    """Warn of the settings that do nothing here, once each, telling why.

    Args:
        names: The settings that were given.
        mentioned: Those that were warned of before; added to.
    """
    reasons: dict[str, list[str]] = {}
    for name in sorted(set(names) & TABLE.keys() - mentioned):
        if reason := TABLE[name].inert:
            reasons.setdefault(reason, []).append(name)
    for reason, group in reasons.items():
        mentioned.update(group)
        have = "has" if len(group) == 1 else "have"
        warnings.warn(
            f"{', '.join(group)} {have} no effect: {reason}",
            UmbelWarning,
            stacklevel=_outside(),
        )


def mention_outdated(names: Iterable[str]) -> None:
    """Warn of every setting that was given its old name."""
    for name in sorted(names):
        warnings.warn(
            f"{name} is the old name of the setting {OLD_TO_NEW[name]}; use the new one",
            UmbelDeprecationWarning,
            stacklevel=_outside(),
        )


def _outside() -> int:
    """The stack level, seen from the caller, of the first frame that is not this package's."""
    level, frame = 1, sys._getframe(1)  # noqa: SLF001 - the one way to walk the stack cheaply
    while frame.f_back and frame.f_globals.get("__name__", "").startswith("umbel."):
        level, frame = level + 1, frame.f_back
    return level
