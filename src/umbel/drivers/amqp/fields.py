"""AMQP's tables and basic properties, to bytes and back.

The types are those that RabbitMQ speaks, which differ from the paper in places
(https://www.rabbitmq.com/amqp-0-9-1-errata.html).  What is read comes from strangers: every length
is checked against what is there, and nesting has a bound.  Text that is no UTF-8 is kept as bytes.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from struct import Struct
from struct import error as StructError  # noqa: N812 - an exception's name
from typing import TYPE_CHECKING, Any

from umbel.drivers.amqp.errors import FrameError
from umbel.exceptions import EncodeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

DEEPEST = 32
"""How many tables and arrays may lie within one another."""

_MOST_KNOWN = 1024
_HALF = 1 << 31
_U8 = Struct(">B")
_U16 = Struct(">H")
_U32 = Struct(">I")
_U64 = Struct(">Q")
_S8 = Struct(">b")
_S16 = Struct(">h")
_S32 = Struct(">i")
_S64 = Struct(">q")
_F32 = Struct(">f")
_F64 = Struct(">d")
_DECIMAL = Struct(">Bi")
_TEXT, _NOTHING = ord("S"), ord("V")
_TEXT_HEAD = Struct(">cI").pack
_INT_HEAD = Struct(">ci").pack
_LONG_HEAD = Struct(">cq").pack
_FLOAT_HEAD = Struct(">cd").pack

# --------------------------------------------------------------------------------------- writing


def _escaped(text: str) -> bytes:
    """Text with bytes in it that were no UTF-8 when they were read."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise EncodeError(f"{text[:40]!r} is no text that UTF-8 can say") from error


def short(text: str) -> bytes:
    """Text of up to 255 bytes, its length in front.

    Raises:
        EncodeError: it is longer.
    """
    encoded = text.encode() if text.isascii() else _escaped(text)
    if len(encoded) > 255:  # noqa: PLR2004 - what one byte can count
        raise EncodeError(f"{text[:40]!r}… has {len(encoded)} bytes, AMQP takes 255 at this place")
    return _U8.pack(len(encoded)) + encoded


def table(values: Mapping[str, Any], depth: int = 0) -> bytes:
    """A mapping of text to values, its length in front.

    Raises:
        EncodeError: a key or value has no form in AMQP; the path names it.
    """
    parts: list[bytes] = []
    append, key = parts.append, ""
    try:
        for key, value in values.items():
            append(_keys.get(key) or _key(key))
            kind = type(value)
            if kind is str:  # most are
                append(_write_text(value, depth))
            elif value is None:
                append(b"V")
            else:
                append((_writers.get(kind) or _writer(kind))(value, depth))
    except EncodeError as error:
        raise _at(error, key) from error
    joined = b"".join(parts)
    return _U32.pack(len(joined)) + joined


def array(values: Sequence[Any], depth: int = 0) -> bytes:
    """A sequence of values, its length in front; raises as `table`."""
    parts = []
    for index, value in enumerate(values):
        try:
            parts.append((_writers.get(type(value)) or _writer(type(value)))(value, depth))
        except EncodeError as error:
            raise _at(error, str(index)) from error
    joined = b"".join(parts)
    return _U32.pack(len(joined)) + joined


def _at(error: EncodeError, key: object) -> EncodeError:
    return EncodeError(error.reason, f"{key}.{error.path}" if error.path else str(key)[:80])


_keys: dict[str, bytes] = {}


def _key(key: str) -> bytes:
    if not isinstance(key, str):
        raise EncodeError(f"{key!r} is no text")
    encoded = short(key)
    if len(_keys) < _MOST_KNOWN:
        _keys[key] = encoded
    return encoded


def _write_text(value: str, _depth: int) -> bytes:
    try:
        encoded = value.encode()
    except UnicodeEncodeError:
        encoded = _escaped(value)
    return _TEXT_HEAD(b"S", len(encoded)) + encoded


def _write_bytes(value: bytes | bytearray, _depth: int) -> bytes:
    return _TEXT_HEAD(b"x", len(value)) + value


def _write_int(value: int, _depth: int) -> bytes:
    if -_HALF <= value < _HALF:
        return _INT_HEAD(b"I", value)
    try:
        return _LONG_HEAD(b"l", value)
    except StructError as error:
        raise EncodeError(f"{value} has more than 64 bits") from error


