"""Objects by their dotted path, for names that the configuration gives; never for messages."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def symbol_by_name(name: Any, aliases: Mapping[str, Any] | None = None) -> Any:
    """The object at ``pkg.mod:attr`` or ``pkg.mod.attr``; what is no text is returned as it is.

    Raises:
        ImportError: no such module.
        AttributeError: the module has no such attribute.
    """
    if not isinstance(name, str):
        return name
    name = (aliases or {}).get(name, name)
    if not isinstance(name, str):
        return name
    module_name, separator, attribute = name.partition(":")
    if not separator:
        module_name, separator, attribute = name.rpartition(".")
    if not separator or not module_name:
        return import_module(name)
    found: Any = import_module(module_name)
    for part in attribute.split("."):
        found = getattr(found, part)
    return found


@contextmanager
def directory_on_path(directory: str | None = None) -> Iterator[None]:
    """Within the block, modules are also found in ``directory`` (by default the current one)."""
    entry = directory or os.getcwd()  # noqa: PTH109 - sys.path holds strings
    if entry in sys.path:
        yield
        return
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        if entry in sys.path:
            sys.path.remove(entry)
