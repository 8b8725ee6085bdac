"""Celery's tables of results, exactly: names, types, sequences and indexes.

Whichever side comes first creates them, and the other uses what it finds; on PostgreSQL that holds
for the sequences, too, which give both sides their ids.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Sequence,
    String,
    Table,
    Text,
    inspect,
)
from sqlalchemy.schema import CreateColumn

from umbel.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection
    from sqlalchemy.types import TypeEngine

_LONGEST_ID = 155
_KEYS = ("task", "group")
_ADDED: dict[str, type[TypeEngine[Any]] | TypeEngine[Any]] = {
    "name": String(_LONGEST_ID),
    "args": LargeBinary,
    "kwargs": LargeBinary,
    "worker": String(_LONGEST_ID),
    "retries": Integer,
    "queue": String(_LONGEST_ID),
    "stamps": LargeBinary,
}
"""Columns that tables made by an old Celery may lack."""


@dataclass(frozen=True, slots=True)
class Tables:
    """The two tables, as the settings name them."""

    metadata: MetaData
    task: Table
    group: Table

    @classmethod
    def of(cls, conf: Mapping[str, Any]) -> Tables:
        """The tables under the names and in the schemas that the settings give them.

        Raises:
            ImproperlyConfigured: a setting has a key other than ``task`` and ``group``.
        """
        names = _pair(conf, "database_table_names")
        schemas = _pair(conf, "database_table_schemas")
        metadata = MetaData()
        task = Table(
            names.get("task") or "celery_taskmeta",
            metadata,
            _id(metadata, "task_id_sequence", schemas.get("task")),
            Column("task_id", String(_LONGEST_ID), unique=True),
            Column("status", String(50), default="PENDING"),
            Column("result", LargeBinary),
            Column("date_done", DateTime),
            Column("traceback", Text),
            Column("children", LargeBinary),
            *(Column(name, kind) for name, kind in _ADDED.items()),
            schema=schemas.get("task"),
            sqlite_autoincrement=True,
        )
        group = Table(
            names.get("group") or "celery_tasksetmeta",
            metadata,
            _id(metadata, "taskset_id_sequence", schemas.get("group")),
            Column("taskset_id", String(_LONGEST_ID), unique=True),
            Column("result", LargeBinary),
            Column("date_done", DateTime),
            schema=schemas.get("group"),
            sqlite_autoincrement=True,
        )
        for table in (task, group):
            Index(f"ix_{table.name}_date_done", table.c.date_done)
        return cls(metadata, task, group)

    def create(self, connection: Connection) -> None:
        """Create what is missing: tables, and columns that a table of an old Celery lacks."""
        self.metadata.create_all(connection)
        there = inspect(connection).get_columns(self.task.name, schema=self.task.schema)
        names = {column["name"] for column in there}
        for name in _ADDED.keys() - names:
            self._add(connection, self.task.c[name])

    def _add(self, connection: Connection, column: Column[Any]) -> None:
        dialect = connection.dialect
        table = dialect.identifier_preparer.format_table(self.task)
        # Oracle and SQL Server say ADD without the word COLUMN.
        verb = "ADD" if dialect.name in ("oracle", "mssql") else "ADD COLUMN"
        spelled = CreateColumn(column).compile(dialect=dialect)
        connection.exec_driver_sql(f"ALTER TABLE {table} {verb} {spelled}")


def _id(metadata: MetaData, sequence: str, schema: str | None) -> Column[Any]:
    # The metadata makes `create_all` create the sequence where the database has any.
    counter = Sequence(sequence, metadata=metadata, schema=schema)
    return Column("id", Integer, counter, primary_key=True, autoincrement=True)


def _pair(conf: Mapping[str, Any], setting: str) -> Mapping[str, str]:
    given: Mapping[str, str] = conf.get(setting) or {}
    for key in given:
        if key not in _KEYS:
            raise ImproperlyConfigured(
                f"{setting} has the key {key!r}; the keys are {' and '.join(_KEYS)}"
            )
    return given
