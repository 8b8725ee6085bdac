"""The URL and the options of this driver, checked before anything is opened."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from umbel.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Options:
    """What ``broker_transport_options`` may say about a SQLite file.

    Attributes:
        visibility_timeout: seconds an owner's lease lasts; used by the worker.
        synchronous: ``full``: what was published is on the disk when the call returns;
            ``normal``: it survives the death of every process, but not a power cut.
        busy_timeout: seconds to wait for other processes before a call fails.
        poll_interval: seconds between looks at the file by those who wait, in case a wake-up
            got lost.
    """

    visibility_timeout: float = 30.0
    synchronous: str = "full"
    busy_timeout: float = 10.0
    poll_interval: float = 1.0

    def __post_init__(self) -> None:
        for name in ("visibility_timeout", "busy_timeout", "poll_interval"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
                raise ImproperlyConfigured(
                    f"sqlite option {name} must be a number of seconds above 0, not {value!r}"
                )
        if self.synchronous not in ("full", "normal"):
            raise ImproperlyConfigured(
                f"sqlite option synchronous must be 'full' or 'normal', not {self.synchronous!r}"
            )


def checked(given: Mapping[str, Any]) -> Options:
    """The options as given, the others at their defaults.

    Raises:
        ImproperlyConfigured: one is unknown or out of range.
    """
    known = [field.name for field in fields(Options)]
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ImproperlyConfigured(
            f"sqlite does not know the option {unknown[0]!r} (known: {', '.join(known)})"
        )
    return Options(**given)


def path(url: str) -> str:
    """The absolute path of the file that ``url`` names, symbolic links resolved.

    Raises:
        ImproperlyConfigured: it names none.
    """
    parts = urlsplit(url)
    if parts.query or parts.fragment:
        raise ImproperlyConfigured(
            f"{url}: options of sqlite belong in broker_transport_options, not in the URL"
        )
    name = unquote(parts.path)[1:]
    if parts.netloc or not name or name.endswith("/"):
        raise ImproperlyConfigured(
            f"{url}: names no file (sqlite:///relative.db has three slashes, "
            "sqlite:////absolute.db four)"
        )
    return os.path.realpath(name)
