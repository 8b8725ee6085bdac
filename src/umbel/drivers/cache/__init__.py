"""Results in the memory of one process, as Celery's ``cache+memory://``: for tests.

Nothing but threads of this process sees them, and all of them see the same ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from umbel.clock import SystemClock
from umbel.drivers import Server
from umbel.drivers.cache.backend import CacheBackend
from umbel.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from collections.abc import Mapping

    from umbel.clock import Clock

_LOCATION = "cache+memory://"


def connect(url: str, given: Mapping[str, Any], _conf: Mapping[str, Any]) -> Server:
    """The memory of this process.

    Raises:
        ImproperlyConfigured: the URL names a place in it, or an option is given.
    """
    if url.partition(":")[2].strip("/"):
        raise ImproperlyConfigured(f"{url}: there is one memory; write {_LOCATION}")
    if given:
        raise ImproperlyConfigured(
            f"{_LOCATION} knows no options, but result_backend_transport_options has "
            f"{', '.join(sorted(map(str, given)))}"
        )
    return _here


def serve(clock: Clock) -> Server:
    """A memory of its own; ``clock`` says when results expire."""
    return Server(_LOCATION, None, CacheBackend(clock), None)


_here = serve(SystemClock())
