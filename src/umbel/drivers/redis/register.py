"""What queues there are, who serves them, and how exchanges are bound to them."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

from umbel.exchanges import matches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from umbel.clock import Clock
    from umbel.drivers.redis.names import Names
    from umbel.drivers.redis.scripts import Scripts
    from umbel.queues import Queue

# Seconds after which a queue in use is put down again, far less than it is remembered for.
_TOUCHED = 600.0


class Register:
    """Puts queues down, once in a while, so that hardly any call costs more for it."""

    def __init__(self, scripts: Scripts, names: Names, clock: Clock | None) -> None:
        self._scripts = scripts
        self._names = names
        self._clock = clock
        self._touched: dict[tuple[str, bool], float] = {}

    def now(self) -> float:
        """The calendar time as this process sees it."""
        return time.time() if self._clock is None else self._clock.now()

    def touch(
        self, queues: Sequence[str], *, served: bool = False, timeout: float | None = None
    ) -> None:
        """Remember queues; with ``served`` also that one of our workers consumes from them."""
        now = time.monotonic()
        late = [q for q in queues if self._touched.get((q, served), float("-inf")) < now - _TOUCHED]
        if late:
            self._scripts.run("touch", int(served), *late, timeout=timeout)
            self._touched.update(dict.fromkeys(((queue, served) for queue in late), now))

    def forget(self) -> None:
        """Put everything down again when it is next used."""
        self._touched.clear()

    def declare(self, queues: Sequence[Queue], owner: str | None, timeout: float | None) -> None:
        """See `Broker.declare`."""
        entries: list[Any] = []
        for queue in queues:
            for bound in () if queue.no_declare else queue.all_bindings:
                exchange = bound.exchange
                member = self._member(exchange.type, bound.routing_key, queue.name)
                mine = int(queue.temporary)
                entries += (queue.name, mine, exchange.name, exchange.type, member)
        if entries:
            self._scripts.run("declare", owner or "", *entries, timeout=timeout)

    def _member(self, kind: str, routing_key: str, queue: str) -> str:
        """An entry of Celery's table of bindings."""
        pattern = _pattern(routing_key) if kind == "topic" else ""
        return self._scripts.wires.options.sep.join((routing_key, pattern, queue))

    def route(self, exchange: str, routing_key: str, timeout: float | None) -> list[str]:
        """See `Broker.route`."""
        kind, members = self._scripts.wires.ask_all(
            [
                ("HGET", self._names.exchanges, exchange),
                ("SMEMBERS", self._names.binding_table(exchange)),
            ],
            timeout=timeout,
        )
        found: set[str] = set()
        for member in members:
            parts = member.decode("utf-8", "replace").split(self._scripts.wires.options.sep)
            if len(parts) != 3:  # noqa: PLR2004 - key, pattern, queue
                continue
            key, pattern, queue = parts
            # Who declares with Celery leaves no type; only patterns of topics are written down.
            known = kind.decode() if kind else "topic" if pattern else "direct"
            if matches(known, key, routing_key):
                found.add(queue)
        return sorted(found)


def _pattern(routing_key: str) -> str:
    """A topic as the regular expression that Celery's publishers match with."""
    words = {"*": r"[^\.]+", "#": ".*?"}
    parts = (words.get(word) or re.escape(word) for word in routing_key.split("."))
    return "^" + r"\.".join(parts) + "$"
