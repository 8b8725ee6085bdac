"""The formats without a structure that could be measured: raw bytes, text, and pickle."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from umbel.exceptions import DecodeError

if TYPE_CHECKING:
    from umbel.serialization.limits import Limits

_PICKLE_PROTOCOL = 4
# A closed table: looking an encoding up by the name a sender gives imports a module of that name.
_TEXT_ENCODINGS = {
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "us-ascii": "ascii",
    "ascii": "ascii",
    "latin-1": "latin-1",
    "latin1": "latin-1",
    "iso-8859-1": "latin-1",
    "utf-16": "utf-16",
    "utf-32": "utf-32",
}
_NO_ENCODING = (None, "", "binary", "ascii-8bit")


def text_encoding(label: str | None) -> str | None:
    """The encoding that a ``content_encoding`` names; None if it says the body is bytes.

    Raises:
        DecodeError: it names none that is known.
    """
    if label in _NO_ENCODING:
        return None
    known = _TEXT_ENCODINGS.get(str(label).lower())
    if known is not None:
        return known
    raise DecodeError(f"its content encoding {repr(label)[:60]} is not known")


def encode_raw(value: Any) -> bytes | str:
    """Bytes as they are; a text stays a text, which makes its encoding known to the receiver."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, str):
        return value
    raise TypeError(f"raw bodies are bytes or text, not {type(value)}")


def encode_text(value: Any) -> str:
    """A text, and nothing else."""
    if isinstance(value, str):
        return value
    raise TypeError(f"text bodies are text, not {type(value)}")


def decode_raw(body: bytes, encoding: str | None, _limits: Limits) -> bytes | str:
    """Bytes, or the text they are labelled to be."""
    label = text_encoding(encoding)
    return body if label is None else body.decode(label)


def encode_pickle(value: Any) -> bytes:
    """Pickle protocol 4, or the one that ``PICKLE_PROTOCOL`` in the environment asks for."""
    import pickle

    return pickle.dumps(value, int(os.environ.get("PICKLE_PROTOCOL", _PICKLE_PROTOCOL)))


def decode_pickle(body: bytes, _encoding: str | None, _limits: Limits) -> Any:
    """Whatever the sender wants this process to do: accepted only from trusted senders."""
    import pickle

    return pickle.loads(body)  # noqa: S301 - reached only if accept_content lists pickle
