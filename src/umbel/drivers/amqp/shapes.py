"""Reading the properties of many messages that look alike.

The messages of one task differ in their ids and arguments, and in little else: mostly even the
lengths are the same.  So properties that have been read field by field a few times leave a *shape*
behind: where the texts lie that may differ, and the bytes between them that may not.  Properties
that fit a shape are taken apart by one call of `struct` and one comparison, in a quarter of the
time; all others are read as if there were no shapes.  What comes out is the same either way.
"""

from __future__ import annotations

from struct import Struct
from typing import Any

from umbel.drivers.amqp import fields, properties

_OFTEN = 8
"""How many of one length are read field by field before a shape is made."""
_PER_LENGTH = 4
_MOST_LENGTHS = 1024
_TEXT = ord("S")
_DIFFER = frozenset({"correlation_id", "message_id", "reply_to", "expiration"})

_shapes: dict[int, list[_Shape]] = {}
_seen: dict[int, int] = {}


def read(data: bytes) -> dict[str, Any]:
    """The same as `properties.read`, and raises the same."""
    length = len(data)
    for shape in _shapes.get(length, ()):
        found = shape.read(data)
        if found is not None:
            return found
    found = properties.read(data)
    times = _seen[length] = _seen.get(length, 0) + 1
    if times % _OFTEN == 0:
        _learn(data, found)
    return found


def _learn(data: bytes, found: dict[str, Any]) -> None:
    if len(_seen) > _MOST_LENGTHS or len(_shapes) > _MOST_LENGTHS:
        _seen.clear()
        _shapes.clear()
    headers = found.get("headers") or {}
    if len(headers) != sum(name in headers for name in _header_names(data)):
        return  # a name stands there twice
    # The newest first: it stands for what comes now.
    known = _shapes.get(len(data), [])
    _shapes[len(data)] = [_Shape(data, found), *known[: _PER_LENGTH - 1]]


class _Shape:
    """What was read once, and which texts of it may be others.

    Args:
        data: the properties as they came.
        found: what they say.
    """

    __slots__ = ("_between", "_headers", "_mutable", "_names", "_properties", "_split", "_texts")

    def __init__(self, data: bytes, found: dict[str, Any]) -> None:
        self._properties = found.copy()
        self._headers: dict[str, Any] | None = None
        if "headers" in found:
            self._headers = found["headers"].copy()
        spans = _texts(data)
        self._texts = [name for name, in_headers, _, _ in spans if in_headers]
        self._names = [name for name, in_headers, _, _ in spans if not in_headers]
        form, position = [">"], 0
        for _, _, start, stop in spans:
            form.append(f"{start - position}s{stop - start}s")
            position = stop
        form.append(f"{len(data) - position}s")
        self._split = Struct("".join(form)).unpack
        self._between = self._split(data)[::2]
        headers = self._headers or {}
        self._mutable = [n for n, v in headers.items() if isinstance(v, (list, dict))]

    def read(self, data: bytes) -> dict[str, Any] | None:
        """What ``data``, which is as long as what the shape was made of, says; None if no fit."""
        parts = self._split(data)
        if parts[::2] != self._between:
            return None
        try:
            texts = [text.decode() for text in parts[1::2]]
        except UnicodeDecodeError:
            return None
        found = self._properties.copy()
        if self._headers is not None:
            headers = found["headers"] = self._headers.copy()
            for name in self._mutable:
                headers[name] = _fresh(headers[name])
            headers.update(zip(self._texts, texts, strict=False))
        if self._names:
            found.update(zip(self._names, texts[len(self._texts) :], strict=True))
        return found


def _header_names(data: bytes) -> list[str]:
    places = {name: (start, stop) for name, start, stop in properties.spans(data)}
    start, stop = places.get("headers", (0, 0))
    return [name for name, *_ in fields.spans(data, start + 4, stop)]


def _fresh(value: Any) -> Any:
    """A copy that nobody else has, down to the values that cannot be changed."""
    if type(value) is list:
        return [_fresh(each) for each in value]
    if type(value) is dict:
        return {name: _fresh(each) for name, each in value.items()}
    return value


def _texts(data: bytes) -> list[tuple[str, bool, int, int]]:
    """Texts that may differ: name, whether it is a header's, and where it begins and ends.

    Properties other than these say the same in message after message.
    """
    texts: list[tuple[str, bool, int, int]] = []
    for name, start, stop in properties.spans(data):
        if name == "headers":
            inner = fields.spans(data, start + 4, stop)
            texts += ((key, True, at + 4, end) for key, kind, at, end in inner if kind == _TEXT)
        elif name in _DIFFER:
            texts.append((name, False, start + 1, stop))
    return texts
