"""Messages to send and what is done with them, in few words."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

from umbel.message import DeadLetter, Delivery, Message, Settlement, StoredResult

if TYPE_CHECKING:
    from collections.abc import Iterable

    from umbel.ports.broker import Broker

QUEUE = "tasks"
_numbers = count(1)


def post(task_id: str | None = None, **fields: Any) -> Message:
    """A message; its id is new unless given."""
    task_id = task_id or f"task-{next(_numbers)}"
    fields.setdefault("queue", QUEUE)
    fields.setdefault("headers", {"task": "mail.send", "id": task_id, "retries": 0})
    fields.setdefault("body", b"[[], {}, {}]")
    return Message(task_id, **fields)


def posts(number: int, **fields: Any) -> list[Message]:
    """That many messages."""
    return [post(**fields) for _ in range(number)]


def ids(found: Iterable[Delivery | Message]) -> list[str]:
    """The task ids, in order."""
    return [one.message.id if isinstance(one, Delivery) else one.id for one in found]


def succeeded(task_id: str, **fields: Any) -> StoredResult:
    """A result that ends a task."""
    fields.setdefault("payload", b'{"status":"SUCCESS","result":42}')
    return StoredResult(task_id, "SUCCESS", final=True, **fields)


def ended(delivery: Delivery, **more: Any) -> Settlement:
    """The settlement of an attempt that succeeded, with its result."""
    return Settlement(delivery, result=succeeded(delivery.message.id), **more)


def buried(delivery: Delivery, **fields: Any) -> Settlement:
    """The settlement that sends a message to the dead letters."""
    letter = {"reason": "rejected", "detail": "not wanted", "at": 1.5e9, **fields}
    return Settlement(delivery, dead=DeadLetter(delivery.message, delivery.queue, **letter))


class Worker:
    """An owner with a lease, and what it does with messages."""

    def __init__(self, broker: Broker, *, name: str = "worker", lease: float = 1e9) -> None:
        self.broker = broker
        self.name = name
        broker.enroll(name, lease)

    def take(self, limit: int = 100, *queues: str, wait: float = 0) -> list[Delivery]:
        return self.broker.reserve(self.name, queues or (QUEUE,), limit=limit, wait=wait)

    def take_one(self, *queues: str, wait: float = 0) -> Delivery:
        (delivery,) = self.take(1, *queues, wait=wait)
        return delivery

    def drain(self, *queues: str) -> list[str]:
        """Take and settle everything that is ready; the ids in order."""
        found: list[str] = []
        while taken := self.take(100, *queues):
            found += ids(taken)
            assert all(self.broker.settle([Settlement(delivery) for delivery in taken]))
        return found
