"""States of tasks as SQL, for settlements and for the result backend."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from umbel.drivers.sqlite import rows
from umbel.message import StoredResult

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterable, Sequence

    from umbel.drivers.sqlite.bell import Rung
_INTO = "result (id, status, final, stored_at, expires, expires_at, content_type, payload)"
_WIDTH = 8
_KEEP_SUCCESS = """
ON CONFLICT (id) DO UPDATE SET status = excluded.status, final = excluded.final,
    stored_at = excluded.stored_at, expires = excluded.expires,
    expires_at = excluded.expires_at, content_type = excluded.content_type,
    payload = excluded.payload
WHERE result.status <> 'SUCCESS' OR result.expires_at <= excluded.stored_at
"""
ANY_WAITER = "SELECT EXISTS (SELECT 1 FROM waiter)"
TAKE_WAITERS = """
DELETE FROM waiter WHERE id IN (SELECT value FROM json_each(?)) RETURNING port, id
"""
FETCH = """
SELECT id, status, CAST(payload AS BLOB), final, expires, content_type FROM result
WHERE id IN (SELECT value FROM json_each(?)) AND (expires_at IS NULL OR expires_at > ?)
"""
FETCH_FINAL = """
SELECT id, status, CAST(payload AS BLOB), final, expires, content_type FROM result
WHERE id IN (SELECT value FROM json_each(?)) AND final AND (expires_at IS NULL OR expires_at > ?)
"""
FORGET = "DELETE FROM result WHERE id IN (SELECT value FROM json_each(?))"
PRUNE = """
DELETE FROM result WHERE number IN
    (SELECT number FROM result WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)
"""
WAIT = "INSERT OR REPLACE INTO waiter (id, port, at) SELECT value, ?, ? FROM json_each(?)"
STOP_WAITING = "DELETE FROM waiter WHERE port = ? AND id IN (SELECT value FROM json_each(?))"
PRUNE_WAITERS = "DELETE FROM waiter WHERE at < ? OR at > ?"

# Ids in one hint: a datagram holds some 60 kB.
_HINT = 500


def store(db: sqlite3.Connection, results: Sequence[StoredResult], now: float) -> list[Any]:
    """Write states; returns whom to wake after the commit, as rows of port and task id."""
    values: list[Any] = []
    for r in results:
        expires_at = None if r.expires is None else now + r.expires
        values += (r.id, r.status, r.final, now, r.expires, expires_at, r.content_type, r.payload)
    rows.insert(db, _INTO, values, width=_WIDTH, then=_KEEP_SUCCESS)
    (anybody,) = db.execute(ANY_WAITER).fetchone()
    if not anybody:
        return []
    final = rows.listed(result.id for result in results if result.final)
    return db.execute(TAKE_WAITERS, (final,)).fetchall()


def fetch(db: sqlite3.Connection, ids: Collection[str], now: float) -> dict[str, StoredResult]:
    """The states of ``ids`` that are there and have not expired."""
    return _by_id(db.execute(FETCH, (rows.listed(ids), now)).fetchall())


def fetch_final(
    db: sqlite3.Connection, ids: Collection[str], now: float
) -> dict[str, StoredResult]:
    """Those of `fetch` that are final."""
    return _by_id(db.execute(FETCH_FINAL, (rows.listed(ids), now)).fetchall())


def _by_id(found: list[Any]) -> dict[str, StoredResult]:
    return {
        task_id: StoredResult(task_id, status, payload, bool(final), expires, content_type)
        for task_id, status, payload, final, expires, content_type in found
    }


def hints(waiters: Iterable[tuple[int, str]]) -> list[Rung]:
    """What to ring: ports, each with the ids of tasks that ended, some hundred at a time."""
    by_port: dict[int, list[str]] = {}
    for port, task_id in waiters:
        by_port.setdefault(port, []).append(task_id)
    return [
        (port, json.dumps(ids[at : at + _HINT]).encode())
        for port, ids in by_port.items()
        for at in range(0, len(ids), _HINT)
    ]


def hinted(datagram: bytes) -> set[str] | None:
    """The ids in a datagram, or None if it holds no list of ids."""
    try:
        ids = json.loads(datagram)
    except (ValueError, RecursionError):
        return None
    if not isinstance(ids, list):
        return None
    return {task_id for task_id in ids if isinstance(task_id, str)}
