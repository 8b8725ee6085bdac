"""The servers of one application: each is reached on first use, once, by whichever thread.

Drivers look after their own sockets and files, in every thread and after a fork.  What is kept
here is only which driver plays which role.  A forked process drops that too, without closing
anything, and starts anew.
"""

from __future__ import annotations

from threading import RLock
from typing import TYPE_CHECKING, Any, cast

from umbel.backend import Backend, NoBackend
from umbel.exceptions import ImproperlyConfigured
from umbel.once import forget, once_locked
from umbel.places import default_database
from umbel.settings import mask_url
from umbel.symbols import symbol_by_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from umbel.app import Umbel
    from umbel.drivers import Server
    from umbel.ports.backend import ReplyBackend, ResultBackend
    from umbel.ports.broker import Broker
    from umbel.ports.coordinator import Coordinator

SERVERS = ("broker_", "result_backend", "coordinator_url", "override_backends")
"""How the names of settings begin that say which servers there are."""

_URLS = (
    *("broker_read_url", "broker_write_url", "broker_transport_options"),
    *("result_backend", "result_backend_transport_options", "coordinator_url"),
    *("database_url", "cache_backend"),
    "override_backends",
)
_READ_BY_DRIVERS = (
    *("broker_use_ssl", "broker_connection_timeout", "broker_heartbeat", "broker_login_method"),
    *("broker_failover_strategy", "redis_backend_use_ssl", "redis_username", "redis_password"),
)
_ELSEWHERE = {"database": ("database_url", "db+"), "cache": ("cache_backend", "cache+")}
"""Kinds of result backends whose place another setting names, and how their URLs begin."""

_REPLYING = "rpc"
DISABLED = ("disabled", "disabled://")
_ALONE = ("memory", "sqlite")
"""Schemes of which there is one server, so that a list of URLs to fail over to is a mistake."""


class Building:
    """The lock under which an application makes its parts.

    The configuration is read before the lock is taken. Reading it runs the user's code, which may
    use the application from another thread; two locks taken in both orders would never end.
    """

    def __init__(self, app: Umbel) -> None:
        self._app = app
        self._lock = RLock()

    def __enter__(self) -> None:
        self._app.conf.finalize()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def after_fork(self) -> None:
        """Have a lock that nobody holds."""
        self._lock = RLock()


