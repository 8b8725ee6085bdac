"""Text for any value: bounded, on one line, and never an error.

Arguments and results are shown in logs, events, headers and dashboards. They are other people's
objects: a ``__repr__`` may raise, a list may hold itself or ten million items, a name may carry
terminal escapes that forge the next log line. `saferepr` looks at no more of a value than it can
show, and whatever it shows is one line of printable characters.

`Secret` marks a text that must not be shown at all.
"""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Any, Final

from umbel.exceptions import SoftTimeLimitExceeded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MAXLEN: Final = 1024
MAXLEVELS: Final = 3

_DOTS = "..."
_DEEPEST = 50  # keeps the writer far from Python's recursion limit, whatever it was asked for
_WIDE_INT = 4096  # bits; beyond it decimal digits cost more than anybody reads
_FEW = 32
_SHORT = 200
_SMALL_INT = 1 << 64
_CLOSING = 16  # room for the brackets that are still open where a value is cut


class Secret(str):
    """A text that is shown as ``'********'`` wherever a value is represented.

    It is the text itself for everything else: comparing, formatting with ``str()``, encoding
    into a message. Its encoded form is plain; this hides it from logs and dashboards, not from
    whoever can read the queue.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "'********'"


def one_line(text: str, keep: str = "") -> str:
    r"""The text with everything that could forge or disguise a log line escaped.

    Line ends, terminal escapes, other control characters, marks that reverse the direction of
    writing and unpaired surrogates become ``\n``, ``\x1b``, ``\u202e`` and so on.

    Args:
        text: What to show.
        keep: Characters to leave alone, e.g. a newline for tracebacks.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char in keep or char.isprintable() else char.encode("unicode_escape").decode()
        for char in text
    )


