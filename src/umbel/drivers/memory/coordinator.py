"""Locks, rate tokens, slots and unique keys in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from umbel.ports.coordinator import Lease

if TYPE_CHECKING:
    from umbel.drivers.memory.space import Space

# Tokens that are there but for the last bit of a float are there.
_ROUNDING = 1e-9


class MemoryCoordinator:
    """A `Coordinator` for the threads of one process."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._leases: dict[str, tuple[Lease, float]] = {}
        self._full_at: dict[str, float] = {}
        self._slots: dict[str, dict[str, float]] = {}
        self._keys: dict[str, tuple[str, float]] = {}

    def close(self) -> None:
        """Nothing to give back; what is held stays."""

    def acquire(self, name: str, holder: str, ttl: float) -> Lease | None:
        """Take or renew a lease; see `Coordinator.acquire`."""
        with self._space.enter():
            held = self._held(name)
            if held is not None and held.holder != holder:
                return None
            lease = held or Lease(name, holder, next(self._space.numbers))
            self._leases[name] = lease, self._space.clock.monotonic() + ttl
            return lease

    def release_lease(self, lease: Lease) -> bool:
        """Give a lease back; see `Coordinator.release_lease`."""
        with self._space.enter():
            if self._held(lease.name) != lease:
                return False
            del self._leases[lease.name]
            return True

    def _held(self, name: str) -> Lease | None:
        lease, until = self._leases.get(name, (None, 0.0))
        return lease if until > self._space.clock.monotonic() else None

    def take(self, name: str, *, rate: float, burst: int = 1, cost: float = 1.0) -> float:
        """Take tokens, or say when there will be enough; see `Coordinator.take`."""
        if not (rate > 0 and burst >= 1 and 0 <= cost <= burst):
            raise ValueError(
                f"bucket {name!r}: rate {rate} must be above 0, burst {burst} at least 1 and cost "
                f"{cost} between 0 and the burst"
            )
        with self._space.enter():
            now = self._space.clock.monotonic()
            depth = burst / rate
            full_at = min(max(self._full_at.get(name, now), now), now + depth) + cost / rate
            seconds = full_at - depth - now
            if seconds > _ROUNDING:
                return seconds
            self._full_at[name] = full_at
            return 0.0

    def enter(self, name: str, holder: str, *, size: int, ttl: float) -> bool:
        """Occupy or renew a slot; see `Coordinator.enter`."""
        with self._space.enter():
            slots = self._occupied(name)
            if holder not in slots and len(slots) >= size:
                return False
            slots[holder] = self._space.clock.monotonic() + ttl
            return True

    def leave(self, name: str, holder: str) -> bool:
        """Free a slot; see `Coordinator.leave`."""
        with self._space.enter():
            return self._occupied(name).pop(holder, None) is not None

    def _occupied(self, name: str) -> dict[str, float]:
        now = self._space.clock.monotonic()
        slots = {holder: at for holder, at in self._slots.get(name, {}).items() if at > now}
        self._slots[name] = slots
        return slots

    def claim(self, key: str, holder: str, ttl: float) -> str | None:
        """Set a unique key; see `Coordinator.claim`."""
        with self._space.enter():
            now = self._space.clock.now()
            other, until = self._keys.get(key, (holder, 0.0))
            if other != holder and until > now:
                return other
            self._keys[key] = holder, now + ttl
            return None

    def unclaim(self, key: str, holder: str) -> bool:
        """Free a unique key; see `Coordinator.unclaim`."""
        with self._space.enter():
            other, until = self._keys.get(key, (holder, 0.0))
            if other != holder or until <= self._space.clock.now():
                return False
            del self._keys[key]
            return True
