"""Claims as SQL: who may take what, who holds it, and how it goes back.

A claim is one statement: the rows it takes get their owner and a fence that no claim had before.
The fence is drawn once for all rows of a claim, so that a batch that was taken together can be
read and ended together, by its fence and its numbers.
"""

# ruff: noqa: S608 - statements are put together from constants, never from values

from __future__ import annotations

from itertools import groupby, zip_longest
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from umbel.drivers.sqlite import rows
from umbel.message import Delivery
from umbel.serialization.heads import decode_heads, message_from

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

# A lease is in force until it ends; one that ends much later than its own length from now was
# written before the machine was booted, when its clock stood higher.
_IN_FORCE = "until > :now AND until <= :now + 2 * lease"

HELD = f"SELECT EXISTS (SELECT 1 FROM owner WHERE name = :owner AND {_IN_FORCE})"
GLANCE = f"""
SELECT
    EXISTS (SELECT 1 FROM owner WHERE name = :owner AND {_IN_FORCE}),
    EXISTS (
        SELECT 1 FROM json_each(:queues) AS wanted CROSS JOIN place
        WHERE place.queue = wanted.value AND place.owner IS NULL AND place.due_at IS NULL),
    (SELECT min(due_at) FROM place WHERE due_at IS NOT NULL),
    EXISTS (SELECT 1 FROM listener WHERE port = :port)
"""
CLAIM = f"""
UPDATE place SET owner = :owner, fence = :fence, deliveries = deliveries + 1
WHERE seq IN (
    SELECT seq FROM place WHERE queue = :queue AND owner IS NULL AND due_at IS NULL
    ORDER BY priority DESC, rank LIMIT :limit)
AND EXISTS (SELECT 1 FROM owner WHERE name = :owner AND {_IN_FORCE})
"""
CLAIMED = """
SELECT -priority, rank, seq, fence, deliveries, crashes - begun, id, queue,
    CAST(head AS BLOB), CAST(body AS BLOB)
FROM place CROSS JOIN payload USING (seq) WHERE owner = ? AND fence = ?
"""
END = """
DELETE FROM place
WHERE seq IN (SELECT value FROM json_each(?)) AND fence = ? AND owner IS NOT NULL
"""
FORGET_PAYLOADS = "DELETE FROM payload WHERE seq IN (SELECT value FROM json_each(?))"
REQUEUE = """
UPDATE place SET owner = NULL, rank = ?, crashes = crashes - begun, begun = 0
WHERE seq = ? AND fence = ? AND owner IS NOT NULL
"""
BEGIN = """
UPDATE place SET crashes = crashes + 1 - begun, begun = 1
WHERE seq = ? AND fence = ? AND owner IS NOT NULL
"""
RELEASE = """
UPDATE place SET owner = NULL, deliveries = deliveries - 1, crashes = crashes - begun, begun = 0
WHERE seq IN (SELECT value FROM json_each(?)) AND fence = ? AND owner IS NOT NULL
"""
RELEASE_CRASHED = """
UPDATE place SET owner = NULL, crashes = crashes + 1 - begun, begun = 0
WHERE seq IN (SELECT value FROM json_each(?)) AND fence = ? AND owner IS NOT NULL
"""
RETIRE = """
UPDATE place SET owner = NULL, deliveries = deliveries - 1, crashes = crashes - begun, begun = 0
WHERE owner = ? RETURNING queue
"""
TAKEOVER = "UPDATE place SET owner = ?, fence = ? WHERE owner = ?"
ENROLL = """
INSERT INTO owner (name, until, lease) VALUES (?, ?, ?)
ON CONFLICT DO UPDATE SET until = excluded.until, lease = excluded.lease
"""
EXTEND = f"""
UPDATE owner SET until = :now + :lease, lease = :lease
WHERE name IN (SELECT value FROM json_each(:names)) AND {_IN_FORCE}
RETURNING name
"""
REAP = f"""
UPDATE place SET owner = NULL, begun = 0 WHERE seq IN (
    SELECT seq FROM owner CROSS JOIN place ON place.owner = owner.name
    WHERE NOT ({_IN_FORCE}) LIMIT :limit)
RETURNING queue
"""
FORGET_OWNERS = f"""
DELETE FROM owner
WHERE NOT ({_IN_FORCE}) AND NOT EXISTS (SELECT 1 FROM place WHERE place.owner = owner.name)
RETURNING name
"""
FORGET_NAMED = "DELETE FROM owner WHERE name IN (SELECT value FROM json_each(?))"
OWNERS = """
SELECT name, until - ?, (SELECT count(*) FROM place WHERE place.owner = owner.name)
FROM owner ORDER BY name
"""
FORGET_LISTENERS = "DELETE FROM listener WHERE owner IN (SELECT value FROM json_each(?))"


