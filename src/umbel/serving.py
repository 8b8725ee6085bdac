"""The part of an application that stands on servers: queues, broker, and where results are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

from umbel.backend import Backend, NoBackend
from umbel.connections import DISABLED
from umbel.identity import uuid7
from umbel.loading import Loader
from umbel.once import once
from umbel.settings import mask_url
from umbel.subclassing import bound_result

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable

    from umbel.amqp import AMQP
    from umbel.app import Umbel
    from umbel.connections import Connections
    from umbel.context import Context
    from umbel.meta import MetaCodec
    from umbel.ports.backend import ResultBackend
    from umbel.ports.broker import Broker
    from umbel.ports.coordinator import Coordinator
    from umbel.queues import Queues
    from umbel.result import AsyncResult as Result
    from umbel.routing import Router

F = TypeVar("F", bound="Callable[..., Any]")


class Serving:
    """How an application reaches its servers; see `umbel.app.Umbel`."""

    connections: Connections
    _oids: threading.local

    if TYPE_CHECKING:

        @property
        def amqp(self) -> AMQP:
            """Queues and routes."""
            raise NotImplementedError

        @property
        def loader(self) -> Loader:
            """Imports task modules."""
            raise NotImplementedError

        @property
        def meta_codec(self) -> MetaCodec:
            """Encodes and decodes stored results."""
            raise NotImplementedError

    @property
    def router(self) -> Router:
        """Decides which queue a call goes to."""
        return self.amqp.router

    @property
    def queues(self) -> Queues:
        """The queues this application knows, and which of them a worker consumes."""
        return self.amqp.queues

    def select_queues(self, queues: Iterable[str] | str | None = None) -> None:
        """Have workers of this process consume from exactly these queues.

        Raises:
            QueueNotFound: one is unknown and missing queues are not to be made.
        """
        self.amqp.queues.select(queues)

    @property
    def broker_url(self) -> str:
        """The broker's URL: as configured, else the embedded file of this project."""
        return self.connections.read_url

    @property
    def broker(self) -> Broker:
        """Where messages wait; connected on first use.

        Raises:
            ImproperlyConfigured: the URL names no broker.
        """
        return self.connections.broker

    @property
    def backend(self) -> Backend:
        """Where results are kept; connected on first use.

        Raises:
            ImproperlyConfigured: the setting names nothing that keeps results.
        """
        return self.connections.backend

    @property
    def coordinator(self) -> Coordinator:
        """What the whole fleet agrees on: locks, limits, unique keys.

        Raises:
            ImproperlyConfigured: neither broker nor ``coordinator_url`` can be one.
        """
        return self.connections.coordinator

    @property
    def result_store(self) -> ResultBackend | None:
        """The driver below `backend`; None where results are not kept."""
        backend = self.backend
        return None if isinstance(backend, NoBackend) else backend.store

    @property
    def result_codec(self) -> MetaCodec | None:
        """How states are encoded; None where results are not kept."""
        return None if isinstance(self.backend, NoBackend) else self.meta_codec

    @property
    def settles_together(self) -> bool:
        """Whether a settlement and its result are one transaction of one server."""
        store = self.result_store
        return store is not None and store is self.connections.server.backend

    @property
    def backend_shown(self) -> str:
        """The result backend for people: its URL without the password."""
        wanted = self.connections.wanted_backend
        if wanted is None and self.connections.server.embedded:
            wanted = self.broker_url
        if wanted is None or wanted in DISABLED:
            return "disabled"
        shown = wanted if isinstance(wanted, str) else f"{wanted.__module__}:{wanted.__qualname__}"
        return mask_url(shown, stars=2)

    @property
    def watches_tasks(self) -> bool:
        """Whether the loader wants to know of every task."""
        kind = type(self.loader)
        return kind.on_task_init is not Loader.on_task_init

    @once
    def lifespans(self) -> list[Any]:
        """What `lifespan` has gathered."""
        return []

    def lifespan(self, hook: F) -> F:
        """Decorator for what a child's event loop needs: pools to open first and close last.

        ``hook(app)`` is an asynchronous generator function: what is before its ``yield`` runs in
        the loop before the first task, what is after it when the child stops.
        """
        self.lifespans.append(hook)
        return hook

    # -- results ---------------------------------------------------------------------------

    @once
    def AsyncResult(self) -> type[Result[Any]]:  # noqa: N802 - the public name
        """`umbel.result.AsyncResult`, belonging to this application."""
        return bound_result(cast("Umbel", self))

    def put_state(
        self,
        task_id: str,
        value: Any,
        state: str,
        *,
        request: Context | None = None,
        **kwargs: Any,
    ) -> None:
        """Store a state; inside a worker in order with the other states of the running task."""
        backend = self.backend
        if isinstance(backend, NoBackend):
            return
        post = request.post if request is not None and request.id == task_id else None
        if post is None:
            backend.put(task_id, value, state, request=request, **kwargs)
        else:
            post(backend.codec.encode(task_id, state, value, request=request, **kwargs))

    @once
    def oid(self) -> str:
        """The id of this process as somebody who is replied to."""
        return uuid7()

    @property
    def thread_oid(self) -> str:
        """The id of this thread as somebody who is replied to."""
        try:
            return cast("str", self._oids.value)
        except AttributeError:
            self._oids.value = oid = uuid7()
            self.oids.add(oid)
            return oid

    @once
    def oids(self) -> set[str]:
        """The ids of all threads of this process that were asked for theirs."""
        return set()
