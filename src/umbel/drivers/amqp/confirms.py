"""Which published messages the server has not answered for yet, and which it refused."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from umbel.drivers.amqp import properties

if TYPE_CHECKING:
    from collections.abc import Sequence

    from umbel.drivers.amqp.messages import Confirm, Outgoing, Returned


class Failure(NamedTuple):
    """A message that the server did not keep.

    Attributes:
        sequence: its number on the channel.
        message: what was published.
        returned: no queue takes it; otherwise the server refused it.
        reason: what the server said.
    """

    sequence: int
    message: Outgoing
    returned: bool
    reason: str


class Confirms:
    """The ledger of one channel in confirm mode; any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._last = 0
        self._waiting: OrderedDict[int, Outgoing] = OrderedDict()
        self._returned: dict[int, str] = {}
        self._came_back = 0
        self._failures: list[Failure] = []

    def add(self, messages: Sequence[Outgoing]) -> int:
        """Number ``messages`` in the order in which they are published; returns the last number."""
        with self._lock:
            self._waiting.update(enumerate(messages, self._last + 1))
            self._last += len(messages)
            return self._last

    def withdraw(self, count: int) -> None:
        """Forget the ``count`` last ones: they were not written after all."""
        with self._lock:
            for _ in range(count):
                self._waiting.popitem()
            self._last -= count

    def settle(self, confirm: Confirm) -> None:
        """Enter an answer of the server."""
        with self._lock:
            if not confirm.multiple:
                self._end(confirm.tag, confirm.ok)
                return
            while self._waiting and (first := next(iter(self._waiting))) <= confirm.tag:
                self._end(first, confirm.ok)

    def _end(self, sequence: int, ok: bool) -> None:  # noqa: FBT001 - private, and hot
        message = self._waiting.pop(sequence, None)
        if message is None:
            return
        reason = self._returned.pop(sequence, None) if self._returned else None
        if reason is not None:
            self._failures.append(Failure(sequence, message, True, reason))
        elif not ok:
            self._failures.append(Failure(sequence, message, False, "refused"))

    def returned(self, message: Returned) -> None:
        """Enter a message that came back; its confirm follows.

        What comes back does not carry its number, but in the order of publishing. So it is the
        first behind the last one that looks the same; the properties alone may differ, as the
        server strips some.
        """
        with self._lock:
            sequence = self._alike(message)
            if sequence is not None:
                self._came_back = sequence
                self._returned[sequence] = message.reason

    def _alike(self, message: Returned) -> int | None:
        nearly = None
        for sequence, sent in self._waiting.items():
            if (
                sequence > self._came_back
                and sent.mandatory
                and sent.routing_key == message.routing_key
                and sent.exchange == message.exchange
                and sent.body == message.body
            ):
                if properties.write(sent.properties) == message.raw_properties:
                    return sequence
                nearly = nearly or sequence
        return nearly

    def is_settled(self, until: int) -> bool:
        """Whether everything up to ``until`` is answered for."""
        with self._lock:
            return not self._waiting or next(iter(self._waiting)) > until

    def waiting(self) -> list[Outgoing]:
        """What is not answered for, oldest first."""
        with self._lock:
            return list(self._waiting.values())

    def take_failures(self, until: int | None = None) -> list[Failure]:
        """Failures not asked for yet, up to the number ``until`` or all."""
        if not self._failures:
            return []
        with self._lock:
            taken = [each for each in self._failures if until is None or each.sequence <= until]
            self._failures = [
                each for each in self._failures if until is not None and each.sequence > until
            ]
            return taken

    def put_back(self, failures: Sequence[Failure]) -> None:
        """Have ``failures`` be asked for again."""
        with self._lock:
            self._failures = [*failures, *self._failures]

    def forget_lock(self) -> None:
        """After a fork: a thread that is not here may hold it."""
        self._lock = Lock()
