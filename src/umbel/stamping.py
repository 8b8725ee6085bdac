"""Stamps: values that a signature carries in its message's headers, for people to find it by.

A stamp is an option of the signature whose name is listed in the option ``stamped_headers``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from umbel.canvas import Signature

NAMES = "stamped_headers"


class StampingVisitor(ABC):
    """Says which stamps each part of a workflow gets.

    Every method returns stamps by name, or None. If what it returns has a ``stamped_headers``, only
    the names in that list are stamps and the others plain options.
    """

    @abstractmethod
    def on_signature(self, sig: Signature[Any], **headers: Any) -> Mapping[str, Any] | None:
        """The stamps of one signature; ``headers`` are those it gets from elsewhere."""

    def on_callback(  # noqa: B027 - may be left out
        self, callback: Signature[Any], **headers: Any
    ) -> Mapping[str, Any] | None:
        """Further stamps of a ``link`` callback."""

    def on_errback(  # noqa: B027 - may be left out
        self, errback: Signature[Any], **headers: Any
    ) -> Mapping[str, Any] | None:
        """Further stamps of a ``link_error`` callback."""


def stamps_of(
    options: Mapping[str, Any],
    visited: Mapping[str, Any] | None,
    given: Mapping[str, Any],
    *,
    append: bool,
) -> dict[str, Any]:
    """Stamped options, merged with those that ``options`` has already.

    Args:
        options: the signature's own.
        visited: what a visitor returned.
        given: what the caller gave; wins over the visitor.
        append: put a new value before the one that is there, in a list, instead of replacing it.
    """
    visited = visited or {}
    chosen = visited.get(NAMES, [name for name in visited if name != NAMES])
    values = {name: value for name, value in {**visited, **given}.items() if name != NAMES}
    named = [name for name in given if name != NAMES]
    before = options.get(NAMES) or ()
    names = list(dict.fromkeys([*before, *named, *chosen]))
    if append:
        for name in before:
            if name in values:
                values[name] = [*_listed(values[name]), *_listed(options[name])]
    return {**values, NAMES: names}


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple, set)) else [value]
