"""Publishing through a connection of the caller's, within whatever transaction it is in.

All that is asked of the connection is one statement with a few texts, so that any client library
will do.  The messages are put in by a function of our schema, which also notifies: PostgreSQL
delivers the notification when the caller commits, and forgets it when the caller rolls back.

The schema has an identity, a text made when it was; a connection that leads to one with another
identity is refused before anything is written.
"""

from __future__ import annotations

import asyncio
import json
import sys
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import tuple_row

from umbel.drivers.postgres import arrivals, schema
from umbel.exceptions import ImproperlyConfigured, OperationalError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from umbel.drivers.postgres.store import Store
    from umbel.message import Message

_LOOK = "SELECT to_regclass({table}) IS NOT NULL"
_ENQUEUE = "SELECT umbel.enqueue({messages}, {channel}, {identity})"


class EnlistedConnection:
    """A connection of the caller's; see `umbel.ports.enlisting.Enlisted`."""

    def __init__(self, store: Store, connection: Any) -> None:
        self._store = store
        self._connection = connection
        self._run = _runner_of(connection)
        self._is_right = False

    def publish(self, messages: Sequence[Message], /) -> None:
        """See `Enlisted.publish`."""
        for statement, given in self._steps(messages):
            answer = self._try(statement, given)
            if isawaitable(answer):
                _give_up(answer)
                raise ImproperlyConfigured(
                    f"within using({_kind(self._connection)}) calls are sent with adelay(), "
                    "aapply_async() or asend_task(): the connection is asynchronous"
                )
            self._judge(answer)

    async def apublish(self, messages: Sequence[Message], /) -> None:
        """See `Enlisted.apublish`."""
        await asyncio.to_thread(self._store.identity)
        for statement, given in self._steps(messages):
            answer = self._try(statement, given)
            if isawaitable(answer):
                try:
                    answer = await answer
                except Exception as error:
                    raise _refused(error) from error
            self._judge(answer)

    def _steps(self, messages: Sequence[Message]) -> list[tuple[str, dict[str, str]]]:
        """What is to be executed one after the other: a look if it is the first time, the rest."""
        text = _text_of(messages)
        identity = self._store.identity()
        name = self._store.options.schema
        steps = []
        if not self._is_right:
            steps.append((_LOOK, {"table": self._store.sql("umbel.format")}))
        given = {"messages": text, "channel": schema.everybody(name), "identity": identity}
        steps.append((self._store.sql(_ENQUEUE), given))
        return steps

    def _try(self, statement: str, given: Mapping[str, str]) -> Any:
        try:
            return self._run(self._connection, statement, given)
        except Exception as error:
            raise _refused(error) from error

    def _judge(self, answer: Any) -> None:
        if not answer:
            raise ImproperlyConfigured(
                f"the connection given to using() leads to another database than the broker's "
                f"({self._store.place}), so its transaction cannot hold messages; connect to the "
                "same database, or publish after the commit"
            )
        self._is_right = True


def _text_of(messages: Sequence[Message]) -> str:
    heads = arrivals.heads_of(messages)
    columns = arrivals.columns(messages, heads)
    rows = [
        {
            "id": columns["ids"][n],
            "queue": columns["queues"][n],
            "priority": columns["priorities"][n],
            "due_at": message.due_at,
            "head": heads[n].hex(),
            "body": message.body.hex(),
        }
        for n, message in enumerate(messages)
    ]
    return json.dumps(rows)


# -- connections of every kind -------------------------------------------------------------


def _runner_of(connection: Any) -> Any:
    """How a statement is executed on a connection of this kind."""
    if isinstance(connection, psycopg.AsyncConnection):
        return _run_async_psycopg
    if isinstance(connection, psycopg.Connection):
        return _run_psycopg
    module = type(connection).__module__
    if module.partition(".")[0] == "sqlalchemy" and hasattr(connection, "execute"):
        is_async = module.startswith("sqlalchemy.ext.asyncio")
        return _run_async_sqlalchemy if is_async else _run_sqlalchemy
    if hasattr(connection, "cursor") and not isinstance(connection, type):
        return _run_cursor
    raise ImproperlyConfigured(
        f"using() takes a connection of psycopg, a connection or session of SQLAlchemy, or "
        f"another one with a cursor() as Python's database API has it, not {_kind(connection)}"
    )


def _run_psycopg(connection: psycopg.Connection[Any], statement: str, given: Any) -> Any:
    with connection.cursor(row_factory=tuple_row) as cursor:
        row = cursor.execute(_named(statement, given, "%({})s::text").encode(), given).fetchone()
    return row is not None and row[0]


async def _run_async_psycopg(
    connection: psycopg.AsyncConnection[Any], statement: str, given: Any
) -> Any:
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(_named(statement, given, "%({})s::text").encode(), given)
        row = await cursor.fetchone()
    return row is not None and row[0]


def _run_sqlalchemy(connection: Any, statement: str, given: Any) -> Any:
    return connection.execute(_text(statement, given), given).scalar()


async def _run_async_sqlalchemy(connection: Any, statement: str, given: Any) -> Any:
    return (await connection.execute(_text(statement, given), given)).scalar()


def _text(statement: str, given: Any) -> Any:
    return sys.modules["sqlalchemy"].text(_named(statement, given, "CAST(:{} AS text)"))


def _run_cursor(connection: Any, statement: str, given: Any) -> Any:
    cursor = connection.cursor()
    try:
        cursor.execute(_named(statement, given, "%s"), list(given.values()))
        row = cursor.fetchone()
    finally:
        cursor.close()
    return row is not None and row[0]


def _named(statement: str, given: Mapping[str, str], style: str) -> str:
    return statement.format(**{name: style.format(name) for name in given})


def _give_up(answer: Any) -> None:
    close = getattr(answer, "close", None)
    if close is not None:
        close()


def _kind(connection: Any) -> str:
    return f"{type(connection).__module__}.{type(connection).__qualname__}"


def _refused(error: Exception) -> OperationalError:
    said = " ".join(str(error).split())
    return OperationalError(f"the call could not be stored through the connection given: {said}")
