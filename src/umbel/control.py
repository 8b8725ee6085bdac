"""``app.control``: commands that concern the whole fleet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from umbel.app import Umbel


class Control:
    """Commands of ``app``; a subclass may be given as ``Umbel(control=…)``."""

    def __init__(self, app: Umbel) -> None:
        self.app = app

    def purge(self, connection: Any = None) -> int:  # noqa: ARG002 - Celery's argument
        """Delete every message that waits in a queue workers consume from; returns how many.

        What a worker holds already is left to it. There is no way back. ``connection`` is
        accepted and not used.

        Raises:
            OperationalError: the broker cannot be reached.
        """
        broker = self.app.broker
        return sum(broker.purge(name) for name in self.app.amqp.queues.consume_from)

    discard_all = purge
