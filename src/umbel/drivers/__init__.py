"""The servers Umbel can stand on, reached by URL and by nothing else.

`connect` is the only way in: it picks the driver family by the URL's scheme, imports it then and
there, and names the extra to install where a client library is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from umbel.exceptions import ImproperlyConfigured, MissingExtra

if TYPE_CHECKING:
    from collections.abc import Mapping

    from umbel.ports.backend import ResultBackend
    from umbel.ports.broker import Broker
    from umbel.ports.coordinator import Coordinator

FAMILIES = {
    "memory": "umbel.drivers.memory",
    "sqlite": "umbel.drivers.sqlite",
    "redis": "umbel.drivers.redis",
    "rediss": "umbel.drivers.redis",
    "redis+socket": "umbel.drivers.redis",
    "sentinel": "umbel.drivers.redis",
    "valkey": "umbel.drivers.redis",
    "valkeys": "umbel.drivers.redis",
    "amqp": "umbel.drivers.amqp",
    "amqps": "umbel.drivers.amqp",
    "pyamqp": "umbel.drivers.amqp",
    "rpc": "umbel.drivers.amqp",
    "postgresql": "umbel.drivers.postgres",
    "postgres": "umbel.drivers.postgres",
    "file": "umbel.drivers.files",
    "cache+memory": "umbel.drivers.cache",
}
"""Which package of drivers answers for a URL scheme; ``db+…`` is `umbel.drivers.database`."""

_DATABASE = "umbel.drivers.database"

_EXTRAS = {
    "umbel.drivers.redis": "redis",
    "umbel.drivers.amqp": "rabbitmq",
    "umbel.drivers.postgres": "postgresql",
    _DATABASE: "sqlalchemy",
}
"""The extra that brings the client library of a family."""


@dataclass(frozen=True, slots=True)
class Server:
    """One server under its roles; a role it cannot play is None.

    ``location`` names the place so that two URLs of the same server compare equal. An
    ``embedded`` one needs no set-up, and keeps results as well unless told otherwise.
    """

    location: str
    broker: Broker | None
    backend: ResultBackend | None
    coordinator: Coordinator | None
    embedded: bool = False


def connect(
    url: str, options: Mapping[str, Any] | None = None, conf: Mapping[str, Any] | None = None
) -> Server:
    """The server at ``url``; nothing is opened until it is first used.

    ``options`` are the driver's own (``broker_transport_options``); what a driver does not know
    is an error that lists what it does. ``conf`` holds the application's settings, of which a
    driver reads those about its server. Several URLs of one family, separated by ``;``, are one
    server to fail over to where the family knows how.

    Raises:
        ImproperlyConfigured: no driver has this scheme, the URL is malformed, or an option is
            unknown or out of range.
        MissingExtra: the client library is not installed.
    """
    scheme = url.partition(":")[0].strip().lower()
    family = _DATABASE if scheme.startswith("db+") else FAMILIES.get(scheme)
    if family is None:
        known = ", ".join(f"{name}://" for name in sorted(FAMILIES))
        msg = f"no driver for {scheme or 'a URL without scheme'}:// (known: {known}, db+…://)"
        raise ImproperlyConfigured(msg)
    try:
        driver = import_module(family)
    except ModuleNotFoundError as error:
        if family not in _EXTRAS or (error.name or "").partition(".")[0] == "umbel":
            raise
        raise MissingExtra(f"{scheme}:// URLs", _EXTRAS[family]) from error
    server: Server = driver.connect(url, dict(options or {}), conf or {})
    return server
