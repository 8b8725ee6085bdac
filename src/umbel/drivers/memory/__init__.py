"""Queues, results and locks in the memory of one process: for tests, and as the reference.

``memory://`` and ``memory://name`` are the same server wherever this process says them.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from umbel.clock import SystemClock
from umbel.drivers import Server
from umbel.drivers.memory.backend import MemoryBackend
from umbel.drivers.memory.broker import MemoryBroker
from umbel.drivers.memory.coordinator import MemoryCoordinator
from umbel.drivers.memory.space import Space
from umbel.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from collections.abc import Mapping

    from umbel.clock import Clock

_OPTIONS = ("visibility_timeout",)

_servers: dict[str, Server] = {}
_lock = Lock()


def connect(url: str, given: Mapping[str, Any], _conf: Mapping[str, Any]) -> Server:
    """The server of this name in this process.

    Raises:
        ImproperlyConfigured: an option is unknown or out of range.
    """
    for name, value in given.items():
        if name not in _OPTIONS:
            known = ", ".join(_OPTIONS)
            raise ImproperlyConfigured(f"memory does not know the option {name!r} (known: {known})")
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
            raise ImproperlyConfigured(
                f"memory option {name} must be a number of seconds above 0, not {value!r}"
            )
    parts = urlsplit(url)
    name = (parts.netloc + parts.path).strip("/")
    with _lock:
        if name not in _servers:
            _servers[name] = serve(name, SystemClock())
        return _servers[name]


def serve(name: str, clock: Clock) -> Server:
    """A server of its own, its leases and delays measured by ``clock``."""
    space = Space(name, clock)
    backend = MemoryBackend(space)
    broker = MemoryBroker(space, backend)
    return Server(f"memory://{name}", broker, backend, MemoryCoordinator(space), embedded=True)
