"""The stack of maps that a configuration is, and what is worked out from it.

From the top: what was assigned, what `add_defaults` brought (the latest first), what the source
said, and the defaults of the table. The first layer that has a setting under any of its names
wins. Above all of them stand the environment variables of a few settings.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from umbel.settings.names import FALLBACK_ZONE, Namespace
from umbel.settings.sources import ENVIRONMENT, variable
from umbel.settings.table import DEFAULTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


def fresh_defaults() -> dict[str, Any]:
    """The defaults of the table, with mappings of their own, which the user may change."""
    return {
        name: dict(default) if isinstance(default, dict) else default
        for name, default in DEFAULTS.items()
    }


@dataclass(slots=True)
class Layers:
    """The maps, and the look-up over them.

    Attributes:
        environ: The environment variables, looked at anew with every read.
        names: Which keys a layer may hold a setting under.
        changes: What was assigned; the only layer that is ever written to.
        added: What `add_defaults` brought, the latest first.
        source: What the configuration source said.
        defaults: The defaults of the table.
    """

    environ: Mapping[str, str]
    names: Namespace = field(default_factory=Namespace)
    changes: dict[str, Any] = field(default_factory=dict)
    added: list[Mapping[str, Any]] = field(default_factory=list)
    source: dict[str, Any] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=fresh_defaults)

    def value(self, key: str) -> Any:
        """The value of a setting under any of its names; raises KeyError for an unknown one."""
        name = self.names.meaning(key)
        return _DERIVED[name](self) if name in _DERIVED else self.stored(key)

    def stored(self, key: str) -> Any:
        """What the first layer that has this key holds for it; raises KeyError if none has it."""
        for layer in (*self.user_layers(), self.defaults):
            for candidate in self.names.candidates(key):
                if candidate in layer:
                    return layer[candidate]
        raise KeyError(key)

    def user_layers(self) -> tuple[Mapping[str, Any], ...]:
        """The layers without the defaults of the table."""
        return (self.changes, *self.added, self.source)

    def is_user_value(self, key: str) -> bool:
        """True when the user gave this setting, under whichever name, or the environment did."""
        if self._is_overridden(self.names.meaning(key)):
            return True
        names = self.names.candidates(key)
        return any(name in layer for layer in self.user_layers() for name in names)

    def user_keys(self) -> Iterator[str]:
        """The keys the user gave, as they were written, the lowest layer first."""
        by_environment = filter(self._is_overridden, ENVIRONMENT)
        written = (key for layer in reversed(self.user_layers()) for key in layer)
        return iter(dict.fromkeys((*written, *by_environment)))

    def _is_overridden(self, name: str) -> bool:
        return variable(ENVIRONMENT.get(name, ()), self.environ) is not None

    def declared(self) -> set[str]:
        """The keys that `add_defaults` made known."""
        return {key for layer in self.added for key in layer}

    def copy(self) -> Layers:
        """Layers that can be changed apart from these."""
        return Layers(
            self.environ,
            self.names,
            changes=dict(self.changes),
            added=list(self.added),
            source=dict(self.source),
            defaults=dict(self.defaults),
        )


def _from_environment(layers: Layers, name: str) -> Any:
    return variable(ENVIRONMENT[name], layers.environ) or layers.stored(name)


def _broker_url(layers: Layers) -> Any:
    return _from_environment(layers, "broker_url") or _url_in_parts(layers)


def _one_way_url(name: str) -> Callable[[Layers], Any]:
    return lambda layers: _from_environment(layers, name) or _broker_url(layers)


def _or_default_queue(name: str) -> Callable[[Layers], Any]:
    return lambda layers: layers.stored(name) or layers.stored("task_default_queue")


def _timezone(layers: Layers) -> Any:
    zone = layers.stored("timezone")
    return layers.stored(FALLBACK_ZONE) if zone is None else zone


def _url_in_parts(layers: Layers) -> str | None:
    """The URL that the legacy settings of its parts make up, or None when none is set."""
    from urllib.parse import quote

    parts = ("transport", "user", "password", "host", "port", "vhost")
    transport, user, password, host, port, vhost = (
        layers.stored(f"broker_{part}") for part in parts
    )
    if host is None and transport is None:
        return None
    if host is not None and "://" in host:
        return str(host)
    login = quote(user or "", safe="") + (f":{quote(password, safe='')}" if password else "")
    return (
        f"{transport or 'amqp'}://{login}{'@' if login else ''}{host or 'localhost'}"
        f"{f':{port}' if port else ''}/{vhost or ''}"
    )


_DERIVED: Final[Mapping[str, Callable[[Layers], Any]]] = {
    "broker_url": _broker_url,
    "broker_read_url": _one_way_url("broker_read_url"),
    "broker_write_url": _one_way_url("broker_write_url"),
    "result_backend": lambda layers: _from_environment(layers, "result_backend"),
    "task_default_exchange": _or_default_queue("task_default_exchange"),
    "task_default_routing_key": _or_default_queue("task_default_routing_key"),
    "timezone": _timezone,
}
