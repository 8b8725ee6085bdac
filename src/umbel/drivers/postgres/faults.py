"""What PostgreSQL reports, said once in our words: what happened to which server, what to do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import psycopg

from umbel.exceptions import (
    EncodeError,
    ImproperlyConfigured,
    OperationalError,
    SchemaError,
    StoreError,
    UmbelError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

# Somebody was in the way: nothing was done, and trying again is right.
_AGAIN = {"40001", "40P01", "55P03", "55006"}
# The server lets go of the connection; nothing of the statement was done.
_ENDED = {"57P01", "57P02", "57P03", "57P05", "25006", "08006", "08003", "08000"}
_MISSING = {"3F000", "42P01", "42703", "42883"}
_TEXT = {"22021", "22P05", "54000"}

_UNUSABLE = {
    "28P01": "the password is wrong; correct it in the URL or in the password file",
    "28000": "the server does not let this user in; check the user's name and pg_hba.conf",
    "3D000": "the database does not exist; create it (createdb NAME), or correct its name in "
    "the URL",
    "42501": "the user lacks a right; have the owner of the database run `umbel db migrate`, and "
    "GRANT the user USAGE on the schema and all on its tables, sequences and functions",
    "0A000": "the server is too old or lacks a feature; umbel needs PostgreSQL 12 or later",
}
_NEXT_STEP = {
    "53300": "the server has no connection left; raise max_connections, put a pooler in between, "
    "or lower the option pool_size",
    "53100": "the server's disk is full; free some space",
    "53200": "the server is out of memory",
    "25006": "the server takes no writes (a standby, or default_transaction_read_only is on); "
    "name all servers in the URL (host1,host2) so that the primary is found",
    "57014": "the statement was cancelled, by statement_timeout or by somebody",
    "57P01": "the server is shutting down, or somebody ended the connection",
    "57P02": "the server is restarting after a crash",
    "57P03": "the server is starting up or shutting down",
    "55P03": "a lock could not be had in time; look for who holds it in pg_locks",
    "40P01": "a deadlock came up again and again; look for who else writes to the schema",
}

# What the server says before anybody is let in comes without a code. These words stand in the
# text whatever language the server speaks, or are the English ones.
_FIRST_WORDS = (
    (re.compile("password authentication failed|no password supplied|SCRAM"), "28P01"),
    (re.compile(r'database ".*" does not exist'), "3D000"),
    (re.compile(r"no pg_hba.conf entry|role \".*\" (does not exist|is not permitted)"), "28000"),
    (re.compile("too many (clients|connections)|remaining connection slots"), "53300"),
    (re.compile("starting up|shutting down|not yet accepting|recovery mode"), "57P03"),
)


def code_of(error: psycopg.Error) -> str:
    """The SQLSTATE of ``error``, guessed from its text where there was no connection yet."""
    if error.sqlstate:
        return error.sqlstate
    text = str(error)
    return next((code for words, code in _FIRST_WORDS if words.search(text)), "")


def is_passing(error: psycopg.Error) -> bool:
    """Whether nothing was done because somebody was in the way, so that trying again is right."""
    return error.sqlstate in _AGAIN


def ends_connection(error: psycopg.Error) -> bool:
    """Whether the connection is of no use after ``error``."""
    return error.sqlstate in _ENDED or not error.sqlstate


def is_missing(error: psycopg.Error) -> bool:
    """Whether our tables are not there, or not those we know."""
    return error.sqlstate in _MISSING


def translate(
    error: psycopg.Error, place: str, *, secrets: Iterable[str], known: bool, version: int
) -> UmbelError:
    """The exception of ours that says the same.

    Args:
        error: what psycopg raised.
        place: the server's name.
        secrets: what the text must not show.
        known: whether the server was reached before, so that what is wrong may pass.
        version: the schema version of this code.
    """
    code = code_of(error)
    said = _masked(" ".join(str(error).split()) or type(error).__name__, secrets)
    if code in _MISSING:
        return SchemaError(0, version, store=place)
    if code in _TEXT:
        return EncodeError(f"{place} cannot keep a text of the message ({said})")
    hint = _UNUSABLE.get(code)
    if hint:
        text = f"{place}: {hint} ({said})"
        return OperationalError(text) if known and code != "42501" else ImproperlyConfigured(text)
    hint = _NEXT_STEP.get(code)
    if hint:
        return OperationalError(f"{place}: {hint} ({said})")
    if isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)) or not code:
        return OperationalError(f"{place}: {said}")
    return StoreError(f"{place}: {said}")


def slow(place: str, seconds: float) -> OperationalError:
    """The server did not answer by our deadline."""
    return OperationalError(
        f"{place}: no answer within {seconds:g} s; what was asked may have been done or not"
    )


def crowded(place: str, seconds: float, size: int) -> OperationalError:
    """All connections of this process were in use until our deadline."""
    return OperationalError(
        f"{place}: all {size} connections of this process were in use for {seconds:g} s; raise "
        "the option pool_size"
    )


def occupied(place: str, schema: str, error: psycopg.Error) -> StoreError:
    """The schema holds something of another program."""
    said = " ".join(str(error).split())
    return StoreError(
        f"{place}: the schema {schema!r} holds objects of another program ({said}); give umbel "
        "another one with the option schema"
    )


def _masked(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "**")
    return text
