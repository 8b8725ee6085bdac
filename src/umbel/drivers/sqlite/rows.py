"""Many rows in few steps.

Every step of SQLite that Python takes gives up the interpreter's lock and takes it back, which
costs milliseconds where another thread of the process computes; a step per row would hold the
file's write lock for that long, against all other processes.  So rows are written in statements
of many rows, and rows are named by one parameter that lists them.
"""

# ruff: noqa: S608 - statements are put together from constants, never from values

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

# Sizes of the statements; few, so that each is compiled once per connection.
_SIZES = (128, 32, 8, 2, 1)


def insert(
    db: sqlite3.Connection, into: str, values: Sequence[Any], *, width: int, then: str = ""
) -> None:
    """Insert rows of ``width`` columns, their values given one after the other.

    ``then`` follows the values in the statement: what to do on a conflict.
    """
    at, left = 0, len(values) // width
    for size in _SIZES:
        statement = _insert_statement(into, width, size, then)
        while left >= size:
            db.execute(statement, values[at : at + size * width])
            at += size * width
            left -= size


@cache
def _insert_statement(into: str, width: int, size: int, then: str) -> str:
    row = f"({','.join('?' * width)})"
    return f"INSERT INTO {into} VALUES {','.join([row] * size)} {then}"


def listed(values: Iterable[Any]) -> str:
    """A parameter for ``IN (SELECT value FROM json_each(?))``."""
    return json.dumps(list(values))


def numbers(db: sqlite3.Connection, count: int) -> int:
    """The first of ``count`` consecutive numbers that nobody ever had."""
    rows = db.execute("UPDATE counter SET n = n + ? RETURNING n", (count,)).fetchall()
    return int(rows[0][0]) - count + 1
