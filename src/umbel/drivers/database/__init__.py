"""Results in tables of any database that SQLAlchemy knows, shared with Celery.

``db+postgresql://…``, ``db+mysql://…``, ``db+sqlite:///results.db``: what follows ``db+`` is an
SQLAlchemy URL.  Tables, columns and what is in them are those of Celery 5.7, so that either side
reads what the other wrote.  Versions before it pickle results: those are read where they hold
plain data, and written with the transport option ``pickled``.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from umbel.clock import SystemClock
from umbel.drivers import Server
from umbel.drivers.database import tables
from umbel.drivers.database.backend import DatabaseBackend
from umbel.drivers.database.columns import Columns
from umbel.drivers.database.engine import Database
from umbel.exceptions import ImproperlyConfigured, UmbelWarning
from umbel.settings import mask_url
from umbel.stored import Formats, Lifetimes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from umbel.clock import Clock

_PREFIX = "db+"
_PICKLED = "pickled"


def connect(url: str, given: Mapping[str, Any], conf: Mapping[str, Any]) -> Server:
    """The database at ``url``; nothing is opened before it is first used.

    Raises:
        ImproperlyConfigured: the URL or a ``database_…`` setting cannot work.
        MissingExtra: the package that talks to this kind of database is not installed.
    """
    return serve(url, given, conf, SystemClock())


def serve(url: str, given: Mapping[str, Any], conf: Mapping[str, Any], clock: Clock) -> Server:
    """As `connect`; the age of results is measured by ``clock``."""
    for name in given:
        if name != _PICKLED:
            raise ImproperlyConfigured(
                f"{mask_url(url)}: databases do not know the transport option {name!r} (known: "
                f"{_PICKLED}); see also database_engine_options"
            )
    if conf.get("result_compression"):
        warnings.warn(
            "result_compression has no effect on results in a database: its columns are read by "
            "Celery, which knows no compression there",
            UmbelWarning,
            stacklevel=4,
        )
    database = Database(
        url[len(_PREFIX) :],
        tables.Tables.of(conf),
        options=conf.get("database_engine_options"),
        callback=conf.get("database_engine_callback"),
        short_lived=bool(conf.get("database_short_lived_sessions")),
    )
    backend = DatabaseBackend(
        database,
        Columns(Formats.of(conf), pickled=bool(given.get(_PICKLED))),
        Lifetimes.from_settings(conf),
        clock,
        create_at_setup=bool(conf.get("database_create_tables_at_setup", True)),
    )
    return Server(url, None, backend, None)