def _write_float(value: float, _depth: int) -> bytes:
    return _FLOAT_HEAD(b"d", value)


def _write_decimal(value: Decimal, _depth: int) -> bytes:
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int):
        raise EncodeError(f"{value} is no number")
    scale = max(-exponent, 0)
    if scale > 255 or value.adjusted() > 10:  # noqa: PLR2004 - one byte and 32 bits
        raise EncodeError(f"{value} needs more than 32 bits")
    try:
        return b"D" + _DECIMAL.pack(scale, int(value.scaleb(scale)))
    except StructError as error:
        raise EncodeError(f"{value} needs more than 32 bits") from error


def _write_moment(value: datetime, _depth: int) -> bytes:
    return b"T" + moment(value)


def moment(value: datetime | float) -> bytes:
    """Whole seconds since the epoch; a ``datetime`` without a time zone is in UTC."""
    if isinstance(value, datetime):
        value = (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    try:
        return _U64.pack(int(value))
    except (StructError, TypeError, ValueError, OverflowError) as error:
        raise EncodeError(f"{value!r} is no moment that AMQP can say") from error


def _write_table(value: Mapping[str, Any], depth: int) -> bytes:
    return b"F" + table(value, _deeper(depth))


def _write_array(value: Sequence[Any], depth: int) -> bytes:
    return b"A" + array(value, _deeper(depth))


def _deeper(depth: int) -> int:
    if depth >= DEEPEST:
        raise EncodeError(f"more than {DEEPEST} tables lie within one another")
    return depth + 1


_writers: dict[type, Callable[[Any, int], bytes]] = {
    str: _write_text,
    int: _write_int,
    bool: lambda value, _: b"t\x01" if value else b"t\x00",
    type(None): lambda _value, _: b"V",
    float: _write_float,
    bytes: _write_bytes,
    bytearray: _write_bytes,
    Decimal: _write_decimal,
    datetime: _write_moment,
    dict: _write_table,
    list: _write_array,
    tuple: _write_array,
}


def _writer(kind: type) -> Callable[[Any, int], bytes]:
    """What writes values of a class that only inherits from one that we know."""
    for known in kind.__mro__:
        if known in _writers:
            return _writers[known]
    raise EncodeError(f"AMQP has no form for a value of type {kind.__name__}")


# --------------------------------------------------------------------------------------- reading


def read_table(data: bytes, start: int, end: int, depth: int = 0) -> tuple[dict[str, Any], int]:
    """The table whose length stands at ``start``, and where it ends.

    Raises:
        FrameError: it is malformed, does not end before ``end``, or is nested too deeply.
    """
    position, end = _span(data, start, end, depth)
    values: dict[str, Any] = {}
    known, size_at = _names, _U32.unpack_from
    try:
        while position < end:
            key_end = position + 1 + data[position]
            raw = data[position + 1 : key_end]
            key = known.get(raw) or _name(raw)
            kind = data[key_end]
            if kind == _TEXT:  # most are
                begin = key_end + 5
                position = begin + size_at(data, key_end + 1)[0]
                text = data[begin:position]
                try:
                    values[key] = text.decode()
                except UnicodeDecodeError:
                    values[key] = text
            elif kind == _NOTHING:
                values[key], position = None, key_end + 1
            else:
                values[key], position = _readers[kind](data, key_end + 1, end, depth)
    except (IndexError, StructError, KeyError) as error:
        raise FrameError(f"a table has no valid field at byte {position}") from error
    if position != end:
        raise FrameError("a field of a table is longer than the table")
    return values, end


def spans(data: bytes, position: int, end: int) -> Iterator[tuple[str, int, int, int]]:
    """The fields of a table that was read before: name, type, and where the value lies."""
    while position < end:
        key_end = position + 1 + data[position]
        name, kind = _name(data[position + 1 : key_end]), data[key_end]
        position = _readers[kind](data, key_end + 1, end, 0)[1]
        yield name, kind, key_end + 1, position


_names: dict[bytes, str] = {}


def _name(raw: bytes) -> str:
    """The name of a field; there are few different ones."""
    name = raw.decode("utf-8", "surrogateescape")
    if len(_names) >= _MOST_KNOWN:
        _names.clear()
    _names[raw] = name
    return name


def read_array(data: bytes, start: int, end: int, depth: int = 0) -> tuple[list[Any], int]:
    """The array whose length stands at ``start``, and where it ends; raises as `read_table`."""
    position, end = _span(data, start, end, depth)
    values: list[Any] = []
    try:
        while position < end:
            value, position = _readers[data[position]](data, position + 1, end, depth)
            values.append(value)
    except (IndexError, StructError, KeyError) as error:
        raise FrameError(f"an array has no valid field at byte {position}") from error
    if position != end:
        raise FrameError("a field of an array is longer than the array")
    return values, end


def read_short(data: bytes, start: int, end: int) -> tuple[str, int]:
    """The text of up to 255 bytes at ``start``, and where it ends."""
    stop = start + 1 + data[start] if start < end else end + 1
    if stop > end:
        raise FrameError("a text is longer than what holds it")
    return data[start + 1 : stop].decode("utf-8", "surrogateescape"), stop


def _span(data: bytes, start: int, end: int, depth: int) -> tuple[int, int]:
    if depth > DEEPEST:
        raise FrameError(f"more than {DEEPEST} tables lie within one another")
    if start + 4 > end:
        raise FrameError("a length is cut off")
    stop = start + 4 + int.from_bytes(data[start : start + 4], "big")
    if stop > end:
        raise FrameError("a table or array is longer than what holds it")
    return start + 4, stop


def _read_text(data: bytes, start: int, end: int, _depth: int) -> tuple[str | bytes, int]:
    raw, stop = _read_bytes(data, start, end, _depth)
    try:
        return raw.decode(), stop
    except UnicodeDecodeError:
        return raw, stop


def _read_bytes(data: bytes, start: int, end: int, _depth: int) -> tuple[bytes, int]:
    stop = start + 4 + _U32.unpack_from(data, start)[0]
    if stop > end:
        raise FrameError("a text is longer than what holds it")
    return data[start + 4 : stop], stop


def _read_decimal(data: bytes, start: int, _end: int, _depth: int) -> tuple[Decimal, int]:
    scale, number = _DECIMAL.unpack_from(data, start)
    return Decimal(number).scaleb(-scale), start + 5


def _read_moment(data: bytes, start: int, _end: int, _depth: int) -> tuple[datetime | int, int]:
    """A moment in UTC; one that no calendar has (milliseconds, mostly) stays a number."""
    seconds: int = _U64.unpack_from(data, start)[0]
    try:
        return datetime.fromtimestamp(seconds, UTC), start + 8
    except (ValueError, OverflowError, OSError):
        return seconds, start + 8


def _read_deeper_table(data: bytes, start: int, end: int, depth: int) -> tuple[dict[str, Any], int]:
    return read_table(data, start, end, depth + 1)


def _read_deeper_array(data: bytes, start: int, end: int, depth: int) -> tuple[list[Any], int]:
    return read_array(data, start, end, depth + 1)


def _plain(form: Struct) -> Callable[[bytes, int, int, int], tuple[Any, int]]:
    def read(data: bytes, start: int, _end: int, _depth: int) -> tuple[Any, int]:
        return form.unpack_from(data, start)[0], start + form.size

    return read


_readers: dict[int, Callable[[bytes, int, int, int], tuple[Any, int]]] = {
    _TEXT: _read_text,
    ord("I"): _plain(_S32),
    ord("t"): lambda data, start, _end, _depth: (data[start] != 0, start + 1),
    _NOTHING: lambda _data, start, _end, _depth: (None, start),
    ord("l"): _plain(_S64),
    ord("L"): _plain(_S64),
    ord("b"): _plain(_S8),
    ord("B"): _plain(_U8),
    ord("s"): _plain(_S16),
    ord("u"): _plain(_U16),
    ord("i"): _plain(_U32),
    ord("f"): _plain(_F32),
    ord("d"): _plain(_F64),
    ord("D"): _read_decimal,
    ord("T"): _read_moment,
    ord("A"): _read_deeper_array,
    ord("F"): _read_deeper_table,
    ord("x"): _read_bytes,
}
