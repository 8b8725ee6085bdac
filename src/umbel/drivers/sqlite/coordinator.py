"""Locks, rate tokens, slots and unique keys in a SQLite file.

Spans run on the monotonic clock that all processes of the machine share, and which nobody can
set.  It starts again with a boot: an entry that ends later than its whole span from now was
written before, and counts as ended.  Unique keys may be meant to outlive a boot, so they go by
the calendar.
"""

# ruff: noqa: S608 - statements are put together from constants, never from values

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from umbel.drivers.sqlite import rows
from umbel.drivers.sqlite.store import Line, Store
from umbel.ports.coordinator import Lease

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

T = TypeVar("T")

# Tokens that are there but for the last bit of a float are there.
_ROUNDING = 1e-9

_HELD = "until > :now AND until <= :now + 2 * ttl"

ACQUIRE = f"""
INSERT INTO lease (name, holder, token, until, ttl)
VALUES (:name, :holder, :token, :now + :ttl, :ttl)
ON CONFLICT DO UPDATE SET
    token = CASE WHEN holder = :holder AND {_HELD} THEN token ELSE :token END,
    holder = :holder, until = :now + :ttl, ttl = :ttl
WHERE holder = :holder OR NOT ({_HELD})
RETURNING token
"""
RELEASE = f"""
DELETE FROM lease WHERE name = :name AND holder = :holder AND token = :token AND {_HELD}
"""
PRUNE_LEASES = """
DELETE FROM lease WHERE name IN (SELECT name FROM lease WHERE until <= ? LIMIT 10) AND name <> ?
"""
FULL_AT = "SELECT full_at FROM bucket WHERE name = ?"
FILL = """
INSERT INTO bucket (name, full_at) VALUES (?, ?)
ON CONFLICT DO UPDATE SET full_at = excluded.full_at
"""
PRUNE_BUCKETS = """
DELETE FROM bucket WHERE name IN (SELECT name FROM bucket WHERE full_at <= ? LIMIT 10)
"""
LEAVE_ENDED = f"DELETE FROM slot WHERE name = :name AND NOT ({_HELD})"
ENTER = """
INSERT INTO slot (name, holder, until, ttl)
SELECT :name, :holder, :now + :ttl, :ttl
WHERE EXISTS (SELECT 1 FROM slot WHERE name = :name AND holder = :holder)
    OR (SELECT count(*) FROM slot WHERE name = :name) < :size
ON CONFLICT DO UPDATE SET until = excluded.until, ttl = excluded.ttl
"""
LEAVE = f"DELETE FROM slot WHERE name = :name AND holder = :holder AND {_HELD}"
PRUNE_SLOTS = """
DELETE FROM slot WHERE (name, holder) IN (SELECT name, holder FROM slot WHERE until <= ? LIMIT 10)
"""
CLAIM = """
INSERT INTO unique_key (key, holder, until) VALUES (:key, :holder, :now + :ttl)
ON CONFLICT DO UPDATE SET holder = excluded.holder, until = excluded.until
WHERE unique_key.holder = excluded.holder OR unique_key.until <= :now
"""
CLAIMED_BY = "SELECT holder FROM unique_key WHERE key = ?"
UNCLAIM = "DELETE FROM unique_key WHERE key = ? AND holder = ? AND until > ?"
PRUNE_KEYS = """
DELETE FROM unique_key WHERE key IN (SELECT key FROM unique_key WHERE until <= ? LIMIT 10)
"""