def saferepr(obj: Any, maxlen: int | None = MAXLEN, maxlevels: int | None = MAXLEVELS) -> str:
    """``repr(obj)`` in one line of at most ``maxlen`` characters; what is cut shows ``...``.

    Args:
        obj: Any value. Ordinary small ones come out exactly as from ``repr``.
        maxlen: How long the text may be; None is the default.
        maxlevels: How many containers within each other are shown; None is the default.
    """
    limit = MAXLEN if maxlen is None else max(maxlen, len(_DOTS))
    levels = MAXLEVELS if maxlevels is None else min(maxlevels, _DEEPEST)
    if levels > 0 and _is_plain(obj):
        text = repr(obj)
        if len(text) <= limit:
            return text
    writer = _Writer(max(limit - _CLOSING, limit // 2), levels)
    writer.write(obj)
    text = "".join(writer.parts)
    return text if len(text) <= limit else text[: limit - len(_DOTS)] + _DOTS


def _is_plain(obj: Any) -> bool:
    """Whether ``repr`` itself is bounded and harmless: a few small values, as most calls have."""
    kind = type(obj)
    if (kind is not tuple and kind is not dict and kind is not list) or len(obj) > _FEW:
        return False
    for item in obj if kind is not dict else (*obj, *obj.values()):
        kind = type(item)
        if kind is int:
            if not -_SMALL_INT < item < _SMALL_INT:
                return False
        elif kind is str:
            if len(item) > _SHORT:
                return False
        elif kind is not float and kind is not bool and item is not None:
            return False
    return True


class _Full(Exception):  # noqa: N818 - not an error: there is no more room
    pass


class _Writer:
    """Writes a value piece by piece until there is no more room."""

    def __init__(self, room: int, levels: int) -> None:
        self.parts: list[str] = []
        self.room = room
        self.levels = levels
        self.open: set[int] = set()

    def write(self, obj: Any) -> None:
        """Write a whole value; stops in the middle, brackets closed, when the room is used."""
        try:
            self.value(obj, self.levels)
        except _Full:
            return

    def put(self, text: str) -> None:
        self.parts.append(text)
        self.room -= len(text)

    def value(self, obj: Any, levels: int) -> None:
        if self.room <= 0:
            self.put(_DOTS)
            raise _Full
        try:
            self.shape(obj, levels)
        except (_Full, SoftTimeLimitExceeded):
            raise
        except Exception as error:  # noqa: BLE001 - other people's code may raise anything
            raised = type(error).__name__
            self.put(f"<{type(obj).__name__} at {id(obj):#x}, its repr raised {raised}>")

    def shape(self, obj: Any, levels: int) -> None:
        kind = type(obj)
        if (write := _SHAPES.get(kind.__repr__)) is not None:
            write(self, obj, levels)
        elif isinstance(obj, tuple) and hasattr(kind, "_fields"):
            self.fields(obj, levels, zip(kind._fields, obj, strict=False))
        elif _has_generated_repr(kind):
            shown = (name for name, field in kind.__dataclass_fields__.items() if field.repr)
            self.fields(obj, levels, ((name, getattr(obj, name, _DOTS)) for name in shown))
        else:
            self.put(_cut(one_line(repr(obj)[: self.room + 1]), self.room))

    # Each of the following shows one shape of value.

    def exact(self, obj: Any, _levels: int) -> None:
        self.put(repr(obj))

    def integer(self, obj: int, _levels: int) -> None:
        bits = obj.bit_length()
        self.put(repr(obj) if bits <= _WIDE_INT else f"<int of {bits} bits>")

    def text(self, obj: Any, _levels: int) -> None:
        if len(obj) <= self.room:
            self.put(repr(obj))
            return
        shown = repr(obj[: self.room])
        self.put(f"{shown[:-1]}{_DOTS}{shown[-1]}")

    def sequence(self, obj: Any, levels: int) -> None:
        opening, closing = "[]" if isinstance(obj, list) else "()"
        self.container(
            obj, levels, (opening, ",)" if closing == ")" and len(obj) == 1 else closing)
        )

    def set(self, obj: Any, levels: int) -> None:
        name = type(obj).__name__
        if not obj:
            self.put(f"{name}()")
            return
        self.container(obj, levels, ("{", "}") if name == "set" else (f"{name}({{", "})"))

    def dict(self, obj: Any, levels: int) -> None:
        self.container(obj, levels, ("{", "}"), items=obj.items(), write=self.pair)

    def named_dict(self, obj: Any, levels: int) -> None:
        ends = (f"{type(obj).__name__}({{", "})")
        self.container(obj, levels, ends, items=obj.items(), write=self.pair)

    def deque(self, obj: Any, levels: int) -> None:
        self.container(obj, levels, ("deque([", "])"))

    def fields(self, obj: Any, levels: int, fields: Iterable[tuple[str, Any]]) -> None:
        ends = (f"{type(obj).__qualname__}(", ")")
        self.container(obj, levels, ends, items=fields, write=self.field)

    def container(
        self,
        obj: Any,
        levels: int,
        ends: tuple[str, str],
        *,
        items: Iterable[Any] | None = None,
        write: Callable[[Any, int], None] | None = None,
    ) -> None:
        opening, closing = ends
        if id(obj) in self.open or levels <= 0:
            self.put(f"{opening}{_DOTS}{closing.lstrip(',')}")
            return
        self.open.add(id(obj))
        self.put(opening)
        try:
            self.items(obj if items is None else items, levels - 1, write or self.value)
        finally:
            self.put(closing)
            self.open.discard(id(obj))

    def items(self, items: Iterable[Any], levels: int, write: Callable[[Any, int], None]) -> None:
        separator = ""
        for item in items:
            self.put(separator)
            write(item, levels)
            separator = ", "

    def pair(self, item: tuple[Any, Any], levels: int) -> None:
        self.value(item[0], levels)
        self.put(": ")
        self.value(item[1], levels)

    def field(self, item: tuple[str, Any], levels: int) -> None:
        self.put(f"{item[0]}=")
        self.value(item[1], levels)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[:length] + _DOTS


def _has_generated_repr(kind: type) -> bool:
    """Whether the class is a dataclass that did not write a ``__repr__`` of its own."""
    if not hasattr(kind, "__dataclass_fields__"):
        return False
    code = getattr(getattr(kind.__repr__, "__wrapped__", None), "__code__", None)
    return code is not None and code.co_filename == "<string>"


# Found by the representation and not by the class: a subclass that brings its own is shown by
# that, one that does not is shown as its base.
_SHAPES: Final[dict[Any, Callable[[_Writer, Any, int], None]]] = {
    float.__repr__: _Writer.exact,
    bool.__repr__: _Writer.exact,
    type(None).__repr__: _Writer.exact,
    int.__repr__: _Writer.integer,
    str.__repr__: _Writer.text,
    bytes.__repr__: _Writer.text,
    bytearray.__repr__: _Writer.text,
    list.__repr__: _Writer.sequence,
    tuple.__repr__: _Writer.sequence,
    set.__repr__: _Writer.set,
    frozenset.__repr__: _Writer.set,
    dict.__repr__: _Writer.dict,
    collections.OrderedDict.__repr__: _Writer.named_dict,
    collections.defaultdict.__repr__: _Writer.named_dict,
    collections.Counter.__repr__: _Writer.named_dict,
    collections.deque.__repr__: _Writer.deque,
}
