"""Results as files, one for each task, with the names and the content of Celery's ``file://``.

``file:///var/results`` is a directory that is there and may be written. It may be on a network
file system that has locks, and be shared by machines and with Celery.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from umbel.clock import SystemClock
from umbel.drivers import Server
from umbel.drivers.files.backend import FileBackend
from umbel.drivers.files.folder import Folder
from umbel.exceptions import ImproperlyConfigured
from umbel.stored import Formats, Lifetimes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from umbel.clock import Clock

_OPTIONS = ("global_keyprefix",)
_ENDS_OF_PREFIX = (":", "_", "-", ".")


def connect(url: str, given: Mapping[str, Any], conf: Mapping[str, Any]) -> Server:
    """The directory that ``url`` names; it is looked at when first used.

    Raises:
        ImproperlyConfigured: the URL names no directory, or an option is unknown.
    """
    return serve(url, given, conf, SystemClock())


def serve(url: str, given: Mapping[str, Any], conf: Mapping[str, Any], clock: Clock) -> Server:
    """As `connect`; the age of results is measured by ``clock``."""
    for name in given:
        if name not in _OPTIONS:
            known = ", ".join(_OPTIONS)
            raise ImproperlyConfigured(
                f"file:// does not know the option {name!r} (known: {known})"
            )
    path = _path(url)
    folder = Folder(path, _prefix(given.get("global_keyprefix") or ""))
    backend = FileBackend(folder, Formats.of(conf), Lifetimes.from_settings(conf), clock)
    return Server(f"file://{path}", None, backend, None)


def _path(url: str) -> str:
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.netloc == "localhost":
        parts = parts._replace(netloc="")
    if parts.netloc or not path.strip("/") or parts.query or parts.fragment:
        raise ImproperlyConfigured(
            f"{url}: names no directory of this machine (file:///var/results has three slashes)"
        )
    return path.rstrip("/")


def _prefix(given: Any) -> str:
    if not isinstance(given, str) or "/" in given or "\0" in given:
        raise ImproperlyConfigured(
            f"file:// option global_keyprefix must be a text without slashes, not {given!r}"
        )
    return given if not given or given.endswith(_ENDS_OF_PREFIX) else f"{given}_"
