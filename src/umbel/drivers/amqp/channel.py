"""One AMQP channel: declarations, publishing with confirms, consuming with acknowledgements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from umbel.drivers.amqp.messages import Incoming, Outgoing, QueueOk


class Channel:
    """Made by `Connection.channel`; dead once the connection or the server has closed it.

    Declarations and other questions to the server: one thread at a time (a lock sees to it).
    `publish`, `ack`, `nack`, `ack_many`, `interrupt` and `unconfirmed`: any thread. `receive`: one
    thread. Every method raises `OperationalError` when the channel or connection is gone.
    """

    @property
    def is_open(self) -> bool:
        raise NotImplementedError

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
        raise NotImplementedError

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

    def bind_queue(
        self,
        queue: str,
        exchange: str,
        routing_key: str = "",
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        """Have ``exchange`` send what matches to ``queue``; raises NotFound."""

    def unbind_queue(
        self,
        queue: str,
        exchange: str,
        routing_key: str = "",
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        """Undo `bind_queue`."""

    def bind_exchange(
        self,
        destination: str,
        source: str,
        routing_key: str = "",
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        """Have exchange ``source`` send what matches to exchange ``destination``."""

    def delete_queue(self, name: str, *, if_unused: bool = False, if_empty: bool = False) -> int:
        """Delete a queue; returns how many messages went with it (0 if there was none)."""
        raise NotImplementedError

    def delete_exchange(self, name: str, *, if_unused: bool = False) -> None:
        """Delete an exchange; nothing happens if there is none."""

    def purge_queue(self, name: str) -> int:
        """Delete the waiting messages of a queue; returns how many. Raises NotFound."""
        raise NotImplementedError

    def select_confirms(self) -> None:
        """Have the server confirm what is published from now on; idempotent."""

    def publish(self, messages: Sequence[Outgoing], *, timeout: float) -> int:
        """Write all messages in one go; returns the sequence number of the last.

        Written is not confirmed: see `wait_confirmed`. While the server is blocked (memory or
        disk alarm) waits up to ``timeout`` seconds, then raises OperationalError with nothing
        written.
        """
        raise NotImplementedError

    def wait_confirmed(self, until_sequence: int, timeout: float) -> None:
        """Return when everything up to and including ``until_sequence`` is confirmed.

        Raises:
            Nacked: the server refused some; its ``messages`` are those.
            Unroutable: mandatory messages came back; its ``messages`` are those.
            OperationalError: not within ``timeout`` seconds, or the channel is gone: see
                `unconfirmed`.
        """

    def unconfirmed(self) -> list[Outgoing]:
        """What was published and neither confirmed nor refused, oldest first.

        Also after the connection is lost: it may be with the server or not, and is to be sent
        again.
        """
        raise NotImplementedError

    def qos(self, prefetch: int) -> None:
        """How many unacknowledged deliveries each consumer may hold; for consumers started later.

        0 is no bound.
        """

    def consume(
        self,
        queue: str,
        *,
        tag: str | None = None,
        exclusive: bool = False,
        no_ack: bool = False,
        arguments: Mapping[str, Any] | None = None,
    ) -> str:
        """Start a consumer; returns its tag. Raises NotFound."""
        raise NotImplementedError

    def cancel(self, tag: str) -> None:
        """End a consumer; what it was sent already still comes out of `receive`."""

    def receive(self, limit: int, timeout: float) -> list[Incoming]:
        """Up to ``limit`` deliveries, in the order of the server.

        Blocks while there is none; empty after ``timeout`` seconds or `interrupt`.

        Raises:
            ConsumerCancelled: the server ended a consumer (after its deliveries were received).
            OperationalError: the channel or the connection is gone.
        """
        raise NotImplementedError

    def interrupt(self) -> None:
        """End a `receive` that waits; if none does, the next that would returns at once."""

    def ack(self, tag: int, *, multiple: bool = False) -> None:
        """Acknowledge one delivery, or all up to ``tag``."""

    def nack(self, tag: int, *, multiple: bool = False, requeue: bool = True) -> None:
        """Give a delivery back, or discard it to the dead letter exchange of its queue."""

    def ack_many(self, tags: Collection[int]) -> None:
        """Acknowledge exactly these deliveries in one write, with as few frames as possible."""

    def get(self, queue: str, *, no_ack: bool = False) -> Incoming | None:
        """Take one message; None if none is ready. Raises NotFound."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the channel politely, within a bound; what was not acknowledged is requeued."""
