"""Enums, dataclasses and pydantic models as arguments: plain data on the way, the same type after.

A message must never name a class to be built: whoever can send one could then build anything.  So
the type is read from the task's own annotation, on both sides.  The sender turns a value into plain
data only where the annotation says how to get it back, and names the parameters it has converted
in a header; the worker builds exactly those again.  A value whose type no annotation tells stays as
it is, and the encoder refuses it by its path.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import inspect
import sys
import types
from typing import TYPE_CHECKING, Any, Protocol, Union, get_args, get_origin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_PLAIN = (str, int, float, bool)
_LISTS = (
    list,
    collections.abc.Sequence,
    collections.abc.MutableSequence,
    collections.abc.Collection,
    collections.abc.Iterable,
)
_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


class Carrier(Protocol):
    """Turns values of one annotation into plain data, and back.

    Both directions return their argument itself where there is nothing to do.
    """

    def send(self, value: Any, /) -> Any:
        """The value as plain data."""
        ...

    def receive(self, value: Any, /) -> Any:
        """The value that plain data stands for."""
        ...


_Known = dict[Any, "Carrier | None"]


def carrier_for(annotation: Any) -> Carrier | None:
    """How values of a parameter annotated so are carried; None if they need no conversion."""
    known: _Known = {}
    if get_origin(annotation) in (Union, types.UnionType):
        # Which of the types it was needs no guess: only what was converted is converted back.
        found = [carrier for each in get_args(annotation) if (carrier := _carrier(each, known))]
        return found[0] if len(found) == 1 else None
    return _carrier(annotation, known)


def is_model(annotation: Any) -> bool:
    """Whether this is a pydantic model class; pydantic is not imported to find out."""
    pydantic = sys.modules.get("pydantic")
    return (
        pydantic is not None
        and isinstance(annotation, type)
        and issubclass(annotation, pydantic.BaseModel)
    )


def _carrier(annotation: Any, known: _Known) -> Carrier | None:
    origin = get_origin(annotation)
    if origin is not None:
        return _generic_carrier(origin, get_args(annotation), known)
    if not isinstance(annotation, type):
        return None
    if annotation not in known:
        known[annotation] = None
        known[annotation] = _class_carrier(annotation, known)
    return known[annotation]


def _class_carrier(cls: Any, known: _Known) -> Carrier | None:
    if issubclass(cls, enum.Enum):
        return _EnumCarrier(cls)
    if is_model(cls):
        return _ModelCarrier(cls)
    if dataclasses.is_dataclass(cls) and _is_made_of_its_fields(cls):
        carrier = known[cls] = _DataclassCarrier(cls)
        carrier.learn_fields(known)
        return carrier
    return None


def _generic_carrier(origin: Any, inner: tuple[Any, ...], known: _Known) -> Carrier | None:
    if origin in (Union, types.UnionType):
        choices = [each for each in inner if each is not type(None)]
        carrier = _carrier(choices[0], known) if len(choices) == 1 else None
        return carrier and _OptionalCarrier(carrier)
    if origin in _MAPPINGS and len(inner) == 2:  # noqa: PLR2004 - keys and values
        keys, values = (_carrier(each, known) for each in inner)
        return _MappingCarrier(keys, values) if keys or values else None
    if origin is tuple and inner[-1:] != (Ellipsis,):
        parts = [_carrier(each, known) for each in inner]
        return _TupleCarrier(parts) if any(parts) else None
    kind = list if origin in _LISTS else origin
    if kind in (list, tuple, set, frozenset) and inner:
        carrier = _carrier(inner[0], known)
        return carrier and _SequenceCarrier(kind, carrier)
    return None


class _EnumCarrier:
    """By value where that is text or a number, else by name."""

    def __init__(self, cls: type[enum.Enum]) -> None:
        self._cls = cls

    def send(self, value: Any, /) -> Any:
        if type(value) is not self._cls:
            return value
        plain: Any = value.value
        return plain if type(plain) in _PLAIN else value.name

    def receive(self, value: Any, /) -> Any:
        if isinstance(value, self._cls):
            return value
        try:
            return self._cls(value)
        except ValueError:
            if value in self._cls.__members__:
                return self._cls[value]
            raise


class _ModelCarrier:
    """By its fields, if the model can be made of them again."""

    def __init__(self, cls: Any) -> None:
        self._cls = cls

    def send(self, value: Any, /) -> Any:
        if type(value) is not self._cls:
            return value
        for by_alias in (False, True):
            plain = value.model_dump(mode="json", round_trip=True, by_alias=by_alias)
            try:
                if self._cls.model_validate(plain) == value:
                    return plain
            except ValueError:
                continue
        return value

    def receive(self, value: Any, /) -> Any:
        return value if isinstance(value, self._cls) else self._cls.model_validate(value)


class _DataclassCarrier:
    """By its fields; an instance of a subclass is another type, which nobody would bring back."""

    def __init__(self, cls: Any) -> None:
        self._cls = cls
        self._fields: dict[str, Carrier | None] = {}

    def learn_fields(self, known: _Known) -> None:
        """Find out how the fields are carried, which may be of the very same class."""
        from umbel.arguments import hints_of

        hints = hints_of(self._cls)
        self._fields = {
            field.name: _carrier(hints.get(field.name), known)
            for field in dataclasses.fields(self._cls)
            if field.init
        }

    def send(self, value: Any, /) -> Any:
        if type(value) is not self._cls:
            return value
        return {
            name: carrier.send(getattr(value, name)) if carrier else getattr(value, name)
            for name, carrier in self._fields.items()
        }

    def receive(self, value: Any, /) -> Any:
        if not isinstance(value, dict):
            return value
        return self._cls(
            **{
                name: carrier.receive(value[name]) if carrier else value[name]
                for name, carrier in self._fields.items()
                if name in value
            }
        )


class _OptionalCarrier:
    def __init__(self, inner: Carrier) -> None:
        self._inner = inner

    def send(self, value: Any, /) -> Any:
        return None if value is None else self._inner.send(value)

    def receive(self, value: Any, /) -> Any:
        return None if value is None else self._inner.receive(value)


class _SequenceCarrier:
    def __init__(self, kind: Callable[[Any], Any], inner: Carrier) -> None:
        self._kind = kind
        self._inner = inner

    def send(self, value: Any, /) -> Any:
        if not isinstance(value, (list, tuple, set, frozenset)):
            return value
        items = [self._inner.send(item) for item in value]
        # A set has to become a list in any case.
        return items if isinstance(value, (set, frozenset)) or _differ(items, value) else value

    def receive(self, value: Any, /) -> Any:
        if not isinstance(value, list):
            return value
        return self._kind([self._inner.receive(item) for item in value])


class _TupleCarrier:
    def __init__(self, parts: list[Carrier | None]) -> None:
        self._parts = parts

    def send(self, value: Any, /) -> Any:
        if not isinstance(value, (list, tuple)) or len(value) != len(self._parts):
            return value
        items = [
            part.send(item) if part else item for part, item in zip(self._parts, value, strict=True)
        ]
        return items if _differ(items, value) else value

    def receive(self, value: Any, /) -> Any:
        if not isinstance(value, list) or len(value) != len(self._parts):
            return value
        return tuple(
            part.receive(item) if part else item
            for part, item in zip(self._parts, value, strict=True)
        )


class _MappingCarrier:
    def __init__(self, keys: Carrier | None, values: Carrier | None) -> None:
        self._keys = keys
        self._values = values

    def send(self, value: Any, /) -> Any:
        return self._each(value, "send")

    def receive(self, value: Any, /) -> Any:
        return self._each(value, "receive")

    def _each(self, value: Any, direction: str) -> Any:
        if not isinstance(value, dict):
            return value
        key_of, value_of = (
            getattr(carrier, direction) if carrier else _as_it_is
            for carrier in (self._keys, self._values)
        )
        before = [part for pair in value.items() for part in pair]
        after = [part for key, item in value.items() for part in (key_of(key), value_of(item))]
        return dict(zip(after[::2], after[1::2], strict=True)) if _differ(after, before) else value


def _differ(items: Iterable[Any], value: Iterable[Any]) -> bool:
    return any(new is not old for new, old in zip(items, value, strict=True))


def _as_it_is(value: Any) -> Any:
    return value


def _is_made_of_its_fields(cls: Any) -> bool:
    """Whether the constructor takes fields and nothing else."""
    fields = {field.name for field in dataclasses.fields(cls)}
    try:
        return fields.issuperset(inspect.signature(cls).parameters)
    except ValueError:
        return False
