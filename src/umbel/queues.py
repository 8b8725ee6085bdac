"""Queues as values, and the set of queues an application knows.

`Queue` and `Broadcast` take the arguments that Celery's users write for the classes of the same
name in kombu, and nothing happens when one is made: declaring it is a driver's work.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Final

from umbel.exceptions import ImproperlyConfigured, QueueNotFound, did_you_mean
from umbel.exchanges import Binding, Exchange, as_exchange
from umbel.identity import uuid7

if TYPE_CHECKING:
    from collections.abc import Callable

_QUEUE_TYPES: Final = ("classic", "quorum")


@dataclass(frozen=True, slots=True, init=False)
class Queue:
    """Where messages wait.

    Attributes:
        name: Its name.
        exchange: The exchange it is bound to, or its name; empty is filled in by `Queues`.
        routing_key: The key it is bound with; empty is filled in by `Queues`.
        queue_arguments: Further arguments of the declaration (``x-max-priority`` …).
        binding_arguments: Further arguments of the binding.
        consumer_arguments: Further arguments of consuming.
        durable: Whether it survives a restart of the server.
        exclusive: Whether only the connection that made it may use it.
        auto_delete: Whether it goes with its last consumer.
        no_ack: Whether the server forgets a message as soon as it was sent.
        alias: Another name under which `Queues` finds it.
        bindings: More exchanges it is bound to.
        no_declare: Whether it is left alone.
        expires: Seconds without use after which it goes.
        message_ttl: Seconds after which a message in it goes.
        max_length: How many messages it holds.
        max_length_bytes: How many bytes of messages it holds.
        max_priority: The highest priority it tells apart.
    """

    name: str
    exchange: Exchange
    routing_key: str
    queue_arguments: Mapping[str, Any] | None = field(default=None, hash=False)
    binding_arguments: Mapping[str, Any] | None = field(default=None, hash=False)
    consumer_arguments: Mapping[str, Any] | None = field(default=None, hash=False)
    durable: bool = True
    exclusive: bool = False
    auto_delete: bool = False
    no_ack: bool = False
    alias: str | None = None
    bindings: tuple[Binding, ...] = ()
    no_declare: bool = False
    expires: float | None = None
    message_ttl: float | None = None
    max_length: int | None = None
    max_length_bytes: int | None = None
    max_priority: int | None = None

    def __init__(
        self,
        name: str = "",
        exchange: Exchange | str | None = None,
        routing_key: str = "",
        **options: Any,
    ) -> None:
        given = {
            **_QUEUE_OPTIONS,
            **options,
            "name": name,
            "exchange": as_exchange(exchange),
            "routing_key": routing_key or "",
            "bindings": tuple(options.get("bindings") or ()),
        }
        for key, value in given.items():
            if key not in Queue.__slots__:
                meant = did_you_mean(key, Queue.__slots__)
                raise TypeError(f"queue {name!r} has no option {key!r}{meant}")
            object.__setattr__(self, key, value)

    @property
    def arguments(self) -> dict[str, Any]:
        """Everything a declaration passes on, in RabbitMQ's names and units."""
        lifted = {
            "x-expires": _milliseconds(self.expires),
            "x-message-ttl": _milliseconds(self.message_ttl),
            "x-max-length": self.max_length,
            "x-max-length-bytes": self.max_length_bytes,
            "x-max-priority": self.max_priority,
        }
        given = {key: value for key, value in lifted.items() if value is not None}
        return {**(self.queue_arguments or {}), **given}

    @property
    def temporary(self) -> bool:
        """Whether it goes with those who consume from it."""
        return self.auto_delete or self.exclusive

    @property
    def all_bindings(self) -> tuple[Binding, ...]:
        """Every exchange and key it is bound with: its own first, unless only others are given."""
        if self.bindings and not self.exchange.name:
            return self.bindings
        own = Binding(self.exchange, self.routing_key, self.binding_arguments)
        return (own, *self.bindings)

    def accepts(self, exchange: str, routing_key: str) -> bool:
        """Whether a message sent to this exchange with this key is meant for it."""
        if not exchange:
            return routing_key == self.name
        return any(
            bound.exchange.name == exchange and bound.accepts(routing_key)
            for bound in self.all_bindings
        )

    def __str__(self) -> str:
        return self.name


