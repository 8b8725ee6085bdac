"""The dead letters: messages that nobody can or may run, kept with the evidence."""

# ruff: noqa: S608 - statements are put together from constants, never from values

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from umbel.drivers.sqlite import rows
from umbel.message import DeadLetter, Malformed, Message
from umbel.ports.broker import Buried
from umbel.serialization.heads import decode_heads, head_of, message_from

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection

BURY = """
INSERT INTO dead (id, queue, reason, detail, at, head, body, evidence)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
_COLUMNS = "number, id, queue, reason, detail, at, head, CAST(body AS BLOB), evidence"
NEWEST = f"SELECT {_COLUMNS} FROM dead ORDER BY number DESC LIMIT ? OFFSET ?"
CHOSEN = f"""
SELECT {_COLUMNS} FROM dead WHERE number IN (SELECT value FROM json_each(?))
ORDER BY number DESC LIMIT ? OFFSET ?
"""
FORGET = "DELETE FROM dead WHERE number IN (SELECT value FROM json_each(?))"
FORGET_ALL = "DELETE FROM dead"


def bury(db: sqlite3.Connection, letter: DeadLetter) -> None:
    """Keep ``letter``."""
    message = letter.message
    if isinstance(message, Message):
        head, body = head_of(message), message.body
    else:
        head, body = None, message.raw
    db.execute(
        BURY,
        (
            message.id,
            letter.queue,
            letter.reason,
            letter.detail,
            letter.at,
            head,
            body,
            json.dumps(dict(letter.evidence), default=str),
        ),
    )


def listed(
    db: sqlite3.Connection, numbers: Collection[int] | None, *, limit: int, offset: int
) -> list[Buried]:
    """Dead letters, newest first."""
    if numbers is None:
        found = db.execute(NEWEST, (limit, offset)).fetchall()
    else:
        found = db.execute(CHOSEN, (rows.listed(numbers), limit, offset)).fetchall()
    return [_buried(row) for row in found]


def exhume(db: sqlite3.Connection, numbers: Collection[int]) -> list[Message]:
    """Take the messages of these letters out, oldest first; bytes that are none stay buried."""
    found = listed(db, numbers, limit=-1, offset=0)
    whole = {b.number: b.letter.message for b in found if isinstance(b.letter.message, Message)}
    db.execute(FORGET, (rows.listed(whole),))
    return [whole[number] for number in sorted(whole)]


def forget(db: sqlite3.Connection, numbers: Collection[int] | None) -> int:
    """Delete these letters, or all; returns how many."""
    if numbers is None:
        return db.execute(FORGET_ALL).rowcount
    return db.execute(FORGET, (rows.listed(numbers),)).rowcount


def _buried(row: Any) -> Buried:
    number, task_id, queue, reason, detail, at, head, body, evidence = row
    message: Message | Malformed
    if head is None:
        message = Malformed(body, detail, task_id, queue)
    else:
        (decoded,) = decode_heads([head])
        message = message_from(task_id, queue, decoded, raw=head, body=body)
    return Buried(number, DeadLetter(message, queue, reason, detail, at, json.loads(evidence)))
