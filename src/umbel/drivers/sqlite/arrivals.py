"""Messages as rows: putting them in, and waking those who wait for them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from umbel.drivers.sqlite import rows

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from umbel.drivers.sqlite.bell import Rung
    from umbel.message import Message

WAKE = """
DELETE FROM listener WHERE port IN (SELECT port FROM listener WHERE topic = ? LIMIT ?)
RETURNING port
"""


def insert(
    db: sqlite3.Connection,
    messages: Sequence[Message],
    heads: Sequence[bytes],
    *,
    now: float,
    soon: float,
) -> list[Rung]:
    """Put ``messages`` into their queues; returns the bells to ring after the commit.

    Args:
        db: inside a write transaction.
        messages: what to put in.
        heads: their encoded heads.
        now: the moment of arrival.
        soon: messages due before this moment wake somebody, who then waits for the rest.
    """
    first = rows.numbers(db, len(messages))
    payloads: list[Any] = []
    places: list[Any] = []
    woken: list[str] = []
    for seq, (message, head) in enumerate(zip(messages, heads, strict=True), first):
        due_at = message.due_at
        if due_at is None or due_at <= soon:
            woken.append(message.queue)
            if due_at is not None and due_at <= now:
                due_at = None
        payloads += (seq, head, message.body)
        places += (seq, message.id, message.queue, message.priority or 0, seq, due_at, now)
    rows.insert(db, "payload (seq, head, body)", payloads, width=3)
    rows.insert(db, "place (seq, id, queue, priority, rank, due_at, enqueued_at)", places, width=7)
    return wake(db, Counter(woken))


def wake(db: sqlite3.Connection, news: Mapping[str, int]) -> list[Rung]:
    """Take from the list as many listeners of each topic as it has news; returns their bells."""
    bells: dict[tuple[int, bytes], None] = {}
    for topic, count in news.items():
        found = db.execute(WAKE, (topic, count)).fetchall()
        bells.update(((port, b""), None) for (port,) in found)
    return list(bells)


def listen(
    db: sqlite3.Connection, topics: Sequence[str], port: int, *, owner: str, now: float
) -> None:
    """Write ``port`` into the list of those who wait for news of ``topics``."""
    entries = [value for topic in topics for value in (topic, port, owner, now)]
    rows.insert(
        db,
        "listener (topic, port, owner, at)",
        entries,
        width=4,
        then="ON CONFLICT DO UPDATE SET owner = excluded.owner, at = excluded.at",
    )