class SQLiteCoordinator:
    """A `Coordinator` for the processes of one machine.

    Leases and unique keys are on the disk when they are granted; rate tokens and slots survive
    the death of processes, which is all they are about.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._granting = Line(store)
        self._counting = Line(store)

    def close(self) -> None:
        """Close the coordinator's connections; they are opened again when next used."""
        self._granting.close()
        self._counting.close()

    def _grant(self, work: Callable[[sqlite3.Connection], T]) -> T:
        answer = self._granting.write(work)
        self._store.flush()
        return answer

    def acquire(self, name: str, holder: str, ttl: float) -> Lease | None:
        """Take or renew a lease; see `Coordinator.acquire`."""

        def acquire(db: sqlite3.Connection) -> Lease | None:
            now = self._store.clock.monotonic()
            db.execute(PRUNE_LEASES, (now, name))
            wanted = {"name": name, "holder": holder, "ttl": ttl, "now": now}
            wanted["token"] = rows.numbers(db, 1)
            granted = db.execute(ACQUIRE, wanted).fetchall()
            return Lease(name, holder, granted[0][0]) if granted else None

        return self._grant(acquire)

    def release_lease(self, lease: Lease) -> bool:
        """Give a lease back; see `Coordinator.release_lease`."""

        def release(db: sqlite3.Connection) -> bool:
            held = {"name": lease.name, "holder": lease.holder, "token": lease.token}
            now = self._store.clock.monotonic()
            return db.execute(RELEASE, {**held, "now": now}).rowcount == 1

        return self._grant(release)

    def take(self, name: str, *, rate: float, burst: int = 1, cost: float = 1.0) -> float:
        """Take tokens, or say when there will be enough; see `Coordinator.take`."""
        if not (rate > 0 and burst >= 1 and 0 <= cost <= burst):
            raise ValueError(
                f"bucket {name!r}: rate {rate} must be above 0, burst {burst} at least 1 and cost "
                f"{cost} between 0 and the burst"
            )
        depth = burst / rate

        def take(db: sqlite3.Connection) -> float:
            now = self._store.clock.monotonic()
            db.execute(PRUNE_BUCKETS, (now,))
            found = db.execute(FULL_AT, (name,)).fetchone()
            # A bucket is never emptier than empty; more was written before the last boot.
            full_at = min(max(found[0], now), now + depth) if found else now
            full_at += cost / rate
            seconds = full_at - depth - now
            if seconds > _ROUNDING:
                return float(seconds)
            db.execute(FILL, (name, full_at))
            return 0.0

        return self._counting.write(take)

    def enter(self, name: str, holder: str, *, size: int, ttl: float) -> bool:
        """Occupy or renew a slot; see `Coordinator.enter`."""

        def enter(db: sqlite3.Connection) -> bool:
            now = self._store.clock.monotonic()
            db.execute(PRUNE_SLOTS, (now,))
            db.execute(LEAVE_ENDED, {"name": name, "now": now})
            wanted = {"name": name, "holder": holder, "size": size, "ttl": ttl, "now": now}
            return db.execute(ENTER, wanted).rowcount == 1

        return self._counting.write(enter)

    def leave(self, name: str, holder: str) -> bool:
        """Free a slot; see `Coordinator.leave`."""

        def leave(db: sqlite3.Connection) -> bool:
            held = {"name": name, "holder": holder, "now": self._store.clock.monotonic()}
            return db.execute(LEAVE, held).rowcount == 1

        return self._counting.write(leave)

    def claim(self, key: str, holder: str, ttl: float) -> str | None:
        """Set a unique key; see `Coordinator.claim`."""

        def claim(db: sqlite3.Connection) -> str | None:
            now = self._store.clock.now()
            db.execute(PRUNE_KEYS, (now,))
            wanted = {"key": key, "holder": holder, "ttl": ttl, "now": now}
            if db.execute(CLAIM, wanted).rowcount == 1:
                return None
            return str(db.execute(CLAIMED_BY, (key,)).fetchone()[0])

        return self._grant(claim)

    def unclaim(self, key: str, holder: str) -> bool:
        """Free a unique key; see `Coordinator.unclaim`."""

        def unclaim(db: sqlite3.Connection) -> bool:
            return db.execute(UNCLAIM, (key, holder, self._store.clock.now())).rowcount == 1

        return self._grant(unclaim)
