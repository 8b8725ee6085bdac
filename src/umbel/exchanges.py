"""Exchanges: where messages are sent to, and which of the queues bound there get them.

Only RabbitMQ has exchanges; for every other broker they are the rule by which the queues a
message is meant for are found.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from umbel.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from collections.abc import Mapping

TRANSIENT: Final = 1
PERSISTENT: Final = 2
_DELIVERY_MODES: Final = {"transient": TRANSIENT, "persistent": PERSISTENT}


@dataclass(frozen=True, slots=True)
class Exchange:
    """Where messages are sent to; its type decides which queues bound to it get them.

    Attributes:
        name: Empty is the default exchange, to which every queue is bound by its name.
        type: ``direct`` (equal keys), ``topic`` (patterns of words), ``fanout`` (every queue)
            or ``headers``.
        arguments: Further arguments of the declaration.
        durable: Whether it survives a restart of the server.
        auto_delete: Whether it goes with its last queue.
        passive: Whether it is only looked for and not made.
        delivery_mode: 1 or ``transient``, 2 or ``persistent``; None leaves it to the message.
        no_declare: Whether it is left alone.
    """

    name: str = ""
    type: str = "direct"
    _: KW_ONLY
    arguments: Mapping[str, Any] | None = field(default=None, hash=False)
    durable: bool = True
    auto_delete: bool = False
    passive: bool = False
    delivery_mode: int | str | None = None
    no_declare: bool = False

    def __post_init__(self) -> None:
        mode = self.delivery_mode
        if isinstance(mode, str):
            if mode not in _DELIVERY_MODES:
                raise ImproperlyConfigured(
                    f"exchange {self.name!r} has delivery_mode {mode!r}; "
                    "it can be 'transient' or 'persistent'"
                )
            object.__setattr__(self, "delivery_mode", _DELIVERY_MODES[mode])
        object.__setattr__(self, "type", self.type or "direct")

    def __str__(self) -> str:
        return f"{self.name}({self.type})"


@dataclass(frozen=True, slots=True)
class Binding:
    """One of several ties of a queue to an exchange."""

    exchange: Exchange
    routing_key: str = ""
    arguments: Mapping[str, Any] | None = field(default=None, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "exchange", as_exchange(self.exchange))

    def accepts(self, routing_key: str) -> bool:
        """Whether a message sent to the exchange with this key passes."""
        return matches(self.exchange.type, self.routing_key, routing_key)


binding = Binding


def as_exchange(value: Any) -> Exchange:
    """An `Exchange` from one of ours, a name, None (the default exchange) or one of kombu's."""
    if isinstance(value, Exchange):
        return value
    if value is None or isinstance(value, str):
        return Exchange(value or "")
    described = value.as_dict().items()
    return Exchange(**{key: value for key, value in described if value is not None})


def matches(kind: str, pattern: str, routing_key: str) -> bool:
    """Whether an exchange of this type passes a key on to a queue bound with ``pattern``."""
    match kind:
        case "fanout":
            return True
        case "topic":
            return _topic_matches(pattern.split("."), routing_key.split("."))
        case _:
            return pattern == routing_key


def _topic_matches(pattern: list[str], words: list[str]) -> bool:
    """Whether words match: ``*`` is one word, ``#`` is any number of them, also none."""
    reached = {0}
    for part in pattern:
        if part == "#":
            reached = set(range(min(reached), len(words) + 1)) if reached else set()
        else:
            reached = {at + 1 for at in reached if at < len(words) and part in {"*", words[at]}}
    return len(words) in reached
