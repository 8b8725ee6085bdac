"""The scripts, each one step of the server, and how they are called."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from umbel.drivers.redis.faults import RefusedError
from umbel.exceptions import UmbelError

if TYPE_CHECKING:
    from umbel.clock import Clock
    from umbel.drivers.redis.wires import Wires

# Those who bring something new wait until there is room; the rest ends what was begun.
_BRING = frozenset({"publish", "replay", "broadcast"})
# From Redis 7 on a script can say that it may run though memory is short.
_EVEN_WITHOUT_MEMORY = "#!lua flags=allow-oom\n"


@cache
def _text(name: str) -> str:
    folder = files(__package__) / "lua"
    return (folder / "prelude.lua").read_text("utf-8") + (folder / f"{name}.lua").read_text("utf-8")


@cache
def _digest(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Scripts:
    """Calls scripts on one server.

    Args:
        wires: the connections.
        clock: where leases and delays get the time from; None is the server itself.
    """

    def __init__(self, wires: Wires, clock: Clock | None) -> None:
        options = wires.options
        self.wires = wires
        self._clock = clock
        steps = " ".join(str(step) for step in sorted(options.priority_steps, reverse=True) if step)
        self._common = (options.global_keyprefix, options.sep, steps)
        self._flags = _EVEN_WITHOUT_MEMORY

    def now(self) -> str:
        """The moment to work with, or nothing for the server's."""
        return "" if self._clock is None else repr(self._clock.now())

    def run(self, name: str, *arguments: Any, timeout: float | None = None) -> Any:
        """What a script returns; raises as `Wires.ask`."""
        text = self._flagged(name)
        given = (0, self.now(), *self._common, *arguments)
        try:
            return self.wires.ask("EVALSHA", _digest(text), *given, timeout=timeout)
        except UmbelError as error:
            if not _is(error, "NOSCRIPT"):
                raise
        try:
            return self.wires.ask("EVAL", text, *given, timeout=timeout)
        except UmbelError as error:
            if not self._flags or not _is(error, "ERR") or "#" not in str(error.__cause__):
                raise
        self._flags = ""
        return self.run(name, *arguments, timeout=timeout)

    def _flagged(self, name: str) -> str:
        return _text(name) if name in _BRING else self._flags + _text(name)


def _is(error: UmbelError, code: str) -> bool:
    cause = error.__cause__
    return isinstance(cause, RefusedError) and cause.code == code
