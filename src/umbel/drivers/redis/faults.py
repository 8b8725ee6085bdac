"""What went wrong, in our words.

An error either passes, and the call may be tried again (`OperationalError`), or it does not, and
somebody has to change something: the sentence says what.  Everything a socket raises
and everything the server replies comes through here, once.
"""

from __future__ import annotations

import ssl
from typing import NamedTuple

from umbel.exceptions import ImproperlyConfigured, OperationalError, StoreError, UmbelError
from umbel.settings import mask_url


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
    """What an error reply means: its kind, what to do, and whether the connection is done with."""

    kind: type[UmbelError]
    advice: str
    leaves: bool = False


_PASSES, _STAYS = OperationalError, ImproperlyConfigured
_ONE_SLOT = "it is a cluster: keep all keys in one slot with a global_keyprefix such as '{umbel}:'"
_VERDICTS = {
    "LOADING": _Verdict(_PASSES, "it is loading its data", leaves=True),
    "MASTERDOWN": _Verdict(_PASSES, "it is a replica that lost its master", leaves=True),
    "READONLY": _Verdict(_PASSES, "it is a replica now: the master has moved", leaves=True),
    "OOM": _Verdict(_PASSES, "its memory is full: raise maxmemory or let workers drain queues"),
    "MISCONF": _Verdict(_PASSES, "it cannot save to disk and takes no writes: look at its log"),
    "BUSY": _Verdict(_PASSES, "a script blocks it"),
    "UNKILLABLE": _Verdict(_PASSES, "a script blocks it"),
    "TRYAGAIN": _Verdict(_PASSES, "the cluster is moving keys"),
    "CLUSTERDOWN": _Verdict(_PASSES, "the cluster is down"),
    "NOREPLICAS": _Verdict(_PASSES, "it has too few replicas to take writes"),
    "EXECABORT": _Verdict(_PASSES, "it refused a part of the transaction"),
    "NOAUTH": _Verdict(_STAYS, "give user name and password in the URL", leaves=True),
    "WRONGPASS": _Verdict(_STAYS, "correct user name and password in the URL", leaves=True),
    "NOPERM": _Verdict(_STAYS, "give this user the commands and keys that the guide lists"),
    "MOVED": _Verdict(_STAYS, f"{_ONE_SLOT}, and name the node that has the slot", leaves=True),
    "CROSSSLOT": _Verdict(_STAYS, _ONE_SLOT),
    "WRONGTYPE": _Verdict(
        StoreError, "a key of ours holds something else; set a global_keyprefix of your own"
    ),
}
# Where the first word is ERR, the text has to tell.
_PHRASES = {
    "max number of clients": _Verdict(_PASSES, "raise maxclients", leaves=True),
    "AUTH": _Verdict(_STAYS, "correct user name and password in the URL", leaves=True),
    "DB index": _Verdict(_STAYS, "there is no database of this number", leaves=True),
    "nknown command": _Verdict(_STAYS, "it is older than Redis 6.2, or a proxy hides commands"),
    "nknown subcommand": _Verdict(_STAYS, "it is older than Redis 6.2, or a proxy hides commands"),
}


def _verdict(text: str) -> _Verdict | None:
    found = _VERDICTS.get(text.partition(" ")[0])
    if found is not None:
        return found
    return next((verdict for phrase, verdict in _PHRASES.items() if phrase in text), None)


def leaves(error: RefusedError) -> bool:
    """Whether the connection is of no use any more after this reply."""
    verdict = _verdict(str(error))
    return verdict is not None and verdict.leaves


def translate(error: BaseException, url: str) -> UmbelError:
    """The error of ours that ``error``, which came up at ``url``, amounts to."""
    match error:
        case RefusedError():
            return _refused(str(error), url)
        case StalledError():
            return OperationalError(f"no answer in time ({_said(error)})", url)
        case _:
            return _broken(error, url)


def _said(error: BaseException) -> str:
    return mask_url(str(error)) or type(error).__name__


def _refused(text: str, url: str) -> UmbelError:
    verdict = _verdict(text)
    if verdict is None:
        return OperationalError(text, url)
    said = f"{verdict.advice} ({text})"
    if verdict.kind is OperationalError:
        return OperationalError(said, url)
    return verdict.kind(f"{url}: {said}")


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
    return OperationalError(text, url)
