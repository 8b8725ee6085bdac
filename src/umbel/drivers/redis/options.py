"""The options of this driver, checked before anything is opened."""

from __future__ import annotations

from dataclasses import dataclass, fields
from importlib import import_module
from typing import TYPE_CHECKING, Any

from umbel.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from collections.abc import Mapping

SEPARATOR = "\x06\x16"
_LAST_STEP = 9

_SETTINGS = {
    "broker_connection_timeout": "socket_connect_timeout",
    "redis_socket_connect_timeout": "socket_connect_timeout",
    "redis_max_connections": "max_connections",
    "redis_client_name": "client_name",
    "redis_backend_health_check_interval": "health_check_interval",
    "redis_backend_credential_provider": "credential_provider",
}
"""Settings that say the same as an option; later ones count more."""

INERT = frozenset(
    {
        "ack_emulation",
        "unacked_key",
        "unacked_index_key",
        "unacked_mutex_key",
        "unacked_mutex_expire",
        "unacked_restore_limit",
        "unacked_restore_interval",
        "unacked_restore_throttle",
        "fanout_prefix",
        "fanout_patterns",
        "queue_order_strategy",
        "reauth_check_interval",
        "retry_on_timeout",
        "retry_policy",
        "min_other_sentinels",
        "sentinel_fanout_compat",
        "result_chord_ordered",
        "max_retries",
        "interval_start",
        "interval_step",
        "interval_max",
        "connect_retries_timeout",
        "visibility_timeout",
        "polling_interval",
    }
)
"""Options of Celery's that are taken and change nothing: what they tune does not exist here."""


@dataclass(frozen=True, slots=True)
class Options:
    """What ``broker_transport_options`` may say about a Redis server.

    Attributes:
        global_keyprefix: what every key begins with.
        sep: what stands between the name of a queue and its priority step.
        priority_steps: the priorities that have a list of their own; others join the next lower.
        socket_timeout: seconds after which a call whose server does not answer fails.
        socket_connect_timeout: seconds after which connecting fails.
        socket_keepalive: whether the system looks after idle connections.
        socket_keepalive_options: how, as the socket module numbers it.
        max_connections: idle connections that are kept for the next who need one.
        client_name: how the connections are called in the server's list.
        health_check_interval: seconds after which an idle connection is tried before it is used.
        master_name: the name under which sentinels know the server.
        sentinel_kwargs: further arguments for connections to the sentinels.
        credential_provider: gives user name and password where they change.
        poll_interval: seconds between looks of those who wait, in case news got lost.
    """

    global_keyprefix: str = ""
    sep: str = SEPARATOR
    priority_steps: tuple[int, ...] = (0, 3, 6, 9)
    socket_timeout: float = 10.0
    socket_connect_timeout: float = 5.0
    socket_keepalive: bool = True
    socket_keepalive_options: Any = None
    max_connections: int = 10
    client_name: str | None = None
    health_check_interval: float = 25.0
    master_name: str | None = None
    sentinel_kwargs: Any = None
    credential_provider: Any = None
    poll_interval: float = 1.0

    def __post_init__(self) -> None:
        for name in ("socket_timeout", "socket_connect_timeout", "poll_interval"):
            _check_seconds(name, getattr(self, name))
        steps = self.priority_steps
        fit = set(steps) <= set(range(_LAST_STEP + 1))
        if not fit or 0 not in steps or list(steps) != sorted(set(steps)):
            raise ImproperlyConfigured(
                f"redis option priority_steps must be ascending numbers from 0 to 9 that begin "
                f"with 0, not {list(steps)!r}"
            )


def _check_seconds(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise ImproperlyConfigured(
            f"redis option {name} must be a number of seconds above 0, not {value!r}"
        )


def checked(given: Mapping[str, Any], conf: Mapping[str, Any]) -> Options:
    """The options as given, else as the settings say, the others at their defaults.

    Raises:
        ImproperlyConfigured: one is unknown or out of range.
    """
    known = {field.name for field in fields(Options)}
    unknown = sorted(set(given) - known - INERT)
    if unknown:
        raise ImproperlyConfigured(
            f"redis does not know the option {unknown[0]!r} (known: "
            f"{', '.join(sorted(known | INERT))})"
        )
    chosen = _settings(conf)
    # None is how Celery's options say that there is nothing to say.
    chosen |= {name: given[name] for name in known & given.keys() if given[name] is not None}
    steps: Any = chosen.get("priority_steps")
    if isinstance(steps, str):  # in a URL
        steps = [int(step) if step.isdecimal() else step for step in steps.split(",")]
    if steps is not None:
        chosen["priority_steps"] = tuple(steps)
    return Options(**chosen)


def _settings(conf: Mapping[str, Any]) -> dict[str, Any]:
    """What settings say about connections, as options."""
    found = {
        option: conf[setting]
        for setting, option in _SETTINGS.items()
        if conf.get(setting) is not None
    }
    provider = found.get("credential_provider")
    if isinstance(provider, str):
        module, _, name = provider.replace(":", ".").rpartition(".")
        try:
            found["credential_provider"] = getattr(import_module(module), name)()
        except (ImportError, AttributeError, ValueError) as error:
            raise ImproperlyConfigured(
                f"redis_backend_credential_provider {provider!r} cannot be made: {error}"
            ) from error
    return found
