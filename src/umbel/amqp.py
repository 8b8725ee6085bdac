"""``app.amqp``: the queues an application knows, and the routes that lead to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from umbel.once import forget, once, once_locked
from umbel.representation import MAXLEN
from umbel.symbols import symbol_by_name

if TYPE_CHECKING:
    from umbel.app import Umbel
    from umbel.exchanges import Exchange
    from umbel.queues import Queue, Queues
    from umbel.routing import Ask, Router

_QUEUES = (
    "task_queues",
    "task_default_queue",
    "task_default_queue_type",
    "task_default_exchange",
    "task_default_exchange_type",
    "task_default_routing_key",
    "task_queue_max_priority",
    "task_create_missing_queues",
    "task_create_missing_queue_type",
    "task_create_missing_queue_exchange_type",
)


class AMQP:
    """Queues and routes of ``app``; a subclass may be given as ``Umbel(amqp=…)``.

    Attributes:
        argsrepr_maxsize: how many characters of the positional arguments messages show.
        kwargsrepr_maxsize: the same for keyword arguments.
    """

    argsrepr_maxsize = MAXLEN
    kwargsrepr_maxsize = MAXLEN

    def __init__(self, app: Umbel) -> None:
        self.app = app
        self.lock = app.building

    @once_locked
    def _first(self) -> Router:
        """The router as the configuration was when it was first needed."""
        from umbel.routing import router_for

        self._seen = self._settings()
        return router_for(self.app.conf, symbol_by_name)

    @property
    def queues(self) -> Queues:
        """The queues by name; those added or selected here stay as long as the application."""
        return self._first.queues

    @once
    def router(self) -> Router:
        """Decides which queue a call goes to."""
        from umbel.routing import Router

        self._routes_seen = self.app.conf.task_routes
        return Router(self.app.conf.task_routes, self.queues, symbol_by_name)

    @property
    def routes(self) -> list[Ask]:
        """What ``task_routes`` stands for: functions that are asked in turn."""
        return self.router.routers

    def flush_routes(self) -> None:
        """Read ``task_routes`` again on next use."""
        forget(self, "router")

    def refresh(self) -> None:
        """Forget routes, or queues and routes, whose settings have other values now.

        Queues that were added or selected are forgotten with the others.
        """
        if "_first" in self.__dict__ and self._seen != self._settings():
            forget(self, "_first", "router")
        elif "router" in self.__dict__ and self._routes_seen is not self.app.conf.task_routes:
            self.flush_routes()

    def _settings(self) -> tuple[Any, ...]:
        return tuple(self.app.conf[name] for name in _QUEUES)

    @property
    def default_queue(self) -> Queue:
        """Where calls go that nothing else was said about."""
        return self.queues.default

    @property
    def default_exchange(self) -> Exchange:
        """The exchange of the default queue."""
        return self.default_queue.exchange
