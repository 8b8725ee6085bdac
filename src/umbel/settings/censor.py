"""Settings as they may be shown: secrets hidden, passwords in URLs masked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from umbel.settings.masking import STARS, holds_url, mask_url
from umbel.settings.names import Namespace
from umbel.settings.table import TABLE

if TYPE_CHECKING:
    from collections.abc import Iterable

HIDDEN: Final = "*" * STARS

_HIDING = "API|TOKEN|KEY|SECRET|PASS|PROFANITIES_LIST|SIGNATURE|DATABASE|BEAT_DBURI"


def censor(settings: Mapping[Any, Any]) -> dict[Any, Any]:
    """The same settings with everything hidden that a stranger must not see.

    A value whose key tells of a secret becomes eight asterisks, whatever it is. Only a mapping is
    entered instead, even under such a key, and judged by its own keys. Other texts stay, with the
    passwords in URLs and connection strings masked.
    """
    return {key: _shown(key, value) for key, value in settings.items()}


def is_hidden(key: str) -> bool:
    """True when the value of a setting with this name is never shown."""
    setting = TABLE.get(Namespace().meaning(key))
    return bool(re.search(_HIDING, key, re.IGNORECASE)) or (setting is not None and setting.secret)


def as_text(settings: Mapping[Any, Any]) -> str:
    """One line per setting, ``name: value``."""
    from pprint import pformat

    return "\n".join(f"{key}: {pformat(value)}" for key, value in settings.items())


def _shown(key: Any, value: Any) -> Any:
    if isinstance(value, Mapping):
        return censor(value)
    if isinstance(key, str) and is_hidden(key):
        return HIDDEN
    if isinstance(value, str):
        return mask_url(value, STARS) if _may_hold_url(key, value) else value
    if isinstance(value, (list, tuple, set, frozenset)):
        return _like(value, (_shown(key, item) for item in value))
    return value


def _may_hold_url(key: Any, value: str) -> bool:
    """Under these keys even a text without ``://`` is read as a URL."""
    named = isinstance(key, str) and re.search("url|backend|dburi", key, re.IGNORECASE)
    return bool(named) or holds_url(value)


def _like(value: Any, items: Iterable[Any]) -> Any:
    """A list of the items, or a tuple where the value is one; sets may not keep their kind."""
    return tuple(items) if isinstance(value, tuple) else list(items)
