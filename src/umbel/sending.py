"""The part of an application that sends calls: one by name, or many at once."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, TypeVar, cast

from umbel import current
from umbel.canvas import signature
from umbel.client import Client
from umbel.exceptions import AlwaysEagerIgnored
from umbel.once import once

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from umbel.app import Umbel
    from umbel.canvas import Signature
    from umbel.message import Message
    from umbel.registry import TaskRegistry
    from umbel.result import AsyncResult as Result
    from umbel.settings import Settings
    from umbel.using import Using

R = TypeVar("R")


class Sending:
    """How an application sends calls; see `umbel.app.Umbel`."""

    registered: TaskRegistry

    if TYPE_CHECKING:

        @property
        def conf(self) -> Settings:
            """The settings."""
            raise NotImplementedError

        @property
        def tasks(self) -> TaskRegistry:
            """All tasks by name."""
            raise NotImplementedError

        @property
        def AsyncResult(self) -> Any:  # noqa: N802 - the public name
            """The class of results."""

    @once
    def client(self) -> Client:
        """Builds and publishes this application's messages."""
        return Client(cast("Umbel", self))

    def using(self, connection: Any) -> Using:
        """A block whose calls are part of the transaction of ``connection``.

        Within ``with app.using(connection):`` whatever this application sends is stored through
        that connection: workers see it when the caller commits, and it is gone if the caller does
        not. The broker must live in the connection's database (``postgresql://``). Connections
        of psycopg, connections and sessions of SQLAlchemy, and others with a ``cursor()`` will
        do; asynchronous ones send with ``adelay`` and its like. Committing is left to the caller.

        Raises:
            ImproperlyConfigured: the broker lives in no database, or in another one; then the
                call that is sent first raises it.
        """
        from umbel.using import Using

        return Using(cast("Umbel", self), connection)

    def signature(self, *args: Any, **kwargs: Any) -> Signature[Any]:
        """A signature sent by this application."""
        kwargs["app"] = self
        return signature(*args, **kwargs)

    def send_task(
        self,
        name: str,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Result[Any]:
        """Send a call to a task by name, which need not be known here.

        Blocks until the broker has stored the message durably, at most ``publish_timeout``
        seconds. Options are those of `Task.apply_async`; if the task is known here, its own
        options count where none is given. Arguments are not checked.

        Raises:
            EncodeError: an argument cannot be encoded.
            OperationalError: the broker did not store it in time.
        """
        self._warn_if_eager()
        message, options = self._by_name(name, args, kwargs, options)
        self.client.publish((message,), options)
        return self._result_of(message.id, options)

    async def asend_task(
        self,
        name: str,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Result[Any]:
        """As `send_task`, without blocking the event loop; concurrent calls are batched."""
        self._warn_if_eager()
        message, options = self._by_name(name, args, kwargs, options)
        await self.client.apublish((message,), options)
        return self._result_of(message.id, options)

    def publish_many(self, signatures: Iterable[Signature[R]], **options: Any) -> list[Result[R]]:
        """Send many calls in one step: all of them, or none.

        ``options`` apply to every call that does not set them itself.

        Raises:
            EncodeError: a call cannot be encoded; nothing was sent.
            OperationalError: the broker did not store them in time.
        """
        messages, results = self._messages_of(signatures, options)
        self.client.publish(messages, options)
        return results

    async def apublish_many(
        self, signatures: Iterable[Signature[R]], **options: Any
    ) -> list[Result[R]]:
        """As `publish_many`, without blocking the event loop."""
        messages, results = self._messages_of(signatures, options)
        await self.client.apublish(messages, options)
        return results

    def _warn_if_eager(self) -> None:
        if self.conf.task_always_eager:
            warnings.warn(
                "task_always_eager has no effect on send_task: the task goes to the broker",
                AlwaysEagerIgnored,
                stacklevel=3,
            )

    def _by_name(
        self,
        name: str,
        args: Sequence[Any] | None,
        kwargs: Mapping[str, Any] | None,
        options: Mapping[str, Any],
    ) -> tuple[Message, dict[str, Any]]:
        task = self.registered.get(name)
        if task is None:
            merged = dict(options)
        else:
            merged = {**task.publish_options, **options}
            if task.ignore_result:  # else the worker's own task decides
                merged.setdefault("ignore_result", True)
        message = self.client.message(
            name,
            () if args is None else args,
            {} if kwargs is None else cast("dict[str, Any]", kwargs),
            task=task,
            options=merged,
        )
        return message, merged

    def _result_of(self, task_id: str, options: Mapping[str, Any]) -> Result[Any]:
        result = (options.get("result_cls") or self.AsyncResult)(task_id)
        result.ignored = bool(options.get("ignore_result"))
        if options.get("add_to_parent", True):
            parent = current.get_current_worker_task()
            if parent is not None:
                parent.add_trail(result)
        return cast("Result[Any]", result)

    def _messages_of(
        self, signatures: Iterable[Signature[R]], options: Mapping[str, Any]
    ) -> tuple[list[Message], list[Result[R]]]:
        messages: list[Message] = []
        results: list[Result[R]] = []
        for sig in signatures:
            merged = {**options, **sig.options}
            task = self.tasks.get(str(sig["task"]))
            if task is None:
                message, merged = self._by_name(str(sig["task"]), sig.args, sig.kwargs, merged)
            else:
                message, merged = task.build(sig.args, sig.kwargs, merged)
            messages.append(message)
            results.append(self._result_of(message.id, merged))
        return messages, results
