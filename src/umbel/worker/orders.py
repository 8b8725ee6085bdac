"""What an operator tells a supervisor by signals, kept until it has time for it."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Orders:
    """Signals that have come, in order, and a pipe that wakes whoever waits for them.

    ``on_stacks`` is called in the signal handler of SIGUSR1.
    """

    def __init__(self, on_stacks: Callable[[], None]) -> None:
        self.stops: list[str] = []
        self._on_stacks = on_stacks
        self.reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        os.set_blocking(self.reader, False)

    def listen(self) -> None:
        """Take the signals from now on."""
        for name in ("SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP"):
            signal.signal(getattr(signal, name), self._asked_to_stop)
        signal.signal(signal.SIGUSR1, self._asked_for_stacks)

    def wake(self) -> None:
        """Make ``reader`` readable; safe in any thread and in a signal handler."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._writer, b"!")

    def rest(self) -> None:
        """Make ``reader`` wait for what comes next."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.reader, 512)

    def close(self) -> None:
        """Give the pipe back."""
        os.close(self.reader)
        os.close(self._writer)

    def _asked_to_stop(self, signum: int, _frame: Any) -> None:
        name = signal.Signals(signum).name
        if name == "SIGTERM" and os.environ.get("REMAP_SIGTERM") == "SIGQUIT":
            name = "SIGQUIT"
        self.stops.append(name)
        self.wake()

    def _asked_for_stacks(self, _signum: int, _frame: Any) -> None:
        self._on_stacks()
