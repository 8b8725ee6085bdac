"""What the three roles of one ``memory://`` name share."""

from __future__ import annotations

import os
from itertools import count
from threading import Condition
from typing import TYPE_CHECKING

from umbel.exceptions import OperationalError

if TYPE_CHECKING:
    from umbel.clock import Clock


class Space:
    """Shared by the roles of one server.

    Attributes:
        clock: what leases, delays and expiry are measured by.
        changed: notified whenever something may interest those who wait.
        numbers: numbers everything that must be ordered; none is given twice.
    """

    def __init__(self, name: str, clock: Clock) -> None:
        self.clock = clock
        self.changed = Condition()
        self.numbers = count(1)
        self._name = name
        self._pid = os.getpid()

    def enter(self) -> Condition:
        """The lock to be held while data is read or written.

        Raises:
            OperationalError: this is a forked process, whose copy of the data is nobody's.
        """
        if self._pid != os.getpid():
            raise OperationalError(
                f"memory://{self._name} lives in process {self._pid} and cannot be reached from "
                "another one; use sqlite:/// to share queues between processes"
            )
        return self.changed
