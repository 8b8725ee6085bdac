"""The side of the broker that takes messages in and claims back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from umbel.drivers.redis import envelopes, letters

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from umbel.drivers.redis.names import Names
    from umbel.drivers.redis.register import Register
    from umbel.drivers.redis.results import Format
    from umbel.drivers.redis.scripts import Scripts
    from umbel.message import Delivery, Message, Settlement

# Arguments of one call, so that no call holds the server up for long.
_MOST = 20_000


class Settling:
    """Publishes, and ends claims."""

    def __init__(self, scripts: Scripts, names: Names, register: Register, results: Format) -> None:
        self._scripts = scripts
        self._names = names
        self._register = register
        self._results = results

    def publish(self, messages: Sequence[Message], timeout: float | None) -> None:
        """See `Broker.publish`."""
        if not messages:
            return
        wires = self._scripts.wires
        until = wires.deadline(timeout)
        now = self._register.now()
        raws = [envelopes.encode(message, now) for message in messages]
        self._register.touch(list({message.queue for message in messages}), timeout=timeout)
        timeout = until - time.monotonic()
        if any(message.due_at is not None for message in messages):
            entries = self._entries(messages, raws)
            self._scripts.run("publish", *entries, timeout=timeout)
            return
        lines: dict[str, list[bytes]] = {}
        for message, raw in zip(messages, raws, strict=True):
            lines.setdefault(self._line(message), []).append(raw)
        commands = [("LPUSH", line, *values) for line, values in lines.items()]
        if len(commands) == 1:
            wires.ask(*commands[0], timeout=timeout)
        else:
            wires.ask_all([("MULTI",), *commands, ("EXEC",)], timeout=timeout)

    def _line(self, message: Message) -> str:
        return self._names.line(message.queue, self._names.step(message.priority))

    def _entries(self, messages: Iterable[Message], raws: Iterable[bytes]) -> list[Any]:
        """Messages as the scripts take them."""
        return [
            value
            for message, raw in zip(messages, raws, strict=True)
            for value in (
                message.queue,
                self._names.step(message.priority),
                "" if message.due_at is None else repr(message.due_at),
                raw,
            )
        ]

    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        """See `Broker.settle`."""
        if not settlements:
            return []
        now = self._register.now()
        arguments: list[Any] = []
        for settlement in settlements:
            self._add(arguments, settlement, now)
        self._register.touch(list({m.queue for s in settlements for m in s.follow}))
        return [held == 1 for held in self._scripts.run("settle", *arguments)]

    def _add(self, arguments: list[Any], settlement: Settlement, now: float) -> None:
        delivery = settlement.delivery
        place = ("", "") if delivery is None else (delivery.queue, delivery.tag)
        dead, result, follow = settlement.dead, settlement.result, settlement.follow
        if dead is None and result is None and not follow and not settlement.requeue:
            arguments += (*place, "")
            return
        parts = (settlement.requeue, dead is not None, result is not None, bool(follow))
        arguments += (*place, "".join(c for c, there in zip("qdrf", parts, strict=True) if there))
        if dead is not None:
            arguments.append(letters.encode(dead, now))
        if result is not None:
            arguments += self._results.arguments(result)
        if follow:
            raws = [envelopes.encode(message, now) for message in follow]
            arguments += (len(follow), *self._entries(follow, raws))

    def release(self, deliveries: Sequence[Delivery], *, crashed: bool) -> int:
        """See `Broker.release`."""
        if not deliveries:
            return 0
        claims = [value for each in deliveries for value in (each.queue, each.tag)]
        return int(self._scripts.run("release", int(crashed), *claims))
