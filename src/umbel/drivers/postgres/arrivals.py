"""Messages as rows: putting them in, and waking those who wait for them."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from umbel.drivers.postgres.names import all_stored, stored
from umbel.exceptions import UmbelError
from umbel.serialization.heads import head_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from umbel.drivers.postgres.link import Link
    from umbel.drivers.postgres.listener import Bell
    from umbel.drivers.postgres.store import Store
    from umbel.message import Message

# Messages in one statement; larger batches are several in one transaction.
BATCH = 5_000

NEW = """
SELECT id, queue, priority, CASE WHEN due_at > clock.now THEN due_at END, clock.now, head, body
FROM unnest(%(ids)b::text[], %(queues)b::text[], %(priorities)b::int2[], %(dues)b::float8[],
    %(heads)b::bytea[], %(bodies)b::bytea[]) AS new (id, queue, priority, due_at, head, body),
    (SELECT umbel.moment() AS now OFFSET 0) AS clock
"""
INSERT = f"INSERT INTO umbel.message (id, queue, priority, due_at, enqueued_at, head, body) {NEW}"

WAKE = "SELECT umbel.wake(%b::text[], %b::int8[])"
LISTEN = """
INSERT INTO umbel.waiting (topic, ticket, mailbox, owner)
SELECT topic, ticket, %(mailbox)b, %(owner)b
FROM unnest(%(topics)b::text[], %(tickets)b::int8[]) AS new (topic, ticket)
ON CONFLICT (topic, ticket) DO UPDATE SET mailbox = excluded.mailbox, at = excluded.at
"""
STOP_LISTENING = "DELETE FROM umbel.waiting WHERE ticket = ANY (%b::int8[])"
FORGET_OWNERS = "DELETE FROM umbel.waiting WHERE owner <> '' AND owner = ANY (%b::text[])"
PRUNE = "DELETE FROM umbel.waiting WHERE at < now() - interval '1 hour'"

# Seconds for what may be left undone.
_BRIEFLY = 2.0

# Enough for everybody.
ALL = 2**31 - 1


def columns(messages: Sequence[Message], heads: Sequence[bytes]) -> dict[str, Any]:
    """The parameters of `INSERT`."""
    return {
        "ids": all_stored(message.id for message in messages),
        "queues": all_stored(message.queue for message in messages),
        "priorities": [message.priority or 0 for message in messages],
        "dues": [message.due_at for message in messages],
        "heads": list(heads),
        "bodies": [message.body for message in messages],
    }


def heads_of(messages: Sequence[Message]) -> list[bytes]:
    """All of each message but its id, queue and body.

    Raises:
        EncodeError: one cannot be encoded.
    """
    return [head_of(message) for message in messages]


def insert(link: Link, store: Store, messages: Sequence[Message], heads: Sequence[bytes]) -> None:
    """Put ``messages`` into their queues; several statements if they are very many."""
    statement = store.sql(INSERT)
    for at in range(0, len(messages), BATCH):
        given = columns(messages[at : at + BATCH], heads[at : at + BATCH])
        link.count(statement, given, prepare=True)


def news_of(messages: Sequence[Message], *, soon: float) -> Counter[str]:
    """How many messages there are for each topic; those due in more than ``soon`` s wake nobody."""
    latest = time.time() + soon
    return Counter(
        topic(message.queue)
        for message in messages
        if message.due_at is None or message.due_at <= latest
    )


def topic(queue: str) -> str:
    """What those wait for who wait for messages of ``queue``."""
    return f"q{stored(queue)}"


def counted(found: Sequence[Any]) -> Counter[str]:
    """News for the queues that stand first in rows, as they are kept."""
    return Counter(f"q{row[0]}" for row in found)


def wake(store: Store, news: Mapping[str, int]) -> None:
    """Notify as many of those who wait for each topic as it has news, after the commit.

    Fails silently: what was brought is stored, and polling finds it.
    """
    if not news:
        return
    given = list(news), list(news.values())
    quietly(store, lambda link: link.all(store.sql(WAKE), given, prepare=True))


def quietly(store: Store, work: Callable[[Link], Any]) -> None:
    """Do what may be left undone, and not for long."""
    with suppress(UmbelError):
        store.run(work, timeout=min(store.options.call_timeout, _BRIEFLY))


def listen(store: Store, bell: Bell, *, owner: str, seconds: float) -> bool:
    """Write ``bell`` into the list of those who wait; False if it cannot be notified."""
    mailbox = store.listener.mailbox(seconds)
    if mailbox is None or mailbox == bell.mailbox:
        return mailbox is not None
    topics = list(bell.topics)
    given = {
        "mailbox": mailbox,
        "owner": stored(owner),
        "topics": topics,
        "tickets": [bell.ticket] * len(topics),
    }
    bell.mailbox, bell.enlisted = mailbox, True
    store.run(lambda link: link.count(store.sql(LISTEN), given, prepare=True))
    return True


def stop_listening(store: Store, bell: Bell) -> None:
    """Take ``bell`` off the list, where it may stand."""
    # One that was notified was taken off the list, under the topic it was notified of.
    if not bell.enlisted or (bell.mailbox is None and len(bell.topics) == 1):
        return
    bell.mailbox, bell.enlisted = None, False
    # What was taken must reach the caller; a name left on the list costs one wake-up.
    statement = store.sql(STOP_LISTENING)
    quietly(store, lambda link: link.count(statement, ([bell.ticket],), prepare=True))
