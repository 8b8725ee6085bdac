"""MessagePack: smaller than JSON where the data is numbers or bytes.

Text, numbers, bytes, lists and mappings have their own forms, the same that Celery's workers
write.  The types of `TypeTable` travel in the tagged form known from JSON, which Umbel restores and
other readers see as a mapping.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgpack

from umbel.exceptions import DecodeError
from umbel.serialization.limits import check_decoded, too_deep

if TYPE_CHECKING:
    from collections.abc import Callable

    from umbel.serialization.limits import Limits
    from umbel.serialization.tagged import TypeTable

_MARKER = b"__type__"
# The first bytes of lists and mappings: the short forms of both, and the 16 and 32 bit ones.
_OPENS = {*range(0x80, 0xA0), 0xDC, 0xDD, 0xDE, 0xDF}
_NO_CONTAINER = bytes(set(range(256)) - _OPENS)
_LEAVES = frozenset({str, int, float, bool, bytes, type(None)})
_KEYS = (str, bytes, int, float, type(None))


def msgpack_encoder(plain_of: Callable[[Any], Any]) -> Callable[[Any], bytes]:
    """A function from a value to its MessagePack; raises what the value provokes."""

    def form(value: Any) -> Any:
        if isinstance(value, int):
            raise OverflowError("it has more than 64 bits")
        plain = plain_of(value)
        _refuse_list_keys(plain)
        return plain

    def encode(value: Any) -> bytes:
        packed = cast("bytes", msgpack.packb(value, default=form, use_bin_type=True))
        _refuse_list_keys(value)
        return packed

    return encode


def _refuse_list_keys(value: Any) -> None:
    # The packer writes a tuple as a list even where it is a key, and no reader could make a
    # mapping of that.
    pending = [value]
    for one in pending:
        if isinstance(one, dict):
            for key in one:
                if type(key) is not str and not isinstance(key, _KEYS):
                    raise TypeError(f"keys must be text, numbers or bytes, not {type(key)}")
            pending += [child for child in one.values() if type(child) not in _LEAVES]
        elif isinstance(one, (list, tuple)):
            pending += [child for child in one if type(child) not in _LEAVES]


def msgpack_decoder(types: TypeTable) -> Callable[[bytes, str | None, Limits], Any]:
    """A function from MessagePack to the value it stands for.

    The function raises DecodeError for a broken limit or a bad marker, and what the unpacker raises
    (ValueError, TypeError) for what is not MessagePack.
    """

    def decode(body: bytes, _encoding: str | None, limits: Limits) -> Any:
        size = len(body)
        # The lengths that a body claims are believed before its items are there to be counted.
        most = size if limits.items is None else min(size, limits.items)
        longest = size if limits.string is None else min(size, limits.string)
        try:
            value = msgpack.unpackb(
                body,
                raw=False,
                strict_map_key=False,
                object_hook=types.restore if body.find(_MARKER) >= 0 else None,
                max_array_len=most,
                max_map_len=most,
                max_str_len=longest,
                max_bin_len=size,
                max_ext_len=size,
            )
        except msgpack.exceptions.StackError as error:
            raise (DecodeError() if limits.depth is None else too_deep(limits.depth)) from error
        if _may_break(body, limits):
            check_decoded(value, limits)
        return value

    return decode


def _may_break(body: bytes, limits: Limits) -> bool:
    # Not `Limits.harmless`: here a level takes one byte, for nothing closes it.
    if limits.items is not None and len(body) > limits.items:
        return True
    if limits.depth is None or len(body) <= limits.depth:
        return False
    return len(body.translate(None, _NO_CONTAINER)) > limits.depth
