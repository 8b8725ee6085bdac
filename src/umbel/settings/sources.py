"""What a configuration source says: a module, class, object, mapping, or the name of one."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from umbel.exceptions import ImproperlyConfigured
from umbel.representation import saferepr
from umbel.settings.names import Namespace, checked, is_own
from umbel.settings.table import TABLE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

ENVIRONMENT: Final[Mapping[str, tuple[str, ...]]] = {
    "broker_url": ("UMBEL_BROKER_URL", "CELERY_BROKER_URL"),
    "broker_read_url": ("UMBEL_BROKER_READ_URL", "CELERY_BROKER_READ_URL"),
    "broker_write_url": ("UMBEL_BROKER_WRITE_URL", "CELERY_BROKER_WRITE_URL"),
    "result_backend": ("UMBEL_RESULT_BACKEND", "CELERY_RESULT_BACKEND"),
}
"""The settings that environment variables override, and the variables, the first one first."""

CONFIG_MODULE: Final = ("UMBEL_CONFIG_MODULE", "CELERY_CONFIG_MODULE")
"""The variables that name the module to read where the app was told of no source."""

_PLAIN = (str, bytes, bool, int, float, list, tuple, dict, set, frozenset, timedelta, type(None))
_NO_SOURCE = (str, bytes, bool, int, float, list, tuple, set, type(None))


@dataclass(frozen=True, slots=True)
class Reading:
    """What was found in a source.

    Attributes:
        values: The keys that supply settings or are the user's own, with checked values.
        found: False when the source could not be imported and that was to be passed over.
        complete: False when the source is a module whose own import has not come to its end.
        from_django: True for Django's settings, whose old names are not the user's to change.
    """

    values: dict[str, Any]
    found: bool = True
    complete: bool = True
    from_django: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """Something settings can be read from.

    Attributes:
        what: A module, class, object or mapping; the name of one; or None for no source.
        silent: True when it may be missing.
    """

    what: Any = None
    silent: bool = False

    def load(self) -> Any:
        """Import what is named, and return it; None when it is missing and may be."""
        try:
            return load(self.what)
        except (ImportError, AttributeError):
            if not self.silent:
                raise
            return None

    def read(self, names: Namespace, declared: Collection[str] = ()) -> Reading:
        """What it says; the errors are those of `read`."""
        found = self.load()
        if found is None and (self.what is None or self.silent):
            return Reading({}, found=False)
        return read(found, names, declared)


def variable(names: tuple[str, ...], environ: Mapping[str, str]) -> str | None:
    """The value of the first of these environment variables that is set and not empty."""
    return next((value for name in names if (value := environ.get(name))), None)


def load(source: Any) -> Any:
    """The object that a source names; one that is no string is returned as it is.

    A string is ``package.module``, ``package.module:attribute`` or ``package.module.attribute``;
    the current directory is searched as well. Blocks while the module is imported.

    Raises:
        ImportError: the module, something it imports, or the attribute does not exist.
        ImproperlyConfigured: the string names a file.
    """
    if not isinstance(source, str):
        return source
    if source.endswith(".py"):
        raise ImproperlyConfigured(
            f"{source!r} names a file; write the name of the module, "
            f"{source.removesuffix('.py').replace('/', '.')!r}"
        )
    module, colon, attribute = source.partition(":")
    return _attribute(_imported(module), attribute) if colon else _module_or_attribute(source)


def read(found: Any, names: Namespace, declared: Collection[str] = ()) -> Reading:
    """The settings in a module, class, object or mapping, checked.

    Keys that supply no setting are passed over, unless they can only have been meant as one: see
    `Namespace.claims`. From an object with attributes, only attributes with plain values are ever
    taken for a setting with a wrong name; modules, classes, functions and other objects that
    happen to be there are not.

    Raises:
        ImproperlyConfigured: a setting does not exist or has a value it cannot use, or this is
            nothing that settings can be read from.
    """
    if isinstance(found, Mapping):
        return Reading(_from_mapping(found, names, declared))
    if isinstance(found, _NO_SOURCE):
        raise ImproperlyConfigured(
            f"settings cannot be read from {saferepr(found)}; give a module, its name, a class, "
            "an object or a mapping"
        )
    django = _is_django(found)
    values = _from_object(_unwrapped(found) if django else found, names, declared)
    return Reading(values, complete=not _is_being_imported(found), from_django=django)


def _from_mapping(
    found: Mapping[Any, Any], names: Namespace, declared: Collection[str]
) -> dict[str, Any]:
    keys = [key for key in found if isinstance(key, str)]
    for key in keys:
        if names.claims(key) and not _supplies(key, names, declared):
            raise names.unknown(key)
    return {
        key: checked(key, found[key], names=names, declared=declared)
        for key in keys
        if _supplies(key, names, declared)
    }


def _from_object(found: Any, names: Namespace, declared: Collection[str]) -> dict[str, Any]:
    for key, value in _own_data(found):
        suspicious = names.claims(key) and isinstance(value, _PLAIN)
        if suspicious and not _supplies(key, names, declared):
            raise names.unknown(key)
    values = {}
    for key in _attributes(found, names):
        # Only what can be a setting is touched: the rest may be a property that does something.
        if _supplies(key, names, declared) and hasattr(found, key):
            values[key] = checked(key, getattr(found, key), names=names, declared=declared)
    return values


def _supplies(key: str, names: Namespace, declared: Collection[str]) -> bool:
    name = names.meaning(key)
    return name in TABLE or is_own(name, declared)


def _attributes(found: Any, names: Namespace) -> Iterable[str]:
    """The attributes that are listed, and the settings an unlisting ``__getattr__`` may know."""
    listed = [key for key in dir(found) if not key.startswith("_")]
    if isinstance(found, ModuleType) or not hasattr(type(found), "__getattr__"):
        return listed
    return dict.fromkeys([*listed, *(key for name in TABLE for key in names.candidates(name))])


def _own_data(found: Any) -> Iterator[tuple[str, Any]]:
    """The attributes that somebody wrote down, not those that a base class brings along.

    Of an object these are its own data; where it has none, those of its class.
    """
    if isinstance(found, ModuleType) or getattr(found, "__dict__", None):
        classes = found.__mro__ if isinstance(found, type) else (found,)
    else:
        classes = type(found).__mro__
    for cls in classes:
        if cls is not object:
            yield from vars(cls).items()


def _is_django(found: Any) -> bool:
    return type(found).__name__ == "LazySettings" and hasattr(type(found), "_setup")


def _unwrapped(lazy: Any) -> Any:
    """What is inside Django's lazy settings, which read themselves on the first attribute."""
    getattr(lazy, "INSTALLED_APPS", None)
    return lazy._wrapped  # noqa: SLF001 - Django offers no public way in


def _is_being_imported(found: Any) -> bool:
    """True for a module that reads settings, through whatever it imports, before it is done."""
    return isinstance(found, ModuleType) and getattr(found.__spec__, "_initializing", False)


def _module_or_attribute(path: str) -> Any:
    try:
        return _imported(path)
    except ModuleNotFoundError as missing:
        module, dot, attribute = path.rpartition(".")
        if not dot or missing.name is None or not _is_part(missing.name, path):
            raise
        return _attribute(_module_or_attribute(module), attribute)


def _is_part(name: str, path: str) -> bool:
    return f"{path}.".startswith(f"{name}.")


def _attribute(found: Any, attribute: str) -> Any:
    for name in attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as missing:
            raise ModuleNotFoundError(f"{missing}, so no settings can be read from it") from None
    return found


def _imported(name: str) -> ModuleType:
    """The module, also one that lies in the current directory."""
    here = os.getcwd()  # noqa: PTH109 - sys.path holds strings
    if here in sys.path:
        return import_module(name)
    sys.path.insert(0, here)
    try:
        return import_module(name)
    finally:
        with suppress(ValueError):
            sys.path.remove(here)