class Broadcast(Queue):
    """A queue of each worker's own on a fanout exchange: every worker gets every message.

    Args:
        name: The exchange, and the alias under which the queue is found.
        queue: A name for the queue in place of an invented one.
        unique: Whether an invented part is added to that name.
        auto_delete: Whether the queue goes with its last consumer.
        exchange: The exchange in place of a fanout exchange called ``name``.
        alias: The alias in place of ``name``.
        **options: Further attributes of `Queue`.
    """

    __slots__ = ()

    def __init__(
        self,
        name: str | None = None,
        queue: str | None = None,
        *,
        unique: bool = False,
        auto_delete: bool = True,
        exchange: Exchange | str | None = None,
        alias: str | None = None,
        **options: Any,
    ) -> None:
        own = f"{queue or 'bcast'}.{uuid7()}" if unique or not queue else queue
        super().__init__(
            own,
            as_exchange(exchange) if exchange else Exchange(name or "", "fanout"),
            alias=alias or name,
            auto_delete=auto_delete,
            **options,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDefaults:
    """What `Queues` fills in; each field is the setting named beside it.

    Attributes:
        queue: ``task_default_queue``.
        exchange: ``task_default_exchange``; the queue's name if None.
        exchange_type: ``task_default_exchange_type``.
        routing_key: ``task_default_routing_key``; the queue's name if None.
        queue_type: ``task_default_queue_type``, of the default queue alone.
        max_priority: ``task_queue_max_priority``.
        create_missing: ``task_create_missing_queues``.
        missing_type: ``task_create_missing_queue_type``.
        missing_exchange_type: ``task_create_missing_queue_exchange_type``.
        autoexchange: Makes the exchange of a missing queue from the queue's name.
    """

    queue: str = "celery"
    exchange: str | None = None
    exchange_type: str = "direct"
    routing_key: str | None = None
    queue_type: str | None = "classic"
    max_priority: int | None = None
    create_missing: bool = True
    missing_type: str | None = "classic"
    missing_exchange_type: str | None = None
    autoexchange: Callable[[str], Exchange] | None = None

    def __post_init__(self) -> None:
        for kind in (self.queue_type, self.missing_type):
            if kind is not None and kind not in _QUEUE_TYPES:
                raise ValueError(f"{kind!r} is not a type of queue; it can be classic or quorum")


class Queues(dict[str, Queue]):
    """The queues an application knows, by name; a worker consumes from `consume_from`.

    Looking up a name that is not there makes the queue, or raises `QueueNotFound` if missing
    queues are not to be made. Made ones can be published to; they are not consumed from until
    they are selected.

    Args:
        queues: A list of what `as_queue` takes, or a mapping of names to queues or to the
            options of `add`. Without any, the default queue is the only one.
        defaults: What is filled in.
    """

    def __init__(
        self,
        queues: Mapping[str, Any] | Iterable[Any] | None = None,
        defaults: QueueDefaults | None = None,
    ) -> None:
        super().__init__()
        self.defaults = defaults or QueueDefaults()
        self.aliases: dict[str, Queue] = {}
        self.version = 0
        if isinstance(queues, Mapping):
            for name, options in queues.items():
                self._declare(name, options)
        else:
            for queue in queues or (self._default(),):
                self.add(queue)
        self._selected: list[str] = list(self)

    def __missing__(self, name: str) -> Queue:
        if name in self.aliases:
            return self.aliases[name]
        if not self.defaults.create_missing:
            raise QueueNotFound(name, known=self)
        return self.setdefault(name, self.missing(name))

    # -- changing --------------------------------------------------------------------------

    def add(self, queue: Queue | str, **options: Any) -> Queue:
        """Make a queue known, in place of one of the same name; returns it, completed.

        Args:
            queue: The queue, or a name with options.
            **options: ``exchange`` (a name), ``exchange_type``, ``routing_key`` or
                ``binding_key``, ``delivery_mode``, ``exchange_durable``,
                ``exchange_auto_delete``, and any attribute of `Queue`.

        Raises:
            ImproperlyConfigured: It is no queue.
            TypeError: An option is unknown.
        """
        made = queue_from_options(queue, options) if isinstance(queue, str) else as_queue(queue)
        complete = self._complete(made)
        self[complete.name] = complete
        self.version += 1
        if complete.alias:
            self.aliases[complete.alias] = complete
        return complete

    def select(self, names: Iterable[str] | str | None) -> None:
        """Consume from exactly these; nothing named changes nothing.

        Raises:
            QueueNotFound: One is unknown and missing queues are not to be made.
        """
        if names:
            self._selected = list(dict.fromkeys(self[name].name for name in _names(names)))

    def deselect(self, names: Iterable[str] | str) -> None:
        """Do not consume from these."""
        away = {self.aliases[name].name if name in self.aliases else name for name in _names(names)}
        self._selected = [name for name in self._selected if name not in away]

    def select_add(self, queue: Queue | str, **options: Any) -> Queue:
        """Make a queue known and consume from it; returns it, completed."""
        added = (
            self[queue] if isinstance(queue, str) and not options else self.add(queue, **options)
        )
        if added.name not in self._selected:
            self._selected.append(added.name)
        return added

    # -- reading ---------------------------------------------------------------------------

    @property
    def consume_from(self) -> dict[str, Queue]:
        """The queues a worker takes messages from, by name."""
        return {name: self[name] for name in self._selected}

    @property
    def default(self) -> Queue:
        """Where a message goes that nothing else was said about."""
        return self[self.defaults.queue]

    def bound_to(self, exchange: str, routing_key: str) -> list[Queue]:
        """The known queues that a message sent to this exchange with this key is meant for."""
        return [queue for queue in self.values() if queue.accepts(exchange, routing_key)]

    def missing(self, name: str) -> Queue:
        """The queue that is made for a name nobody declared."""
        defaults = self.defaults
        make = defaults.autoexchange
        exchange = (
            make(name) if make else Exchange(name, defaults.missing_exchange_type or "direct")
        )
        return self._complete(
            Queue(name, exchange, name, queue_arguments=_typed(defaults.missing_type))
        )

    def format(self, indent: int = 0, *, indent_first: bool = True) -> str:
        """The consumed queues, one on each line, for a worker's banner."""
        lines = [
            f".> {queue.name:<16} exchange={queue.exchange} key={queue.routing_key}"
            for queue in self.consume_from.values()
        ]
        text = f"\n{' ' * indent}".join(lines)
        return " " * indent + text if indent_first and lines else text

    # -- filling in ------------------------------------------------------------------------

    def _default(self) -> Queue:
        defaults = self.defaults
        return Queue(
            defaults.queue,
            self._default_exchange,
            defaults.routing_key or defaults.queue,
            queue_arguments=_typed(defaults.queue_type),
        )

    @property
    def _default_exchange(self) -> Exchange:
        return Exchange(self.defaults.exchange or self.defaults.queue, self.defaults.exchange_type)

    def _declare(self, name: str, options: Mapping[str, Any] | Queue) -> None:
        if isinstance(options, Mapping):
            self.add(name, **options)
        else:
            self.add(options)

    def _complete(self, queue: Queue) -> Queue:
        filled: dict[str, Any] = {}
        if not queue.exchange.name and not queue.bindings:
            filled["exchange"] = self._default_exchange
        if not queue.routing_key and queue.exchange.type not in {"fanout", "headers"}:
            filled["routing_key"] = self.defaults.routing_key or self.defaults.queue
        highest = self.defaults.max_priority
        if highest is not None and "x-max-priority" not in queue.arguments:
            filled["queue_arguments"] = {**(queue.queue_arguments or {}), "x-max-priority": highest}
        return _changed(queue, filled)


# --------------------------------------------------------------------------- making queues


def as_queue(value: Any) -> Queue:
    """A `Queue` from what users have: one of ours, a name, or one of kombu's objects.

    Raises:
        ImproperlyConfigured: It is none of these.
    """
    if isinstance(value, Queue):
        return value
    if isinstance(value, str):
        return Queue(value, Exchange(value), value)
    if hasattr(value, "as_dict") and hasattr(value, "exchange"):
        return _adopted(value)
    raise ImproperlyConfigured(f"{value!r} is not a queue; use umbel.Queue or a name")


def queue_from_options(name: str, options: Mapping[str, Any]) -> Queue:
    """A `Queue` from a name and options as `Queues.add` takes them."""
    rest = dict(options)
    about = {_EXCHANGE_OPTIONS[key]: rest.pop(key) for key in _EXCHANGE_OPTIONS if key in rest}
    exchange = as_exchange(rest.pop("exchange", None))
    key = rest.pop("binding_key", None) or rest.pop("routing_key", None) or name
    rest.pop("routing_key", None)
    return Queue(name, replace(exchange, **about) if about else exchange, key, **rest)


def worker_direct(hostname: str | Queue) -> Queue:
    """The queue of one worker alone, for messages that are meant for nobody else."""
    if isinstance(hostname, Queue):
        return hostname
    return Queue(f"{hostname}.dq2", Exchange("C.dq2"), hostname)


def _adopted(queue: Any) -> Queue:
    described = {
        key: value
        for key, value in queue.as_dict(recurse=False).items()
        if key in _QUEUE_OPTIONS and value is not None
    }
    described["bindings"] = tuple(
        Binding(as_exchange(each.exchange), each.routing_key or "", each.arguments)
        for each in queue.bindings or ()
    )
    return Queue(queue.name, as_exchange(queue.exchange), queue.routing_key or "", **described)


def _changed(queue: Queue, attributes: Mapping[str, Any]) -> Queue:
    # dataclasses.replace() would call the constructor, and Broadcast's invents a new name
    changed = copy(queue)
    for name, value in attributes.items():
        object.__setattr__(changed, name, value)
    return changed


def _names(names: Iterable[str] | str) -> Iterable[str]:
    return (names,) if isinstance(names, str) else names


def _typed(kind: str | None) -> dict[str, Any] | None:
    return {"x-queue-type": kind} if kind and kind != "classic" else None


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds * 1000)


_QUEUE_OPTIONS: Final = {
    each.name: each.default for each in fields(Queue) if each.default is not MISSING
}
_EXCHANGE_OPTIONS: Final = {
    "exchange_type": "type",
    "exchange_durable": "durable",
    "exchange_auto_delete": "auto_delete",
    "delivery_mode": "delivery_mode",
}
