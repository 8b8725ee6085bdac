"""The servers Umbel can stand on, reached by URL and by nothing else.

`connect` is the only way in: it picks the driver family by the URL's scheme, imports it then and
there, and names the extra to install where a client library is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from umbel.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from collections.abc import Mapping

    from umbel.ports.backend import ResultBackend
    from umbel.ports.broker import Broker
    from umbel.ports.coordinator import Coordinator

FAMILIES = {
    "memory": "umbel.drivers.memory",
    "sqlite": "umbel.drivers.sqlite",
}


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


def connect(url: str, options: Mapping[str, Any] | None = None) -> Server:
    """The server at ``url``; nothing is opened until it is first used.

    ``options`` are the driver's own (``broker_transport_options``); what a driver does not know
    is an error that lists what it does.

    Raises:
        ImproperlyConfigured: no driver has this scheme, the URL is malformed, or an option is
            unknown or out of range.
    """
    scheme = urlsplit(url).scheme.lower()
    family = FAMILIES.get(scheme)
    if family is None:
        known = ", ".join(f"{name}://" for name in sorted(FAMILIES))
        msg = f"no driver for {scheme or 'a URL without scheme'}:// (known: {known})"
        raise ImproperlyConfigured(msg)
    server: Server = import_module(family).connect(url, dict(options or {}))
    return server
