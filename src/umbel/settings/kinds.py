"""What a setting can hold, and how a given value becomes one.

A setting that is obviously wrong must be refused where it is written, not an hour later inside a
worker. The rule is narrow: what Celery's users write in practice goes through, numbers and flags
that arrive as text (from an environment variable) are converted, and only what no reader of the
setting could use is refused. None always means "not set" and is never looked at here.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta, tzinfo
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

TRUE_WORDS = frozenset({"true", "yes", "1", "on"})
FALSE_WORDS = frozenset({"false", "no", "0", "off", ""})


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of value.

    Attributes:
        word: Celery's word for it, also the cast on a command line (``int``, ``list``, ...).
        takes: What to write, as it follows "it takes".
        convert: Returns the value to keep; raises ValueError or TypeError for one that cannot be.
    """

    word: str
    takes: str
    convert: Callable[[Any], Any]


def as_seconds(span: float | timedelta | None) -> float | None:
    """The span in seconds; None (no limit) stays None. Nothing is checked."""
    return span.total_seconds() if isinstance(span, timedelta) else span


def as_flag(value: Any) -> bool:
    """True or False from a bool, 0, 1 or one of the words true/yes/on/1, false/no/off/0."""
    if isinstance(value, str):
        word = value.strip().lower()
        if word in TRUE_WORDS:
            return True
        if word in FALSE_WORDS:
            return False
    elif isinstance(value, (bool, int, float)) and value in (0, 1):
        return bool(value)
    raise ValueError


def _anything(value: Any) -> Any:
    return value


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise TypeError


def _whole(value: Any) -> int:
    if isinstance(value, (int, str)):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise TypeError


def _number(value: Any) -> float:
    if not isinstance(value, (int, float, str)):
        raise TypeError
    number = value if isinstance(value, (int, float)) else float(value)
    if math.isnan(number):
        raise ValueError
    return number


def _seconds(value: Any) -> float:
    seconds = _number(as_seconds(value) if isinstance(value, timedelta) else value)
    if seconds < 0:
        raise ValueError
    return seconds


def _lifetime(value: Any) -> float | timedelta:
    seconds = _seconds(value)
    return value if isinstance(value, timedelta) else seconds


def _mapping(value: Any) -> Mapping[Any, Any]:
    if isinstance(value, Mapping):
        return value
    raise TypeError


def _flag_or_mapping(value: Any) -> bool | Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else as_flag(value)


def _flag_or_path(value: Any) -> bool | str:
    if isinstance(value, str) and value.strip().lower() in TRUE_WORDS | FALSE_WORDS:
        return as_flag(value)
    return as_flag(value) if isinstance(value, (bool, int)) else _path(value)


def _items(value: Any) -> Any:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, (list, tuple)):
        return value
    if isinstance(value, Iterable) and not isinstance(value, (bytes, Mapping)):
        return tuple(value)
    raise TypeError


def _queues(value: Any) -> Any:
    return value if isinstance(value, Mapping) else _items(value)


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    raise TypeError


def _path(value: Any) -> str:
    return os.fsdecode(os.fspath(value))


def _url(value: Any) -> Any:
    urls = [value] if isinstance(value, str) else value
    if isinstance(urls, (list, tuple)) and all(isinstance(url, str) for url in urls):
        return value
    raise TypeError


def _reference(value: Any) -> Any:
    if isinstance(value, str) or callable(value):
        return value
    raise TypeError


def _backend(value: Any) -> Any:
    if isinstance(value, (bool, int, float, bytes, Mapping, list, tuple)):
        raise TypeError
    return value


def _processes(value: Any) -> Any:
    return "auto" if value == "auto" else _whole(value)


def _rate(value: Any) -> str | float:
    if isinstance(value, (str, int, float)):
        return value
    raise TypeError


def _zone(value: Any) -> str | tzinfo:
    if isinstance(value, (str, tzinfo)):
        return value
    raise TypeError


def _mode(value: Any) -> str | int:
    return value if isinstance(value, str) and not value.isdigit() else _whole(value)


ANY = Kind("any", "any value", _anything)
TEXT = Kind("string", "a string", _text)
WHOLE = Kind("int", "a whole number", _whole)
NUMBER = Kind("float", "a number", _number)
SECONDS = Kind("float", "a number of seconds (not negative) or a timedelta", _seconds)
LIFETIME = Kind("float", "a number of seconds (not negative) or a timedelta", _lifetime)
FLAG = Kind("bool", "True or False", as_flag)
MAPPING = Kind("dict", "a mapping", _mapping)
ITEMS = Kind("list", "a list or tuple", _items)
ITEMS_FIXED = Kind("tuple", "a list or tuple", _items)
BYTES = Kind("bytes", "bytes or a string", _bytes)
PATH = Kind("string", "a path", _path)
URL = Kind("string", "a URL or a list of URLs", _url)
BACKEND = Kind("string", "a URL, an alias or a class", _backend)
REFERENCE = Kind("string", "a name, a path like 'package.module:attribute', or a class", _reference)
PROCESSES = Kind("any", "a whole number or 'auto'", _processes)
RATE = Kind("string", "a number per second or a text like '100/m'", _rate)
ZONE = Kind("string", "the name of a time zone or a tzinfo", _zone)
LEVEL = Kind("string", "the name or number of a log level", _rate)
MODE = Kind("string", "1, 2, 'transient' or 'persistent'", _mode)
QUEUES = Kind("dict", "a list of queues or a mapping of names to queues", _queues)
FLAG_OR_PATH = Kind("string", "True, False or a path", _flag_or_path)
FLAG_OR_MAPPING = Kind("bool", "True, False or a mapping of options", _flag_or_mapping)
