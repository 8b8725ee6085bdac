"""Which queue a call goes to.

`task_routes` is a list of routers, asked in order until one answers. A router is a mapping of
task names and patterns to routes (`MapRoute`), a callable, an object with ``route_for_task``, or
the dotted path of any of these, which is looked up at first use. A route is the name of a queue
or a dict of publish options, of which ``queue``, ``exchange``, ``routing_key`` and ``priority``
say where. What the caller asked for explicitly always wins over a route, and a route over the
defaults; an option that is None counts as not given.

A call whose route names neither a queue nor an exchange goes to the default queue.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from umbel.exceptions import ImproperlyConfigured
from umbel.exchanges import as_exchange
from umbel.queues import Queue, QueueDefaults, Queues, as_queue

Options: TypeAlias = Mapping[str, Any]
Ask: TypeAlias = Callable[..., Options | str | None]
Resolve: TypeAlias = Callable[[str], Any]

_REMEMBERED: Final = 1024
_UNSEEN: Final = object()


@dataclass(slots=True)  # frozen ones take three times as long to make, and every publish makes one
class Route:
    """Where one message goes.

    Attributes:
        queue: The queue it waits in; empty if only an exchange was named and no queue known
            here is bound to it.
        exchange: The exchange it is published to; empty is the default one.
        routing_key: The key it is published with.
        priority: The priority that caller or route asked for.
        options: All publish options, the caller's merged over the route's.
        copies: The names of further queues bound to the same exchange that get it too.
    """

    queue: str
    exchange: str
    routing_key: str
    priority: int | None
    options: Options
    copies: tuple[str, ...] = ()


class MapRoute:
    """A router that looks the task's name up: exact names first, then patterns in their order.

    Args:
        routes: A mapping, or pairs, of names to routes. A name with a ``*`` is a pattern in the
            shell's manner; a compiled regular expression is matched from the name's start.

    Raises:
        ImproperlyConfigured: A name or route is of the wrong kind.
    """

    def __init__(
        self, routes: Mapping[Any, Options | str] | Iterable[tuple[Any, Options | str]]
    ) -> None:
        self.exact: dict[str, Options] = {}
        self.patterns: list[tuple[re.Pattern[str], Options]] = []
        self._seen: dict[str, Options | None] = {}
        for name, route in _pairs(routes):
            self._add(name, _as_options(name, route))

    def _add(self, name: Any, route: Options) -> None:
        if isinstance(name, re.Pattern):
            self.patterns.append((name, route))
        elif not isinstance(name, str):
            raise ImproperlyConfigured(
                f"task_routes: {name!r} is neither a task's name nor a pattern"
            )
        elif "*" in name:
            from fnmatch import translate

            self.patterns.append((re.compile(translate(name)), route))
        else:
            self.exact.setdefault(name, route)

    def __call__(self, name: str, *_args: Any, **_kwargs: Any) -> dict[str, Any] | None:
        """The publish options for this task, or None."""
        found: Any = self._seen.get(name, _UNSEEN)
        if found is _UNSEEN:
            found = self._find(name)
            if len(self._seen) >= _REMEMBERED:
                self._seen.clear()
            self._seen[name] = found
        return None if found is None else dict(found)

    def _find(self, name: str) -> Options | None:
        if name in self.exact:
            return self.exact[name]
        matching = (route for pattern, route in self.patterns if pattern.match(name))
        return next(matching, None)


class Router:
    """Adds to the options of a call where it goes.

    Args:
        routes: What ``task_routes`` says, in any of its forms.
        queues: The queues that names are looked up in.
        resolve: Finds the object behind a dotted path.

    Raises:
        ImproperlyConfigured: ``routes`` has a form that cannot work.
    """

    def __init__(self, routes: Any, queues: Queues, resolve: Resolve) -> None:
        self.queues = queues
        self.routers = prepare(routes, resolve)

    def route(
        self,
        options: Options,
        name: str,
        args: Any = (),
        kwargs: Options | None = None,
        task: Any = None,
    ) -> dict[str, Any]:
        """The merged publish options, ``queue`` among them as a `Queue`.

        ``queue`` is absent where a route names an exchange alone.

        Raises:
            QueueNotFound: The queue is not configured and missing ones are not to be made.
        """
        merged = {key: value for key, value in options.items() if value is not None}
        found = None
        if self.routers:
            found = self._ask(name, args, {} if kwargs is None else kwargs, options, task)
        if found:
            merged = {**found, **merged}
        queue = merged.get("queue")
        if queue is not None:
            merged["queue"] = self.queues[queue] if isinstance(queue, str) else as_queue(queue)
        elif not found or "exchange" not in merged:
            merged["queue"] = self.queues.default
        return merged

    def resolve(
        self, name: str, options: Options, args: Any, kwargs: Options, task: Any = None
    ) -> Route:
        """Where a call goes, down to the exchange and key it is published with.

        Raises:
            QueueNotFound: The queue is not configured and missing ones are not to be made.
        """
        merged = self.route(options, name, args, kwargs, task)
        queue: Queue | None = merged.get("queue")
        exchange, key = destination(queue, merged.get("exchange"), merged.get("routing_key"))
        priority = merged.get("priority")
        if not exchange:
            return Route(key, "", key, priority, merged)
        bound = [each.name for each in self.queues.bound_to(exchange, key)]
        if queue is not None and queue.name not in bound and queue.accepts(exchange, key):
            bound.insert(0, queue.name)
        return Route(bound[0] if bound else "", exchange, key, priority, merged, tuple(bound[1:]))

    def _ask(self, *call: Any) -> Options | None:
        for router in self.routers:
            answer = router(*call)
            if answer is not None:
                return _as_options(call[0], answer) if answer else None
        return None


def destination(queue: Queue | None, exchange: Any, routing_key: str | None) -> tuple[str, str]:
    """The exchange and key a message is published with; an empty exchange is the default one.

    A direct exchange is bypassed, unless both an exchange and a key were asked for: the message
    goes to its queue by the queue's name. Otherwise what was not asked for is the queue's.
    """
    named = as_exchange(exchange).name if exchange else ""
    if queue is None:
        return named, routing_key or ""
    if queue.exchange.type == "direct" and not (named and routing_key):
        return "", queue.name
    return named or queue.exchange.name, routing_key or queue.routing_key


def prepare(routes: Any, resolve: Resolve) -> list[Ask]:
    """The routers that ``task_routes`` stands for.

    Raises:
        ImproperlyConfigured: It has a form that cannot work.
    """
    if routes is None:
        return []
    if not isinstance(routes, (list, tuple)):
        return [_as_router(routes, resolve)]
    for entry in routes:
        if isinstance(entry, (list, tuple)) and entry and isinstance(entry[0], (str, re.Pattern)):
            raise ImproperlyConfigured(
                "task_routes is a list of routers, and a pair is not one; "
                f"put the pairs into a list of their own: ([{tuple(entry)!r}, ...],)"
            )
    return [_as_router(entry, resolve) for entry in routes]


def router_for(conf: Any, resolve: Resolve) -> Router:
    """The router that an application's settings describe.

    Args:
        conf: The settings, as attributes.
        resolve: Finds the object behind a dotted path.

    Raises:
        ImproperlyConfigured: A setting about queues or routes cannot work.
        ValueError: A type of queue is unknown.
    """
    defaults = QueueDefaults(
        queue=conf.task_default_queue,
        exchange=conf.task_default_exchange,
        exchange_type=conf.task_default_exchange_type,
        routing_key=conf.task_default_routing_key,
        queue_type=conf.task_default_queue_type,
        max_priority=conf.task_queue_max_priority,
        create_missing=conf.task_create_missing_queues,
        missing_type=conf.task_create_missing_queue_type,
        missing_exchange_type=conf.task_create_missing_queue_exchange_type,
    )
    return Router(conf.task_routes, Queues(conf.task_queues, defaults), resolve)


def _as_router(entry: Any, resolve: Resolve) -> Ask:
    if isinstance(entry, str):
        return _Named(entry, resolve)
    if isinstance(entry, (Mapping, list, tuple)):
        return MapRoute(entry)
    if isinstance(entry, type):
        entry = entry()
    if hasattr(entry, "route_for_task"):
        return _with_three_arguments(entry.route_for_task)
    if callable(entry):
        return _with_task(entry)
    raise ImproperlyConfigured(
        f"task_routes: {entry!r} is not a router; use a mapping, a callable or a dotted path"
    )


class _Named:
    """A router that is looked up when it is first asked."""

    def __init__(self, path: str, resolve: Resolve) -> None:
        self.path = path
        self._resolve = resolve
        self._router: Ask | None = None

    def __call__(self, *call: Any) -> Options | str | None:
        if self._router is None:
            self._router = _as_router(self._look_up(), self._resolve)
        return self._router(*call)

    def _look_up(self) -> Any:
        try:
            return self._resolve(self.path)
        except (ImportError, AttributeError, ValueError) as error:
            raise ImproperlyConfigured(
                f"task_routes: the router {self.path!r} cannot be imported ({error})"
            ) from error


def _with_task(function: Callable[..., Any]) -> Ask:
    def ask(name: str, args: Any, kwargs: Options, options: Options, task: Any) -> Any:
        return function(name, args, kwargs, options, task=task)

    return ask


def _with_three_arguments(method: Callable[..., Any]) -> Ask:
    def ask(name: str, args: Any, kwargs: Options, _options: Options, _task: Any) -> Any:
        return method(name, args, kwargs)

    return ask


def _pairs(routes: Any) -> list[tuple[Any, Any]]:
    try:
        return [(name, route) for name, route in _items(routes)]
    except (TypeError, ValueError):
        raise ImproperlyConfigured(
            f"task_routes: {routes!r} is neither a mapping nor a list of pairs"
        ) from None


def _items(routes: Any) -> Iterable[Any]:
    return routes.items() if isinstance(routes, Mapping) else routes


def _as_options(name: Any, route: Any) -> Options:
    if isinstance(route, str):
        return {"queue": route}
    if isinstance(route, Mapping):
        return route
    if isinstance(route, Queue) or hasattr(route, "routing_key"):
        return {"queue": route}
    raise ImproperlyConfigured(
        f"the route of {name!r} is {route!r}; it must be a queue's name or a dict of options"
    )
