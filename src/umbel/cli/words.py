"""What users write after options, and the values it becomes."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click import Context, Parameter

    _Type = click.ParamType[Any]
else:
    _Type = click.ParamType


class Names(_Type):
    """``a,b,c``: names separated by commas."""

    name = "names"

    def convert(self, value: Any, param: Parameter | None, ctx: Context | None) -> tuple[str, ...]:
        """A tuple of names."""
        if isinstance(value, tuple):
            return value
        names = tuple(name for part in str(value).split(",") if (name := part.strip()))
        if not names:
            self.fail("there is no name in it", param, ctx)
        return names


class Json(_Type):
    """JSON text of one kind: an array or an object."""

    def __init__(self, kind: type, name: str, example: str) -> None:
        self.name = name
        self._kind = kind
        self._example = example

    def convert(self, value: Any, param: Parameter | None, ctx: Context | None) -> Any:
        """The list or dict."""
        if isinstance(value, self._kind):
            return value
        try:
            found = json.loads(value)
        except ValueError as error:
            self.fail(f"{value!r} is not JSON ({error}); write it as {self._example}", param, ctx)
        if not isinstance(found, self._kind):
            self.fail(f"{value!r} is not {self.name}; write it as {self._example}", param, ctx)
        return found


class Moment(_Type):
    """A date and time in ISO 8601; with ``seconds`` a number of seconds from now as well."""

    def __init__(self, *, seconds: bool = False) -> None:
        self.name = "time or seconds" if seconds else "time"
        self._seconds = seconds

    def convert(self, value: Any, param: Parameter | None, ctx: Context | None) -> datetime | float:
        """A datetime, without a zone if none was given; or the seconds."""
        if isinstance(value, (datetime, float)):
            return value
        if self._seconds:
            try:
                return float(value)
            except ValueError:
                pass
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            wanted = "a number of seconds, or " if self._seconds else ""
            self.fail(
                f"{value!r} is not {wanted}a time in ISO 8601, as in 2030-01-31T12:00:00+00:00",
                param,
                ctx,
            )


class Concurrency(_Type):
    """A number of slots, or ``auto``."""

    name = "number"

    def convert(self, value: Any, param: Parameter | None, ctx: Context | None) -> int | None:
        """The number; None, the application's own choice, for ``auto`` and 0."""
        if value == "auto":
            return None
        try:
            number = int(value)
        except ValueError:
            self.fail(f"{value!r} is neither a number nor auto", param, ctx)
        if number < 0:
            self.fail(f"{number} is less than 1", param, ctx)
        return number or None


NAMES = Names()
ARRAY = Json(list, "a JSON array", "'[2, \"three\"]'")
OBJECT = Json(dict, "a JSON object", '\'{"name": "you"}\'')
POSITIVE = click.IntRange(min=1)
SECONDS = click.FloatRange(min=0, min_open=True)


def joined(groups: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
    """The names of an option that may be given several times, each once."""
    return tuple(dict.fromkeys(name for group in groups for name in group))
