"""Types that JSON has no form for, written as ``{"__type__": marker, "__value__": plain}``.

The markers and forms are those Celery's workers write and read, so both sides understand each
other.  Two rules apply on the way in.  A type with a marker comes back as the same type.  An
enum, a dataclass or a pydantic model becomes plain data: nothing in a message may name a class to
import, so its type comes back only where the task's own annotation asks for it.
"""

from __future__ import annotations

import sys
from base64 import b64decode, b64encode
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any
from uuid import UUID

from umbel.exceptions import DecodeError

if TYPE_CHECKING:
    from collections.abc import Callable

MARKER, VALUE = "__type__", "__value__"
_SHOWN = 60


class NoForm(TypeError):  # noqa: N818 - never leaves this package
    """A value is of a type that is neither in the table nor made of plain parts."""


class TypeLost(NoForm):
    """A value could be written, but its type would not come back."""


class TypeTable:
    """Which types are written with which marker; starts with the ones Celery knows."""

    __slots__ = ("_decoders", "_encoders")

    def __init__(self) -> None:
        self._encoders: dict[type, tuple[str | None, Callable[[Any], Any]]] = {}
        self._decoders: dict[str, Callable[[Any], Any]] = {}
        self.register(datetime, "datetime", datetime.isoformat, datetime.fromisoformat)
        self.register(date, "date", date.isoformat, date.fromisoformat)
        self.register(time, "time", time.isoformat, time.fromisoformat)
        self.register(Decimal, "decimal", str, Decimal)
        self.register(UUID, "uuid", _hex_of_uuid, _uuid_of_hex)
        self.register(bytes, None, _form_of_bytes)
        self._decoders["bytes"] = str.encode
        self._decoders["base64"] = _bytes_of_base64

    def register(
        self,
        cls: type,
        marker: str | None,
        encoder: Callable[[Any], Any],
        decoder: Callable[[Any], Any] | None = None,
    ) -> None:
        """Give a class, and its subclasses, a form; replaces the form it had.

        Args:
            cls: whose instances are meant.
            marker: travels as ``__type__``; None writes what ``encoder`` returns as it is.
            encoder: turns an instance into plain data or into other types with a form.
            decoder: turns that back; None hands over the plain data.
        """
        self._encoders[cls] = (marker, encoder)
        if marker is not None:
            self._decoders[marker] = decoder or _as_it_is

    def unregister(self, cls: type) -> None:
        """Take a class's form away.

        Raises:
            KeyError: it has none.
        """
        marker, _ = self._encoders.pop(cls)
        if marker is not None:
            self._decoders.pop(marker, None)

    def plain(self, value: Any) -> Any:
        """What to write in place of a value that the format has no form for.

        One level only: what comes back may again hold such values.

        Raises:
            NoForm: it cannot be written.
        """
        return self._written(value, _structure_of)

    def exact(self, value: Any) -> Any:
        """As `plain`, for what must come back as what it is.

        A member of an enum that is text or a number too is equal to what comes back, and passes.

        Raises:
            NoForm: it cannot be written, or (`TypeLost`) would come back as plain data.
        """
        return self._written(value, _structure_to_keep)

    def _written(self, value: Any, structure_of: Callable[[Any], Any]) -> Any:
        hook = getattr(value, "__json__", None)
        if hook is not None and not isinstance(value, type):
            return hook()
        form = self._form_of(value)
        if form is None:
            return structure_of(value)
        marker, encoder = form
        return encoder(value) if marker is None else {MARKER: marker, VALUE: encoder(value)}

    def _form_of(self, value: Any) -> tuple[str | None, Callable[[Any], Any]] | None:
        for cls in type(value).__mro__:
            if cls in self._encoders:
                return self._encoders[cls]
        # Abstract classes recognise instances that do not inherit from them.
        virtual = (form for cls, form in self._encoders.items() if isinstance(value, cls))
        return next(virtual, None)

    def restore(self, mapping: dict[Any, Any]) -> Any:
        """The value that a decoded mapping stands for; the mapping itself if it has no marker.

        Raises:
            DecodeError: the marker is not registered here, or what it marks does not fit it.
        """
        if len(mapping) != 2 or MARKER not in mapping or VALUE not in mapping:  # noqa: PLR2004 - exactly those
            return mapping
        marker = mapping[MARKER]
        if not isinstance(marker, str) or marker not in self._decoders:
            raise DecodeError(
                f"the type {_shown(marker)} is not registered here (register_type() adds it)"
            )
        try:
            return self._decoders[marker](mapping[VALUE])
        except Exception as error:
            raise DecodeError(f"what is marked as {_shown(marker)} is none") from error

    def restore_all(self, value: Any) -> Any:
        """Decoded data with everything restored in it, for formats that have no hook for that."""
        if isinstance(value, dict):
            return self.restore({key: self.restore_all(child) for key, child in value.items()})
        if isinstance(value, list):
            return [self.restore_all(child) for child in value]
        return value


def fields_of(value: Any) -> dict[str, Any] | None:
    """A dataclass's fields, not deeper; None for anything else."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return None


def _structure_of(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    named = fields_of(value)
    if named is not None:
        return named
    if _is_model(value):
        return value.model_dump(mode="json")
    return _text_of_lazy(value)


def _structure_to_keep(value: Any) -> Any:
    if isinstance(value, Enum) and isinstance(value, (str, int)):
        return value.value
    if isinstance(value, Enum) or fields_of(value) is not None or _is_model(value):
        raise TypeLost(type(value))
    return _text_of_lazy(value)


# Whoever has not imported these packages cannot hold one of their instances.


def _is_model(value: Any) -> bool:
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(value, pydantic.BaseModel)


def _text_of_lazy(value: Any) -> str:
    lazy = sys.modules.get("django.utils.functional")
    if lazy is not None and isinstance(value, lazy.Promise):
        return str(value)
    raise NoForm(type(value))


def _hex_of_uuid(value: UUID) -> dict[str, str]:
    return {"hex": value.hex}


def _uuid_of_hex(plain: dict[str, str]) -> UUID:
    if len(plain) != 1:
        raise ValueError("a UUID has one form")
    return UUID(hex=plain["hex"])


def _form_of_bytes(value: bytes) -> dict[str, str]:
    try:
        return {MARKER: "bytes", VALUE: value.decode()}
    except UnicodeDecodeError:
        return {MARKER: "base64", VALUE: b64encode(value).decode("ascii")}


def _bytes_of_base64(plain: str) -> bytes:
    return b64decode(plain, validate=True)


def _as_it_is(plain: Any) -> Any:
    return plain


def _shown(marker: Any) -> str:
    text = repr(marker)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
