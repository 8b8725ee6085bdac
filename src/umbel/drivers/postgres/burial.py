"""The dead letters: messages that nobody can or may run, kept with the evidence."""

# ruff: noqa: S608 - statements are put together from constants, never from values

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from umbel.drivers.postgres.names import original, stored
from umbel.message import DeadLetter, Malformed, Message
from umbel.ports.broker import Buried
from umbel.serialization.heads import decode_heads, head_of, message_from

if TYPE_CHECKING:
    from collections.abc import Collection

    from umbel.drivers.postgres.link import Link
    from umbel.drivers.postgres.store import Store

BURY = """
INSERT INTO umbel.dead (id, queue, reason, detail, at, head, body, evidence)
VALUES (%b, %b, %b, %b, %b, %b, %b, %b)
"""
_COLUMNS = "number, id, queue, reason, detail, at, head, body, evidence"
NEWEST = f"SELECT {_COLUMNS} FROM umbel.dead ORDER BY number DESC LIMIT %b OFFSET %b"
CHOSEN = f"""
SELECT {_COLUMNS} FROM umbel.dead WHERE number = ANY (%b::int8[])
ORDER BY number DESC LIMIT %b OFFSET %b
"""
TAKE = f"""
WITH taken AS (
    DELETE FROM umbel.dead WHERE number = ANY (%b::int8[]) AND head IS NOT NULL
    RETURNING {_COLUMNS})
SELECT * FROM taken ORDER BY number
"""
FORGET = "DELETE FROM umbel.dead WHERE number = ANY (%b::int8[])"
FORGET_ALL = "DELETE FROM umbel.dead"
# Letters whose head makes no sense stay, like bytes that are no message.
KEEP = f"""
INSERT INTO umbel.dead ({_COLUMNS}) OVERRIDING SYSTEM VALUE
VALUES (%b, %b, %b, %b, %b, %b, %b, %b, %b)
"""


def bury(link: Link, store: Store, letter: DeadLetter) -> None:
    """Keep ``letter``."""
    message = letter.message
    if isinstance(message, Message):
        head, body = head_of(message), message.body
    else:
        head, body = None, message.raw
    link.count(
        store.sql(BURY),
        (
            stored(message.id),
            stored(letter.queue),
            stored(letter.reason),
            stored(letter.detail),
            letter.at,
            head,
            body,
            json.dumps(dict(letter.evidence), default=str),
        ),
    )


def listed(
    link: Link, store: Store, numbers: Collection[int] | None, *, limit: int, offset: int
) -> list[Buried]:
    """Dead letters, newest first."""
    if numbers is None:
        found = link.all(store.sql(NEWEST), (limit, offset))
    else:
        found = link.all(store.sql(CHOSEN), (list(numbers), limit, offset))
    return [_buried(row) for row in found]


def exhume(link: Link, store: Store, numbers: Collection[int]) -> list[Message]:
    """Take the messages of these letters out, oldest first; bytes that are none stay buried."""
    messages = []
    for row in link.all(store.sql(TAKE), (list(numbers),)):
        message = _buried(row).letter.message
        if isinstance(message, Message):
            messages.append(message)
        else:
            link.count(store.sql(KEEP), row)
    return messages


def forget(link: Link, store: Store, numbers: Collection[int] | None) -> int:
    """Delete these letters, or all; returns how many."""
    if numbers is None:
        return link.count(store.sql(FORGET_ALL))
    return link.count(store.sql(FORGET), (list(numbers),))


def _buried(row: Any) -> Buried:
    number, kept, where, reason, detail, at, head, body, evidence = row
    task_id, queue, detail = original(kept), original(where), original(detail)
    message: Message | Malformed
    if head is None:
        message = Malformed(body, detail, task_id, queue)
    else:
        (decoded,) = decode_heads([head])
        message = message_from(task_id, queue, decoded, raw=head, body=body)
    letter = DeadLetter(message, queue, original(reason), detail, at, json.loads(evidence))
    return Buried(number, letter)
