"""Where a command writes: data to standard output, remarks to standard error."""

from __future__ import annotations

import json
import math
import shutil
import sys
from base64 import b64encode
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, datetime, time, timedelta
from enum import Enum
from typing import IO, TYPE_CHECKING, Any

import click

from umbel.cli.ends import FAILED, USAGE, Failure
from umbel.representation import saferepr

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEEPEST = 50
NARROWEST = 12


def wants_color(stream: IO[Any], environ: Mapping[str, str], *, refused: bool) -> bool:
    """Whether to colour what goes to ``stream``: NO_COLOR, FORCE_COLOR, CLICOLOR, TERM=dumb."""
    if refused or environ.get("NO_COLOR"):
        return False
    if any(environ.get(name, "0") not in ("", "0") for name in ("FORCE_COLOR", "CLICOLOR_FORCE")):
        return True
    if environ.get("TERM") == "dumb" or environ.get("CLICOLOR") == "0":
        return False
    return stream.isatty()


@dataclass(frozen=True, slots=True)
class Console:
    """Writes results and remarks in the form that was asked for."""

    json: bool = False
    quiet: bool = False
    color_out: bool = False
    color_err: bool = False

    # -- data ------------------------------------------------------------------------------

    def emit(self, data: Any) -> None:
        """One JSON document on standard output."""
        click.echo(json.dumps(plain(data), indent=2 if sys.stdout.isatty() else None))

    def line(self, text: str) -> None:
        """One line on standard output."""
        click.echo(text, color=self.color_out)

    def table(self, head: Sequence[str], rows: Sequence[Sequence[Any]], *, right: str = "") -> None:
        """A table: aligned and cut to the width of a terminal, else tab-separated without head.

        ``right`` names the columns, separated by blanks, that are aligned to the right.
        """
        cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
        if not sys.stdout.isatty():
            for row in cells:
                self.line("\t".join(row))
            return
        width = shutil.get_terminal_size().columns
        lines = layout([list(head), *cells], width, {head.index(name) for name in right.split()})
        self.line(click.style(lines[0], bold=True))
        for line in lines[1:]:
            self.line(line)

    # -- remarks ---------------------------------------------------------------------------

    def say(self, text: str = "") -> None:
        """A remark on standard error, unless quiet."""
        if not self.quiet:
            click.echo(text, err=True, color=self.color_err)

    def warn(self, text: str) -> None:
        """A warning on standard error."""
        click.echo(f"{click.style('Warning:', fg='yellow')} {text}", err=True, color=self.color_err)

    def confirm(self, deed: str, *, yes: bool) -> None:
        """Return if ``yes``, or if somebody at a terminal agrees to ``deed``.

        Raises:
            Failure: they do not, or there is nobody to ask.
        """
        if yes:
            return
        if not sys.stdin.isatty():
            raise Failure(f"there is no terminal to ask whether to {deed}: add --yes", USAGE)
        if not click.confirm(f"{deed.capitalize()}?", err=True):
            raise Failure("nothing was changed", FAILED)


def layout(rows: list[list[str]], width: int, right: set[int]) -> list[str]:
    """Rows as aligned lines; the last column gives way where they are wider than ``width``."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    before = sum(widths[:-1]) + 2 * (len(widths) - 1)
    widths[-1] = min(widths[-1], max(width - before, NARROWEST))
    lines = []
    for row in rows:
        row[-1] = shortened(row[-1], widths[-1])
        cells = (
            cell.rjust(size) if number in right else cell.ljust(size)
            for number, (cell, size) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join(cells).rstrip())
    return lines


def shortened(text: str, width: int) -> str:
    """The text, cut with dots where it is longer than ``width``."""
    return text if len(text) <= width else f"{text[: width - 3]}..."


def span(seconds: float | None) -> str:
    """A length of time for people: ``0.4s``, ``12s``, ``5m 3s``, ``2h 5m``, ``3d 4h``."""
    if seconds is None:
        return ""
    if seconds < 10:  # noqa: PLR2004 - below, tenths matter
        return f"{max(seconds, 0.0):.1f}s"
    rest = round(seconds)
    parts: list[str] = []
    for name, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count or parts:
            parts.append(f"{count}{name}")
    return " ".join(part for part in parts[:2] if not part.startswith("0"))


def count_of(number: int, noun: str) -> str:
    """``1 message``, ``2 messages``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def plain(value: Any, depth: int = 0) -> Any:
    """The nearest thing to ``value`` that JSON can hold; never raises, always ends."""
    match value:
        case Enum():
            return plain(value.value, depth)
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case dict() | list() | tuple() | set() | frozenset():
            return _container(value, depth) if depth < DEEPEST else "..."
        case _:
            return _other(value, depth)


def _container(value: Any, depth: int) -> Any:
    if isinstance(value, dict):
        return {_key(key): plain(item, depth + 1) for key, item in value.items()}
    return [plain(item, depth + 1) for item in value]


def _key(key: Any) -> str:
    return key if isinstance(key, str) else str(plain(key))


def _other(value: Any, depth: int) -> Any:
    match value:
        case datetime() | date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case bytes() | bytearray():
            return _text(bytes(value))
        case _:
            return _object(value, depth)


def _object(value: Any, depth: int) -> Any:
    match value:
        case BaseException():
            return {"type": type(value).__qualname__, "message": str(value)}
        case _ if is_dataclass(value) and not isinstance(value, type):
            return _container({name: getattr(value, name, None) for name in _fields(value)}, depth)
        case _ if type(value).__module__ in ("decimal", "uuid"):
            return str(value)
        case _:
            return saferepr(value)


def _fields(value: Any) -> list[str]:
    return [field.name for field in fields(value)]


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return b64encode(data).decode("ascii")
