"""Locks, rate tokens, slots and unique keys on a Redis server, each one script."""

from __future__ import annotations

from typing import TYPE_CHECKING

from umbel.drivers.redis.names import Names
from umbel.ports.coordinator import Lease

if TYPE_CHECKING:
    from umbel.drivers.redis.scripts import Scripts


class RedisCoordinator:
    """A `Coordinator` on the server's clock; whatever it keeps goes by itself."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts
        self._names = Names(scripts.wires.options)

    def close(self) -> None:
        """Give back connections; see `Coordinator.close`."""
        self._scripts.wires.close()

    def acquire(self, name: str, holder: str, ttl: float) -> Lease | None:
        """Take or renew a lease; see `Coordinator.acquire`."""
        key = self._names.coordination("lease", name)
        token = self._scripts.run("acquire", key, holder, repr(float(ttl)))
        return None if token is None else Lease(name, holder, int(token))

    def release_lease(self, lease: Lease) -> bool:
        """Give a lease back; see `Coordinator.release_lease`."""
        key = self._names.coordination("lease", lease.name)
        return bool(self._scripts.run("give_up", key, lease.holder, lease.token))

    def take(self, name: str, *, rate: float, burst: int = 1, cost: float = 1.0) -> float:
        """Take tokens, or say when there will be enough; see `Coordinator.take`."""
        if not (rate > 0 and burst >= 1 and 0 <= cost <= burst):
            raise ValueError(
                f"bucket {name!r}: rate {rate} must be above 0, burst {burst} at least 1 and cost "
                f"{cost} between 0 and the burst"
            )
        key = self._names.coordination("bucket", name)
        return float(self._scripts.run("take", key, repr(float(rate)), burst, repr(float(cost))))

    def enter(self, name: str, holder: str, *, size: int, ttl: float) -> bool:
        """Occupy or renew a slot; see `Coordinator.enter`."""
        key = self._names.coordination("slots", name)
        return bool(self._scripts.run("enter", key, holder, size, repr(float(ttl))))

    def leave(self, name: str, holder: str) -> bool:
        """Free a slot; see `Coordinator.leave`."""
        return bool(self._scripts.run("leave", self._names.coordination("slots", name), holder))

    def claim(self, key: str, holder: str, ttl: float) -> str | None:
        """Set a unique key; see `Coordinator.claim`."""
        name = self._names.coordination("unique", key)
        other: bytes | None = self._scripts.run("claim", name, holder, repr(float(ttl)))
        return None if other is None else other.decode()

    def unclaim(self, key: str, holder: str) -> bool:
        """Free a unique key; see `Coordinator.unclaim`."""
        return bool(self._scripts.run("unclaim", self._names.coordination("unique", key), holder))
