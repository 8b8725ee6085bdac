"""Locks, rate tokens, slots and unique keys in PostgreSQL; each call is one statement.

Everything runs on the server's time, so that clients with other clocks agree.  Two who ask at the
same time meet at a row (leases, buckets, keys) or at a lock named after the slots, and the second
one decides by what the first has left.
"""

# ruff: noqa: S608 - statements are put together from constants, never from values

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from umbel.drivers.postgres import schema
from umbel.drivers.postgres.names import original, stored
from umbel.ports.coordinator import Lease

if TYPE_CHECKING:
    from umbel.drivers.postgres.link import Link
    from umbel.drivers.postgres.store import Store

# Tokens that are there but for the last bit of a float are there.
_ROUNDING = 1e-6

_CLOCK = "WITH clock AS MATERIALIZED (SELECT umbel.moment() AS now)"
_NOW = "(SELECT now FROM clock)"

ACQUIRE = f"""
{_CLOCK},
pruned AS (
    DELETE FROM umbel.lease WHERE name IN (
        SELECT name FROM umbel.lease WHERE until <= {_NOW} AND name <> %(name)b
        LIMIT 10 FOR UPDATE SKIP LOCKED))
INSERT INTO umbel.lease AS held (name, holder, token, until)
SELECT %(name)b, %(holder)b, nextval('umbel.number'), now + %(ttl)b FROM clock
ON CONFLICT (name) DO UPDATE SET
    token = CASE WHEN held.holder = excluded.holder AND held.until > excluded.until - %(ttl)b
        THEN held.token ELSE nextval('umbel.number') END,
    holder = excluded.holder, until = excluded.until
WHERE held.holder = excluded.holder OR held.until <= excluded.until - %(ttl)b
RETURNING token
"""
RELEASE = """
DELETE FROM umbel.lease
WHERE name = %b AND holder = %b AND token = %b AND until > (SELECT umbel.moment())
"""
# The generic cell rate algorithm: a bucket is kept as the moment at which it will be full. No row
# comes back if the tokens are not there; then the row says when they will be.
TAKE = f"""
{_CLOCK},
pruned AS (
    DELETE FROM umbel.bucket WHERE name IN (
        SELECT name FROM umbel.bucket WHERE full_at <= {_NOW} AND name <> %(name)b
        LIMIT 10 FOR UPDATE SKIP LOCKED))
INSERT INTO umbel.bucket AS kept (name, full_at)
SELECT %(name)b, now + %(span)b FROM clock
ON CONFLICT (name) DO UPDATE
SET full_at = greatest(kept.full_at, excluded.full_at - %(span)b) + %(span)b
WHERE greatest(kept.full_at, excluded.full_at - %(span)b) + %(span)b
    <= excluded.full_at - %(span)b + %(depth)b + %(rounding)b
RETURNING true
"""
FULL_AT = "SELECT full_at - umbel.moment() FROM umbel.bucket WHERE name = %b"
# The lock makes those who come at once count one after the other; it goes with the transaction.
LOCK = "SELECT pg_advisory_xact_lock(%b::int4, %b::int4)"
ENTER = f"""
{_CLOCK},
pruned AS (
    DELETE FROM umbel.slot WHERE (name, holder) IN (
        SELECT name, holder FROM umbel.slot WHERE until <= {_NOW} AND name <> %(name)b
        LIMIT 10 FOR UPDATE SKIP LOCKED))
INSERT INTO umbel.slot (name, holder, until)
SELECT %(name)b, %(holder)b, now + %(ttl)b FROM clock
WHERE EXISTS (
        SELECT FROM umbel.slot WHERE name = %(name)b AND holder = %(holder)b AND until > now)
    OR (SELECT count(*) FROM umbel.slot
        WHERE name = %(name)b AND holder <> %(holder)b AND until > now) < %(size)b
ON CONFLICT (name, holder) DO UPDATE SET until = excluded.until
"""
LEAVE = """
DELETE FROM umbel.slot WHERE name = %b AND holder = %b AND until > (SELECT umbel.moment())
"""
CLAIM = f"""
{_CLOCK},
pruned AS (
    DELETE FROM umbel.unique_key WHERE key IN (
        SELECT key FROM umbel.unique_key WHERE until <= {_NOW} AND key <> %(key)b
        LIMIT 10 FOR UPDATE SKIP LOCKED))
INSERT INTO umbel.unique_key AS kept (key, holder, until)
SELECT %(key)b, %(holder)b, now + %(ttl)b FROM clock
ON CONFLICT (key) DO UPDATE SET
    until = CASE WHEN kept.holder = excluded.holder OR kept.until <= excluded.until - %(ttl)b
        THEN excluded.until ELSE kept.until END,
    holder = CASE WHEN kept.until <= excluded.until - %(ttl)b
        THEN excluded.holder ELSE kept.holder END
RETURNING holder
"""
UNCLAIM = """
DELETE FROM umbel.unique_key WHERE key = %b AND holder = %b AND until > (SELECT umbel.moment())
"""


