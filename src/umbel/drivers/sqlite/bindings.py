"""Queues bound to exchanges, as rows that every publisher reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from umbel.drivers.sqlite import rows
from umbel.exchanges import matches

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from umbel.queues import Queue

FIND = "SELECT kind, pattern, queue FROM binding WHERE exchange = ?"
DROP = "DELETE FROM binding WHERE queue = ?"
FORGET = """
DELETE FROM binding WHERE owner <> '' AND owner IN (SELECT value FROM json_each(?))
RETURNING queue
"""
LEFT = "SELECT EXISTS (SELECT 1 FROM binding WHERE queue = ?)"
EMPTY = """
DELETE FROM place WHERE seq IN (
    SELECT seq FROM place WHERE queue = :queue AND owner IS NULL AND due_at IS NULL
    UNION ALL SELECT seq FROM place WHERE queue = :queue AND due_at IS NOT NULL)
RETURNING seq
"""
FORGET_PAYLOADS = "DELETE FROM payload WHERE seq IN (SELECT value FROM json_each(?))"


def bind(db: sqlite3.Connection, queues: Iterable[Queue], owner: str | None) -> None:
    """Bind ``queues`` as they say; those that are temporary for ``owner`` alone."""
    values = [
        value
        for queue in queues
        if not queue.no_declare
        for each in queue.all_bindings
        for value in (
            each.exchange.name,
            each.exchange.type,
            each.routing_key if each.exchange.name else queue.name,
            queue.name,
            (owner or "") if queue.temporary else "",
        )
    ]
    rows.insert(
        db,
        "binding (exchange, kind, pattern, queue, owner)",
        values,
        width=5,
        then="ON CONFLICT DO UPDATE SET kind = excluded.kind",
    )


def find(db: sqlite3.Connection, exchange: str, routing_key: str) -> list[str]:
    """The queues whose bindings match, sorted."""
    bound = db.execute(FIND, (exchange,)).fetchall()
    return sorted({queue for kind, pattern, queue in bound if matches(kind, pattern, routing_key)})


def forget(db: sqlite3.Connection, owners: Sequence[str]) -> None:
    """Forget what was bound for these owners alone, and empty the queues nobody is left for."""
    for queue in {queue for (queue,) in db.execute(FORGET, (rows.listed(owners),)).fetchall()}:
        if not db.execute(LEFT, (queue,)).fetchone()[0]:
            gone = db.execute(EMPTY, {"queue": queue}).fetchall()
            db.execute(FORGET_PAYLOADS, (rows.listed(seq for (seq,) in gone),))
