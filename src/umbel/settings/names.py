"""The names a setting goes by: new, old, and with a prefix.

Every setting of Celery has a lower-case name and the upper-case one of earlier days. Under a
namespace a configuration source may also write a prefix in front: with the namespace ``CELERY``
the key ``CELERY_TASK_SERIALIZER`` supplies ``task_serializer``. Which of them a source really
used stays visible, because assignment never translates names; `Namespace` only knows which keys
to look for, and what a key means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from umbel.exceptions import ImproperlyConfigured, closest
from umbel.settings.table import TABLE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

NEW_TO_OLD: Final[Mapping[str, str]] = {
    setting.name: setting.old for setting in TABLE.values() if setting.old is not None
}
OLD_TO_NEW: Final[Mapping[str, str]] = {old: new for new, old in NEW_TO_OLD.items()}

FALLBACK_ZONE: Final = "TIME_ZONE"
"""Django's name for the time zone, read where ``timezone`` is unset."""

OWN_PREFIX: Final = "x_"
"""How names begin that are the user's own and mean nothing to Umbel."""


@dataclass(frozen=True, slots=True)
class Namespace:
    """The names that count under one prefix (an empty one when there is no namespace).

    A prefix in capitals stands before names in capitals, any other before lower-case names.
    """

    prefix: str = ""

    @classmethod
    def named(cls, namespace: str | None) -> Namespace:
        """The namespace of this name; a missing ``_`` at its end is added."""
        if not namespace:
            return cls()
        prefix = namespace.rstrip("_") + "_"
        return cls(prefix if prefix.isupper() else prefix.lower())

    def prefixed(self, key: str) -> str:
        """The key with the prefix before it, both in the same case."""
        return self.prefix + (key.upper() if self.prefix.isupper() else key.lower())

    def claims(self, key: str) -> bool:
        """True when a source that has this key must have meant it as a setting.

        Under a namespace that is a key with its prefix, otherwise every lower-case name. Names
        that begin with an underscore are never meant.
        """
        if self.prefix:
            return key.startswith(self.prefix)
        return key == key.lower() and not key.startswith("_")

    def candidates(self, key: str) -> tuple[str, ...]:
        """The keys under which a layer may hold this one, the one that wins first."""
        names = [self.prefixed(key)] if self.prefix else []
        names.append(key)
        meaning = self.meaning(key)
        names.append(NEW_TO_OLD.get(key, meaning))
        return tuple(dict.fromkeys(names))

    def meaning(self, key: str) -> str:
        """The lower-case name of the setting that the key supplies, or the key without prefix."""
        if key in TABLE:
            return key
        if key in OLD_TO_NEW:
            return OLD_TO_NEW[key]
        if key == FALLBACK_ZONE or (self.prefix and key == self.prefixed(FALLBACK_ZONE)):
            return "timezone"
        if self.prefix and key.startswith(self.prefix):
            bare = key.removeprefix(self.prefix).lower()
            return bare if self.prefixed(bare) == key else key
        return key

    def outdated(self, keys: Iterable[str]) -> set[str]:
        """Those of the keys that are old names, and not new ones with the prefix before them."""
        return {
            key
            for key in keys
            if key in OLD_TO_NEW and not (self.prefix and key == self.prefixed(OLD_TO_NEW[key]))
        }

    def unknown(self, key: str) -> ImproperlyConfigured:
        """The error for a key that is no setting, with the name that was probably meant."""
        if self.prefix and key.startswith(self.prefix):
            known = [self.prefixed(name) for name in TABLE]
        else:
            known = list(OLD_TO_NEW if key == key.upper() else TABLE)
        by_lower = {name.lower(): name for name in known}
        meant = closest(key.lower(), by_lower)
        hint = f" (did you mean {by_lower[meant]!r}?)" if meant else ""
        return ImproperlyConfigured(
            f"no setting is named {key!r}{hint}; a name of your own begins with "
            f"{OWN_PREFIX!r} or is declared with add_defaults()"
        )


def check_one_format(keys: Collection[str], *, exempt: Collection[str] = ()) -> None:
    """Refuse a configuration in which some settings have new and some have old names.

    Half a migration is where a setting is given twice, and which one counts is a guess. A key
    whose other name is given too does no harm, nor does one that has no other name.

    Args:
        keys: What the configuration gives.
        exempt: Keys that the constructor of the app set by itself.

    Raises:
        ImproperlyConfigured: it is mixed; the text lists the names to change. The format of most
            keys is kept, and the new one where there are as many of both.
    """
    given = set(keys).difference(exempt)
    new, old = given & NEW_TO_OLD.keys(), given & OLD_TO_NEW.keys()
    if not new or not old:
        return
    keep_new = len(new) >= len(old)
    other: Mapping[str, str] = OLD_TO_NEW if keep_new else NEW_TO_OLD
    renames = {key: other[key] for key in sorted(old if keep_new else new)}
    lines = [f"    {key} -> {name}" for key, name in renames.items() if name not in given]
    if lines:
        either = "" if keep_new else "\nor give all settings their new, lower-case names"
        raise ImproperlyConfigured(
            "settings have new and old names in one configuration; rename\n"
            + "\n".join(lines)
            + either
        )


def is_own(name: str, declared: Collection[str]) -> bool:
    """True for the name of a user's own key."""
    return name.startswith(OWN_PREFIX) or name in declared


def checked(key: str, value: Any, *, names: Namespace, declared: Collection[str]) -> Any:
    """The value to keep under this key.

    Raises:
        ImproperlyConfigured: there is no such setting, or the value is of no use to it.
    """
    name = names.meaning(key)
    if name in TABLE:
        return TABLE[name].checked(value, written=key)
    if is_own(name, declared) or is_own(key, declared):
        return value
    raise names.unknown(key)
