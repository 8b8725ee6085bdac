"""JSON: the format of nearly every message, and so the hot path of everything.

Two engines give the same bytes and the same values.  The standard library's is always there.
orjson is several times faster but not by itself the same: it writes a UUID as text and NaN as
null, spells some floats differently, and reads an integer of more than 64 bits as a float.  So it
is given a value only after a look that lets exactly the plain types pass, and a body only if no
long run of digits and no type marker is in it; what it then refuses, the standard library decides
about.  Even with the looking it takes half to two thirds of the time.

The body is compact UTF-8.  The encoder of the standard library is made once and called directly:
`json.dumps` makes a new one for every call, which costs as much as a small message itself.
"""

from __future__ import annotations

import importlib
import json
import json.encoder
from typing import TYPE_CHECKING, Any, cast

from umbel.serialization.json_bounds import DIGITS_AS_ZEROS, check_json
from umbel.serialization.limits import refuse_lone_surrogates

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from umbel.serialization.limits import Limits
    from umbel.serialization.tagged import TypeTable

_MARKER = "__type__"
_PLAIN = frozenset({str, int, bool, type(None)})
_CONTAINERS = frozenset({list, dict, tuple})
# A number of so many digits may not fit into 64 bits.
_LONG_RUN = b"0" * 19
# Shared lists count each time they are met, and a list that holds itself is met for ever.
_MOST_CONTAINERS = 100_000
# Between these a float is written without an exponent, about whose spelling the engines differ.
_TINY, _HUGE = 1e-4, 1e16


def find_orjson() -> ModuleType | None:
    """The orjson package, or None where it is not installed."""
    try:
        return importlib.import_module("orjson")
    except ImportError:
        return None


def json_encoder(plain: Callable[[Any], Any], orjson: ModuleType | None) -> Callable[[Any], bytes]:
    """A function from a value to its JSON; ``plain`` stands in for what JSON has no form for.

    The function raises whatever the value provokes: TypeError, ValueError, RecursionError, or what
    a hook of the value's own raises.
    """
    chunks = _chunk_encoder(plain)

    def encode(value: Any) -> bytes:
        return "".join(chunks(value, 0)).encode()

    if orjson is None:
        return encode
    quick: Callable[[Any], bytes] = orjson.dumps

    def encode_quickly(value: Any) -> bytes:
        if is_plain(value):
            try:
                return quick(value)
            except TypeError:
                pass
        return encode(value)

    return encode_quickly


def _chunk_encoder(plain: Callable[[Any], Any]) -> Callable[[Any, int], Any]:
    # No memory of the containers being written: the encoder is shared by all threads. A list that
    # holds itself ends as a RecursionError.
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is not None:
        text = json.encoder.encode_basestring
        chunks: Callable[[Any, int], Any] = make(
            None, plain, text, None, ":", ",", False, False, True
        )
        return chunks
    slow = json.JSONEncoder(
        default=plain, ensure_ascii=False, check_circular=False, separators=(",", ":")
    )
    return lambda value, _: slow.iterencode(value)


def is_plain(value: Any) -> bool:
    """Whether a container holds nothing but what both engines write with the same bytes.

    Floats pass if both write them without an exponent; that leaves NaN and infinity out too.
    """
    if type(value) not in _CONTAINERS:
        return False
    pending = [value]
    for container in pending:
        for one in container.values() if type(container) is dict else container:
            cls = type(one)
            if cls in _PLAIN:
                continue
            if cls in _CONTAINERS:
                if len(pending) > _MOST_CONTAINERS:
                    return False
                if one:
                    pending.append(one)
            elif cls is not float or not (
                _TINY <= one < _HUGE or -_HUGE < one <= -_TINY or one == 0
            ):
                return False
    return True


def json_decoder(
    types: TypeTable, orjson: ModuleType | None
) -> Callable[[bytes, str | None, Limits], Any]:
    """A function from JSON to the value it stands for.

    The function raises DecodeError for a broken limit, half a surrogate pair or a bad marker, and
    what the parser raises (ValueError, RecursionError) for what is not JSON.
    """
    without_markers = _text_decoder(json.JSONDecoder())
    with_markers = _text_decoder(json.JSONDecoder(object_hook=types.restore))

    def decode(body: bytes, _encoding: str | None, limits: Limits) -> Any:
        if len(body) > limits.harmless:
            check_json(body, limits)
        text = body.decode()
        value = with_markers(text) if _MARKER in text else without_markers(text)
        if "\\" in text and ("\\ud" in text or "\\uD" in text):
            refuse_lone_surrogates(value)
        return value

    if orjson is None:
        return decode
    quick = orjson.loads
    marker = _MARKER.encode()

    def decode_quickly(body: bytes, encoding: str | None, limits: Limits) -> Any:
        # find() and not "in": that costs three times as much on short bytes.
        if body.find(marker) >= 0 or body.translate(DIGITS_AS_ZEROS).find(_LONG_RUN) >= 0:
            return decode(body, encoding, limits)
        if len(body) > limits.harmless:
            check_json(body, limits, long_runs=_too_few_digits(limits))
        try:
            return quick(body)
        except ValueError:
            return decode(body, encoding, limits)

    return decode_quickly


def _text_decoder(decoder: json.JSONDecoder) -> Callable[[str], Any]:
    # Straight to the scanner: a body of ours has no blanks around it. Others take the long way,
    # which also words the error.
    scan: Callable[[str, int], tuple[Any, int]] = cast("Any", decoder).scan_once

    def decode(text: str) -> Any:
        try:
            value, end = scan(text, 0)
        except StopIteration:
            return decoder.decode(text)
        return value if end == len(text) else decoder.decode(text)

    return decode


def _too_few_digits(limits: Limits) -> bool:
    return limits.int_digits is not None and limits.int_digits < len(_LONG_RUN)
