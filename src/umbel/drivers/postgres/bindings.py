"""Queues bound to exchanges, as rows that every publisher reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from umbel.drivers.postgres.names import all_stored, original, stored
from umbel.exchanges import matches

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from umbel.drivers.postgres.link import Link
    from umbel.drivers.postgres.store import Store
    from umbel.queues import Queue

BIND = """
INSERT INTO umbel.binding (exchange, kind, pattern, queue, owner)
SELECT DISTINCT ON (exchange, queue, pattern, owner) exchange, kind, pattern, queue, owner
FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::text[])
    AS new (exchange, kind, pattern, queue, owner)
ORDER BY exchange, queue, pattern, owner
ON CONFLICT (exchange, queue, pattern, owner) DO UPDATE SET kind = excluded.kind
WHERE binding.kind <> excluded.kind
"""
FIND = "SELECT kind, pattern, queue FROM umbel.binding WHERE exchange = %b"
DROP = "DELETE FROM umbel.binding WHERE queue = %b"
FORGET = """
DELETE FROM umbel.binding WHERE owner <> '' AND owner = ANY (%b::text[]) RETURNING queue
"""
LEFT = "SELECT EXISTS (SELECT FROM umbel.binding WHERE queue = %b)"
EMPTY = "DELETE FROM umbel.message WHERE queue = %b AND owner IS NULL"


def bind(link: Link, store: Store, queues: Iterable[Queue], owner: str | None) -> None:
    """Bind ``queues`` as they say; those that are temporary for ``owner`` alone."""
    rows = [
        (
            each.exchange.name,
            each.exchange.type,
            each.routing_key if each.exchange.name else queue.name,
            queue.name,
            (owner or "") if queue.temporary else "",
        )
        for queue in queues
        if not queue.no_declare
        for each in queue.all_bindings
    ]
    if rows:
        columns = [all_stored(column) for column in zip(*rows, strict=True)]
        link.count(store.sql(BIND), columns)


def find(link: Link, store: Store, exchange: str, routing_key: str) -> list[str]:
    """The queues whose bindings match, sorted."""
    bound = link.all(store.sql(FIND), (stored(exchange),))
    return sorted(
        {
            original(queue)
            for kind, pattern, queue in bound
            if matches(kind, original(pattern), routing_key)
        }
    )


def forget(link: Link, store: Store, owners: Sequence[str]) -> None:
    """Forget what was bound for these owners alone, and empty the queues nobody is left for."""
    for queue in {queue for (queue,) in link.all(store.sql(FORGET), (all_stored(owners),))}:
        if not link.one(store.sql(LEFT), (queue,))[0]:
            link.count(store.sql(EMPTY), (queue,))
