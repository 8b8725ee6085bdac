"""Where the settings of one application are kept, and how they get there.

Reading a configuration imports the user's modules, which may well read settings themselves, from
several threads. Three rules keep that sound:

* Nothing is read until a setting is. What is assigned before that waits in the top layer, where
  it belongs anyway, so "before" and "after" do not differ.
* The module that a source names is imported before the lock is taken. A thread that waits for
  an import while it holds the lock, and one that waits for the lock while it imports, would wait
  for each other for ever.
* What the source says is read and checked under the lock, once, and put in place as a whole. A
  failure changes nothing, and the next read tries again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import RLock
from types import ModuleType
from typing import TYPE_CHECKING, Any

from umbel.settings.layers import Layers, fresh_defaults
from umbel.settings.names import Namespace, check_one_format, checked
from umbel.settings.sources import CONFIG_MODULE, Source, variable

if TYPE_CHECKING:
    from umbel.settings.sources import Reading

Defaults = Mapping[str, Any] | Callable[[], Mapping[str, Any]]
"""What `add_defaults` takes: a mapping, or a function called when the configuration is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What the application has to say while its configuration is read.

    Attributes:
        before: Called at the beginning; may still assign settings and name another source.
        prepare: Given what the source says; returns what is to be used.
        after: Called when the settings are complete, in the thread that read them, without a
            lock.
        module: The module to read when nothing else is named; it may be missing.
    """

    before: Callable[[], object] = lambda: None
    prepare: Callable[[dict[str, Any]], Mapping[str, Any]] | None = None
    after: Callable[[], object] = lambda: None
    module: str | None = None


class Store:
    """The layers of a configuration, filled when it is first needed.

    Attributes:
        layers: The layers; to be looked at under the lock.
        lock: Held by whoever looks at the layers or changes them.
        ready: True once the source has been read.
        hooks: What the application has to say.
        preset: The keys that the application's constructor assigned by itself.

    Args:
        layers: The layers to begin with.
        source: The source to read.
        hooks: What to call meanwhile.
        forget: Called under the lock after every change.
    """

    def __init__(
        self, layers: Layers, source: Source, *, hooks: Hooks, forget: Callable[[], object]
    ) -> None:
        self.layers = layers
        self.lock = RLock()
        self.ready = False
        self.preset: set[str] = set()
        self._source = source
        self.hooks = hooks
        self._forget = forget
        self._promised: list[Defaults] = []
        self._reading = False
        self._from_django = False

    def fill(self) -> bool:
        """Read the source unless somebody just did; True when this call has done it."""
        self._named().load()  # without the lock, see above
        with self.lock:
            if self.ready or self._reading:
                return False
            return self._read().complete

    def replace(self, source: Source, names: Namespace, *, force: bool) -> Reading | None:
        """Name another source; what it says when it was read now, None when it will be later.

        A failure leaves everything as it was.
        """
        if force or self.ready:
            source.load()  # without the lock, see above
        with self.lock:
            before = self._source, self.layers.names
            self._source, self.layers.names = source, names
            if not force and not self.ready:
                return None
            try:
                return self._read()
            except BaseException:
                self._source, self.layers.names = before
                raise

    def _named(self) -> Source:
        """The source to read: the one that was named, or the one for when none was."""
        if self._source.what is not None:
            return self._source
        if module := variable(CONFIG_MODULE, self.layers.environ):
            return Source(module)
        return Source(self.hooks.module, silent=True)

    def _read(self) -> Reading:
        """Read the source and put it in place; under the lock."""
        self._reading = True
        try:
            self.hooks.before()
            layers = self.layers
            added = [*map(self._layer, reversed(self._promised)), *layers.added]
            declared = {key for layer in added for key in layer}
            reading = self._named().read(layers.names, declared)
            source = self._prepared(reading.values, declared)
        finally:
            self._reading = False
        if not layers.names.prefix:
            self._check_one_format(source if reading.found else None)
        layers.added, layers.source, layers.defaults = added, source, fresh_defaults()
        self._promised.clear()
        self._from_django = reading.from_django
        self.ready = reading.complete
        self._forget()
        return reading

    def _prepared(self, values: dict[str, Any], declared: set[str]) -> dict[str, Any]:
        if self.hooks.prepare is None:
            return values
        names, prepared = self.layers.names, self.hooks.prepare(values)
        return {
            key: checked(key, prepared[key], names=names, declared=declared) for key in prepared
        }

    def _check_one_format(self, source: dict[str, Any] | None) -> None:
        if source is None:
            check_one_format(self.layers.changes, exempt=self.preset)
        else:
            check_one_format(source)

    def assign(self, settings: Mapping[str, Any]) -> None:
        """Put settings into the top layer: all of them, or none when one is wrong."""
        with self.lock:
            names, declared = self.layers.names, self.layers.declared()
            kept = {
                key: checked(key, value, names=names, declared=declared)
                for key, value in settings.items()
            }
            self.layers.changes.update(kept)
            self._forget()

    def retract(self, keys: Mapping[str, Any]) -> None:
        """Take keys out of the top layer."""
        with self.lock:
            for key in keys:
                self.layers.changes.pop(key, None)
            self._forget()

    def add(self, defaults: Defaults) -> Mapping[str, Any]:
        """Put a layer below the top one; empty is returned for one that is filled later."""
        with self.lock:
            if callable(defaults) and not self.ready:
                self._promised.append(defaults)
                return {}
            layer = self._layer(defaults)
            self.layers.added.insert(0, layer)
            self._forget()
            return layer

    def _layer(self, defaults: Defaults) -> dict[str, Any]:
        given = dict(defaults() if callable(defaults) else defaults)
        names = self.layers.names
        return {key: checked(key, given[key], names=names, declared=given.keys()) for key in given}

    def outdated(self) -> set[str]:
        """The old names in use; in Django's settings they do not count, others may share them."""
        spared = set(self.layers.source) if self._from_django else set()
        return self.layers.names.outdated(self.layers.user_keys()) - spared

    def portable(self) -> dict[str, Any]:
        """What to make the same settings from in another process."""
        what = self._source.what
        if isinstance(what, ModuleType) and sys.modules.get(what.__name__) is what:
            what = what.__name__
        elif not isinstance(what, (str, Mapping)) and what is not None:
            if not self.ready:
                self.fill()
            what = dict(self.layers.source)
        return {
            "changes": dict(self.layers.changes),
            "source": what,
            "silent": self._source.silent,
            "namespace": self.layers.names.prefix or None,
        }

    def renew_lock(self) -> None:
        """Replace the lock, which a thread of the parent process may have held at the fork."""
        self.lock = RLock()
        self._reading = False

    def copy(self, forget: Callable[[], object]) -> Store:
        """A store of its own with the same content."""
        with self.lock:
            twin = Store(self.layers.copy(), self._source, hooks=self.hooks, forget=forget)
            twin.preset.update(self.preset)
            twin._promised.extend(self._promised)
            twin._from_django, twin.ready = self._from_django, self.ready
        return twin
