"""What happens to the messages of a process that died.

The supervisor takes over every claim of the dead owner under new fences, and decides about each by
what the board said last: what had not started goes back uncharged; what was running is started
again, or, where the task does not want that, is told its end by way of a verdict in its headers,
which whoever receives it next turns into the failure with all its callbacks.
"""

from __future__ import annotations

import logging
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from umbel.message import Message, Settlement
from umbel.worker.admission import VERDICT
from umbel.worker.board import REQUEUE_WHEN_LOST, noted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from umbel.message import Delivery
    from umbel.ports.broker import Broker
    from umbel.worker.board import Entry
    from umbel.worker.options import Facts

logger = logging.getLogger("umbel.worker")


class Aftermath:
    """Decides what becomes of a dead owner's claims."""

    def __init__(self, broker: Broker, me: str, facts: Facts) -> None:
        self._broker = broker
        self._me = me
        self._facts = facts

    def settle(
        self,
        owner: str,
        entries: Sequence[Entry],
        code: int | None,
        *,
        overrun: str | None,
        charge: bool,
    ) -> None:
        """Take over the claims of ``owner`` and give each back, or end it.

        ``entries`` are the tasks that were running, ``overrun`` the id of one that was killed for
        its time limit. Without ``charge`` no crash is counted: the process was told to stop.

        Raises:
            OperationalError: the broker cannot be reached; the lease will end by itself.
        """
        running = {entry.task_id: entry for entry in entries}
        unstarted: list[Delivery] = []
        crashed: list[Delivery] = []
        verdicts: list[Settlement] = []
        for delivery in self._broker.takeover(owner, self._me):
            entry = running.get(noted(delivery.message.id))
            if entry is None or not charge:
                unstarted.append(delivery)
            elif entry.task_id == overrun:
                limit = round(entry.hard - entry.started, 3) if entry.hard else None
                verdicts.append(_verdict(delivery, {"kind": "timelimit", "limit": limit}))
            elif not entry.flags & REQUEUE_WHEN_LOST:
                verdicts.append(_verdict(delivery, {"kind": "lost", "detail": lost_text(code)}))
            elif delivery.crashes + 1 >= self._facts.max_crashes:
                verdicts.append(_verdict(delivery, {"kind": "crashed", "detail": lost_text(code)}))
            else:
                crashed.append(delivery)
        if verdicts:
            self._broker.settle(verdicts)
        if crashed:
            names = ", ".join(_shown(delivery) for delivery in crashed[:5])
            logger.warning("%s will be started again: its process %s", names, describe_exit(code))
            self._broker.release(crashed, crashed=True)
        if unstarted:
            self._broker.release(unstarted)


def describe_exit(code: int | None) -> str:
    """How a process ended, in words."""
    if code is None:
        return "is gone"
    if code < 0:
        name = _signal_name(-code)
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"was ended by signal {-code} ({name}){hint}"
    return f"exited with code {code}"


def lost_text(code: int | None) -> str:
    """Why a task has no end of its own."""
    if code is not None and code < 0:
        return f"Worker exited prematurely: signal {-code} ({_signal_name(-code)})."
    return f"Worker exited prematurely: exitcode {code}."


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"


def _verdict(delivery: Delivery, verdict: dict[str, Any]) -> Settlement:
    """Replace a claimed message by one that carries its end."""
    message = delivery.message
    if not isinstance(message, Message):
        return Settlement(delivery, requeue=True)
    marked = replace(message, headers={**message.headers, VERDICT: verdict}, due_at=None)
    return Settlement(delivery, follow=(marked,))


def _shown(delivery: Delivery) -> str:
    message = delivery.message
    name = message.task if isinstance(message, Message) else "?"
    return f"{name}[{message.id}]"
