"""A PostgreSQL schema that is broker, result backend and coordinator.

``postgresql://user:password@host:5432/database``, with libpq's parameters after a ``?``; several
hosts, separated by commas, are one server to fail over to.  How it works and what it promises is
told in ``docs/explanation/postgresql.md``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from umbel.drivers import Server
from umbel.drivers.postgres import options
from umbel.drivers.postgres.backend import PostgresBackend
from umbel.drivers.postgres.broker import PostgresBroker
from umbel.drivers.postgres.coordinator import PostgresCoordinator
from umbel.drivers.postgres.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping

_Key = tuple[int, tuple[tuple[str, str], ...], options.Options]

# One store per process, address and options, so that connections are shared as long as anyone
# holds one of its roles.
_stores: WeakValueDictionary[_Key, Store] = WeakValueDictionary()


def connect(url: str, given: Mapping[str, Any], conf: Mapping[str, Any]) -> Server:
    """The server at ``url``; nothing is opened until it is first used.

    Raises:
        ImproperlyConfigured: the URL is malformed, or an option unknown or out of range.
    """
    parameters = options.address(url, conf)
    key = (os.getpid(), tuple(sorted(parameters.items())), options.checked(given))
    store = _stores.get(key)
    if store is None:
        store = Store(parameters, key[2])
        store.server = _roles(store)
        store = _stores.setdefault(key, store)
    return store.server


def serve(url: str, chosen: options.Options) -> Server:
    """A server with connections of its own."""
    return _roles(Store(options.address(url, {}), chosen))


def _roles(store: Store) -> Server:
    return Server(
        store.place,
        PostgresBroker(store),
        PostgresBackend(store),
        PostgresCoordinator(store),
    )
