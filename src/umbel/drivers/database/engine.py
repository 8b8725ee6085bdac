"""The connections to a database: opened late, dropped by a fork, tried again while it is away."""

from __future__ import annotations

import os
import time
from importlib.util import find_spec
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    IntegrityError,
    NoSuchModuleError,
    SQLAlchemyError,
)
from sqlalchemy.pool import NullPool

from umbel.exceptions import ImproperlyConfigured, OperationalError
from umbel.settings import mask_url

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import URL, Connection, Engine

    from umbel.drivers.database.tables import Tables

T = TypeVar("T")

_PAUSES = (0.05, 0.2, 0.8)
"""Seconds between tries while the database is away, or others are in the way."""

_LONGEST = 5.0
"""Seconds after which nothing is tried again."""

_LIBPQ = {
    "connect_timeout": 5,
    # Half a minute until a server that cannot be reached any more is given up.
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
_INHERITED: list[Engine] = []
"""Engines of the parent process: kept, because to be finalized could end its connections."""


class Database:
    """Runs pieces of work in transactions.

    Args:
        url: an SQLAlchemy URL.
        tables: what is created when it is asked for.
        options: arguments of ``create_engine``.
        callback: called with every engine that is made.
        short_lived: open a connection for every piece of work and close it after.

    Raises:
        ImproperlyConfigured: the URL or an option cannot work.
        MissingExtra: the package that talks to this kind of database is not installed.
    """

    def __init__(
        self,
        url: str,
        tables: Tables,
        *,
        options: Mapping[str, Any] | None = None,
        callback: Any = None,
        short_lived: bool = False,
    ) -> None:
        self.shown = mask_url(f"db+{url}")
        self.tables = tables
        self._url = self._read(url)
        self._options = self._complete(options or {}, short_lived=short_lived)
        if callback is not None and not callable(callback):
            raise ImproperlyConfigured(
                f"database_engine_callback must be a function that takes the engine, not "
                f"{callback!r}"
            )
        self._callback = callback
        self._pid = os.getpid()
        self._lock = Lock()
        self._engine: Engine | None = self._make()
        self._created = False

    # -- making ----------------------------------------------------------------------------

    def _read(self, text: str) -> URL:
        try:
            url = make_url(text)
        except (ArgumentError, ValueError) as error:
            raise ImproperlyConfigured(
                f"{self.shown}: is no SQLAlchemy URL behind db+; write db+postgresql://user:"
                "password@host/database or db+sqlite:///results.db"
            ) from error
        kind = url.get_backend_name()
        if kind == "postgres":
            raise ImproperlyConfigured(f"{self.shown}: write db+postgresql:// instead")
        if kind == "sqlite" and url.database in (None, "", ":memory:"):
            raise ImproperlyConfigured(
                f"{self.shown}: names no file, and what is in memory no other connection sees; "
                "write db+sqlite:///results.db, or cache+memory:// for tests"
            )
        if url.drivername == "postgresql" and find_spec("psycopg") is not None:
            return url.set(drivername="postgresql+psycopg")
        return url

    def _complete(self, given: Mapping[str, Any], *, short_lived: bool) -> dict[str, Any]:
        options = dict(given)
        # No connection to SQLite may be open when this process is forked; see its documentation.
        if short_lived or self._url.get_backend_name() == "sqlite":
            options = {k: v for k, v in options.items() if not k.startswith("pool")}
            options["poolclass"] = given.get("poolclass", NullPool)
        if self._url.drivername == "postgresql+psycopg":
            ours = {name: value for name, value in _LIBPQ.items() if name not in self._url.query}
            options["connect_args"] = {**ours, **options.get("connect_args", {})}
        return options

    def _make(self) -> Engine:
        try:
            engine = create_engine(self._url, **self._options)
        except NoSuchModuleError as error:
            raise ImproperlyConfigured(
                f"{self.shown}: SQLAlchemy knows no database called {self._url.drivername!r}; "
                "usual ones are postgresql, mysql, mariadb, oracle, mssql and sqlite"
            ) from error
        except ModuleNotFoundError as error:
            raise ImproperlyConfigured(
                f"{self.shown}: the package {error.name} that talks to it is not installed: "
                f"pip install {error.name}, or name another one in the URL "
                f"(db+{self._url.get_backend_name()}+package://…)"
            ) from error
        except (TypeError, ArgumentError) as error:
            raise ImproperlyConfigured(f"database_engine_options: {error}") from error
        if self._callback is not None:
            self._callback(engine)
        return engine

    @property
    def engine(self) -> Engine:
        """The engine of this process, which is another one after a fork."""
        if self._pid != os.getpid():
            self._lock = Lock()
            if self._engine is not None:
                _INHERITED.append(self._engine)
            self._engine = None
            self._pid = os.getpid()
        with self._lock:
            if self._engine is None:
                self._engine = self._make()
            return self._engine

    def close(self) -> None:
        """Close all connections; they are opened again when needed."""
        self.engine.dispose()

    # -- running ---------------------------------------------------------------------------

    def create(self) -> None:
        """Create what is missing, unless this process has seen it; others may do so, too.

        Raises:
            OperationalError: it cannot be created.
        """
        if not self._created:
            self._attempt(self.tables.create, again=DBAPIError)
            self._created = True

    def run(self, work: Callable[[Connection], T]) -> T:
        """What ``work`` returns; it is one transaction and may be called several times.

        Raises:
            OperationalError: the database is out of reach, or refuses; nothing was changed,
                except when the connection broke while it was told to commit.
        """
        self.create()
        return self._attempt(work, again=IntegrityError)

    def _attempt(self, work: Callable[[Connection], T], *, again: type[DBAPIError]) -> T:
        """Run ``work``, again after errors that pass, and after those of the class ``again``."""
        pauses, until = iter(_PAUSES), time.monotonic() + _LONGEST
        while True:
            try:
                with self.engine.begin() as connection:
                    return work(connection)
            except SQLAlchemyError as error:
                pause = next(pauses, None)
                passes = isinstance(error, again) or _passes(error)
                if pause is None or not passes or time.monotonic() > until:
                    raise OperationalError(f"{self.shown}: {_reason(error)}") from error
            time.sleep(pause)


def _passes(error: SQLAlchemyError) -> bool:
    """Whether trying again may help: the server was away, or somebody else in the way."""
    if not isinstance(error, DBAPIError):
        return False
    return error.connection_invalidated or type(error).__name__ in (
        "OperationalError",
        "InterfaceError",
    )


def _reason(error: SQLAlchemyError) -> str:
    """What the database said, without the statement and the values that it quotes."""
    said = error.orig if isinstance(error, DBAPIError) else error
    return " ".join(str(said).split()) or type(said).__name__
