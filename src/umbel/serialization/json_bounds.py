"""Measures JSON before it is parsed, at the speed of the memory and not of the parser.

A recursive parser must not meet nesting that exhausts its stack, and turning a million digits
into an integer takes hours, so both are found in the raw bytes.  What stands inside a text does
not count: ``"]"`` closes nothing, and a sender may well put it there to make deep nesting look
flat.  Telling inside from outside needs no parser: a byte stands inside a text exactly if an odd
number of (unescaped) quotes stands before it.

So: blank out the escapes, delete everything but brackets and quotes, delete neighbouring quotes
(which changes no parity), cut at the remaining quotes and keep every other piece.  What is left is
the skeleton, and each ``replace("[]", "")`` takes its innermost level away.  Where the input is
not JSON at all, parser and skeleton agree up to the first mistake, and the parser stops there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from umbel.exceptions import DecodeError
from umbel.serialization.limits import too_deep, too_long, too_many, too_many_digits

if TYPE_CHECKING:
    from umbel.serialization.limits import Limits

SQUARE, CURLY = b"[{"
_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NO_OPENER = bytes(set(range(256)) - {SQUARE, CURLY})
_NEITHER_BRACKET_NOR_QUOTE = bytes(set(range(256)) - set(b'[]{}"'))
# Every digit becomes a zero and every other byte a NUL, so that a run of digits can be searched.
DIGITS_AS_ZEROS = bytes(48 if byte in b"0123456789" else 0 for byte in range(256))


def check_json(body: bytes, limits: Limits, *, long_runs: bool = True) -> None:
    """Let JSON pass that keeps within the limits; what is not JSON may pass too.

    Args:
        body: the raw bytes.
        limits: what they are held against.
        long_runs: False if it is known that the body has no long run of digits.

    Raises:
        DecodeError: a limit is broken, or the brackets of a long body do not match.
    """
    size = len(body)
    if limits.items is not None and size > limits.items:
        _check_items(body, limits.items)
    if long_runs and limits.int_digits is not None and size > limits.int_digits:
        _check_digits(body, limits.int_digits)
    if limits.string is not None and size > limits.string:
        _check_strings(body, limits.string)
    # Last, because its worst case costs a pass over all brackets for each level.
    if limits.depth is not None and len(body.translate(None, _NO_OPENER)) > limits.depth:
        _check_depth(body, limits.depth)


def _check_depth(body: bytes, limit: int) -> None:
    skeleton = _without_escapes(body).translate(_BRACKETS, _NEITHER_BRACKET_NOR_QUOTE)
    skeleton = b"".join(skeleton.replace(b'""', b"").split(b'"')[::2])
    for _ in range(limit):
        if not skeleton:
            return
        skeleton = skeleton.replace(b"[]", b"")
    if skeleton.count(b"[") != skeleton.count(b"]"):
        raise DecodeError("its brackets do not match")
    if skeleton:
        raise too_deep(limit)


def _check_items(body: bytes, limit: int) -> None:
    if _count_items(body) > limit and _count_items(_outside_of_texts(body)) > limit:
        raise too_many(limit)


def _count_items(body: bytes) -> int:
    # One for each comma, and one for the first item of each container.
    return body.count(b",") + body.count(SQUARE) + body.count(CURLY)


def _check_digits(body: bytes, limit: int) -> None:
    run = b"0" * (limit + 1)
    if run in body.translate(DIGITS_AS_ZEROS):
        outside = _outside_of_texts(body)
        if run in outside.translate(DIGITS_AS_ZEROS):
            raise too_many_digits(limit)


def _check_strings(body: bytes, limit: int) -> None:
    texts = _without_escapes(body).split(b'"')[1::2]
    if max(map(len, texts), default=0) > limit:
        raise too_long(limit)


def _outside_of_texts(body: bytes) -> bytes:
    return b'"'.join(_without_escapes(body).split(b'"')[::2])


def _without_escapes(body: bytes) -> bytes:
    if b"\\" not in body:
        return body
    # From the left, pair by pair: a backslash that is still there escapes the quote behind it.
    return body.replace(b"\\\\", b"__").replace(b'\\"', b"__")
