"""Reads pickles that hold plain data, and no others.

Stores that Celery writes may hold pickles though nobody asked for any.  Unpickling is running a
program that somebody else wrote, so such a pickle is not run before it is known to do nothing but
build numbers, texts, bytes and containers of them: first its opcodes are gone through, one by one,
against a list of those that build plain data; then it is loaded by an unpickler that knows no
names; and what comes out is measured, because a few hundred bytes can refer to themselves until
they stand for gigabytes.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from typing import TYPE_CHECKING, Any, NoReturn

from umbel.exceptions import DecodeError
from umbel.serialization.limits import Limits, too_deep, too_many

if TYPE_CHECKING:
    from collections.abc import Iterable

CONTENT_TYPE = "application/x-python-serialize"

# What protocols 2 to 5 use for plain data. None of them looks up a name or calls anything.
_PLAIN = frozenset(
    (
        *("PROTO", "FRAME", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE"),
        *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"),
        *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
        *("EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_TUPLE", "TUPLE"),
        *("TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_DICT", "SETITEM", "SETITEMS"),
        *("EMPTY_SET", "ADDITEMS", "FROZENSET"),
        *("BINPUT", "LONG_BINPUT", "MEMOIZE", "BINGET", "LONG_BINGET"),
    )
)
# Their arguments are sizes or places, for which room is made before they are checked.
_SIZED = frozenset({"FRAME", "BINPUT", "LONG_BINPUT"})
_FIRST, _OLDEST, _NEWEST = 0x80, 2, 5
_SHORTEST = 3


def is_pickle(body: bytes) -> bool:
    """Whether these bytes begin and end as a pickle of protocol 2 or later does."""
    return (
        len(body) >= _SHORTEST
        and body[0] == _FIRST
        and _OLDEST <= body[1] <= _NEWEST
        and body[-1:] == b"."
    )


def loads_plain(body: bytes, limits: Limits | None = None) -> Any:
    """The plain data in a pickle; nothing is imported or called.

    Raises:
        DecodeError: it needs more than that, is broken, or exceeds a limit.
    """
    limits = Limits() if limits is None else limits
    limits.check_size(body)
    try:
        _check_opcodes(body)
        value = _Unpickler(io.BytesIO(body)).load()
    except DecodeError:
        raise
    except Exception as error:
        raise DecodeError(f"its pickle is broken: {error}", CONTENT_TYPE) from error
    _measure(value, limits)
    return value


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> NoReturn:
        raise _refused(f"{module}.{name}")


def _check_opcodes(body: bytes) -> None:
    for opcode, argument, _ in pickletools.genops(body):
        if opcode.name not in _PLAIN:
            raise _refused(f"the opcode {opcode.name}")
        if opcode.name in _SIZED and (argument or 0) > len(body):
            raise DecodeError("its pickle is broken: a size in it is larger than it", CONTENT_TYPE)


def _refused(what: str) -> DecodeError:
    return DecodeError(f"its pickle holds more than plain data ({what})", CONTENT_TYPE)


def _measure(value: Any, limits: Limits) -> None:
    """Count everything as often as it is referred to, as an encoder would."""
    items = size = 0
    waiting = [(value, 0)]
    while waiting:
        one, depth = waiting.pop()
        if isinstance(one, (str, bytes)):
            size += len(one)
            if limits.decompressed is not None and size > limits.decompressed:
                raise DecodeError(f"it stands for more than {limits.decompressed} bytes")
            continue
        inner = _inner(one)
        items += len(inner)
        if limits.items is not None and items > limits.items:
            raise too_many(limits.items)
        if inner and limits.depth is not None and depth >= limits.depth:
            raise too_deep(limits.depth)
        waiting += ((each, depth + 1) for each in inner)


def _inner(value: Any) -> list[Any]:
    """What a container holds; nothing for everything else."""
    inner: Iterable[Any] = ()
    if isinstance(value, dict):
        inner = (*value.keys(), *value.values())
    elif isinstance(value, (list, tuple, set, frozenset)):
        inner = value
    return list(inner)
