"""The settings of one application, as its users see them.

A value that was looked up is kept as an ordinary attribute of the object, so that the next read
is one dictionary hit without a lock. Every change drops all kept values, under the store's lock,
and looking up happens under the same lock, so that no old value can slip in after a change.
Settings that environment variables override are not kept: the environment may change any time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

from umbel.exceptions import ImproperlyConfigured
from umbel.settings.censor import as_text, censor
from umbel.settings.layers import Layers
from umbel.settings.names import Namespace
from umbel.settings.notices import mention_inert, mention_outdated
from umbel.settings.sources import ENVIRONMENT, Source
from umbel.settings.store import Hooks, Store
from umbel.settings.table import TABLE

if TYPE_CHECKING:
    from umbel.settings.setting import Setting
    from umbel.settings.store import Defaults

Observer = Callable[[frozenset[str]], object]
"""Called with the names of the settings that changed."""


class Found(NamedTuple):
    """Where `Settings.find_option` found a setting.

    Attributes:
        namespace: Its family, the first word of its name; None when it was found by its full name.
        key: The rest of the name.
        type: Its row in the table.
    """

    namespace: str | None
    key: str
    type: Setting


class Settings(MutableMapping[str, Any]):
    """The settings of one application, by attribute, by item, and as a mapping.

    They are read when one of them is first asked for. What is assigned, then or earlier, comes
    before what the configuration source says. May be used from several threads.

    Assigning raises `ImproperlyConfigured` for a name that is no setting and for a value that the
    setting cannot use. Keys of your own are welcome when their names begin with ``x_`` or when
    `add_defaults` made them known. Reading an unknown name raises AttributeError or KeyError; the
    first read raises what `finalize` does.

    Args:
        changes: Settings to begin with, above what the source says. Copied.
        source: As for `read_from`.
        silent: As for `read_from`.
        namespace: As for `read_from`.
        environ: The environment variables; those of the process by default.
        mentioned: The settings without effect that were warned of already. Applications share one
            such set, so that each setting is mentioned once in a process.
        hooks: What to call while the configuration is read.
    """

    def __init__(
        self,
        changes: Mapping[str, Any] | None = None,
        source: Any = None,
        *,
        silent: bool = False,
        namespace: str | None = None,
        environ: Mapping[str, str] | None = None,
        mentioned: set[str] | None = None,
        hooks: Hooks | None = None,
    ) -> None:
        layers = Layers(os.environ if environ is None else environ, Namespace.named(namespace))
        self._store = Store(
            layers, Source(source, silent), hooks=hooks or Hooks(), forget=self._forget
        )
        self._mentioned: set[str] = set() if mentioned is None else mentioned
        self._observers: list[tuple[str, Observer]] = []
        self.update(changes or {})

    # ------------------------------------------------------------------------------- reading

    def __getattr__(self, name: str) -> Any:
        # Python comes here only for a value that is not kept as an attribute.
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"no setting is named {name!r}", name=name, obj=self) from None

    def __getitem__(self, key: str) -> Any:
        kept = self.__dict__
        if key in kept and key[0] != "_":
            return kept[key]
        if not _is_key(key):
            raise KeyError(key)
        store = self._filled()
        with store.lock:
            value = store.layers.value(key)
            if store.ready and store.layers.names.meaning(key) not in ENVIRONMENT:
                self._keep(key, value)
            return value

    def _filled(self) -> Store:
        self.finalize()
        return self._store

    def _keep(self, key: str, value: Any) -> None:
        # A user's own key may have the name of a method.
        if not hasattr(type(self), key):
            self.__dict__[key] = value

    def _forget(self) -> None:
        for name in filter(_is_key, list(self.__dict__)):
            del self.__dict__[name]

    def __contains__(self, key: object) -> bool:
        if not _is_key(key):
            return False
        try:
            self[key]
        except KeyError:
            return False
        return True

    def __iter__(self) -> Iterator[str]:
        store = self._filled()
        with store.lock:
            return iter(dict.fromkeys((*store.layers.defaults, *store.layers.user_keys())))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __dir__(self) -> Iterable[str]:
        return {*super().__dir__(), *TABLE}

    def __repr__(self) -> str:
        state = "read" if self.loaded else "not read yet"
        return f"<{type(self).__name__}: {len(self._store.layers.changes)} assigned, {state}>"

    def first(self, *keys: str) -> Any:
        """The first of these settings that is not None, or None."""
        return next((value for key in keys if (value := self.get(key)) is not None), None)

    def find_option(self, name: str, namespace: str = "") -> Found:
        """The row of the table for a name without its family.

        Looks in the family ``namespace`` first, then among full names, then in all families.

        Raises:
            KeyError: no setting is called that.
        """
        family = namespace.lower()
        if f"{family}_{name}" in TABLE:
            return Found(family, name, TABLE[f"{family}_{name}"])
        if name in TABLE:
            return Found(None, name, TABLE[name])
        for full, setting in sorted(TABLE.items()):
            family, _, rest = full.partition("_")
            if rest == name:
                return Found(family, name, setting)
        raise KeyError(name)

    def find_value_for_key(self, name: str, namespace: str = "celery") -> Any:
        """The value of the setting that `find_option` finds."""
        found = self.find_option(name, namespace)
        return self.get_by_parts(found.namespace, found.key)

    def get_by_parts(self, *parts: str | None) -> Any:
        """The setting whose name is these parts joined by ``_``; empty parts are left out."""
        return self["_".join(part for part in parts if part)]

    def value_set_for(self, key: str) -> bool:
        """True when the user gave this setting, under any of its names, or the environment did."""
        return self._filled().layers.is_user_value(key)

    # ------------------------------------------------------------------------------- writing

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
        else:
            self.update({name: value})

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def __delattr__(self, name: str) -> None:
        try:
            self.pop(name)
        except KeyError as missing:
            raise AttributeError(missing.args[0], name=name, obj=self) from None

    def __delitem__(self, key: str) -> None:
        self.pop(key)

    def update(self, *args: Any, **settings: Any) -> None:
        """Assign several settings, from a mapping, pairs or keywords: all of them or none."""
        given = dict(*args, **settings)
        self._store.assign(given)
        self._mention(given)
        self._tell(given)

    def preset(self, **settings: Any) -> None:
        """Assign what the application's constructor was given; None counts as not given.

        Unlike other keys, these may have new names where the rest of them has old ones.
        """
        given = {key: value for key, value in settings.items() if value is not None}
        self._store.preset.update(given)
        self.update(given)

    def setdefault(self, key: str, default: Any = None) -> None:
        """Assign the setting if it is missing. Returns None always, as in Celery.

        Before anything is read, "missing" means not assigned; later every setting has a value.
        """
        with self._store.lock:
            missing = key not in (self if self.loaded else self._store.layers.changes)
        if missing:
            self[key] = default

    def pop(self, key: str, *default: Any) -> Any:
        """Take back what was assigned, and return it; other layers are not touched.

        Raises:
            KeyError: it was not assigned under this very name, and no default is given.
        """
        changes = self._store.layers.changes
        with self._store.lock:
            if key not in changes and not default:
                raise KeyError(key)
            value = changes.get(key, *default)
            self._store.retract({key: value})
        self._tell((key,))
        return value

    def clear(self) -> None:
        """Take back everything that was assigned."""
        with self._store.lock:
            assigned = dict(self._store.layers.changes)
            self._store.retract(assigned)
        self._tell(assigned)

    def add_defaults(self, defaults: Defaults) -> None:
        """Add a layer below what is assigned and above what the source says.

        Its keys need not be settings: those that are not become known by this.

        Args:
            defaults: A mapping, or a function that returns one when the configuration is read.
        """
        layer = self._store.add(defaults)
        self._mention(layer)
        self._tell(layer)

    # ----------------------------------------------------------------------------- observing

    def observe(self, prefix: str, observer: Observer) -> None:
        """Have ``observer`` called whenever settings whose names begin with ``prefix`` change.

        It is given their new names, after the change, in the thread that made it.
        """
        self._observers.append((prefix, observer))

    def _tell(self, keys: Iterable[str]) -> None:
        names = {self._store.layers.names.meaning(key) for key in keys}
        for prefix, observer in list(self._observers):
            if changed := frozenset(name for name in names if name.startswith(prefix)):
                observer(changed)

    def _mention(self, keys: Iterable[str]) -> None:
        mention_inert(map(self._store.layers.names.meaning, keys), self._mentioned)

    # ------------------------------------------------------------------------------- sources

    @property
    def loaded(self) -> bool:
        """True once the configuration has been read."""
        return self._store.ready

    def finalize(self) -> Settings:
        """Read the configuration unless that has been done; returns these settings.

        Raises:
            ImportError: the source cannot be imported.
            ImproperlyConfigured: something in it is wrong. The next read tries again.
        """
        if not self._store.ready and self._store.fill():
            self._announce()
        return self

    def read_from(
        self,
        source: Any,
        *,
        silent: bool = False,
        force: bool = False,
        namespace: str | None = None,
    ) -> Settings | None:
        """Take settings from ``source``, in place of the source named before.

        Usually nothing is read yet and None is returned. What was assigned is kept.

        Args:
            source: A module, a class, an object, a mapping, or a string that names one:
                ``package.module``, ``package.module:attribute``, ``package.module.attribute``.
            silent: Do without the source when it cannot be imported.
            force: Read it now and return the settings; None when ``silent`` had to do without.
            namespace: The prefix of the keys; None keeps the one in use.

        Raises:
            ImportError: with ``force``, or when the configuration has been read before. In that
                case what was read then stays in use.
            ImproperlyConfigured: as ImportError, for wrong settings.
        """
        names = self._store.layers.names if namespace is None else Namespace.named(namespace)
        reading = self._store.replace(Source(source, silent), names, force=force)
        if reading is None:
            return None
        self._announce()
        return self if reading.found else None

    def read_from_variable(
        self, name: str, *, silent: bool = False, force: bool = False
    ) -> Settings | bool | None:
        """Take settings from the module that an environment variable names, as `read_from`.

        Returns:
            False when the variable is unset or empty and ``silent`` is given.

        Raises:
            ImproperlyConfigured: it is unset or empty.
        """
        source = self._store.layers.environ.get(name)
        if source:
            return self.read_from(source, silent=silent, force=force)
        if silent:
            return False
        raise ImproperlyConfigured(
            f"the environment variable {name} is not set; it has to name the module with the "
            f'settings, as in {name}="project.settings"'
        )

    def read_from_words(self, words: Iterable[str], namespace: str = "celery") -> None:
        """Assign the settings given on a command line; see `umbel.settings.command_line.parse`."""
        from umbel.settings.command_line import parse

        self.update(parse(words, namespace))

    def _announce(self) -> None:
        self._store.hooks.after()
        self._mention(self._store.layers.user_keys())
        self._tell(self)

    def portable(self) -> dict[str, Any]:
        """What makes the same settings in another process: arguments for `Settings`.

        What `add_defaults` brought is not among them. A source that is neither a string, a module
        nor a mapping is read now, and goes as a mapping of what it said.
        """
        return self._store.portable()

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.portable())

    def after_fork(self) -> None:
        """Have a lock that nobody holds; called in a process that was just forked."""
        self._store.renew_lock()

    def copy(self) -> Settings:
        """Settings of their own with the same values; they are not observed by anybody."""
        twin = type(self)(mentioned=self._mentioned)
        twin._store = self._filled().copy(twin._forget)  # noqa: SLF001 - one of our own
        return twin

    # ------------------------------------------------------------------------------- showing

    def without_defaults(self) -> dict[str, Any]:
        """The settings that the user or the environment gave, under the names they wrote."""
        store = self._filled()
        with store.lock:
            return {key: self[key] for key in store.layers.user_keys()}

    def table(
        self,
        with_defaults: bool = False,  # noqa: FBT001, FBT002 - positional in Celery
        censored: bool = True,  # noqa: FBT001, FBT002 - positional in Celery
    ) -> dict[str, Any]:
        """The settings for showing, and the key ``deprecated_settings`` with old names in use.

        Args:
            with_defaults: Also those that nobody gave.
            censored: Hide secrets and the passwords in URLs.
        """
        settings = dict(self) if with_defaults else self.without_defaults()
        settings["deprecated_settings"] = sorted(self._store.outdated()) or None
        return censor(settings) if censored else settings

    def humanize(
        self,
        with_defaults: bool = False,  # noqa: FBT001, FBT002 - positional in Celery
        censored: bool = True,  # noqa: FBT001, FBT002 - positional in Celery
    ) -> str:
        """The `table` as text, one line per setting."""
        return as_text(self.table(with_defaults, censored))

    def maybe_warn_deprecated_settings(self) -> bool:
        """Warn of every old name in use; True when there is one.

        Old names in Django's settings do not count: other packages may share them.
        """
        outdated = self._filled().outdated()
        mention_outdated(outdated)
        return bool(outdated)


def _is_key(key: object) -> TypeGuard[str]:
    return isinstance(key, str) and not key.startswith("_")


def _restored(cls: type[Settings], arguments: dict[str, Any]) -> Settings:
    return cls(**arguments)
