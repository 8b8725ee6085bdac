"""TLS: verification is on unless it is switched off by name."""

from __future__ import annotations

import select
import ssl
import time
from typing import TYPE_CHECKING, Any

from umbel.drivers.amqp.errors import ConnectionLost
from umbel.exceptions import ImproperlyConfigured, did_you_mean

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from umbel.exceptions import UmbelError

_OPTIONS = (
    "keyfile",
    "certfile",
    "ca_certs",
    "cert_reqs",
    "password",
    "ciphers",
    "server_hostname",
    "check_hostname",
)
_NO_TLS = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"}
_REQUIREMENTS = {
    "required": ssl.CERT_REQUIRED,
    "cert_required": ssl.CERT_REQUIRED,
    "optional": ssl.CERT_OPTIONAL,
    "cert_optional": ssl.CERT_OPTIONAL,
    "none": ssl.CERT_NONE,
    "cert_none": ssl.CERT_NONE,
}


def context(options: Mapping[str, Any]) -> ssl.SSLContext:
    """What ``broker_use_ssl`` asks for.

    ``keyfile`` and ``certfile`` are ours, ``ca_certs`` is whom we trust (unset: the system's
    list), ``cert_reqs`` whether the server must prove itself: ``required`` (when unset), or
    ``none``, or a constant of `ssl`.  Besides: ``password`` of the key, ``ciphers``,
    ``check_hostname``, and ``server_hostname`` where the certificate names another host.

    Raises:
        ImproperlyConfigured: an option is unknown, or a file cannot be read.
    """
    for name in options:
        if name not in _OPTIONS:
            raise ImproperlyConfigured(
                f"broker_use_ssl has no option {name!r}{did_you_mean(name, _OPTIONS)}"
            )
    required = _required(options.get("cert_reqs"))
    try:
        made = ssl.create_default_context(cafile=options.get("ca_certs"))
        made.check_hostname = (
            bool(options.get("check_hostname", True)) and required == ssl.CERT_REQUIRED
        )
        made.verify_mode = required
        if options.get("certfile"):
            made.load_cert_chain(
                options["certfile"], options.get("keyfile"), options.get("password")
            )
        if options.get("ciphers"):
            made.set_ciphers(options["ciphers"])
    except (OSError, TypeError, ValueError) as error:
        files = ", ".join(
            str(options[n]) for n in ("ca_certs", "certfile", "keyfile") if n in options
        )
        raise ImproperlyConfigured(f"broker_use_ssl cannot be used ({files}): {error}") from error
    return made


def _required(given: Any) -> ssl.VerifyMode:
    if given is None or given is True:
        return ssl.CERT_REQUIRED
    try:
        return _REQUIREMENTS[given.lower()] if isinstance(given, str) else ssl.VerifyMode(given)
    except (KeyError, ValueError) as error:
        raise ImproperlyConfigured(
            f"broker_use_ssl: cert_reqs={given!r} is none of 'required', 'optional' and 'none'"
        ) from error


def encrypt(
    plain: socket.socket, with_context: ssl.SSLContext, host: str, place: str, deadline: float
) -> ssl.SSLSocket:
    """``plain`` with TLS on it, agreed on until ``deadline`` (monotonic).

    Raises:
        ImproperlyConfigured: the server does not speak TLS, or one side does not trust the other.
        ConnectionLost: the network failed, or it took too long.
    """
    plain.setblocking(False)
    secret = None
    try:
        secret = with_context.wrap_socket(
            plain, server_hostname=host, do_handshake_on_connect=False
        )
        _shake_hands(secret, deadline)
    except BaseException as error:
        if secret is not None:
            secret.close()
        if isinstance(error, OSError):
            raise _failure(error, place) from error
        raise
    return secret


def _shake_hands(secret: ssl.SSLSocket, deadline: float) -> None:
    while True:
        try:
            secret.do_handshake()
        except ssl.SSLWantReadError:
            awaited = select.POLLIN
        except ssl.SSLWantWriteError:
            awaited = select.POLLOUT
        else:
            return
        poll = select.poll()
        poll.register(secret, awaited)
        if not poll.poll(max(deadline - time.monotonic(), 0) * 1000):
            raise TimeoutError("timed out")


def _failure(error: OSError, place: str) -> UmbelError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return ImproperlyConfigured(
            f"the certificate of {place} is not trusted: {error.verify_message}; name the "
            "authority that signed it as ca_certs of broker_use_ssl"
        )
    reason = getattr(error, "reason", None) or error.strerror or str(error) or type(error).__name__
    if isinstance(error, ssl.SSLError) and reason in _NO_TLS:
        return ImproperlyConfigured(
            f"{place} does not speak TLS on this port; use amqp:// (RabbitMQ's usual port for "
            "amqps:// is 5671)"
        )
    if isinstance(error, ssl.SSLError) and "ALERT" in reason:
        return refused(place, reason)
    return ConnectionLost(f"TLS with {place} failed: {reason}")


def refused(place: str, reason: str) -> ImproperlyConfigured:
    """The server ended TLS, for a reason of its own."""
    return ImproperlyConfigured(
        f"{place} refused our side of TLS ({reason}); it may ask for a certificate: set certfile "
        "and keyfile of broker_use_ssl"
    )
