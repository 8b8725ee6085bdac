"""Which queues are bound to which exchanges."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from umbel.exchanges import matches

if TYPE_CHECKING:
    from collections.abc import Iterable

    from umbel.queues import Queue


class Bound(NamedTuple):
    """One binding; with an owner it is there for it alone."""

    exchange: str
    kind: str
    pattern: str
    queue: str
    owner: str | None


class Bindings:
    """Every binding of one server."""

    def __init__(self) -> None:
        self._all: set[Bound] = set()

    def add(self, queues: Iterable[Queue], owner: str | None) -> None:
        """Bind ``queues`` as they say; those that are temporary for ``owner`` alone."""
        for queue in queues:
            if queue.no_declare:
                continue
            whose = owner if queue.temporary else None
            for each in queue.all_bindings:
                exchange = each.exchange
                key = each.routing_key if exchange.name else queue.name
                self._all.add(Bound(exchange.name, exchange.type, key, queue.name, whose))

    def find(self, exchange: str, routing_key: str) -> list[str]:
        """The queues whose bindings match, sorted."""
        return sorted(
            {
                bound.queue
                for bound in self._all
                if bound.exchange == exchange and matches(bound.kind, bound.pattern, routing_key)
            }
        )

    def drop(self, queue: str) -> None:
        """Forget a queue's bindings."""
        self._all = {bound for bound in self._all if bound.queue != queue}

    def forget(self, owner: str) -> set[str]:
        """Forget what was bound for ``owner`` alone; returns the queues that were nobody else's."""
        gone = {bound.queue for bound in self._all if bound.owner == owner}
        self._all = {bound for bound in self._all if bound.owner != owner}
        return gone - {bound.queue for bound in self._all}
