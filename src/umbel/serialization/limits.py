"""What a body may cost: the bounds a receiver puts on bytes it did not make.

A message of a few kilobytes can be made to cost gigabytes or hours: brackets nested a million
deep, an integer of a million digits, a kilobyte that unpacks to ten gigabytes.  Every decoder
therefore measures first.  The measuring must not cost the ordinary message anything, so each set
of limits knows one number, `Limits.harmless`: JSON of no more bytes than that cannot break any of
them, whatever the bytes are, and is not looked at.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, fields
from typing import Any

from umbel.exceptions import DecodeError, ImproperlyConfigured

MIB = 1024 * 1024
_CONTAINERS = frozenset({list, dict})


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that a body may be, before and after it is decoded; ``None`` switches a limit off.

    They hold for json, msgpack and yaml.  Pickle is bound by ``body`` and ``decompressed`` alone:
    who accepts pickle trusts its senders with everything.

    Attributes:
        body: bytes of the body as it travels.
        decompressed: bytes of the body after decompression.
        depth: how deep lists and mappings may be nested.
        items: list elements and mapping entries, all levels together.
        int_digits: decimal digits of one integer. The interpreter has a limit of its own
            (``sys.set_int_max_str_digits``); the smaller one decides.
        string: bytes of one encoded text.
        harmless: no JSON or YAML of so few bytes can break any of the limits.

    Raises:
        ImproperlyConfigured: a limit is neither ``None`` nor a positive whole number.
    """

    body: int | None = 16 * MIB
    decompressed: int | None = 64 * MIB
    depth: int | None = 64
    items: int | None = 1_000_000
    int_digits: int | None = 4300
    string: int | None = 8 * MIB
    harmless: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        named = {f.name: getattr(self, f.name) for f in fields(self) if f.init}
        for name, bound in named.items():
            if bound is not None and (type(bound) is not int or bound < 1):
                raise ImproperlyConfigured(
                    f"the limit {name} must be a positive whole number or None, not {bound!r}"
                )
        if self.depth is not None:
            named["depth"] = 2 * self.depth  # a level takes two bytes: it opens and it closes
        bounds = [bound for bound in named.values() if bound is not None]
        object.__setattr__(self, "harmless", min(bounds, default=sys.maxsize))

    def check_size(self, body: bytes) -> None:
        """Let a body pass that is to travel as it is.

        Raises:
            DecodeError: it has more than ``body`` bytes.
        """
        if self.body is not None and len(body) > self.body:
            raise DecodeError(f"it has {len(body)} bytes, the limit is {self.body}")

    def check_decompressed(self, body: bytes) -> None:
        """Let a body pass that is to be compressed before it travels.

        Raises:
            DecodeError: it has more than ``decompressed`` bytes.
        """
        if self.decompressed is not None and len(body) > self.decompressed:
            raise DecodeError(
                f"decompressed it has {len(body)} bytes, the limit is {self.decompressed}"
            )


DEFAULT_LIMITS = Limits()


def check_decoded(value: Any, limits: Limits) -> None:
    """Measure a decoded value level by level, without recursion.

    For decoders that cannot be made to recurse and whose input cannot be measured faster than
    its output.

    Raises:
        DecodeError: it is nested too deep or has too many items.
    """
    level = [value] if type(value) in _CONTAINERS else []
    depth = items = 0
    while level:
        depth += 1
        if limits.depth is not None and depth > limits.depth:
            raise too_deep(limits.depth)
        below: list[Any] = []
        for parent in level:
            items += len(parent)
            for child in parent.values() if type(parent) is dict else parent:
                if type(child) in _CONTAINERS:
                    below.append(child)  # noqa: PERF401 - the branches cost less than a generator
        if limits.items is not None and items > limits.items:
            raise too_many(limits.items)
        level = below


def refuse_lone_surrogates(value: Any) -> None:
    """Look through decoded data for text that no encoding can carry.

    Raises:
        DecodeError: a text, or a key, has half of a surrogate pair in it.
    """
    pending = [value]
    for one in pending:
        if type(one) is dict:
            pending += one
            pending += one.values()
        elif type(one) is list:
            pending += one
        elif type(one) is str and not one.isascii():
            try:
                one.encode()
            except UnicodeEncodeError as error:
                raise DecodeError("it holds text with half of a surrogate pair") from error


def too_deep(limit: int) -> DecodeError:
    """The error for nesting, alike for every decoder."""
    return DecodeError(f"it is nested deeper than {limit} levels")


def too_many(limit: int) -> DecodeError:
    """The error for the number of items, alike for every decoder."""
    return DecodeError(f"it has more than {limit} list elements and mapping entries")


def too_long(limit: int) -> DecodeError:
    """The error for the length of a text, alike for every decoder."""
    return DecodeError(f"it holds a text of more than {limit} bytes")


def too_many_digits(limit: int) -> DecodeError:
    """The error for the length of an integer, alike for every decoder."""
    return DecodeError(f"it holds an integer of more than {limit} digits")
