"""What to put into a bug report: versions, the platform, and the settings without secrets."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import umbel
from umbel.current import app_or_default
from umbel.settings import mask_url

if TYPE_CHECKING:
    from umbel.app import Umbel


def bugreport(app: Umbel | None = None) -> str:
    """Versions, platform and settings as text, passwords and keys censored.

    ``app`` is the current application by default. Its configuration is read; nothing is connected.

    Raises:
        ImportError, ImproperlyConfigured: its configuration cannot be read.
    """
    app = app_or_default(app)
    loader = type(app.loader)
    transport = mask_url(app.broker_url).partition(":")[0]
    return "\n".join(
        [
            f"software -> umbel:{umbel.__version__} py:{_python()}",
            f"            {' '.join(_libraries())}",
            f"platform -> {_platform()}",
            f"loader   -> {loader.__module__}.{loader.__qualname__}",
            f"settings -> transport:{transport} results:{app.backend_shown}",
            "",
            app.conf.humanize(),
        ]
    )


def _python() -> str:
    return ".".join(map(str, sys.version_info[:3]))


def _libraries() -> list[str]:
    """The versions of what a message or its storage goes through."""
    import sqlite3
    from importlib import metadata

    found = [f"sqlite:{sqlite3.sqlite_version}"]
    for name in ("click", "orjson", "msgpack", "pydantic"):
        try:
            found.append(f"{name}:{metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return found


def _platform() -> str:
    uname: Any = os.uname() if hasattr(os, "uname") else None
    system = uname.sysname if uname else sys.platform
    kernel = uname.release if uname else "?"
    bits = 64 if sys.maxsize > 1 << 32 else 32
    implementation = {"cpython": "CPython", "pypy": "PyPy"}.get(
        sys.implementation.name, sys.implementation.name
    )
    return f"system:{system} arch:{bits}bit kernel version:{kernel} imp:{implementation}"