# A row of CLAIMED.
Claimed: TypeAlias = "tuple[int, int, int, int, int, int, str, str, bytes, bytes]"


class Glance(NamedTuple):
    """What one look at the file tells a `reserve`."""

    in_force: bool
    ready: bool
    next_due: float | None
    listed: bool


def glance(
    db: sqlite3.Connection, owner: str, queues: Sequence[str], *, port: int, now: float
) -> Glance:
    """Whether the owner's lease holds, something is ready, what is due next, who is listed."""
    names = {"owner": owner, "queues": rows.listed(queues), "port": port, "now": now}
    in_force, ready, next_due, listed = db.execute(GLANCE, names).fetchone()
    return Glance(bool(in_force), bool(ready), next_due, bool(listed))


def in_force(db: sqlite3.Connection, owner: str, *, now: float) -> bool:
    """Whether the lease of ``owner`` has not ended."""
    return bool(db.execute(HELD, {"owner": owner, "now": now}).fetchone()[0])


def claim(
    db: sqlite3.Connection, owner: str, queues: Sequence[str], *, limit: int, now: float
) -> tuple[int, int]:
    """Claim up to ``limit`` ready messages, in fair shares; returns how many, and their fence.

    Each queue, the first named first, gives its share of what is still wanted; what some could
    not give is then taken from those who can.
    """
    names: dict[str, Any] = {"owner": owner, "now": now, "fence": rows.numbers(db, 1)}
    left = limit
    for others, queue in zip(range(len(queues), 0, -1), queues, strict=True):
        share = -(-left // others)
        if share:
            left -= db.execute(CLAIM, {**names, "queue": queue, "limit": share}).rowcount
    for queue in queues if 0 < left < limit and len(queues) > 1 else ():
        if left:
            left -= db.execute(CLAIM, {**names, "queue": queue, "limit": left}).rowcount
    return limit - left, names["fence"]


def claimed(db: sqlite3.Connection, owner: str, fence: int) -> list[Claimed]:
    """The rows of one claim."""
    return db.execute(CLAIMED, (owner, fence)).fetchall()


def deliveries(found: list[Claimed], owner: str) -> list[Delivery]:
    """What `claimed` found, in order: queues take turns, each best priority first, then oldest."""
    found.sort()
    heads = decode_heads([row[8] for row in found])
    made = [
        Delivery(
            message_from(task_id, queue, head, raw=raw, body=body),
            seq,
            fence,
            owner,
            queue,
            count,
            crashes,
        )
        for (_, _, seq, fence, count, crashes, task_id, queue, raw, body), head in zip(
            found, heads, strict=True
        )
    ]
    return _in_turns(made) if len({row[7] for row in found}) > 1 else made


def _in_turns(made: list[Delivery]) -> list[Delivery]:
    by_queue: dict[str, list[Delivery]] = {}
    for delivery in made:
        by_queue.setdefault(delivery.queue, []).append(delivery)
    return [d for turn in zip_longest(*by_queue.values()) for d in turn if d is not None]


def by_fence(held: Sequence[Delivery]) -> Iterator[tuple[int, list[int]]]:
    """The numbers of ``held`` under each fence."""
    for fence, group in groupby(sorted(held, key=attrgetter("fence")), attrgetter("fence")):
        yield fence, [delivery.tag for delivery in group]
