"""What has to happen when this process is forked.

SQLite's locks belong to the process that took them, but its books about them are copied by a
fork: a child would believe in locks that it does not hold, and even a connection of its own would
work without any, because SQLite keeps one book per file.  So everything is closed before a fork,
and opened again by whoever uses it next, on either side.
"""

from __future__ import annotations

import os
from threading import Lock
from typing import Protocol
from weakref import WeakSet


class Forking(Protocol):
    """What wants to be told about forks."""

    def before_fork(self) -> None:
        """Come to rest and keep everybody out; called in the process that forks."""
        ...

    def after_fork(self, *, child: bool) -> None:
        """Let everybody in again; called on both sides."""
        ...


_forking: WeakSet[Forking] = WeakSet()
_at_rest: list[Forking] = []
# Held during a fork: nobody joins meanwhile, and a fork of another thread waits.
_joining = Lock()


def register(who: Forking) -> None:
    """Tell ``who`` about every fork as long as it lives."""
    with _joining:
        _forking.add(who)


def _before() -> None:
    _joining.acquire()
    for who in list(_forking):
        who.before_fork()
        _at_rest.append(who)


def _after(*, child: bool) -> None:
    while _at_rest:
        _at_rest.pop().after_fork(child=child)
    _joining.release()


os.register_at_fork(
    before=_before,
    after_in_parent=lambda: _after(child=False),
    after_in_child=lambda: _after(child=True),
)
