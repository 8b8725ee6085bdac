"""``self.request``: what a task may know about the message it is running for.

A request is made for every message, and most tasks never look at theirs.  So it takes over the
headers as they are and keeps the message; what has to be put together from several parts of it
(`headers`, `delivery_info`, …) is put together when it is first asked for.

A message is other people's data.  Only the headers of the protocol become fields; a header of the
user's own is found as an attribute too, but never in place of something that is here already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from umbel.message import Delivery, Message, StoredResult
    from umbel.outcome import Outcome

JSON = "application/json"

FROM_HEADERS = frozenset(
    [
        "lang",
        "task",
        "id",
        "shadow",
        "eta",
        "expires",
        "group",
        "group_index",
        "retries",
        "timelimit",
        "root_id",
        "parent_id",
        "argsrepr",
        "kwargsrepr",
        "origin",
        "ignore_result",
        "replaced_task_nesting",
        "stamped_headers",
        "stamps",
        "compression",
        "utc",
        "umbel_typed",
        "umbel_verdict",
        "umbel_start",
    ]
)
"""Headers that become fields of the request."""

_FROM_ELSEWHERE = frozenset(
    [
        "args",
        "kwargs",
        "callbacks",
        "errbacks",
        "chain",
        "chord",
        "taskset",
        "hostname",
        "headers",
        "delivery_info",
        "properties",
        "correlation_id",
        "reply_to",
    ]
)

PROTOCOL_FIELDS = FROM_HEADERS | _FROM_ELSEWHERE
"""Names with a meaning of their own, which are not the user's."""

_DEATH = ["x-death", "x-first-death-exchange", "x-first-death-queue", "x-first-death-reason"]
"""Headers with which RabbitMQ tells where a message died; not to be sent again."""


class _Late:
    """A field that is worked out when it is first read; setting it before or after wins."""

    def __init__(self, work_out: Callable[[Context], Any]) -> None:
        self._work_out = work_out
        self.__doc__ = work_out.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, request: Context | None, owner: type | None = None) -> Any:
        if request is None:
            return None
        value = request.__dict__[self._name] = self._work_out(request)
        return value


