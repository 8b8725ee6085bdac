"""The URL and the options of this driver, checked before anything is opened."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, fields
from math import ceil
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from umbel.exceptions import ImproperlyConfigured
from umbel.settings import mask_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# PostgreSQL cuts longer names off.
_LONGEST_NAME = 63
_SPANS = ("visibility_timeout", "poll_interval", "call_timeout")
_PORTS = 65536
_LIKE = "postgresql://user:password@host:5432/database"
_MANY = ("host", "hostaddr", "port")

# A peer that is gone is noticed even where nobody's deadline is about to pass.
_DEFAULTS = {
    "application_name": "umbel",
    "client_encoding": "UTF8",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}


@dataclass(frozen=True, slots=True)
class Options:
    """What ``broker_transport_options`` may say about a PostgreSQL server.

    Attributes:
        schema: the schema that holds our tables, for us alone.
        visibility_timeout: seconds an owner's lease lasts; used by the worker.
        poll_interval: seconds between looks at the server by those who wait, in case a wake-up
            got lost.
        call_timeout: seconds within which a call ends that was given no time-out of its own.
        pool_size: connections of this process at most, besides the one that listens.
        listen: wait for notifications; ``False`` looks around often instead. Behind a pooler that
            is noticed as such, nobody listens in any case.
        prepare: let the server keep the plans of simple statements; not done behind a pooler.
        migrate: create or migrate the tables when they are first used; ``False`` leaves that to
            ``umbel db migrate``.
    """

    schema: str = "umbel"
    visibility_timeout: float = 30.0
    poll_interval: float = 1.0
    call_timeout: float = 10.0
    pool_size: int = 10
    listen: bool = True
    prepare: bool = True
    migrate: bool = True

    def __post_init__(self) -> None:
        for span in _SPANS:
            value = getattr(self, span)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
                raise ImproperlyConfigured(
                    f"postgresql option {span} must be a number of seconds above 0, not {value!r}"
                )
        for switch in ("listen", "prepare", "migrate"):
            value = getattr(self, switch)
            if not isinstance(value, bool):
                raise ImproperlyConfigured(
                    f"postgresql option {switch} must be True or False, not {value!r}"
                )
        size: Any = self.pool_size
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ImproperlyConfigured(
                f"postgresql option pool_size must be a number of connections, not {size!r}"
            )
        name: Any = self.schema
        if not isinstance(name, str) or not re.fullmatch(r"[\w-]+", name) or not _fits(name):
            raise ImproperlyConfigured(
                f"postgresql option schema must be a name of letters, digits, _ and -, at most "
                f"{_LONGEST_NAME} bytes, not {name!r}"
            )
        if name.startswith("pg_") or name in ("public", "information_schema"):
            raise ImproperlyConfigured(
                f"postgresql option schema: {name!r} belongs to the database; give umbel a "
                "schema of its own"
            )


def _fits(name: str) -> bool:
    return len(name.encode("utf-8", "surrogatepass")) <= _LONGEST_NAME


def checked(given: Mapping[str, Any]) -> Options:
    """The options as given, the others at their defaults.

    Raises:
        ImproperlyConfigured: one is unknown or out of range.
    """
    known = [field.name for field in fields(Options)]
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ImproperlyConfigured(
            f"postgresql does not know the option {unknown[0]!r} (known: {', '.join(known)})"
        )
    return Options(**given)


def address(url: str, conf: Mapping[str, Any]) -> dict[str, str]:
    """What libpq has to know to connect to ``url``.

    Several URLs, separated by ``;``, become one with several hosts, of which the one that takes
    writes is used; they may differ in nothing else.

    Raises:
        ImproperlyConfigured: the URL is malformed, or several do not fit together.
    """
    found = _merged([_parsed(one) for one in url.split(";") if one.strip()], url)
    wait = conf.get("broker_connection_timeout")
    parameters = {**_DEFAULTS, **_tls(conf.get("broker_use_ssl")), **found}
    if "," in found.get("host", ""):
        parameters.setdefault("target_session_attrs", "read-write")
    if isinstance(wait, (int, float)) and wait > 0:
        parameters.setdefault("connect_timeout", str(max(ceil(wait), 2)))
    return parameters


def _parsed(url: str) -> dict[str, str]:
    try:
        found = conninfo_to_dict(url.strip())
    except psycopg.Error as error:
        text = str(error).strip().replace(url.strip(), mask_url(url.strip()))
        raise ImproperlyConfigured(
            f"{mask_url(url)}: not a PostgreSQL URL ({mask_url(text)}); it looks like {_LIKE}"
        ) from None
    parsed = {name: str(value) for name, value in found.items() if value is not None}
    ports = [port for port in _listed(parsed.get("port", "")) if port]
    if not all(port.isascii() and port.isdigit() and 0 < int(port) < _PORTS for port in ports):
        raise ImproperlyConfigured(
            f"{mask_url(url)}: not a PostgreSQL URL (its port is no number); it looks like {_LIKE}"
        )
    return parsed


def _merged(found: list[dict[str, str]], url: str) -> dict[str, str]:
    first, *others = found
    if not others:
        return first
    rest = {name: value for name, value in first.items() if name not in _MANY}
    for other in others:
        if {name: value for name, value in other.items() if name not in _MANY} != rest:
            raise ImproperlyConfigured(
                f"{mask_url(url)}: servers to fail over to must differ in host and port alone; "
                "user, password, database and parameters are to be the same"
            )
    hosts = {"host": ",".join(each.get("host", "") for each in found)}
    ports = {"port": ",".join(each.get("port", "5432") for each in found)}
    return {**rest, **hosts, **ports}


def _tls(wanted: Any) -> dict[str, str]:
    """``broker_use_ssl`` in libpq's words: verified, unless it says otherwise."""
    if not wanted:
        return {}
    given: Mapping[str, Any] = wanted if isinstance(wanted, dict) else {}
    names = {"ca_certs": "sslrootcert", "certfile": "sslcert", "keyfile": "sslkey"}
    files = {
        ours: str(given[f"{prefix}{theirs}"])
        for theirs, ours in names.items()
        for prefix in ("", "ssl_")
        if given.get(f"{prefix}{theirs}")
    }
    asked = given.get("cert_reqs", given.get("ssl_cert_reqs", 2))
    unverified = str(asked).rpartition(".")[2].upper() in ("CERT_NONE", "NONE", "0")
    if unverified:
        return {"sslmode": "require", **files}
    return {"sslmode": "verify-full", "sslrootcert": "system", **files}


def location(parameters: Mapping[str, str], schema: str) -> str:
    """The name of the place: equal for URLs of the same database and schema, without secrets."""
    hosts = _listed(parameters.get("host") or os.environ.get("PGHOST", ""))
    ports = _listed(parameters.get("port") or os.environ.get("PGPORT", "5432"))
    ports = ports * len(hosts) if len(ports) == 1 else ports
    places = ",".join(f"{host}:{port}" for host, port in zip(hosts, ports, strict=False))
    user = parameters.get("user") or os.environ.get("PGUSER", "")
    database = parameters.get("dbname") or os.environ.get("PGDATABASE") or user
    return f"postgresql://{places}/{database}?schema={schema}"


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def secrets(parameters: Mapping[str, str]) -> Iterable[str]:
    """Texts that no error message may show."""
    return [parameters[name] for name in ("password", "sslpassword") if parameters.get(name)]
