"""The tables, and how a schema written by an older version becomes one of this version.

The steps are the numbered files in ``migrations``; their text says ``umbel.`` where the schema's
name goes.  Rules for changes: add a file and never edit one that was released.  Workers of two
versions run side by side while an installation is upgraded, so a step keeps what the version
before it reads and writes working.  Each step says which is the oldest version that can still use
the schema; older code refuses it.

Setting up is one transaction under a lock, so that any number of processes can do it at once.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

import psycopg
from psycopg.sql import Identifier

from umbel.drivers.postgres import faults
from umbel.exceptions import SchemaError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from umbel.drivers.postgres.link import Link

# "Umbl": one half of the name of our locks; the other is the schema.
LOCKS = 0x556D626C
_OLDEST = re.compile(r"^-- oldest: (\d+)$", re.MULTILINE)
_TAKEN = {"42P07", "42710", "42723", "42P06"}


class Step(NamedTuple):
    """How a schema gets from one version to the next.

    Attributes:
        oldest: the oldest version that can use the schema afterwards.
        text: what is done.
    """

    oldest: int
    text: str


@cache
def migrations() -> Sequence[Step]:
    """The steps, the first first."""
    files = resources.files("umbel.drivers.postgres").joinpath("migrations").iterdir()
    found = sorted((file for file in files if file.name.endswith(".sql")), key=lambda f: f.name)
    texts = [file.read_text("utf-8") for file in found]
    return tuple(Step(int(_OLDEST.findall(text)[0]), text) for text in texts)


def version() -> int:
    """The version of this code."""
    return len(migrations())


@cache
def qualified(statement: str, schema: str) -> str:
    """``statement`` with the schema's name in place of ``umbel.``."""
    if schema == "umbel":
        return statement
    return re.sub(r"\bumbel\.", lambda _: f"{_quoted(schema)}.", statement)


def found_version(link: Link, schema: str) -> tuple[int, int]:
    """The version of the schema that is there and the oldest that can use it; 0 for none."""
    there = "SELECT to_regclass(%s) IS NOT NULL"
    table = Identifier(schema, "format").as_string(None)
    if not link.one(there, (table,))[0]:
        return 0, 0
    row = link.one(qualified("SELECT version, oldest FROM umbel.format", schema))
    return (row[0], row[1]) if row else (0, 0)


def check(found: tuple[int, int], place: str) -> None:
    """Refuse a schema of a newer version which this one cannot work beside.

    Raises:
        SchemaError: it is one.
    """
    number, oldest = found
    if number > version() and oldest > version():
        raise SchemaError(number, version(), store=place)


def migrate(link: Link, schema: str, place: str) -> int:
    """Bring the schema to this version; returns the version it had.

    Raises:
        SchemaError: it is of a newer version.
        StoreError: another program has tables there.
    """
    link.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
    link.execute("SELECT pg_advisory_xact_lock(%s, %s)", (LOCKS, lock_of(schema)))
    before = found_version(link, schema)
    check(before, place)
    if before[0] < version():
        try:
            _apply(link, schema, before[0])
        except psycopg.Error as error:
            if error.sqlstate in _TAKEN:
                raise faults.occupied(place, schema, error) from error
            raise
    link.execute("COMMIT")
    return before[0]


def _apply(link: Link, schema: str, number: int) -> None:
    if not number and not link.one("SELECT to_regnamespace(%s) IS NOT NULL", (_quoted(schema),))[0]:
        link.execute(f"CREATE SCHEMA {_quoted(schema)}".encode())
    for step in migrations()[number:]:
        link.execute(qualified(step.text, schema).encode())
    keep = """
        INSERT INTO umbel.format (version, oldest) VALUES (%s, %s)
        ON CONFLICT (one) DO UPDATE SET version = excluded.version, oldest = excluded.oldest
    """
    link.execute(qualified(keep, schema).encode(), (version(), migrations()[-1].oldest))


def _quoted(schema: str) -> str:
    return Identifier(schema).as_string(None)


def lock_of(schema: str) -> int:
    """The number of a schema among our locks."""
    return crc32(schema.encode("utf-8", "surrogatepass")) - 2**31


def everybody(schema: str) -> str:
    """The channel on which all who use a schema are notified."""
    return f"umbel_{lock_of(schema)}"
