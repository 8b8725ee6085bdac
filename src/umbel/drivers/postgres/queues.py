"""Looking at queues, and emptying them, without holding up those who work on them."""

# ruff: noqa: S608 - statements are put together from constants, never from values

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from umbel.drivers.postgres.names import all_stored, original, stored
from umbel.message import Message
from umbel.ports.broker import QueueStats, Waiting
from umbel.serialization.heads import decode_heads, message_from

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from umbel.drivers.postgres.link import Link
    from umbel.drivers.postgres.store import Store

# Rows deleted per transaction: others get their turn in between.
_BATCH = 5_000

# Jumps from one queue to the next instead of reading all that wait in them.
NAMES = """
WITH RECURSIVE names (queue) AS (
    (SELECT queue FROM umbel.message WHERE owner IS NULL AND due_at IS NULL
        ORDER BY queue LIMIT 1)
    UNION ALL
    SELECT (SELECT message.queue FROM umbel.message
        WHERE owner IS NULL AND due_at IS NULL AND message.queue > names.queue
        ORDER BY message.queue LIMIT 1)
    FROM names WHERE names.queue IS NOT NULL)
SELECT queue FROM names WHERE queue IS NOT NULL
UNION SELECT queue FROM umbel.message WHERE due_at IS NOT NULL
UNION SELECT queue FROM umbel.message WHERE owner IS NOT NULL
"""
# The oldest is the first of its priority, so one look per priority finds it.
STATS = """
WITH delayed AS MATERIALIZED (
    SELECT queue, count(*) AS number FROM umbel.message WHERE due_at IS NOT NULL GROUP BY queue),
claimed AS MATERIALIZED (
    SELECT queue, count(*) AS number FROM umbel.message WHERE owner IS NOT NULL GROUP BY queue)
SELECT wanted.queue,
    (SELECT count(*) FROM umbel.message
        WHERE message.queue = wanted.queue AND owner IS NULL AND due_at IS NULL),
    coalesce((SELECT number FROM delayed WHERE delayed.queue = wanted.queue), 0),
    coalesce((SELECT number FROM claimed WHERE claimed.queue = wanted.queue), 0),
    (SELECT umbel.moment()) - (
        SELECT min(at) FROM generate_series(0, 9) AS level,
        LATERAL (
            SELECT enqueued_at AS at FROM umbel.message
            WHERE message.queue = wanted.queue AND priority = level
                AND owner IS NULL AND due_at IS NULL
            ORDER BY rank LIMIT 1) AS first)
FROM unnest(%b::text[]) WITH ORDINALITY AS wanted (queue, place) ORDER BY place
"""
_SEEN = "SELECT id, queue, head, body, due_at, owner, deliveries, enqueued_at FROM umbel.message"
_CLAIMED = "WHERE owner IS NOT NULL AND queue = %b"
_READY = "WHERE queue = %b AND owner IS NULL AND due_at IS NULL"
_DELAYED = "WHERE due_at IS NOT NULL AND queue = %b"
BROWSE_CLAIMED = f"{_SEEN} {_CLAIMED} ORDER BY priority DESC, rank LIMIT %b OFFSET %b"
BROWSE_READY = f"{_SEEN} {_READY} ORDER BY priority DESC, rank LIMIT %b OFFSET %b"
BROWSE_DELAYED = f"{_SEEN} {_DELAYED} ORDER BY due_at, seq LIMIT %b OFFSET %b"
COUNT_CLAIMED = f"SELECT count(*) FROM umbel.message {_CLAIMED}"
COUNT_READY = f"SELECT count(*) FROM umbel.message {_READY}"
REMOVE = "DELETE FROM umbel.message WHERE id = ANY (%b::text[]) AND owner IS NULL"
_SOME = "LIMIT %b FOR UPDATE SKIP LOCKED"
PURGE_READY = f"""
DELETE FROM umbel.message WHERE ctid = ANY (ARRAY (
    SELECT ctid FROM umbel.message {_READY} {_SOME}))
"""
PURGE_DELAYED = f"""
DELETE FROM umbel.message WHERE ctid = ANY (ARRAY (
    SELECT ctid FROM umbel.message {_DELAYED} {_SOME}))
"""


def stats(link: Link, store: Store, wanted: Sequence[str] | None) -> list[QueueStats]:
    """How ``wanted`` stand, or all queues that hold something."""
    if wanted is None:
        names = sorted(queue for (queue,) in link.all(store.sql(NAMES)))
    else:
        names = all_stored(wanted)
    return [
        QueueStats(original(queue), ready, delayed, claimed, None if age is None else max(age, 0.0))
        for queue, ready, delayed, claimed, age in link.all(store.sql(STATS), (names,))
    ]


def browse(link: Link, store: Store, queue: str, *, limit: int, offset: int) -> list[Waiting]:
    """Claimed messages, then ready ones in order, then delayed ones by the moment they are due."""
    name = stored(queue)
    found: list[Any] = []
    for statement, count in (
        (BROWSE_CLAIMED, COUNT_CLAIMED),
        (BROWSE_READY, COUNT_READY),
        (BROWSE_DELAYED, None),
    ):
        if len(found) == limit:
            break
        found += link.all(store.sql(statement), (name, limit - len(found), offset))
        if count and offset:
            (total,) = link.one(store.sql(count), (name,))
            offset = max(offset - total, 0)
    heads = decode_heads([row[2] for row in found])
    waiting = [_waiting(row, head) for row, head in zip(found, heads, strict=True)]
    return [entry for entry in waiting if entry is not None]


def _waiting(row: Any, head: Any) -> Waiting | None:
    kept, where, raw, body, due_at, owner, deliveries, enqueued_at = row
    message = message_from(original(kept), original(where), head, raw=raw, body=body)
    if not isinstance(message, Message):
        return None  # goes to the dead letters when it is delivered
    state = "claimed" if owner is not None else "ready" if due_at is None else "delayed"
    holder = None if owner is None else original(owner)
    return Waiting(message, state, holder, deliveries, enqueued_at)


def remove(store: Store, ids: Collection[str]) -> int:
    """Delete what nobody holds of these tasks; looks through everything that waits."""
    if not ids:
        return 0
    names = all_stored(ids)
    return store.run(lambda link: link.count(store.sql(REMOVE), (names,)))


def purge(store: Store, queue: str) -> int:
    """Delete what nobody holds of this queue, some thousand at a time."""
    deleted = 0
    for statement in (PURGE_READY, PURGE_DELAYED):
        gone = _BATCH
        while gone == _BATCH:
            gone = _delete(store, store.sql(statement), stored(queue))
            deleted += gone
    return deleted


def _delete(store: Store, statement: str, queue: str) -> int:
    return store.run(lambda link: link.count(statement, (queue, _BATCH)))
