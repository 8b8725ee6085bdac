"""Names for tasks and processes.

Task ids are version 7 UUIDs (RFC 9562): the milliseconds come first, so ids that are made later
sort later and an index on them stays compact. Within one process they never decrease, in
whichever thread they are made and whatever the wall clock does. 48 bits of each id, and 14 more
of each process, come from the operating system's random source.

Node names are ``name@host``. The names of Celery's format characters are kept: ``%h`` the host,
``%n`` the part before it, ``%d`` the domain, ``%i`` and ``%I`` the number of the child, ``%p``
the whole node name.
"""

from __future__ import annotations

import os
import re
import sys
import time
from functools import lru_cache
from threading import RLock
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

NODENAME_DEFAULT: Final = "celery"

_BATCH = 256
_LAST_IN_MILLISECOND = 0xFFF


class _Ids:
    """The state behind `uuid7`: the last millisecond used, a counter in it, random tails."""

    __slots__ = ("_count", "_lock", "_middle", "_millisecond", "_prefix", "_tails")

    def __init__(self) -> None:
        self._millisecond = 0
        self._count = 0
        self._prefix = ""
        self.renew()

    def renew(self) -> None:
        """Forget everything a forked process must not share with its parent."""
        self._lock = RLock()  # a signal handler may publish while an id is being made
        self._tails: list[str] = []
        self._middle = f"-{0x8000 | (int.from_bytes(os.urandom(2)) & 0x3FFF):04x}-"

    def make(self) -> str:
        """A new id as 36 characters of text, greater than every id this process made before."""
        with self._lock:
            millisecond = time.time_ns() // 1_000_000
            if millisecond > self._millisecond:
                self._begin(millisecond)
            elif self._count == _LAST_IN_MILLISECOND:
                self._begin(self._millisecond + 1)
            else:
                self._count += 1
            if not self._tails:
                self._tails = os.urandom(6 * _BATCH).hex(" ", 6).split()
            return f"{self._prefix}{self._count:03x}{self._middle}{self._tails.pop()}"

    def _begin(self, millisecond: int) -> None:
        self._millisecond = millisecond
        self._count = 0
        text = f"{millisecond:012x}"
        self._prefix = f"{text[:8]}-{text[8:]}-7"


_ids = _Ids()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_ids.renew)

uuid7 = _ids.make


# -------------------------------------------------------------------------------------- node names


@lru_cache(maxsize=1)
def gethostname() -> str:
    """This machine's name, asked once."""
    if sys.platform == "win32":
        import socket

        return socket.gethostname()
    return os.uname().nodename


@lru_cache(maxsize=1)
def _origin(pid: int) -> str:
    return f"gen{pid}@{gethostname()}"


def origin() -> str:
    """Who publishes: ``gen<pid>@<host>`` of this process."""
    return _origin(os.getpid())


def anon_nodename(hostname: str | None = None, prefix: str = "gen") -> str:
    """A node name for a process that is no worker: ``gen<pid>@<host>``."""
    return nodename(f"{prefix}{os.getpid()}", hostname or gethostname())


def nodename(name: str, hostname: str) -> str:
    """``name@hostname``."""
    return f"{name}@{hostname}"


def nodesplit(name: str) -> tuple[str | None, str]:
    """Split a node name into its name and its host; without an ``@`` there is only a host."""
    before, at, after = name.partition("@")
    return (before, after) if at else (None, before)


def default_nodename(hostname: str | None) -> str:
    """Complete what the user wrote after ``-n``: a missing name, or host, is filled in."""
    name, host = nodesplit(hostname or "")
    return nodename(name or NODENAME_DEFAULT, host or gethostname())


def node_format(template: str, name: str, *, index: int = 0, **extra: str) -> str:
    """Replace the format characters in ``template`` by the parts of the node name ``name``.

    Args:
        template: The text, e.g. ``/var/log/%n%I.log``.
        name: The node name.
        index: The number of the child; 0 is the parent.
        **extra: More format characters and what stands for them.

    Raises:
        ValueError: The template has a ``%`` followed by an unknown character.
    """
    short, host = nodesplit(name)
    short = short or NODENAME_DEFAULT
    return host_format(template, host, name=short, index=index, p=name, **extra)


def host_format(
    template: str,
    host: str | None = None,
    *,
    name: str | None = None,
    index: int = 0,
    **extra: str,
) -> str:
    """Replace the format characters in ``template`` by the parts of a host's name.

    Args:
        template: The text, e.g. ``celery@%h``.
        host: The host; this machine by default.
        name: What ``%n`` stands for; the host without its domain by default.
        index: The number of the child; 0 is the parent.
        **extra: More format characters and what stands for them.

    Raises:
        ValueError: The template has a ``%`` followed by an unknown character.
    """
    host = host or gethostname()
    short, _, domain = host.partition(".")
    suffix = f"-{index}" if index else ""
    known = {"h": host, "n": name or short, "d": domain, "i": str(index), "I": suffix, "%": "%"}
    return _replace_formats(template, known | extra)


def _replace_formats(template: str, known: Mapping[str, str]) -> str:
    def replace(match: re.Match[str]) -> Any:
        found = known.get(match[1])
        if found is not None:
            return found
        allowed = " ".join(f"%{char}" for char in sorted(known))
        raise ValueError(
            f"{match[0]} in {template!r} is not a format character; "
            f"known are {allowed}, and %% is a percent sign"
        )

    return re.sub("%(.)", replace, template, flags=re.DOTALL)
