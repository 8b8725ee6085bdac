"""Settings given on a command line: ``worker.concurrency=4 task_acks_late=(bool)yes``."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from umbel.exceptions import ImproperlyConfigured
from umbel.settings.kinds import as_flag
from umbel.settings.masking import STARS
from umbel.settings.names import OLD_TO_NEW, Namespace
from umbel.settings.table import TABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_ITEM = re.compile(r"(?P<key>[^=]*)=(?:\((?P<cast>\w+)\))?(?P<value>.*)", re.DOTALL)


def _as_json(*expected: type) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        value = json.loads(text)
        if expected and not isinstance(value, expected):
            raise ValueError
        return value

    return convert


_CASTS: Final[Mapping[str, Callable[[str], Any]]] = {
    "any": str,
    "bool": as_flag,
    "bytes": str.encode,
    "dict": _as_json(dict),
    "float": float,
    "int": int,
    "json": _as_json(),
    "list": _as_json(list),
    "string": str,
    "tuple": lambda text: tuple(_as_json(list)(text)),
}


def parse(items: Iterable[str], namespace: str = "celery") -> dict[str, Any]:
    """The settings that these words of a command line give, by name.

    Each is ``family.name=value``, ``family_name=value``, or ``.name=value`` (also ``_name=``)
    with the namespace as family. ``(type)`` before the value says what to make of it: json, list,
    tuple, dict (all written as JSON), int, float, bool, string, any. Otherwise the type of the
    setting decides.

    Raises:
        ImproperlyConfigured: there is no ``=``, no such setting or type, or the value does not
            fit.
    """
    return dict(_parsed(item, namespace) for item in items)


def _parsed(item: str, namespace: str) -> tuple[str, Any]:
    found = _ITEM.fullmatch(item)
    if found is None:
        raise ImproperlyConfigured(f"{item!r} is no setting: write name=value")
    name = _name(found["key"].strip(), namespace)
    setting = TABLE[name]
    cast = found["cast"] or setting.type
    if cast not in _CASTS:
        raise ImproperlyConfigured(
            f"{name}: there is no type {cast!r}; the types are {', '.join(_CASTS)}"
        )
    try:
        return name, _CASTS[cast](found["value"])
    except ValueError:
        shown = "*" * STARS if setting.secret else repr(found["value"])
        kind = cast if found["cast"] else setting.takes
        raise ImproperlyConfigured(f"{name}: {shown} cannot be read as {kind}") from None


def _name(key: str, namespace: str) -> str:
    rest = key.lstrip("._")
    flat = rest.replace(".", "_").lower()
    names = (f"{namespace}_{flat}", flat) if rest != key else (flat, f"{namespace}_{flat}")
    for name in names:
        if name in TABLE:
            return name
    if key in OLD_TO_NEW:
        return OLD_TO_NEW[key]
    raise Namespace().unknown(flat)