class PostgresCoordinator:
    """A `Coordinator` for everybody who shares the schema."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def close(self) -> None:
        """Give back connections that nobody uses now; they are opened again when next used."""
        self._store.close()

    def acquire(self, name: str, holder: str, ttl: float) -> Lease | None:
        """Take or renew a lease; see `Coordinator.acquire`."""
        found = self._all(ACQUIRE, {"name": stored(name), "holder": stored(holder), "ttl": ttl})
        return Lease(name, holder, found[0][0]) if found else None

    def release_lease(self, lease: Lease) -> bool:
        """Give a lease back; see `Coordinator.release_lease`."""
        return self._count(RELEASE, (stored(lease.name), stored(lease.holder), lease.token)) == 1

    def take(self, name: str, *, rate: float, burst: int = 1, cost: float = 1.0) -> float:
        """Take tokens, or say when there will be enough; see `Coordinator.take`."""
        if not (rate > 0 and burst >= 1 and 0 <= cost <= burst):
            raise ValueError(
                f"bucket {name!r}: rate {rate} must be above 0, burst {burst} at least 1 and cost "
                f"{cost} between 0 and the burst"
            )
        span, depth = cost / rate, burst / rate
        given = {"name": stored(name), "span": span, "depth": depth, "rounding": _ROUNDING}
        statement, look = self._store.sql(TAKE), self._store.sql(FULL_AT)

        def take(link: Link) -> float:
            while not link.all(statement, given):
                kept = link.all(look, (stored(name),))
                if kept:
                    return max(float(kept[0][0]) + span - depth, _ROUNDING)
            return 0.0

        return self._store.run(take)

    def enter(self, name: str, holder: str, *, size: int, ttl: float) -> bool:
        """Occupy or renew a slot; see `Coordinator.enter`."""
        wanted = {"name": stored(name), "holder": stored(holder), "size": size, "ttl": ttl}
        lock = schema.lock_of(f"{self._store.options.schema} slots {name}")

        def enter(link: Link) -> bool:
            link.all(LOCK, (schema.LOCKS, lock))
            return link.count(self._store.sql(ENTER), wanted) == 1

        return self._store.transaction(enter)

    def leave(self, name: str, holder: str) -> bool:
        """Free a slot; see `Coordinator.leave`."""
        return self._count(LEAVE, (stored(name), stored(holder))) == 1

    def claim(self, key: str, holder: str, ttl: float) -> str | None:
        """Set a unique key; see `Coordinator.claim`."""
        found = self._all(CLAIM, {"key": stored(key), "holder": stored(holder), "ttl": ttl})
        holds = original(found[0][0])
        return None if holds == holder else holds

    def unclaim(self, key: str, holder: str) -> bool:
        """Free a unique key; see `Coordinator.unclaim`."""
        return self._count(UNCLAIM, (stored(key), stored(holder))) == 1

    def _count(self, statement: str, given: Any) -> int:
        return self._store.run(lambda link: link.count(self._store.sql(statement), given))

    def _all(self, statement: str, given: Any) -> list[Any]:
        return self._store.run(lambda link: link.all(self._store.sql(statement), given))
