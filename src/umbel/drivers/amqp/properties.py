"""The basic properties of a message, to bytes and back."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any

from umbel.drivers.amqp import fields
from umbel.drivers.amqp.errors import FrameError
from umbel.exceptions import EncodeError, ImproperlyConfigured, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_FLAGS = Struct(">H")
_MOST_KNOWN = 1024
_MORE_FLAGS = 1


def _short(value: Any) -> bytes:
    if type(value) is not str:
        raise EncodeError(f"{value!r} is no text")
    return fields.short(value)


_known: dict[Any, bytes] = {}


def _repeating(value: Any) -> bytes:
    """Text of which there are few different ones."""
    found = _known.get(value)
    if found is None:
        found = _short(value)
        if len(_known) < _MOST_KNOWN:
            _known[value] = found
    return found


def _octet(value: Any) -> bytes:
    try:
        return bytes((value,))
    except (TypeError, ValueError) as error:
        raise EncodeError(f"{value!r} is no number from 0 to 255") from error


def _headers(value: Any) -> bytes:
    return fields.table(value)


_FORMS: tuple[tuple[str, int, Callable[[Any], bytes]], ...] = (
    ("content_type", 1 << 15, _repeating),
    ("content_encoding", 1 << 14, _repeating),
    ("headers", 1 << 13, _headers),
    ("delivery_mode", 1 << 12, _octet),
    ("priority", 1 << 11, _octet),
    ("correlation_id", 1 << 10, _short),
    ("reply_to", 1 << 9, _repeating),
    ("expiration", 1 << 8, _short),
    ("message_id", 1 << 7, _short),
    ("timestamp", 1 << 6, fields.moment),
    ("type", 1 << 5, _repeating),
    ("user_id", 1 << 4, _repeating),
    ("app_id", 1 << 3, _repeating),
    ("cluster_id", 1 << 2, _short),
)
NAMES = tuple(name for name, _, _ in _FORMS)


def write(properties: Mapping[str, Any]) -> bytes:
    """The flags and values of ``properties``; what is None is left out.

    Raises:
        EncodeError: a value does not fit its property, or a header has no form in AMQP.
        ImproperlyConfigured: there is no such property.
    """
    flags = found = 0
    parts = [b""]
    for name, flag, form in _FORMS:
        value = properties.get(name)
        if value is not None:
            flags |= flag
            found += 1
            try:
                parts.append(form(value))
            except EncodeError as error:
                where = f"{name}.{error.path}" if error.path else name
                raise EncodeError(error.reason, where) from error
    if found != len(properties):
        _check_names(properties)
    parts[0] = _FLAGS.pack(flags)
    return b"".join(parts)


def _check_names(properties: Mapping[str, Any]) -> None:
    for name in properties:
        if name not in NAMES:
            raise ImproperlyConfigured(
                f"AMQP messages have no property {name!r}{did_you_mean(name, NAMES)}; put what is "
                "your own into the headers"
            )


def spans(data: bytes) -> Iterator[tuple[str, int, int]]:
    """The properties that ``data`` holds: name, and where the value begins and ends.

    Raises:
        FrameError: ``data`` is malformed.
    """
    end = len(data)
    if end < _FLAGS.size:
        raise FrameError("the flags of the properties are cut off")
    flags = _FLAGS.unpack_from(data)[0]
    if flags & _MORE_FLAGS:
        raise FrameError("there are more properties than AMQP 0-9-1 has")
    position = _FLAGS.size
    for name, flag, form in _FORMS:
        if flags & flag:
            start = position
            size = _SIZES.get(form)
            if size is None:  # a short text: its length stands in front
                size = 1 + data[start] if start < end else 1
            elif not size:
                size = 4 + int.from_bytes(data[start : start + 4], "big")
            position += size
            if position > end:
                raise FrameError(f"property {name} is cut off")
            yield name, start, position
    if position != end:
        raise FrameError("something stands behind the properties")


_SIZES: dict[Callable[[Any], bytes], int] = {_octet: 1, fields.moment: 8, _headers: 0}
"""Bytes of the properties that have always the same; 0 for a table."""
_NUMBERS = frozenset({"delivery_mode", "priority", "timestamp"})


def read(data: bytes) -> dict[str, Any]:
    """What `write` made ``data`` of; ``timestamp`` is in seconds since the epoch.

    Raises:
        FrameError: ``data`` is malformed.
    """
    found: dict[str, Any] = {}
    for name, start, stop in spans(data):
        if name == "headers":
            found[name] = fields.read_table(data, start, stop)[0]
        elif name in _NUMBERS:
            found[name] = int.from_bytes(data[start:stop], "big")
        else:
            found[name] = data[start + 1 : stop].decode("utf-8", "surrogateescape")
    return found
