"""One database for the session on the PostgreSQL server for tests, emptied between them."""

from __future__ import annotations

import atexit
import os
from functools import cache

import psycopg

import servers

MOMENT = "extract(epoch FROM clock_timestamp())::double precision"
_PREFIX = "umbel_tests_"
# All that tests put anything into; `format` stays.
_TABLES = (
    *("message", "owner", "binding", "dead", "result", "waiting", "broadcast"),
    *("lease", "bucket", "slot", "unique_key"),
)


def run(url: str, *statements: str) -> list[tuple]:
    """The rows of the last of ``statements``."""
    with psycopg.connect(url, autocommit=True) as db:
        for statement in statements:
            cursor = db.execute(statement)
        return cursor.fetchall() if cursor.description else []


@cache
def database() -> str:
    """The URL of a database of this session alone, dropped at its end."""
    name = f"{_PREFIX}{os.getpid()}"
    url = servers.url("postgres")
    server = url.rpartition("/")[0]
    _drop_orphans(url)
    run(url, f"CREATE DATABASE {name}", f"ALTER DATABASE {name} SET synchronous_commit = off")
    atexit.register(run, url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    return f"{server}/{name}"


def _drop_orphans(url: str) -> None:
    """Sessions that were killed have left theirs."""
    for (name,) in run(url, f"SELECT datname FROM pg_database WHERE datname ~ '^{_PREFIX}[0-9]+$'"):
        try:
            os.kill(int(name.removeprefix(_PREFIX)), 0)
        except ProcessLookupError:
            run(url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        except PermissionError:
            pass


def telling(expression: str) -> str:
    """The statement that has the server's time be what ``expression`` says."""
    return (
        "CREATE OR REPLACE FUNCTION umbel.moment() RETURNS double precision LANGUAGE sql VOLATILE"
        f" AS 'SELECT {expression}'"
    )


def set_moment(url: str, expression: str) -> None:
    """Have the server's time be what ``expression`` says."""
    run(url, telling(expression))


def empty(url: str) -> None:
    """Delete all rows, and have the server's time be the real one."""
    rows = "; ".join(f"DELETE FROM umbel.{table}" for table in _TABLES)
    with psycopg.connect(url, autocommit=True) as db:
        if db.execute("SELECT to_regclass('umbel.format')").fetchone() != (None,):
            db.execute(f"{rows}; {telling(MOMENT)}")
