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
_WITH = "-- with "


def _text(name: str) -> str:
    """A script behind the parts it is written with; each costs a little at every call."""
    folder = files("umbel.drivers.redis") / "lua"
    script = (folder / f"{name}.lua").read_text("utf-8")
    first, _, _ = script.partition("\n")
    parts = first.removeprefix(_WITH).split() if first.startswith(_WITH) else []
    shared = [(folder / "shared" / f"{part}.lua").read_text("utf-8") for part in ("base", *parts)]
    return "".join([*shared, script])


@cache
def _script(name: str, flags: str) -> tuple[str, str]:
    """A script, and what the server calls it."""
    text = _text(name) if name in _BRING else flags + _text(name)
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


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
        text, digest = _script(name, self._flags)
        given = (0, self.now(), *self._common, *arguments)
        try:
            return self.wires.ask("EVALSHA", digest, *given, timeout=timeout)
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


def _is(error: UmbelError, code: str) -> bool:
    cause = error.__cause__
    return isinstance(cause, RefusedError) and cause.code == code
