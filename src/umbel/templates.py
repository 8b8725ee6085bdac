"""What calls of one task with the same options have in common, worked out once.

Most calls differ in nothing but arguments and id.  A template holds the rest: the route, the
headers, the properties, how the body is encoded.  Templates with options that concern one call
alone (a countdown, callbacks) are made for that call and not kept, and so are those of calls whose
route may depend on their arguments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from umbel.canvas import as_list
from umbel.identity import origin

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from umbel import serialization
    from umbel.app import Umbel
    from umbel.task import Task

_HANDLED = frozenset(
    (
        *("task_id", "countdown", "eta", "expires", "queue", "exchange", "routing_key"),
        *("priority", "serializer", "compression", "delivery_mode", "link", "link_error"),
        *("shadow", "headers", "retry", "retry_policy", "time_limit", "soft_time_limit"),
        *("ignore_result", "add_to_parent", "producer", "connection", "publisher", "router"),
        *("route_name", "result_cls", "reply_to", "root_id", "parent_id", "group_id"),
        *("group_index", "chord", "chain", "retries", "replaced_task_nesting", "argsrepr"),
        *("kwargsrepr", "declare", "exchange_type", "timeout", "confirm_timeout", "mandatory"),
        *("immediate", "stamped_headers", "origin", "task_type", "typed"),
    )
)
"""Options with a meaning of their own; any other becomes a property of the message."""

_LASTING = frozenset(
    (
        *("queue", "exchange", "routing_key", "priority", "serializer", "compression"),
        *("delivery_mode", "time_limit", "soft_time_limit", "ignore_result", "add_to_parent"),
        *("retry", "timeout", "mandatory", "immediate", "exchange_type", "route_name"),
    )
)
"""Options that many calls may have in common."""

_SIMPLE = frozenset({str, int, float, bool, type(None)})
_EMPTY_EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


class Template:
    """What calls of one task with the same options have in common.

    Attributes:
        options: the caller's options, by which the template is found again.
        merged: the options with those of the route.
        queues: the version of the queues it was made from.
        inherits: whether the priority of the task that sends a message goes before ``priority``.
        headers: all of them in their order; None stands where each message has its own.
        timed: whether there is a moment to work out, which depends on now.
        lasts: whether other calls with the same options may be made from it.
    """

    __slots__ = (
        "compression",
        "embed",
        "exchange",
        "headers",
        "inherits",
        "lasts",
        "limits",
        "merged",
        "options",
        "priority",
        "properties",
        "queue",
        "queues",
        "routing_key",
        "serializer",
        "timed",
    )

    options: Mapping[str, Any]
    merged: Mapping[str, Any]
    queues: int
    queue: str
    exchange: str
    routing_key: str
    priority: int | None
    inherits: bool
    headers: dict[str, Any]
    properties: dict[str, Any]
    embed: dict[str, Any]
    serializer: str
    compression: str | None
    limits: serialization.Limits
    timed: bool
    lasts: bool


def make_template(
    app: Umbel,
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    task: Task[..., Any] | None,
    options: Mapping[str, Any],
) -> Template:
    """What there is to know of a call before its arguments are encoded.

    Raises:
        QueueNotFound: a queue is unknown, and missing ones are not to be made.
        TypeError, ValueError: an option makes no sense.
    """
    conf = app.conf
    router = options.get("router") or app.amqp.router
    route = router.resolve(options.get("route_name") or name, options, args, kwargs, task)
    get = route.options.get
    template = Template()
    template.options, template.merged = dict(options), route.options
    template.queue, template.exchange = route.queue, route.exchange
    template.routing_key = route.routing_key
    template.inherits = route.priority is None and conf.task_inherit_parent_priority
    template.priority = _priority(route.priority, conf.task_default_priority)
    template.headers = _headers(name, route.options)
    template.properties = _properties(route.options, conf.task_default_delivery_mode)
    template.embed = _embed(app, route.options)
    template.serializer = get("serializer") or conf.task_serializer
    template.compression = get("compression") or conf.task_compression
    template.limits = app.decode_limits
    template.timed = any(get(key) is not None for key in ("countdown", "eta", "expires"))
    template.queues = app.amqp.queues.version
    template.lasts = _lasts(options, router)
    return template


def _lasts(options: Mapping[str, Any], router: Any) -> bool:
    from umbel.routing import MapRoute

    return all(type(each) is MapRoute for each in router.routers) and all(
        key in _LASTING and type(value) in _SIMPLE for key, value in options.items()
    )


def _properties(options: Mapping[str, Any], default_mode: Any) -> dict[str, Any]:
    mode = options.get("delivery_mode") or default_mode
    properties: dict[str, Any] = {
        "correlation_id": None,
        "reply_to": options.get("reply_to"),
        "delivery_mode": 1 if mode in (1, "1", "transient") else 2,
    }
    stamped = options.get("stamped_headers") or ()
    for key in options.keys() - _HANDLED:
        if key not in stamped and options[key] is not None:
            properties[key] = options[key]
    return properties


def _headers(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The headers of a call in their order; None stands where each message has its own."""
    get = options.get
    stamped = get("stamped_headers")
    headers: dict[str, Any] = {
        "lang": "py",
        "task": name,
        "id": None,
        "shadow": get("shadow"),
        "eta": None,
        "expires": None,
        "group": get("group_id"),
        "group_index": get("group_index"),
        "retries": get("retries") or 0,
        "timelimit": [get("time_limit"), get("soft_time_limit")],
        "root_id": get("root_id"),
        "parent_id": get("parent_id"),
        "argsrepr": get("argsrepr"),
        "kwargsrepr": get("kwargsrepr"),
        "origin": get("origin") or origin(),
        "ignore_result": get("ignore_result"),
        "replaced_task_nesting": get("replaced_task_nesting") or 0,
        "stamped_headers": stamped,
        "stamps": {key: get(key) for key in stamped or ()},
    }
    if typed := get("typed"):
        headers["umbel_typed"] = typed
    return headers


def _embed(app: Umbel, options: Mapping[str, Any]) -> dict[str, Any]:
    get = options.get
    link, link_error, chain, chord = get("link"), get("link_error"), get("chain"), get("chord")
    if not (link or link_error or chain or chord):
        return _EMPTY_EMBED
    from umbel.callbacks import ready_to_travel

    return {
        "callbacks": _signatures(app, link),
        "errbacks": _signatures(app, link_error, errback=True),
        "chain": _signatures(app, chain),
        "chord": ready_to_travel(app, chord),
    }


def _signatures(app: Umbel, value: Any, *, errback: bool = False) -> list[Any] | None:
    from umbel.callbacks import ready_to_travel

    return [ready_to_travel(app, item, errback=errback) for item in as_list(value)] or None


def _priority(asked: Any, default: Any) -> int | None:
    priority = default if asked is None else asked
    return None if priority is None else int(priority)
