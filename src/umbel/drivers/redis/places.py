"""Where a server is, as URLs and settings say it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from umbel.exceptions import ImproperlyConfigured
from umbel.settings import mask_url

if TYPE_CHECKING:
    from collections.abc import Mapping
    from urllib.parse import SplitResult

ENCRYPTED = frozenset({"rediss", "valkeys"})
_SOCKET = "redis+socket"
_SENTINEL = "sentinel"
_PORTS = {_SENTINEL: 26379}
_PORT = 6379
_DATABASE = ("virtual_host", "db")
_FORMS = "redis://user:password@host:port/database or redis+socket:///path?virtual_host=database"

_VERIFICATION = {
    "required": ssl.CERT_REQUIRED,
    "optional": ssl.CERT_OPTIONAL,
    "none": ssl.CERT_NONE,
}
_TLS = frozenset(
    {
        "ssl_keyfile",
        "ssl_certfile",
        "ssl_cert_reqs",
        "ssl_ca_certs",
        "ssl_ca_path",
        "ssl_ca_data",
        "ssl_check_hostname",
        "ssl_password",
        "ssl_min_version",
        "ssl_ciphers",
    }
)


@dataclass(frozen=True, slots=True)
class Place:
    """One address of one server.

    Attributes:
        url: how it was given, its password masked.
        location: the same for every URL of the same database of the same server.
        host: its name, or the path of its socket.
        port: its port; 0 for a socket.
        db: the number of the database.
        user: the user name, if one is given.
        password: the password, if one is given.
        sentinel: whether a sentinel is there, which knows where the server is.
        tls: arguments of the encrypted connection; None if it is not encrypted.
        given: options that the URL brought.
    """

    url: str
    location: str
    host: str
    port: int
    db: int
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    sentinel: bool = False
    tls: Mapping[str, Any] | None = None
    given: Mapping[str, Any] = field(default_factory=dict)


def places(urls: str, conf: Mapping[str, Any]) -> list[Place]:
    """The addresses that ``urls`` names, one or several separated by ``;``.

    Raises:
        ImproperlyConfigured: one is malformed, or they do not fit together.
    """
    found = [_place(url.strip(), conf) for url in urls.split(";") if url.strip()]
    if not found:
        raise ImproperlyConfigured(f"no URL of a server is given; write {_FORMS}")
    if len({(place.sentinel, place.db) for place in found}) > 1:
        raise ImproperlyConfigured(
            f"{mask_url(urls)}: addresses to fail over to must be of one kind and one database"
        )
    return found


def _place(url: str, conf: Mapping[str, Any]) -> Place:
    shown = mask_url(url)
    try:
        parts = urlsplit(url if "://" in url else f"sentinel://{url}")
        port = parts.port
    except ValueError as error:
        raise ImproperlyConfigured(
            f"{shown} is malformed; characters such as / ? # @ : in a password must be "
            f"percent-encoded; write {_FORMS}"
        ) from error
    query = dict(parse_qsl(parts.query))
    socket = parts.scheme == _SOCKET
    host = unquote(parts.path) if socket else _host(parts, conf)
    if not host or host == "/":
        raise ImproperlyConfigured(f"{shown} names no server; write {_FORMS}")
    port = 0 if socket else port or conf.get("redis_port") or _PORTS.get(parts.scheme, _PORT)
    db = _database(shown, parts, query, conf)
    tls = _tls(shown, parts.scheme, query, conf)
    return Place(
        shown,
        f"redis://{host}:{port}/{db}",
        host,
        port,
        db,
        _text(parts.username) or conf.get("redis_username"),
        _text(parts.password) or conf.get("redis_password"),
        parts.scheme == _SENTINEL,
        tls,
        {name: _number(value) for name, value in query.items() if name not in _TLS},
    )


def _host(parts: SplitResult, conf: Mapping[str, Any]) -> str:
    if "," in parts.netloc:
        raise ImproperlyConfigured(
            f"{mask_url(parts.geturl())}: separate several servers by ';', each with its scheme"
        )
    return parts.hostname or conf.get("redis_host") or "localhost"


def _text(value: str | None) -> str | None:
    return None if value is None else unquote(value)


def _number(value: str) -> Any:
    try:
        return float(value) if "." in value else int(value)
    except ValueError:
        return value


def _database(
    shown: str, parts: SplitResult, query: dict[str, str], conf: Mapping[str, Any]
) -> int:
    path = "" if parts.scheme == _SOCKET else parts.path.strip("/")
    asked = [query.pop(name) for name in _DATABASE if name in query]
    name = path or next(iter(asked), "").strip("/") or str(conf.get("redis_db") or 0)
    if not name.isdecimal():
        raise ImproperlyConfigured(
            f"{shown}: {name!r} is no database; Redis numbers them: 0, 1, 2, …"
        )
    return int(name)


def _tls(
    shown: str, scheme: str, query: Mapping[str, str], conf: Mapping[str, Any]
) -> dict[str, Any] | None:
    asked: dict[str, Any] = {name: value for name, value in query.items() if name in _TLS}
    wanted = conf.get("broker_use_ssl") or conf.get("redis_backend_use_ssl")
    if scheme not in ENCRYPTED and not wanted:
        if asked:
            raise ImproperlyConfigured(
                f"{shown}: {min(asked)} is for encrypted connections; write rediss://"
            )
        return None
    if isinstance(wanted, dict):
        asked = {
            **{name if name.startswith("ssl_") else f"ssl_{name}": wanted[name] for name in wanted},
            **asked,
        }
    unknown = sorted(asked.keys() - _TLS)
    if unknown:
        raise ImproperlyConfigured(
            f"{shown}: unknown option {unknown[0]!r} of the encrypted connection (known: "
            f"{', '.join(sorted(_TLS))})"
        )
    return _verified(shown, asked)


def _verified(shown: str, asked: dict[str, Any]) -> dict[str, Any]:
    """The same with the kind of verification as the client library takes it."""
    wanted = asked.get("ssl_cert_reqs", ssl.CERT_REQUIRED)
    if isinstance(wanted, str):
        name = wanted.lower().removeprefix("cert_")
        if name not in _VERIFICATION:
            raise ImproperlyConfigured(
                f"{shown}: ssl_cert_reqs must be required, optional or none, not {wanted!r}"
            )
        wanted = _VERIFICATION[name]
    asked["ssl_cert_reqs"] = ssl.CERT_REQUIRED if wanted is None else wanted
    checks = asked.get("ssl_check_hostname", wanted == ssl.CERT_REQUIRED)
    asked["ssl_check_hostname"] = checks not in (False, "false", "False", "0")
    return asked
