"""What has to happen in a process that was forked.

A connection belongs to the process that opened it: bytes of two processes on one socket are the
end of both.  So a child begins without connections, threads and locks, and opens its own when it
needs them.  What it has inherited it must neither use nor close, because closing says good-bye to
the server in the name of the parent; its descriptor is pointed at nothing instead.
"""

from __future__ import annotations

import os
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakSet

if TYPE_CHECKING:
    from collections.abc import Iterable


class Forking(Protocol):
    """What wants to be told about forks."""

    def after_fork(self) -> None:
        """Begin anew, in the child."""
        ...


_forking: WeakSet[Forking] = WeakSet()
# Held during a fork, so that nobody is half-way registered.
_joining = Lock()
# Connections of the parent; never deleted, because that would close them.
_inherited: list[Any] = []


def register(who: Forking) -> None:
    """Tell ``who`` about every fork as long as it lives."""
    with _joining:
        _forking.add(who)


def leave_alone(links: Iterable[Any]) -> None:
    """Have nothing to do with these connections any more, without the server noticing."""
    nothing = os.open(os.devnull, os.O_RDWR)
    try:
        for link in links:
            _inherited.append(link)
            if not link.closed:
                os.dup2(nothing, link.fileno())
    finally:
        os.close(nothing)


def _after_in_child() -> None:
    _joining.release()
    for who in list(_forking):
        who.after_fork()


os.register_at_fork(
    before=_joining.acquire,
    after_in_parent=_joining.release,
    after_in_child=_after_in_child,
)