class Context:
    """The request a task runs for; every field has a default, so that reading never fails.

    Besides the fields below, ``request.name_of_header`` is a header of the user's own.
    """

    args: Any = None
    callbacks: Any = None
    called_directly: bool = True
    chain: Any = None
    chord: Any = None
    deliveries: int = 1
    errbacks: Any = None
    eta: str | None = None
    expires: Any = None
    group: str | None = None
    group_index: int | None = None
    hostname: str | None = None
    id: str | None = None
    ignore_result: bool = False
    is_eager: bool = False
    kwargs: Any = None
    logfile: str | None = None
    loglevel: int | None = None
    origin: str | None = None
    parent_id: str | None = None
    retries: int = 0
    replaced_task_nesting: int = 0
    root_id: str | None = None
    shadow: str | None = None
    stamped_headers: list[str] | None = None
    stamps: dict[str, Any] | None = None
    task: str | None = None
    timelimit: Any = None
    utc: bool | None = None
    argsrepr: str | None = None
    kwargsrepr: str | None = None
    lang: str | None = None
    compression: str | None = None
    umbel_typed: Any = None

    _message: Message | None = None
    _delivery: Delivery | None = None
    _children: list[Any] | None = None
    retry_limit: int | None = None
    """What ``max_retries`` a call of ``retry`` asked for, also for ``autoretry_for`` around it."""
    again: Message | None = None
    """The next attempt, to be published when this one ends."""
    entering: bool = False
    """Whether the task's own ``__call__`` is about to be called for this request."""
    sealed: tuple[Outcome, StoredResult | None, tuple[Message, ...]] | None = None
    """What `umbel.attempt` has written down about the end of this attempt."""
    post: Callable[[StoredResult], None] | None = None
    """Stores a state in order with the others of this attempt; None where nobody keeps order."""

    def __init__(self, *args: Mapping[str, Any], **kwargs: Any) -> None:
        self.update(*args, **kwargs)

    def update(self, *args: Mapping[str, Any], **kwargs: Any) -> None:
        """Set fields; ``timelimit`` (hard, soft) also sets the two it stands for."""
        fields = self.__dict__
        fields.update(*args, **kwargs)
        limits = fields.get("timelimit")
        if limits:
            fields["time_limit"], fields["soft_time_limit"] = limits

    @classmethod
    def of(
        cls,
        delivery: Delivery,
        message: Message,
        parts: tuple[Any, Any, Mapping[str, Any]],
        hostname: str,
    ) -> Context:
        """The request for one delivery; ``parts`` is the decoded body."""
        headers = message.headers
        if not FROM_HEADERS.issuperset(headers):
            headers = {key: value for key, value in headers.items() if key in FROM_HEADERS}
        args, kwargs, embed = parts
        self = cls.__new__(cls)
        self.__dict__ = fields = {
            **headers,
            "args": args,
            "kwargs": kwargs,
            "called_directly": False,
            "hostname": hostname,
            "deliveries": delivery.deliveries,
            "_message": message,
            "_delivery": delivery,
        }
        for key in ("callbacks", "errbacks", "chain", "chord"):
            if embed.get(key):
                fields[key] = embed[key]
        return self

    # -- worked out when asked for ---------------------------------------------------------

    @_Late
    def headers(self) -> dict[str, Any] | None:
        """The headers that are the user's own; None if there are none."""
        message = self._message
        return None if message is None else custom_headers(message.headers)

    @_Late
    def properties(self) -> Mapping[str, Any] | None:
        """The message's properties."""
        return None if self._message is None else self._message.properties

    @_Late
    def delivery_info(self) -> dict[str, Any] | None:
        """Exchange, routing key and priority it came with, and whether somebody held it before."""
        message = self._message
        if message is None:
            return None
        return {
            "exchange": message.exchange,
            "routing_key": message.routing_key or message.queue,
            "priority": message.priority,
            "redelivered": self.deliveries > 1,
        }

    @_Late
    def reply_to(self) -> str | None:
        """Who asked."""
        return (self.properties or {}).get("reply_to")

    @_Late
    def correlation_id(self) -> str | None:
        """The id under which whoever asked knows this."""
        return (self.properties or {}).get("correlation_id")

    @_Late
    def time_limit(self) -> float | None:
        """The hard limit of this call in seconds."""
        limit: float | None = _pair(self.timelimit)[0]
        return limit

    @_Late
    def soft_time_limit(self) -> float | None:
        """The soft limit of this call in seconds."""
        limit: float | None = _pair(self.timelimit)[1]
        return limit

    @property
    def children(self) -> list[Any]:
        """Results of the tasks this one has started."""
        if self._children is None:
            self._children = []
        return self._children

    @property
    def taskset(self) -> str | None:
        """Former name of ``group``."""
        return self.group

    @property
    def name(self) -> str | None:
        """The task's name, as receivers of ``task_received`` and ``task_revoked`` know it."""
        return self.task

    task_name = name

    def __getattr__(self, name: str) -> Any:
        own = self.headers
        if own and name in own:
            return own[name]
        raise AttributeError(f"the request has no field {name!r}")

    def get(self, key: str, default: Any = None) -> Any:
        """The field, or ``default`` if there is none of that name."""
        return getattr(self, key, default)

    def clear(self) -> None:
        """Back to the defaults."""
        self.__dict__.clear()

    def as_execution_options(self) -> dict[str, Any]:
        """The ``apply_async`` options with which a copy of this request would be sent."""
        time_limit, soft_time_limit = _pair(self.timelimit)
        options: dict[str, Any] = {
            "task_id": self.id,
            "root_id": self.root_id,
            "parent_id": self.parent_id,
            "group_id": self.group,
            "group_index": self.group_index,
            "shadow": self.shadow,
            "chord": self.chord,
            "chain": self.chain,
            "link": self.callbacks,
            "link_error": self.errbacks,
            "expires": self.expires,
            "soft_time_limit": soft_time_limit,
            "time_limit": time_limit,
            "headers": _without_death(self.headers),
            "retries": self.retries,
            "reply_to": self.reply_to,
            "replaced_task_nesting": self.replaced_task_nesting,
            "origin": self.origin,
        }
        if "ignore_result" in self.__dict__:
            options["ignore_result"] = self.ignore_result
        if self.compression:
            options["compression"] = self.compression
        if self._message is not None and self._message.content_type != JSON:
            options["serializer"] = self._message.content_type
        if self.stamped_headers is not None:
            options["stamped_headers"] = self.stamped_headers
            options.update(self.stamps or {})
        return options

    def __repr__(self) -> str:
        shown = {key: value for key, value in self.__dict__.items() if key not in _INNER}
        return f"<Context: {shown!r}>"


_INNER = frozenset(
    ["_message", "_delivery", "_children", "again", "sealed", "post", "retry_limit", "entering"]
)


def custom_headers(headers: Mapping[str, Any]) -> dict[str, Any] | None:
    """The headers that are the user's own, or None if there are none."""
    if FROM_HEADERS.issuperset(headers):
        return None
    return {key: value for key, value in headers.items() if key not in PROTOCOL_FIELDS} or None


def _without_death(headers: dict[str, Any] | None) -> dict[str, Any] | None:
    if not headers or not any(key in headers for key in _DEATH):
        return headers
    return {key: value for key, value in headers.items() if key not in _DEATH} or None


def _pair(limits: Any) -> tuple[Any, Any]:
    """Hard and soft limit; a header that is no pair sets none."""
    if isinstance(limits, (list, tuple)) and len(limits) == 2:  # noqa: PLR2004 - a pair
        return limits[0], limits[1]
    return None, None
