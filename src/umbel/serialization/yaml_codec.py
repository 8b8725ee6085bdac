"""YAML, read and written with the safe loader and dumper alone.

YAML can say much with little: an alias repeats a whole tree, merge keys multiply mappings, and
``1:59:59`` is an integer to base sixty.  So the stream of events is measured before anything is
built from it, an alias counting for all that it stands for.  Only a body that is small and has no
alias in it needs no measuring (see `Limits.harmless`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import TYPE_CHECKING, Any

import yaml

from umbel.exceptions import DecodeError
from umbel.serialization.limits import (
    refuse_lone_surrogates,
    too_deep,
    too_long,
    too_many,
    too_many_digits,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from umbel.serialization.limits import Limits
    from umbel.serialization.tagged import TypeTable

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
# What has a hash on the other side too.
_KEYS = (str, bytes, int, float, date, type(None))
_INT, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
# Integers hash to themselves modulo a Mersenne prime: longer keys could all be made to collide.
_LONGEST_INT_KEY = 20


def yaml_encoder(plain: Callable[[Any], Any]) -> Callable[[Any], str]:
    """A function from a value to its YAML; raises what the value provokes."""

    class Dumper(_Dumper):  # type: ignore[misc]  # chosen at run time
        """Writes what the table has a form for; repeats a shared list instead of naming it."""

        def ignore_aliases(self, _data: Any) -> bool:
            return True

        def represent_mapping(self, tag: str, mapping: Any, flow_style: Any = None) -> Any:
            for key in mapping if isinstance(mapping, dict) else ():
                if not isinstance(key, _KEYS):
                    raise TypeError(f"keys must be text, numbers, bytes or dates, not {type(key)}")
            return super().represent_mapping(tag, mapping, flow_style=flow_style)

    def other(dumper: Any, value: Any) -> Any:
        return dumper.represent_data(_basic(value, plain))

    Dumper.add_representer(str, _represent_text)
    Dumper.add_multi_representer(object, other)

    def encode(value: Any) -> str:
        text: str = yaml.dump(value, Dumper=Dumper, sort_keys=False)
        return text

    return encode


def _represent_text(dumper: Any, value: str) -> Any:
    value.encode()  # half of a surrogate pair would be written as an escape
    return dumper.represent_str(value)


def _basic(value: Any, plain: Callable[[Any], Any]) -> Any:
    # The safe dumper knows exact classes only.
    if not isinstance(value, Enum):
        if isinstance(value, str):
            return str.__str__(value)
        exact: tuple[Any, ...] = (int, float, dict, list, tuple)
        for base in exact:
            if isinstance(value, base):
                return base(value)
    return plain(value)


def yaml_decoder(types: TypeTable) -> Callable[[bytes, str | None, Limits], Any]:
    """A function from YAML to the value it stands for.

    The function raises DecodeError for a broken limit, a bad marker, or what is not YAML.
    """

    def decode(body: bytes, _encoding: str | None, limits: Limits) -> Any:
        text = body.decode()
        try:
            if len(body) > limits.harmless or "*" in text:
                _check_events(yaml.parse(text, Loader=_Loader), limits)
            value = _Safe(text, limits.int_digits).get_single_data()
        except yaml.YAMLError as error:
            raise DecodeError(_problem(error)) from error
        if "__type__" in text:
            value = types.restore_all(value)
        if "\\u" in text or "\\U" in text:
            refuse_lone_surrogates(value)
        return value

    return decode


class _Safe(_Loader):  # type: ignore[misc]  # chosen at run time
    """The safe loader, but no number costs more to build than to read."""

    def __init__(self, text: str, int_digits: int | None) -> None:
        super().__init__(text)
        self.int_digits = int_digits

    def construct_yaml_int(self, node: Any) -> Any:
        return super().construct_yaml_int(self._short(node))

    def construct_yaml_float(self, node: Any) -> Any:
        return super().construct_yaml_float(self._short(node))

    def _short(self, node: Any) -> Any:
        if self.int_digits is not None and len(node.value) > self.int_digits:
            raise too_many_digits(self.int_digits)
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:  # noqa: FBT001, FBT002 - inherited
        if isinstance(node, yaml.MappingNode):
            self.flatten_mapping(node)
            if any(key.tag == _INT and len(key.value) > _LONGEST_INT_KEY for key, _ in node.value):
                raise DecodeError("an integer of more than 64 bits is a key in it")
        return super().construct_mapping(node, deep=deep)


_Safe.add_constructor(_INT, _Safe.construct_yaml_int)
_Safe.add_constructor(_FLOAT, _Safe.construct_yaml_float)


@dataclass(slots=True)
class _Tree:
    """A node being measured, with all its aliases written out."""

    anchor: str | None = None
    items: int = 0
    height: int = 0
    weight: int = 0

    def add(self, child: _Tree) -> None:
        self.items += 1 + child.items
        self.weight += child.weight
        self.height = max(self.height, 1 + child.height)


def _check_events(events: Iterator[Any], limits: Limits) -> None:
    open_nodes: list[_Tree] = []
    finished: dict[str | None, _Tree] = {}
    for event in events:
        if isinstance(event, yaml.CollectionStartEvent):
            finished.pop(event.anchor, None)
            open_nodes.append(_Tree(event.anchor, height=1))
            _check_tree(open_nodes[-1], len(open_nodes) - 1, limits)
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            done = open_nodes.pop()
        elif isinstance(event, yaml.ScalarEvent):
            done = _Tree(event.anchor, weight=len(event.value))
            if limits.string is not None and done.weight > limits.string:
                raise too_long(limits.string)
        elif isinstance(event, yaml.AliasEvent):
            done = _referred(event.anchor, finished)
        else:
            continue
        if done.anchor is not None:
            finished[done.anchor] = done
        if open_nodes:
            open_nodes[-1].add(done)
            _check_tree(open_nodes[-1], len(open_nodes) - 1, limits)


def _referred(anchor: str | None, finished: dict[str | None, _Tree]) -> _Tree:
    if anchor not in finished:
        raise DecodeError("an alias in it refers to nothing, or to what holds it")
    return finished[anchor]


def _check_tree(tree: _Tree, above: int, limits: Limits) -> None:
    if limits.depth is not None and above + tree.height > limits.depth:
        raise too_deep(limits.depth)
    if limits.items is not None and tree.items > limits.items:
        raise too_many(limits.items)
    if limits.decompressed is not None and tree.weight > limits.decompressed:
        raise DecodeError(
            f"with its aliases written out it has more than {limits.decompressed} bytes"
        )


def _problem(error: Exception) -> str:
    # str(error) would quote the body, and there may be secrets in it.
    mark = getattr(error, "problem_mark", None)
    where = "" if mark is None else f" (line {mark.line + 1}, column {mark.column + 1})"
    return f"{getattr(error, 'problem', None) or 'it is not YAML'}{where}"
