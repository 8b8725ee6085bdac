"""A Redis or Valkey server that is broker, result backend and coordinator.

``redis://`` ``rediss://`` ``redis+socket://`` ``sentinel://`` ``valkey://`` ``valkeys://``.  The
queues and results are Celery's, so that its producers, workers and readers can share them.  How it
works and what it promises is told in ``docs/explanation/redis.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from umbel.drivers import Server
from umbel.drivers.redis import options, places
from umbel.drivers.redis.backend import RedisBackend
from umbel.drivers.redis.broker import RedisBroker
from umbel.drivers.redis.coordinator import RedisCoordinator
from umbel.drivers.redis.results import Format
from umbel.drivers.redis.scripts import Scripts
from umbel.drivers.redis.wires import Wires

if TYPE_CHECKING:
    from collections.abc import Mapping

    from umbel.clock import Clock

_DAY = 86_400.0


def connect(url: str, given: Mapping[str, Any], conf: Mapping[str, Any]) -> Server:
    """The server at ``url``; nothing is opened until it is first used.

    Raises:
        ImproperlyConfigured: the URL is malformed, or an option is unknown or out of range.
    """
    return serve(url, given, conf, None)


def serve(
    url: str, given: Mapping[str, Any], conf: Mapping[str, Any], clock: Clock | None
) -> Server:
    """As `connect`, with leases and delays measured by ``clock`` in place of the server's."""
    found = places.places(url, conf)
    chosen = options.checked({**found[0].given, **given}, conf)
    scripts = Scripts(Wires(found, chosen), clock)
    results = Format(_result_prefix(chosen, conf), _result_expires(conf))
    return Server(
        found[0].location,
        RedisBroker(scripts, results, clock),
        RedisBackend(scripts, results, clock),
        RedisCoordinator(scripts),
    )


def _result_prefix(chosen: options.Options, conf: Mapping[str, Any]) -> str:
    """What the keys of results begin with, which Celery sets apart from those of queues."""
    of_results = conf.get("result_backend_transport_options")
    prefix = chosen.global_keyprefix
    if of_results is not None:
        prefix = of_results.get("global_keyprefix", "")
    return f"{prefix}_" if prefix and prefix[-1] not in ":_-." else prefix


def _result_expires(conf: Mapping[str, Any]) -> float | None:
    expires = conf.get("result_expires", _DAY)
    seconds = expires.total_seconds() if hasattr(expires, "total_seconds") else expires
    return float(seconds) if seconds else None
