"""Claims as SQL: who may take what, who holds it, and how it goes back.

A claim is one statement.  It looks at the owner's lease, takes the first rows of each queue that
nobody else is about to take, and gives them their owner, a fence and the caller's own mark, the
grip.  If the answer is lost on its way, the rows are found again by their grip.

A fence is the server's time in microseconds, or one more than the last fence of the message if that
is greater.  So it grows with every claim, even over a crash of the server that has swallowed the
last claims: their commit is not waited for (nothing is lost if a claim is, the message is ready
again and its late owner's fence is stale).

Statements on `message` are never kept as prepared plans: a plan that was made while the table was
small reads all of it when it has grown.  Where planning counts, functions take care of that.
"""

# ruff: noqa: S608 - statements are put together from constants, never from values

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Any, TypeAlias

from umbel.drivers.postgres.names import original
from umbel.message import Delivery
from umbel.serialization.heads import decode_heads, message_from

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_SEEN = """
message.priority, message.rank, message.seq, message.fence, message.deliveries,
message.crashes - message.begun AS crashes, message.id, message.queue, message.head, message.body
"""
# See the function.
CLAIM = """
SELECT * FROM umbel.claim(
    %(owner)b, %(grip)b, %(queues)b::text[], %(shares)b::int8[], %(limit)b, %(late)b)
"""
GRIPPED = f"""
SELECT {_SEEN}, grip FROM umbel.message WHERE owner = %b AND grip = ANY (%b::int8[])
"""

# Claims that share a fence, by their numbers. Joins with a list of both would be planned by the
# size that the table had when somebody last looked, which may have been none.
_HELD = "WHERE seq = ANY (%b::int8[]) AND fence = %b AND owner IS NOT NULL"
BEGIN = f"UPDATE umbel.message SET crashes = crashes + 1 - begun, begun = 1 {_HELD}"
RELEASE = f"""
UPDATE umbel.message SET owner = NULL, deliveries = deliveries - 1, crashes = crashes - begun,
    begun = 0 {_HELD} RETURNING queue
"""
RELEASE_CRASHED = f"""
UPDATE umbel.message SET owner = NULL, crashes = crashes + 1 - begun, begun = 0
{_HELD} RETURNING queue
"""
RETIRE = """
UPDATE umbel.message SET owner = NULL, deliveries = deliveries - 1, crashes = crashes - begun,
    begun = 0
WHERE owner = %b RETURNING queue
"""
IN_FORCE = """
SELECT FROM umbel.owner WHERE name = %b AND until > (SELECT umbel.moment()) FOR KEY SHARE
"""
TAKEOVER = f"""
UPDATE umbel.message SET owner = %b,
    fence = greatest(fence + 1, ((SELECT umbel.moment()) * 1000000)::bigint)
WHERE owner = %b RETURNING {_SEEN}
"""
ENROLL = """
INSERT INTO umbel.owner (name, until) VALUES (%b, umbel.moment() + %b)
ON CONFLICT (name) DO UPDATE SET until = excluded.until
"""
EXTEND = """
UPDATE umbel.owner SET until = (SELECT umbel.moment()) + %b
WHERE name = ANY (%b::text[]) AND until > (SELECT umbel.moment()) RETURNING name
"""
OWNERS = """
SELECT name, until - (SELECT umbel.moment()),
    (SELECT count(*) FROM umbel.message WHERE message.owner = owner.name)
FROM umbel.owner ORDER BY name
"""
# Those of an owner that is not even known were claimed while it was being forgotten.
REAP = """
UPDATE umbel.message SET owner = NULL, begun = 0 WHERE ctid = ANY (ARRAY (
    SELECT ctid FROM umbel.message
    WHERE owner IS NOT NULL AND NOT EXISTS (
        SELECT FROM umbel.owner
        WHERE owner.name = message.owner AND until > (SELECT umbel.moment()))
    LIMIT %b FOR UPDATE SKIP LOCKED))
RETURNING queue
"""
LATE_OWNERS = """
SELECT name FROM umbel.owner
WHERE until <= (SELECT umbel.moment()) AND NOT EXISTS (
    SELECT FROM umbel.message WHERE message.owner = owner.name)
FOR UPDATE SKIP LOCKED
"""
FORGET_OWNERS = "DELETE FROM umbel.owner WHERE name = ANY (%b::text[])"
FORGET_LATE_OWNERS = """
DELETE FROM umbel.owner WHERE name = ANY (%b::text[]) AND until <= (SELECT umbel.moment())
RETURNING name
"""
PROMOTE = "SELECT umbel.promote(%b)"
NEXT_DUE = (
    "SELECT min(due_at) - (SELECT umbel.moment()) FROM umbel.message WHERE due_at IS NOT NULL"
)

# What _SEEN selects.
Seen: TypeAlias = "tuple[int, int, int, int, int, int, str, str, bytes, bytes]"


def shares(queues: Sequence[str], limit: int) -> list[int]:
    """How much of ``limit`` each of the queues gives, the first ones one more."""
    each, rest = divmod(limit, max(len(queues), 1))
    return [each + (n < rest) for n in range(len(queues))]


def deliveries(found: Sequence[Seen], owner: str) -> list[Delivery]:
    """Claimed rows in order: queues take turns, each best priority first, then oldest."""
    rows = sorted(found, key=_place)
    heads = decode_heads([row[8] for row in rows])
    made = [
        Delivery(
            message_from(original(task_id), original(queue), head, raw=raw, body=body),
            seq,
            fence,
            owner,
            original(queue),
            count,
            crashes,
        )
        for (_, _, seq, fence, count, crashes, task_id, queue, raw, body), head in zip(
            rows, heads, strict=True
        )
    ]
    return _in_turns(made) if len({row[7] for row in rows}) > 1 else made


def _place(row: Seen) -> Any:
    return -row[0], row[1]


def _in_turns(made: list[Delivery]) -> list[Delivery]:
    by_queue: dict[str, list[Delivery]] = {}
    for delivery in made:
        by_queue.setdefault(delivery.queue, []).append(delivery)
    return [d for turn in zip_longest(*by_queue.values()) for d in turn if d is not None]


def by_fence(held: Iterable[tuple[int, int]]) -> list[tuple[list[int], int]]:
    """The numbers of claims, given with their fences, under each fence."""
    found: dict[int, list[int]] = {}
    for seq, fence in held:
        found.setdefault(fence, []).append(seq)
    return [(seqs, fence) for fence, seqs in found.items()]
