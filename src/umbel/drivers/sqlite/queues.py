"""Looking at queues, and emptying them, without holding up those who work on them."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from umbel.drivers.sqlite import rows
from umbel.message import Message
from umbel.ports.broker import QueueStats, Waiting
from umbel.serialization.heads import decode_heads, message_from

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Sequence

    from umbel.drivers.sqlite.store import Line

# Rows deleted per transaction: others get their turn in between.
_BATCH = 5_000

READY = """
SELECT count(*) FROM place WHERE queue = ? AND owner IS NULL AND due_at IS NULL
"""
# The oldest is the first of its priority, so one look per priority finds it.
OLDEST = """
SELECT min(at) FROM (
    SELECT (SELECT enqueued_at FROM place
        WHERE queue = :queue AND priority = level.value AND owner IS NULL AND due_at IS NULL
        ORDER BY rank LIMIT 1) AS at
    FROM json_each('[0,1,2,3,4,5,6,7,8,9]') AS level)
"""
DELAYED = "SELECT queue, count(*) FROM place WHERE due_at IS NOT NULL GROUP BY queue"
CLAIMED = "SELECT queue, count(*) FROM place WHERE owner IS NOT NULL GROUP BY queue"
# Jumps from one queue to the next instead of reading all that wait in them.
NAMES = """
WITH RECURSIVE names (queue) AS (
    SELECT min(queue) FROM place WHERE owner IS NULL AND due_at IS NULL
    UNION ALL
    SELECT (SELECT min(queue) FROM place
        WHERE owner IS NULL AND due_at IS NULL AND queue > names.queue)
    FROM names WHERE names.queue IS NOT NULL)
SELECT queue FROM names WHERE queue IS NOT NULL
"""
_SEEN = """
SELECT id, queue, CAST(head AS BLOB), CAST(body AS BLOB), due_at, owner, deliveries, enqueued_at
FROM place CROSS JOIN payload USING (seq)
"""
BROWSE_CLAIMED = _SEEN + (
    "WHERE owner IS NOT NULL AND queue = ? ORDER BY priority DESC, rank LIMIT ? OFFSET ?"
)
BROWSE_READY = _SEEN + (
    "WHERE queue = ? AND owner IS NULL AND due_at IS NULL"
    " ORDER BY priority DESC, rank LIMIT ? OFFSET ?"
)
BROWSE_DELAYED = _SEEN + (
    "WHERE due_at IS NOT NULL AND queue = ? ORDER BY due_at, seq LIMIT ? OFFSET ?"
)
COUNT_CLAIMED = "SELECT count(*) FROM place WHERE owner IS NOT NULL AND queue = ?"
FIND = "SELECT seq FROM place WHERE id IN (SELECT value FROM json_each(?)) AND owner IS NULL"
FIND_READY = "SELECT seq FROM place WHERE queue = ? AND owner IS NULL AND due_at IS NULL"
FIND_DELAYED = "SELECT seq FROM place WHERE queue = ? AND due_at IS NOT NULL"
DELETE = """
DELETE FROM place WHERE seq IN (SELECT value FROM json_each(?)) AND owner IS NULL RETURNING seq
"""
FORGET_PAYLOADS = "DELETE FROM payload WHERE seq IN (SELECT value FROM json_each(?))"


def stats(db: sqlite3.Connection, wanted: Sequence[str] | None, *, now: float) -> list[QueueStats]:
    """How ``wanted`` stand, or all queues that hold something."""
    delayed: dict[str, int] = dict(db.execute(DELAYED).fetchall())
    claimed: dict[str, int] = dict(db.execute(CLAIMED).fetchall())
    if wanted is None:
        ready = {name for (name,) in db.execute(NAMES).fetchall()}
        wanted = sorted(ready | delayed.keys() | claimed.keys())
    found = []
    for name in wanted:
        (waiting,) = db.execute(READY, (name,)).fetchone()
        (oldest,) = db.execute(OLDEST, {"queue": name}).fetchone()
        age = None if oldest is None else max(now - oldest, 0.0)
        found.append(QueueStats(name, waiting, delayed.get(name, 0), claimed.get(name, 0), age))
    return found


def browse(db: sqlite3.Connection, queue: str, *, limit: int, offset: int) -> list[Waiting]:
    """Claimed messages, then ready ones in order, then delayed ones by the moment they are due."""
    found: list[Any] = []
    for statement, count in (
        (BROWSE_CLAIMED, COUNT_CLAIMED),
        (BROWSE_READY, READY),
        (BROWSE_DELAYED, None),
    ):
        if len(found) == limit:
            break
        found += db.execute(statement, (queue, limit - len(found), offset)).fetchall()
        if count and offset:
            (total,) = db.execute(count, (queue,)).fetchone()
            offset = max(offset - total, 0)
    heads = decode_heads([row[2] for row in found])
    waiting = [_waiting(row, head) for row, head in zip(found, heads, strict=True)]
    return [entry for entry in waiting if entry is not None]


def _waiting(row: Any, head: Any) -> Waiting | None:
    task_id, queue, raw, body, due_at, owner, deliveries, enqueued_at = row
    message = message_from(task_id, queue, head, raw=raw, body=body)
    if not isinstance(message, Message):
        return None  # goes to the dead letters when it is delivered
    state = "claimed" if owner is not None else "ready" if due_at is None else "delayed"
    return Waiting(message, state, owner, deliveries, enqueued_at)


def remove(line: Line, ids: Collection[str]) -> int:
    """Delete what nobody holds of these tasks; looks through everything that waits."""
    if not ids:
        return 0
    return _delete(line, line.run(lambda db: db.execute(FIND, (rows.listed(ids),)).fetchall()))


def purge(line: Line, queue: str) -> int:
    """Delete what nobody holds of this queue."""

    def find(db: sqlite3.Connection) -> list[tuple[int]]:
        ready = db.execute(FIND_READY, (queue,)).fetchall()
        return ready + db.execute(FIND_DELAYED, (queue,)).fetchall()

    return _delete(line, line.read(find))


def _delete(line: Line, found: list[tuple[int]]) -> int:
    deleted = 0
    left = (seq for (seq,) in found)
    while batch := rows.listed(islice(left, _BATCH)):
        if batch == "[]":
            break

        def delete(db: sqlite3.Connection, batch: str = batch) -> int:
            gone = db.execute(DELETE, (batch,)).fetchall()
            db.execute(FORGET_PAYLOADS, (rows.listed(seq for (seq,) in gone),))
            return len(gone)

        deleted += line.write(delete)
    return deleted
