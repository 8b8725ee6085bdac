"""The result backend in a database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, delete, insert, or_, select, update

from umbel.exceptions import (
    BackendGetMetaError,
    BackendStoreError,
    OperationalError,
    SerializationError,
)
from umbel.lookout import Lookout

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from sqlalchemy import ColumnElement, Connection, Table

    from umbel.clock import Clock
    from umbel.drivers.database.columns import Columns
    from umbel.drivers.database.engine import Database
    from umbel.message import StoredResult
    from umbel.stored import Lifetimes

_AT_ONCE = 500
"""Ids in one statement; some databases take no more than a thousand values."""

_LONGEST_ID = 155


class DatabaseBackend:
    """A `ResultBackend` with a row for each task.

    How long results last is the same for all of one state: a row has no place for more.
    """

    def __init__(
        self,
        database: Database,
        columns: Columns,
        lifetimes: Lifetimes,
        clock: Clock,
        *,
        create_at_setup: bool,
    ) -> None:
        self._database = database
        self._task = database.tables.task
        self._columns = columns
        self._lifetimes = lifetimes
        self._clock = clock
        self._create_at_setup = create_at_setup
        self._lookout = Lookout(lambda ids: self.fetch(ids).values())

    def setup(self) -> None:
        """Create the tables, unless that is to wait for the first use."""
        if self._create_at_setup:
            self._database.create()

    def close(self) -> None:
        """Close connections and end the thread that looks for results."""
        self._lookout.close()
        self._database.close()

    # -- writing ---------------------------------------------------------------------------

    def store(self, results: Sequence[StoredResult]) -> None:
        """Keep states; see `ResultBackend.store`. One transaction for all of them."""
        if not results:
            return
        first = results[0]
        rows: dict[str, dict[str, Any]] = {}
        now = self._clock.now()
        try:
            for result in results:
                before = rows.get(result.id)
                if before is None or before["status"] != "SUCCESS":
                    rows[result.id] = self._row(result, now)
            self._database.run(lambda connection: self._write(connection, rows))
        except (OperationalError, SerializationError) as error:
            raise BackendStoreError(str(error), state=first.status, task_id=first.id) from error
        self._lookout.stored(rows)

    def _row(self, result: StoredResult, now: float) -> dict[str, Any]:
        if len(result.id) > _LONGEST_ID:
            msg = f"the task id {result.id!r} is longer than its column, {_LONGEST_ID} characters"
            raise BackendStoreError(msg, state=result.status, task_id=result.id)
        return self._columns.row(result, now)

    def _write(self, connection: Connection, rows: dict[str, dict[str, Any]]) -> None:
        """Update what is there and insert the rest.

        Somebody may insert the same id in between; the table refuses it twice, and all of this
        is done anew. All write in the same order, so that they do not wait for one another in a
        circle.
        """
        there: set[str] = set()
        for ids in _pieces(rows):
            query = select(self._task.c.task_id).where(self._task.c.task_id.in_(ids))
            there.update(connection.scalars(query))
        old = [{**rows[key], "sought": key} for key in sorted(rows) if key in there]
        new = [rows[key] for key in sorted(rows) if key not in there]
        if old:
            table = self._task
            mine = table.c.task_id == bindparam("sought")
            values: dict[str, Any] = {name: bindparam(name) for name in rows[old[0]["sought"]]}
            connection.execute(update(table).where(mine, self._replaceable()).values(values), old)
        if new:
            connection.execute(insert(self._task), new)

    def _replaceable(self) -> ColumnElement[bool]:
        """The rows that a new state may replace: no success, unless it has expired."""
        status = self._task.c.status
        ways = [status != "SUCCESS", status.is_(None)]
        before = self._moment_before("SUCCESS")
        if before is not None:
            ways.append(self._task.c.date_done <= before)
        return or_(*ways)

    def _moment_before(self, status: str) -> datetime | None:
        """What was written by this moment has expired, now."""
        lifetime = self._lifetimes.of(status)
        if lifetime is None:
            return None
        now = datetime.fromtimestamp(self._clock.now(), UTC).replace(tzinfo=None)
        return now - timedelta(seconds=lifetime)

    # -- reading ---------------------------------------------------------------------------

    def fetch(self, ids: Collection[str]) -> dict[str, StoredResult]:
        """The stored states of these tasks; see `ResultBackend.fetch`."""
        if not ids:
            return {}
        try:
            return self._database.run(lambda connection: dict(self._fetch(connection, ids)))
        except OperationalError as error:
            raise BackendGetMetaError(str(error)) from error

    def _fetch(
        self, connection: Connection, ids: Collection[str]
    ) -> Iterator[tuple[str, StoredResult]]:
        for some in _pieces(ids):
            query = select(self._task).where(self._task.c.task_id.in_(some))
            for row in connection.execute(query).mappings():
                status = row["status"] or ""
                before = self._moment_before(status)
                written_at = row["date_done"]
                if before is None or written_at is None or written_at > before:
                    result = self._columns.result(row, self._lifetimes.of(status))
                    yield result.id, result

    def wait(
        self, ids: Collection[str], timeout: float | None, *, any_of: bool = False
    ) -> dict[str, StoredResult]:
        """Block until all, or any, are final; see `ResultBackend.wait`."""
        return self._lookout.wait(ids, timeout, any_of=any_of)

    def watch(
        self, ids: Collection[str], callback: Callable[[StoredResult], None]
    ) -> Callable[[], None]:
        """Call back for each that is final, now or later; see `ResultBackend.watch`."""
        return self._lookout.watch(ids, callback)

    # -- deleting --------------------------------------------------------------------------

    def forget(self, ids: Collection[str]) -> int:
        """Delete stored states; see `ResultBackend.forget`."""

        def forget(connection: Connection) -> int:
            column = self._task.c.task_id
            return sum(
                connection.execute(delete(self._task).where(column.in_(some))).rowcount
                for some in _pieces(ids)
            )

        return self._database.run(forget) if ids else 0

    def prune(self, limit: int = 10_000) -> int:
        """Delete states that have expired, also saved groups; see `ResultBackend.prune`."""

        def prune(connection: Connection) -> int:
            task, group = self._task, self._database.tables.group
            gone = self._prune(connection, task, "FAILURE", limit, task.c.status == "FAILURE")
            other = or_(task.c.status != "FAILURE", task.c.status.is_(None))
            gone += self._prune(connection, task, "", limit - gone, other)
            return gone + self._prune(connection, group, "", limit - gone)

        return self._database.run(prune)

    def _prune(
        self,
        connection: Connection,
        table: Table,
        status: str,
        limit: int,
        *conditions: ColumnElement[bool],
    ) -> int:
        before = self._moment_before(status)
        if before is None or limit <= 0:
            return 0
        expired = (table.c.date_done <= before, *conditions)
        doomed = connection.scalars(select(table.c.id).where(*expired).limit(limit)).all()
        return sum(
            connection.execute(delete(table).where(table.c.id.in_(some), *expired)).rowcount
            for some in _pieces(doomed)
        )


def _pieces(values: Collection[Any]) -> Iterator[list[Any]]:
    listed = list(values)
    return (listed[at : at + _AT_ONCE] for at in range(0, len(listed), _AT_ONCE))
