"""The names of keys that are used from here; those of scripts are in ``lua/shared/base.lua``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from umbel.drivers.redis.options import Options


class Names:
    """How keys are called under these options."""

    def __init__(self, options: Options) -> None:
        self._prefix = options.global_keyprefix
        self._separator = options.sep
        self.steps = sorted(options.priority_steps)
        self._step_of = [max(step for step in self.steps if step <= p) for p in range(10)]

    def step(self, priority: int | None) -> int:
        """The step whose list a priority belongs to."""
        return self._step_of[min(max(priority or 0, 0), 9)]

    def line(self, queue: str, step: int) -> str:
        """The list of a queue for a priority step."""
        suffix = f"{self._separator}{step}" if step else ""
        return f"{self._prefix}{queue}{suffix}"

    def own(self, queue: str, name: str) -> str:
        """A key of ours beside a queue, in the slot of its list."""
        tagged = f"umbel::{queue}" if "{" in queue else f"umbel:{{{queue}}}"
        return f"{self._prefix}{tagged}:{name}"

    def watched(self, queues: Sequence[str]) -> list[str]:
        """The keys that change when a message is ready there, or is the next to be due."""
        lines = [self.line(queue, step) for queue in queues for step in self.steps]
        return [*lines, f"{self._prefix}umbel:due"]

    def binding_table(self, exchange: str) -> str:
        """The set of queues that are bound to an exchange."""
        return f"{self._prefix}_kombu.binding.{exchange}"

    @property
    def exchanges(self) -> str:
        """The types of exchanges that were declared here."""
        return f"{self._prefix}umbel:exchanges"

    @property
    def dead(self) -> str:
        """The dead letters."""
        return f"{self._prefix}umbel:dead"

    @property
    def queues(self) -> str:
        """The queues that are known."""
        return f"{self._prefix}umbel:queues"

    def channel(self, channel: str) -> str:
        """What was broadcast on a channel."""
        return f"{self._prefix}umbel:channel:{channel}"

    def coordination(self, kind: str, name: str) -> str:
        """A lease, a bucket, a set of slots, or a unique key."""
        return f"{self._prefix}umbel:{kind}:{name}"
