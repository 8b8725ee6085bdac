"""What every channel can do: ask the server, and declare queues, exchanges and bindings."""

from __future__ import annotations

import time
from collections import deque
from threading import Lock
from typing import TYPE_CHECKING, Any

from umbel.drivers.amqp import errors
from umbel.drivers.amqp.codec import Encoder
from umbel.drivers.amqp.errors import ConnectionLost
from umbel.drivers.amqp.messages import QueueOk
from umbel.drivers.amqp.methods import commands
from umbel.exceptions import UmbelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from umbel.drivers.amqp.link import Link
    from umbel.drivers.amqp.messages import Answer
    from umbel.drivers.amqp.methods import Method

_Queue, _Exchange = commands.Queue, commands.Exchange


class Questions:
    """The part of a `Channel` where each call is one question and one answer."""

    def __init__(self, link: Link, number: int, answer_timeout: float) -> None:
        self._link = link
        self._answer_timeout = answer_timeout
        self._closed: UmbelError | None = None
        self._asking = Lock()
        self._answers: deque[Answer] = deque()
        self._number = number
        self._encoder = Encoder(number, link.tuned.frame_max)
        self._ask(commands.Channel.Open, commands.Channel.OpenOk)

    @property
    def is_open(self) -> bool:
        """Whether it can be used, as far as is known."""
        return self._closed is None and self._link.lost is None

    def _check(self) -> None:
        self._link.check()
        if self._closed is not None:
            raise errors.again(self._closed) from self._closed

    # --------------------------------------------------------------------- questions and answers

    def _ask(self, method: type[Method], *answers: type[Method], **values: Any) -> Answer:
        """Send a question and wait for one of its answers."""
        with self._asking:
            self._check()
            self._answers.clear()
            deadline = time.monotonic() + self._answer_timeout
            self._link.send(self._encoder.method(method, **values), deadline)
            try:
                answered = self._link.wait(lambda: self._answers or self._closed, deadline)
            except UmbelError:
                raise
            except BaseException:  # a signal: the answer will come when nobody waits for it
                self._link.lose(ConnectionLost(f"{method.name} was interrupted"))
                raise
            answer = self._answers.popleft() if self._answers else None
            if answer is not None and isinstance(answer.method, answers):
                return answer
            self._check()
            # A late answer would be taken for that of the next question.
            lost = self._confused(method, answer) if answered else self._late(method)
            self._link.lose(lost)
            raise lost

    def _confused(self, method: type[Method], answer: Answer | None) -> ConnectionLost:
        came = answer.method.name if answer is not None else "nothing"
        return ConnectionLost(f"{self._link.place} answered {method.name} with {came}")

    def _late(self, method: type[Method]) -> ConnectionLost:
        blocked = f" (it is blocked: {self._link.blocked})" if self._link.blocked else ""
        return ConnectionLost(
            f"{self._link.place} has not answered {method.name} within "
            f"{self._answer_timeout:g} s{blocked}"
        )

    def declare_queue(
        self,
        name: str,
        *,
        durable: bool = True,
        exclusive: bool = False,
        auto_delete: bool = False,
        passive: bool = False,
        arguments: Mapping[str, Any] | None = None,
    ) -> QueueOk:
        """Make sure a queue exists; an empty name lets the server choose one.

        Raises:
            DeclarationMismatch: it exists with other arguments (the channel is closed then).
            NotFound: ``passive``, and it does not exist (the channel is closed then).
        """
        found = self._ask(
            _Queue.Declare,
            _Queue.DeclareOk,
            queue=name,
            durable=durable,
            exclusive=exclusive,
            auto_delete=auto_delete,
            passive=passive,
            arguments=arguments,
        ).method
        return QueueOk(found.queue, found.message_count, found.consumer_count)

    def declare_exchange(
        self,
        name: str,
        kind: str = "direct",
        *,
        durable: bool = True,
        auto_delete: bool = False,
        passive: bool = False,
        internal: bool = False,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        """Make sure an exchange exists; raises as `declare_queue`."""
        self._ask(
            _Exchange.Declare,
            _Exchange.DeclareOk,
            exchange=name,
            exchange_type=kind,
            durable=durable,
            auto_delete=auto_delete,
            passive=passive,
            internal=internal,
            arguments=arguments,
        )

    def bind_queue(
        self,
        queue: str,
        exchange: str,
        routing_key: str = "",
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        """Have ``exchange`` send what matches to ``queue``.

        Raises:
            NotFound: one of them does not exist (the channel is closed then).
        """
        values = {"queue": queue, "exchange": exchange, "routing_key": routing_key}
        self._ask(_Queue.Bind, _Queue.BindOk, **values, arguments=arguments)

    def unbind_queue(
        self,
        queue: str,
        exchange: str,
        routing_key: str = "",
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        """Undo `bind_queue`; nothing happens if there is no such binding."""
        values = {"queue": queue, "exchange": exchange, "routing_key": routing_key}
        self._ask(_Queue.Unbind, _Queue.UnbindOk, **values, arguments=arguments)

    def bind_exchange(
        self,
        destination: str,
        source: str,
        routing_key: str = "",
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        """Have exchange ``source`` send what matches to exchange ``destination``.

        Raises:
            NotFound: one of them does not exist (the channel is closed then).
        """
        values = {"destination": destination, "source": source, "routing_key": routing_key}
        self._ask(_Exchange.Bind, _Exchange.BindOk, **values, arguments=arguments)

    def delete_queue(self, name: str, *, if_unused: bool = False, if_empty: bool = False) -> int:
        """Delete a queue; returns how many messages went with it (0 if there was none)."""
        found = self._ask(
            _Queue.Delete, _Queue.DeleteOk, queue=name, if_unused=if_unused, if_empty=if_empty
        ).method
        count: int = found.message_count
        return count

    def delete_exchange(self, name: str, *, if_unused: bool = False) -> None:
        """Delete an exchange; nothing happens if there is none."""
        self._ask(_Exchange.Delete, _Exchange.DeleteOk, exchange=name, if_unused=if_unused)

    def purge_queue(self, name: str) -> int:
        """Delete the waiting messages of a queue; returns how many. Raises NotFound."""
        count: int = self._ask(_Queue.Purge, _Queue.PurgeOk, queue=name).method.message_count
        return count
