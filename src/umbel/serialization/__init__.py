"""Values to bytes and back: formats, compression, types of your own, and what is let in.

The functions of this module work on one registry, `default`, that all applications of a process
share.  `dumps` and `loads` are the two ends of a message; `register` and its like add to what they
know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from umbel.exceptions import (
    ContentDisallowed,
    DecodeError,
    EncodeError,
    SerializerNotInstalled,
)
from umbel.serialization.limits import Limits
from umbel.serialization.registry import Codec, Encoded, Registry

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from umbel.serialization.compression import Compress, Decompress

default = Registry()

dumps = default.dumps
loads = default.loads
check_accepted = default.check_accepted
find = default.find
names = default.names
register = default.register
unregister = default.unregister


def register_type(
    cls: type,
    marker: str | None,
    encoder: Callable[[Any], Any],
    decoder: Callable[[Any], Any] | None = None,
) -> None:
    """Let a class, and its subclasses, travel in json, msgpack and yaml.

    Args:
        cls: whose instances are meant.
        marker: names the type in messages; both sides must register it. None writes what
            ``encoder`` returns, and the type does not come back.
        encoder: turns an instance into plain data.
        decoder: turns that back; None hands over the plain data.
    """
    default.types.register(cls, marker, encoder, decoder)


def unregister_type(cls: type) -> None:
    """Take a class's form away.

    Raises:
        KeyError: it has none.
    """
    default.types.unregister(cls)


def register_compression(
    name: str, encoder: Compress, decoder: Decompress, *, content_type: str
) -> None:
    """Make a compression of your own known by name and content type.

    Args:
        name: what settings call it.
        encoder: takes the body and returns it smaller.
        decoder: takes the small body and the most bytes it may become (None: any number), and
            returns the body; it should stop by itself at the first byte past that.
        content_type: travels in the ``compression`` header.
    """
    default.compressions.register(name, encoder, decoder, content_type=content_type)


def unregister_compression(name: str) -> None:
    """Forget a compression, under all of its names.

    Raises:
        SerializerNotInstalled: there is none of that name.
    """
    default.compressions.unregister(name)


def compress(body: bytes, name: str) -> tuple[bytes, str]:
    """The body made smaller, and the content type for the ``compression`` header.

    Raises:
        SerializerNotInstalled: no compression of that name, or its package is missing.
        EncodeError: the compression failed.
    """
    return default.compressions.compress(body, name)


def decompress(body: bytes, content_type: str, *, limit: int | None) -> bytes:
    """The body as it was before `compress`; stops at the first byte past ``limit`` bytes.

    Raises:
        SerializerNotInstalled: the compression's package is missing here.
        DecodeError: no such compression, broken data, or more than ``limit`` bytes.
    """
    return default.compressions.decompress(body, content_type, limit=limit)


def compress_result(payload: bytes, name: str) -> bytes:
    """A result to be stored, compressed and marked as such the way Celery's readers know.

    Raises:
        SerializerNotInstalled: no compression of that name, or its package is missing.
        EncodeError: the compression failed.
    """
    return default.compressions.compress_result(payload, name)


def decompress_result(payload: bytes, *, limits: Limits | None = None) -> bytes:
    """A stored result as it was before `compress_result`; unchanged if it is not marked.

    Raises:
        DecodeError: what follows the mark is broken or exceeds a limit.
    """
    bounds = limits or Limits()
    bounds.check_size(payload)
    return default.compressions.decompress_result(payload, limit=bounds.decompressed)


__all__ = [
    "Codec",
    "ContentDisallowed",
    "DecodeError",
    "EncodeError",
    "Encoded",
    "Limits",
    "Registry",
    "SerializerNotInstalled",
    "check_accepted",
    "compress",
    "compress_result",
    "decompress",
    "decompress_result",
    "default",
    "dumps",
    "find",
    "loads",
    "names",
    "register",
    "register_compression",
    "register_type",
    "unregister",
    "unregister_compression",
    "unregister_type",
]
