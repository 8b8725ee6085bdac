"""What a forked process does with connections: it gives them up, as they are its parent's.

Two processes that write to one socket would garble each other's frames, and locks that another
thread held at the moment of the fork would stay locked for ever in the child.  So right after a
fork, before anything else runs in the child, every connection there is told to forget.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Forking(Protocol):
    """What has to forget after a fork."""

    def forget(self) -> None:
        """Give up what belongs to the parent; called in the child, where no other thread is."""
        ...


_forking: WeakSet[Forking] = WeakSet()


def register(who: Forking) -> None:
    """Tell ``who`` in the child about every fork, as long as it lives."""
    _forking.add(who)


def _after() -> None:
    for who in list(_forking):
        who.forget()


os.register_at_fork(after_in_child=_after)
