"""The coordinator port: what a whole fleet must agree on, on the server's clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Lease:
    """A held lease; ``token`` grows with every grant of the same name and fences late writers."""

    name: str
    holder: str
    token: int


class Coordinator(Protocol):
    """Locks, rate tokens, slots and unique keys, shared by every process."""

    def close(self) -> None:
        """Give back connections and files; the instance may be used again."""
        ...

    def acquire(self, name: str, holder: str, ttl: float) -> Lease | None:
        """Take or renew the lease ``name`` for ``ttl`` seconds; None while another holds it."""
        ...

    def release_lease(self, lease: Lease) -> bool:
        """Give the lease back; False if it was not held any more."""
        ...

    def take(self, name: str, *, rate: float, burst: int = 1, cost: float = 1.0) -> float:
        """Take ``cost`` tokens from a bucket filled with ``rate`` per second, holding ``burst``.

        Returns 0.0 if they were there and are taken now, else the seconds until they will be
        (nothing is taken). The rule is the generic cell rate algorithm (ITU-T I.371).

        Raises:
            ValueError: ``rate`` is not above 0, ``burst`` below 1, or ``cost`` above ``burst``.
        """
        ...

    def enter(self, name: str, holder: str, *, size: int, ttl: float) -> bool:
        """Occupy one of ``size`` slots for ``ttl`` seconds, or renew the one ``holder`` has."""
        ...

    def leave(self, name: str, holder: str) -> bool:
        """Free the slot of ``holder``; False if it held none."""
        ...

    def claim(self, key: str, holder: str, ttl: float) -> str | None:
        """Set a unique key for ``ttl`` seconds; None if ``holder`` has it now, else who does."""
        ...

    def unclaim(self, key: str, holder: str) -> bool:
        """Free a unique key that ``holder`` has."""
        ...
