"""States of tasks as SQL, for settlements and for the result backend."""

# ruff: noqa: S608 - statements are put together from constants, never from values

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from umbel.drivers.postgres.names import all_stored, original, stored
from umbel.message import StoredResult

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from umbel.drivers.postgres.link import Link
    from umbel.drivers.postgres.store import Store

_INTO = "umbel.result (id, status, final, stored_at, expires, expires_at, content_type, payload)"
_NEW = """
unnest(%(result_ids)b::text[], %(statuses)b::text[], %(finals)b::bool[], %(spans)b::float8[],
    %(types)b::text[], %(payloads)b::bytea[])
    AS new (id, status, final, expires, content_type, payload),
(SELECT umbel.moment() AS now OFFSET 0) AS clock
"""
_VALUES = "id, status, final, now, expires, now + expires, content_type, payload"
_KEEP_SUCCESS = """
ON CONFLICT (id) DO UPDATE SET status = excluded.status, final = excluded.final,
    stored_at = excluded.stored_at, expires = excluded.expires,
    expires_at = excluded.expires_at, content_type = excluded.content_type,
    payload = excluded.payload
WHERE result.status <> 'SUCCESS' OR result.expires_at <= excluded.stored_at
"""
STORE = f"INSERT INTO {_INTO} SELECT {_VALUES} FROM {_NEW} {_KEEP_SUCCESS}"
FETCH = """
SELECT id, status, payload, final, expires, content_type FROM umbel.result
WHERE id = ANY (%b::text[]) AND (expires_at IS NULL OR expires_at > (SELECT umbel.moment()))
"""
FETCH_FINAL = f"{FETCH} AND final"
FORGET = "DELETE FROM umbel.result WHERE id = ANY (%b::text[])"
PRUNE = """
DELETE FROM umbel.result WHERE ctid = ANY (ARRAY (
    SELECT ctid FROM umbel.result WHERE expires_at <= (SELECT umbel.moment())
    ORDER BY expires_at LIMIT %b FOR UPDATE SKIP LOCKED))
"""

# States written by one statement, and ids asked for by one.
BATCH = 5_000
ASKED = 10_000


def columns(
    states: Sequence[StoredResult], claims: Sequence[int | None] | None = None
) -> dict[str, Any]:
    """The parameters of `STORE`."""
    return {
        "result_ids": all_stored(state.id for state in states),
        "statuses": all_stored(state.status for state in states),
        "finals": [state.final for state in states],
        "spans": [state.expires for state in states],
        "types": all_stored(state.content_type for state in states),
        "payloads": [state.payload for state in states],
        "claims": claims or [None] * len(states),
    }


def layers(states: Iterable[StoredResult]) -> list[list[StoredResult]]:
    """``states`` in lists that name no task twice; to be stored one after the other."""
    found: list[dict[str, StoredResult]] = []
    for state in states:
        free = next((layer for layer in found if state.id not in layer), None)
        if free is None or len(free) >= BATCH:
            free = {}
            found.append(free)
        free[state.id] = state
    return [list(layer.values()) for layer in found]


def store(link: Link, where: Store, states: Sequence[StoredResult]) -> None:
    """Write states, in their order; several statements if a task is named twice."""
    for layer in layers(states):
        link.count(where.sql(STORE), columns(layer), prepare=True)


def topic(task_id: str) -> str:
    """What those wait for who wait for the result of a task."""
    return f"r{stored(task_id)}"


def news_of(states: Iterable[StoredResult]) -> dict[str, int]:
    """Whom to wake: all who wait for one of these."""
    return {topic(state.id): 2**31 - 1 for state in states if state.final}


def fetch(
    link: Link, where: Store, ids: Collection[str], *, final: bool = False
) -> dict[str, StoredResult]:
    """The states of ``ids`` that are there and have not expired; only final ones if asked."""
    statement = where.sql(FETCH_FINAL if final else FETCH)
    names = all_stored(ids)
    rows: list[Any] = []
    for at in range(0, len(names), ASKED):
        rows += link.all(statement, (names[at : at + ASKED],))
    found = {}
    for kept, status, payload, is_final, expires, content_type in rows:
        task_id = original(kept)
        found[task_id] = StoredResult(
            task_id, original(status), payload, is_final, expires, original(content_type)
        )
    return found
