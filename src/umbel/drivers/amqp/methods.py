"""The methods of AMQP beside the fast path: their grammar is `pamqp`'s, their bytes are ours.

`pamqp` knows which arguments a method has and in which order; it reads what servers send.  It is
not used to write values, because it refuses names that RabbitMQ takes, rounds floats and shortens
keys.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any

from pamqp import base, commands, exceptions, frame

from umbel.drivers.amqp import fields
from umbel.drivers.amqp.errors import FrameError
from umbel.exceptions import EncodeError

if TYPE_CHECKING:
    from collections.abc import Callable

Method = base.Frame

_HEAD = Struct(">BHII")
_END = b"\xce"


def _long_text(value: str | bytes) -> bytes:
    encoded = value.encode() if isinstance(value, str) else value
    return Struct(">I").pack(len(encoded)) + encoded


_WRITERS: dict[str, tuple[Callable[[Any], bytes], Any]] = {
    "octet": (Struct(">B").pack, 0),
    "short": (Struct(">H").pack, 0),
    "long": (Struct(">I").pack, 0),
    "longlong": (Struct(">Q").pack, 0),
    "shortstr": (fields.short, ""),
    "longstr": (_long_text, ""),
    "table": (fields.table, {}),
}
"""For each type how it is written, and what stands where nothing is given."""


def write(channel: int, method: type[Method], **values: Any) -> bytes:
    """The frame of ``method`` with these arguments; those not given are 0, empty or false.

    Raises:
        EncodeError: a value does not fit.
    """
    parts: list[bytes] = []
    bits: list[bool] = []
    for name in method.attributes():
        kind = method.amqp_type(name)
        if kind == "bit":
            bits.append(bool(values.get(name)))
            continue
        parts += _packed(bits)
        writer, default = _WRITERS[kind]
        value = values.get(name)
        try:
            parts.append(writer(default if value is None else value))
        except EncodeError as error:
            where = f"{name}.{error.path}" if error.path else name
            raise EncodeError(error.reason, where) from error
    payload = b"".join([*parts, *_packed(bits)])
    return _HEAD.pack(1, channel, len(payload) + 4, method.index) + payload + _END


def _packed(bits: list[bool]) -> list[bytes]:
    """Up to eight flags in a byte, the first lowest; ``bits`` is empty afterwards."""
    if not bits:
        return []
    packed = bytes((sum(bit << place for place, bit in enumerate(bits)),))
    bits.clear()
    return [packed]


def read(data: bytes) -> Any:
    """The method whose whole frame is ``data``, its arguments as attributes.

    Raises:
        FrameError: there is no such method, or its arguments are malformed.
    """
    try:
        found = frame.unmarshal(data)[2]
    except (exceptions.PAMQPException, ValueError, ArithmeticError, LookupError) as error:
        raise FrameError(f"a method cannot be read: {error}") from error
    except (TypeError, RecursionError, OSError) as error:
        raise FrameError(f"a method cannot be read: {type(error).__name__}") from error
    if not isinstance(found, base.Frame):
        raise FrameError("a method was expected")
    return found


__all__ = ["Method", "commands", "read", "write"]
