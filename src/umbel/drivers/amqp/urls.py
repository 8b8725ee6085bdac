"""Where a RabbitMQ server is, read from a URL."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from umbel.exceptions import ImproperlyConfigured, did_you_mean
from umbel.settings.masking import mask_url

if TYPE_CHECKING:
    from urllib.parse import SplitResult

_SCHEMES = ("amqp", "amqps", "pyamqp", "rpc")
_PORT, _TLS_PORT = 5672, 5671
_OPTIONS = ("heartbeat", "connection_timeout")


@dataclass(frozen=True, slots=True)
class AMQPUrl:
    """One server: ``amqp://user:password@host:port/vhost``, or ``amqps://`` for TLS.

    What is missing is ``guest``, ``guest``, ``localhost``, 5672 (TLS: 5671) and ``/``.  Parts may
    be percent-encoded. ``str()`` gives the URL without its password.

    Attributes:
        heartbeat: seconds between heartbeats, where the URL says so (``?heartbeat=30``).
        connect_timeout: seconds to connect, where it does (``?connection_timeout=5``).
    """

    host: str = "localhost"
    port: int = _PORT
    user: str = "guest"
    password: str = field(default="guest", repr=False)
    vhost: str = "/"
    tls: bool = False
    heartbeat: int | None = None
    connect_timeout: float | None = None

    def __str__(self) -> str:
        scheme = "amqps" if self.tls else "amqp"
        host = f"[{self.host}]" if ":" in self.host else self.host
        vhost = "/" if self.vhost == "/" else quote(self.vhost, safe="")
        return f"{scheme}://{quote(self.user, safe='')}@{host}:{self.port}/{vhost}"


def parse(url: str) -> AMQPUrl:
    """The server that ``url`` names.

    Raises:
        ImproperlyConfigured: it is no such URL.
    """
    text = url.strip()
    if "#" in text:
        raise _wrong(text, "a # in user, password or vhost is written as %23")
    parts, port = _split(text)
    if parts.scheme not in _SCHEMES:
        raise _wrong(text, "it does not begin with amqp:// or amqps://")
    try:
        options = dict(parse_qsl(parts.query, True, bool(parts.query)))
    except ValueError as error:
        raise _wrong(text, "what follows the ? is not name=value") from error
    tls = parts.scheme == "amqps"
    heartbeat, patience = _seconds(text, options)
    return AMQPUrl(
        host=unquote(parts.hostname or "localhost"),
        port=port or (_TLS_PORT if tls else _PORT),
        user=unquote(parts.username) if parts.username else "guest",
        password=unquote(parts.password) if parts.password is not None else "guest",
        vhost=_vhost(parts),
        tls=tls,
        heartbeat=None if heartbeat is None else round(heartbeat),
        connect_timeout=patience,
    )


def _split(url: str) -> tuple[SplitResult, int | None]:
    """The parts of ``url`` and its port; what `urllib` says of them could show the password."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise _wrong(url, "its host is malformed") from error
    try:
        return parts, parts.port
    except ValueError as error:
        raise _wrong(
            url, "its port is no number up to 65535 (a / in a password is written as %2F)"
        ) from error


def _vhost(parts: SplitResult) -> str:
    """What follows the first ``/`` behind the host; nothing, or ``/`` alone, is the vhost ``/``."""
    return unquote(parts.path[1:]) or "/"


def _seconds(url: str, given: dict[str, str]) -> list[float | None]:
    """The options in the order of their names' list, None where one is not given."""
    for name in given:
        if name not in _OPTIONS:
            raise _wrong(url, f"there is no option {name!r}{did_you_mean(name, _OPTIONS)}")
    try:
        found = [float(given[name]) if name in given else None for name in _OPTIONS]
    except ValueError as error:
        raise _wrong(url, f"{' and '.join(_OPTIONS)} are numbers of seconds") from error
    if not all(value is None or 0 <= value < float("inf") for value in found):
        raise _wrong(url, f"{' and '.join(_OPTIONS)} are numbers of seconds")
    return found


def parse_many(urls: str) -> list[AMQPUrl]:
    """Every server of a list separated by ``;``, in order; at least one.

    Raises:
        ImproperlyConfigured: one of them is no such URL.
    """
    found = [parse(url) for url in re.split(r";\s*(?=[A-Za-z]+://|$)", urls) if url.strip()]
    if not found:
        raise _wrong(urls, "it is empty")
    return found


def _wrong(url: str, reason: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(
        f"{mask_url(url)!r} is no URL of a RabbitMQ server: {reason}; write it as "
        "amqp://user:password@host:5672/vhost"
    )
