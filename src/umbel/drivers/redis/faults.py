"""What went wrong, in our words.

An error either passes, and the call may be tried again (`OperationalError`), or it does not, and
somebody has to change something: the sentence says what.  Everything the client library raises
and everything the server replies comes through here, once.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, NamedTuple

from redis import exceptions as client

from umbel.exceptions import ImproperlyConfigured, OperationalError, StoreError
from umbel.settings import mask_url

if TYPE_CHECKING:
    from umbel.exceptions import UmbelError


class RefusedError(Exception):
    """An error reply of the server; its first word is a code."""

    @property
    def code(self) -> str:
        """The first word."""
        return str(self).partition(" ")[0]


class StalledError(Exception):
    """The server did not answer in time."""


class ClosedError(Exception):
    """The connection was closed from the other side."""


class _Verdict(NamedTuple):
    """What an error reply means: whether it passes, and what to do."""

    passes: bool
    advice: str
    leaves: bool = False


_VERDICTS = {
    "LOADING": _Verdict(True, "it is loading its data", leaves=True),
    "MASTERDOWN": _Verdict(True, "it is a replica that lost its master", leaves=True),
    "READONLY": _Verdict(True, "it is a replica now: the master has moved", leaves=True),
    "OOM": _Verdict(True, "its memory is full: raise maxmemory or let workers drain the queues"),
    "MISCONF": _Verdict(True, "it cannot save to disk and takes no writes: look at its log"),
    "BUSY": _Verdict(True, "a script blocks it"),
    "UNKILLABLE": _Verdict(True, "a script blocks it"),
    "TRYAGAIN": _Verdict(True, "the cluster is moving keys"),
    "CLUSTERDOWN": _Verdict(True, "the cluster is down"),
    "NOREPLICAS": _Verdict(True, "it has too few replicas to take writes"),
    "UNBLOCKED": _Verdict(True, "its role changed", leaves=True),
    "EXECABORT": _Verdict(True, "it refused a part of the transaction"),
    "NOAUTH": _Verdict(False, "give user name and password in the URL", leaves=True),
    "WRONGPASS": _Verdict(False, "correct user name and password in the URL", leaves=True),
    "NOPERM": _Verdict(
        False, "give this user the commands and keys that docs/how-to/redis.md lists"
    ),
    "MOVED": _Verdict(False, "it is a cluster: keep all keys in one slot with a global_keyprefix "
                      "such as '{umbel}:' and name the node that has the slot"),
    "CROSSSLOT": _Verdict(False, "it is a cluster: keep all keys in one slot with a "
                          "global_keyprefix such as '{umbel}:'"),
}  # fmt: skip


# The library takes these words off.
_LOST_CODES: dict[type, str] = {
    client.NoPermissionError: "NOPERM ",
    client.BusyLoadingError: "LOADING ",
    client.ReadOnlyError: "READONLY ",
    client.OutOfMemoryError: "OOM ",
}


def leaves(error: RefusedError) -> bool:
    """Whether the connection is of no use any more after this reply."""
    verdict = _VERDICTS.get(error.code)
    return verdict.leaves if verdict else "max number of clients" in str(error)


def translate(error: BaseException, url: str) -> UmbelError:
    """The error of ours that ``error``, which came up at ``url``, amounts to."""
    match error:
        case client.AuthenticationError() | client.AuthorizationError():
            return _credentials(str(error), url)
        case RefusedError() | client.ResponseError() | client.BusyLoadingError():
            return _refused(_LOST_CODES.get(type(error), "") + str(error), url)
        case StalledError() | client.TimeoutError() | TimeoutError():
            return OperationalError(f"no answer in time ({_said(error)})", url)
        case _:
            return _broken(error, url)


def _said(error: BaseException) -> str:
    return mask_url(str(error)) or type(error).__name__


def _refused(text: str, url: str) -> UmbelError:
    code = text.partition(" ")[0]
    verdict = _VERDICTS.get(code)
    if verdict is not None:
        said = f"{verdict.advice} ({text})"
        return (
            OperationalError(said, url)
            if verdict.passes
            else ImproperlyConfigured(f"{url}: {said}")
        )
    if code == "WRONGTYPE":
        return StoreError(
            f"{url}: a key of ours holds something else, so another program uses the same names; "
            f"set a global_keyprefix ({text})"
        )
    if "max number of clients" in text:
        return OperationalError(f"it has too many clients: raise maxclients ({text})", url)
    if "DB index" in text:
        return ImproperlyConfigured(f"{url}: there is no database of this number ({text})")
    if "unknown command" in text.lower() or "unknown subcommand" in text.lower():
        return ImproperlyConfigured(
            f"{url}: it is older than Redis 6.2 or a proxy that hides commands ({text})"
        )
    return OperationalError(text, url)


def _credentials(text: str, url: str) -> UmbelError:
    return ImproperlyConfigured(
        f"{url} refuses the credentials ({mask_url(text)}): correct user name and password in the "
        "URL"
    )


def _broken(error: BaseException, url: str) -> UmbelError:
    """A connection that could not be made, or that ended."""
    text = _said(error)
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return ImproperlyConfigured(
            f"{url}: its certificate is not trusted ({cause.verify_message}); name the authority "
            "in ssl_ca_certs, or the host as the certificate does"
        )
    if isinstance(cause, ssl.SSLError) and "EOF" not in str(cause):
        return ImproperlyConfigured(
            f"{url}: no encrypted connection ({cause.reason or text}); is it redis:// rather than "
            "rediss:// there?"
        )
    if isinstance(error, client.ConnectionError) and "max number of clients" in text:
        return _refused(text, url)
    return OperationalError(text, url)
