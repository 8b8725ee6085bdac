"""How a connection is made: the address, encryption, credentials, the database."""

from __future__ import annotations

import socket
import ssl
import time
from typing import TYPE_CHECKING, Any

from umbel.drivers.redis.faults import ClosedError, StalledError
from umbel.drivers.redis.wire import Wire
from umbel.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from collections.abc import Mapping

    from umbel.drivers.redis.options import Options
    from umbel.drivers.redis.places import Place

_SHORTEST = 0.001
_MASTER = b"master"


def dial(place: Place, options: Options, until: float) -> Wire:
    """A connection to the server at ``place``, or to the one its sentinel names.

    Raises:
        OSError: nothing answers there.
        RefusedError: the server does not let us in.
        StalledError: this was not done before ``until``.
        ImproperlyConfigured: a file of the encrypted connection cannot be read.
    """
    until = min(until, time.monotonic() + options.socket_connect_timeout)
    address = _master(place, options, until) if place.sentinel else (place.host, place.port)
    wire = Wire(_opened(address, place.tls, options, until))
    try:
        for command in _greeting(place, options):
            wire.ask(*command, until=until)
        if place.sentinel:
            _check_master(wire.ask("ROLE", until=until))
    except BaseException:
        wire.close()
        raise
    return wire


def _check_master(role: list[Any]) -> None:
    if role[0] != _MASTER:
        raise ClosedError("it is no master any more")


def _opened(
    address: tuple[str, int], tls: Mapping[str, Any] | None, options: Options, until: float
) -> socket.socket:
    host, port = address
    left = max(until - time.monotonic(), _SHORTEST)
    if not port:
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        opened.settimeout(left)
    else:
        try:
            opened = socket.create_connection(address, timeout=left)
        except TimeoutError as error:
            raise StalledError("nothing takes the call") from error
    try:
        if not port:
            opened.connect(host)
            return opened
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if options.socket_keepalive:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in (options.socket_keepalive_options or {}).items():
                opened.setsockopt(socket.IPPROTO_TCP, name, value)
        return opened if tls is None else _encrypted(opened, host, tls)
    except BaseException:
        opened.close()
        raise


def _encrypted(opened: socket.socket, host: str, tls: Mapping[str, Any]) -> socket.socket:
    try:
        context = ssl.create_default_context(
            cafile=tls.get("ssl_ca_certs"),
            capath=tls.get("ssl_ca_path"),
            cadata=tls.get("ssl_ca_data"),
        )
        if tls.get("ssl_certfile"):
            context.load_cert_chain(
                tls["ssl_certfile"], tls.get("ssl_keyfile"), tls.get("ssl_password")
            )
    except (FileNotFoundError, PermissionError, ssl.SSLError) as error:
        named = [
            tls[name] for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile") if tls.get(name)
        ]
        raise ImproperlyConfigured(
            f"certificates or keys of the encrypted connection cannot be read ({error}): "
            f"{', '.join(map(str, named))}"
        ) from error
    context.check_hostname = tls["ssl_check_hostname"]
    context.verify_mode = tls["ssl_cert_reqs"]
    if tls.get("ssl_min_version"):
        context.minimum_version = tls["ssl_min_version"]
    if tls.get("ssl_ciphers"):
        context.set_ciphers(tls["ssl_ciphers"])
    try:
        return context.wrap_socket(opened, server_hostname=host)
    except TimeoutError as error:
        raise StalledError(
            "no encrypted connection comes about; is it redis:// rather than rediss:// there?"
        ) from error


def _greeting(place: Place, options: Options) -> list[tuple[Any, ...]]:
    """What is said before the first command."""
    user, password = place.user, place.password
    if options.credential_provider is not None:
        given = options.credential_provider.get_credentials()
        user, password = given if len(given) > 1 else (None, given[0])
    said: list[tuple[Any, ...]] = []
    if password is not None:
        said.append(("AUTH", user, password) if user else ("AUTH", password))
    if place.db:
        said.append(("SELECT", place.db))
    if options.client_name:
        said.append(("CLIENT", "SETNAME", options.client_name))
    return said


def _master(place: Place, options: Options, until: float) -> tuple[str, int]:
    """Where the server is now, as its sentinel says."""
    own = options.sentinel_kwargs or {}
    tls = place.tls if own.get("ssl") else None
    wire = Wire(_opened((place.host, place.port), tls, options, until))
    try:
        if own.get("password"):
            user = (own["username"],) if own.get("username") else ()
            wire.ask("AUTH", *user, own["password"], until=until)
        name = options.master_name or "mymaster"
        found = wire.ask("SENTINEL", "get-master-addr-by-name", name, until=until)
    finally:
        wire.close()
    if found is None:
        raise ClosedError(
            f"this sentinel knows no master {name!r}; the option master_name tells it"
        )
    return found[0].decode(), int(found[1])