class Connections:
    """Which server is the broker, the result backend and the coordinator of ``app``."""

    def __init__(self, app: Umbel) -> None:
        self.app = app
        self.lock = app.building
        self._seen: list[Any] | None = None

    def are_outdated(self) -> bool:
        """Whether settings have other values than those that connections were made from."""
        return self._seen is not None and self._seen != self._settings()

    def _settings(self) -> list[Any]:
        return [self.app.conf[name] for name in (*_URLS, *_READ_BY_DRIVERS)]

    # -- brokers ---------------------------------------------------------------------------

    @once_locked
    def read_url(self) -> str:
        """The URL of the broker that workers consume from."""
        return self._url("broker_read_url")

    @once_locked
    def write_url(self) -> str:
        """The URL of the broker that messages are published to."""
        return self._url("broker_write_url")

    def _url(self, setting: str) -> str:
        self._seen = self._settings()
        url = self.app.conf[setting] or f"sqlite:///{default_database(*self.app.origin)}"
        urls = url.split(";") if isinstance(url, str) else url
        urls = [entry.strip() for entry in urls if entry.strip()]
        if len(urls) > 1 and any(entry.partition(":")[0] in _ALONE for entry in urls):
            shown = mask_url(";".join(urls))
            msg = f"{setting}: an embedded broker has nothing to fail over to: {shown}"
            raise ImproperlyConfigured(msg)
        return ";".join(urls)

    @once_locked
    def server(self) -> Server:
        """The server that workers consume from, under all its roles."""
        return self._connect(self.read_url, self.app.conf.broker_transport_options)

    @once_locked
    def broker(self) -> Broker:
        """The broker that workers consume from.

        Raises:
            ImproperlyConfigured: the URL names no broker.
        """
        return _broker_of(self.server)

    @once_locked
    def write_broker(self) -> Broker:
        """The broker that messages are published to; usually the same.

        Raises:
            ImproperlyConfigured: the URL names no broker.
        """
        if self.write_url == self.read_url:
            return self.broker
        return _broker_of(self._connect(self.write_url, self.app.conf.broker_transport_options))

    # -- results ---------------------------------------------------------------------------

    @once_locked
    def backend(self) -> Backend:
        """Where results are kept.

        Raises:
            ImproperlyConfigured: the setting names nothing that keeps results.
        """
        store = self._result_store()
        if store is None:
            return NoBackend(self.app)
        store.setup()
        return Backend(self.app, store)

    def _result_store(self) -> ResultBackend | None:
        self._seen = self._settings()
        wanted = self.wanted_backend
        if wanted is None:
            return self.server.backend if self.server.embedded else None
        if wanted in DISABLED:
            return None
        made = self._own_store(wanted)
        if made is not None:
            return made
        url = wanted if "://" in wanted else self._url_of(wanted)
        options = self.app.conf.result_backend_transport_options
        server = self._connect(url, options)
        # One object for both roles is what lets a settlement and its result be one step.
        if not options and server.location == self.server.location and server.backend is not None:
            return self.server.backend
        if server.backend is None:
            msg = f"{mask_url(url)} cannot be a result backend"
            raise ImproperlyConfigured(msg)
        return server.backend

    def _url_of(self, name: str) -> str:
        """The URL of a result backend that is given by its kind alone."""
        setting, prefix = _ELSEWHERE.get(name.rstrip(":/"), (None, ""))
        if setting is None:
            return f"{name}://"
        url = self.app.conf[setting]
        if not url:
            msg = f"result_backend is {name!r}, and {setting}, which says where it is, is not set"
            raise ImproperlyConfigured(msg)
        url = url if "://" in url else f"{url}://"
        return url if url.startswith(prefix) else f"{prefix}{url}"

    @property
    def wanted_backend(self) -> Any:
        """What was asked for: a URL, an alias, a class or its path; None is nothing."""
        return self.app.backend_cls or self.app.conf.result_backend

    def _own_store(self, wanted: Any) -> ResultBackend | None:
        """A result backend of the user's own: a class, its path, or an alias for either."""
        url = wanted if isinstance(wanted, str) and "://" in wanted else None
        alias = wanted if url is None else url.partition("://")[0]
        own = {**self.app.loader.override_backends, **(self.app.conf.override_backends or {})}
        if isinstance(alias, str):
            alias = own.get(alias, alias if url is None else None)
        if alias is None or (isinstance(alias, str) and not {":", "."} & set(alias)):
            return None
        made: ResultBackend = symbol_by_name(alias)(app=self.app, url=url)
        return made

    @once_locked
    def replies(self) -> ReplyBackend | None:
        """The result backend, if it has to be told of calls before they are published."""
        wanted = self.wanted_backend
        if not isinstance(wanted, str) or wanted.partition(":")[0] != _REPLYING:
            return None
        return cast("ReplyBackend", self.backend.store)

    # -- agreement of the fleet ------------------------------------------------------------

    @once_locked
    def coordinator(self) -> Coordinator:
        """What the whole fleet agrees on: locks, limits, unique keys.

        Raises:
            ImproperlyConfigured: neither broker nor ``coordinator_url`` can be one.
        """
        self._seen = self._settings()
        url = self.app.conf.coordinator_url
        server = self._connect(url) if url else self.server
        found = server.coordinator
        if found is None and not url:
            found = self._coordinator_of_results()
        if found is None:
            msg = f"{mask_url(server.location)} cannot coordinate; set coordinator_url"
            raise ImproperlyConfigured(msg)
        return found

    def _coordinator_of_results(self) -> Coordinator | None:
        """What the server that keeps the results is as a coordinator, if it is one."""
        wanted = self.wanted_backend
        if not isinstance(wanted, str) or wanted in DISABLED or self._own_store(wanted) is not None:
            return None
        url = wanted if "://" in wanted else self._url_of(wanted)
        return self._connect(url, self.app.conf.result_backend_transport_options).coordinator

    def _connect(self, url: str, options: Mapping[str, Any] | None = None) -> Server:
        from umbel import drivers

        return drivers.connect(url, options, self.app.conf)

    # -- ending ----------------------------------------------------------------------------

    def close(self) -> None:
        """Give back what was opened; it is opened anew on next use."""
        made = dict(self.__dict__)
        self.after_fork()
        backend = made.get("backend")
        closing = [made.get("write_broker"), made.get("broker")]
        if backend is not None and not isinstance(backend, NoBackend):
            closing.insert(0, backend.store)
        for each in {id(one): one for one in closing if one is not None}.values():
            each.close()

    def after_fork(self) -> None:
        """Drop everything without closing it: it belongs to the parent process."""
        kept = [name for name in self.__dict__ if isinstance(_kind(name), once_locked)]
        forget(self, *kept)
        self._seen = None


def _kind(name: str) -> Any:
    return Connections.__dict__.get(name)


def _broker_of(server: Server) -> Broker:
    if server.broker is None:
        msg = f"{mask_url(server.location)} cannot be a broker, only a result backend"
        raise ImproperlyConfigured(msg)
    return server.broker
