"""One SQLite file that is broker, result backend and coordinator for the processes of a machine.

``sqlite:///relative.db`` is relative to the current directory, ``sqlite:////absolute.db`` is not.
How it works and what it promises is told in ``docs/explanation/sqlite.md``.
"""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from umbel.clock import SystemClock
from umbel.drivers import Server
from umbel.drivers.sqlite import options
from umbel.drivers.sqlite.backend import SQLiteBackend
from umbel.drivers.sqlite.broker import SQLiteBroker
from umbel.drivers.sqlite.coordinator import SQLiteCoordinator
from umbel.drivers.sqlite.store import Store
from umbel.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from collections.abc import Mapping

    from umbel.clock import Clock

# The first with RETURNING.
_OLDEST = (3, 35)

# One store per process, file and options, so that connections are shared as long as anyone holds
# one of its roles.
_stores: WeakValueDictionary[tuple[int, str, options.Options], Store] = WeakValueDictionary()


def connect(url: str, given: Mapping[str, Any], _conf: Mapping[str, Any]) -> Server:
    """The server whose file ``url`` names; the file is opened or created when first used.

    Raises:
        ImproperlyConfigured: the URL names no file, an option is unknown or out of range, or this
            Python was built with a SQLite that is too old.
    """
    if sqlite3.sqlite_version_info < _OLDEST:
        raise ImproperlyConfigured(
            f"sqlite:/// URLs need SQLite {'.'.join(map(str, _OLDEST))} or later; this Python has "
            f"{sqlite3.sqlite_version}"
        )
    key = (os.getpid(), options.path(url), options.checked(given))
    store = _stores.get(key)
    if store is None:
        store = Store(key[1], key[2], SystemClock())
        store.server = _roles(store)
        store = _stores.setdefault(key, store)
    return store.server


def serve(path: str, chosen: options.Options, clock: Clock) -> Server:
    """A server of its own on the file at ``path``, its leases and delays measured by ``clock``."""
    return _roles(Store(path, chosen, clock))


def _roles(store: Store) -> Server:
    return Server(
        f"sqlite:///{store.path}",
        SQLiteBroker(store),
        SQLiteBackend(store),
        SQLiteCoordinator(store),
        embedded=True,
    )
