"""What was decided about messages that the broker delivers again by itself.

Where claims have leases, the supervisor takes over what a dead child held and settles it.  Where
they end with the connection, as on RabbitMQ, nobody can: the message is back in its queue, and on
its way to whoever is free, before the supervisor knows of the death.  So the supervisor keeps what
it decided, and every child that receives a message somebody held before asks it first.

A message may also come to another worker, so decisions are broadcast.  One about a hard limit is
broadcast well before the child is killed.  One about a death can only be broadcast after it; a
worker on another machine that receives the message within those milliseconds starts it again.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, Any

from umbel.exceptions import UmbelError
from umbel.worker.aftermath import describe_exit, lost_text
from umbel.worker.board import REQUEUE_WHEN_LOST, noted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from umbel.ports.broker import Broker
    from umbel.worker.board import Entry
    from umbel.worker.keeper import Keeper

logger = logging.getLogger("umbel.worker")

CHANNEL = "umbel.verdicts"
KEPT = 3600.0
MOST = 10_000
LISTEN = 5.0
PAUSE = 1.0


class Docket:
    """The decisions of one supervisor, and those it has heard of."""

    def __init__(
        self, broker: Broker, keeper: Callable[[], Keeper], *, me: str, max_crashes: int
    ) -> None:
        self._broker = broker
        self._keeper = keeper
        self._me = me
        self._max_crashes = max_crashes
        self._lock = threading.Lock()
        self._verdicts: OrderedDict[str, tuple[float, dict[str, Any]]] = OrderedDict()
        self._crashes: Counter[str] = Counter()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="umbel-verdicts", daemon=True)

    def start(self) -> None:
        """Begin to listen to what others decide."""
        self._thread.start()

    def close(self, timeout: float) -> None:
        """Stop listening."""
        self._over.set()
        self._broker.interrupt()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def find(self, task_id: str) -> dict[str, Any] | None:
        """What was decided about a message, if anything."""
        with self._lock:
            found = self._verdicts.get(noted(task_id))
            return None if found is None else found[1]

    def overran(self, entry: Entry) -> None:
        """A task has passed its hard limit: that is its end, whoever gets its message next."""
        limit = round(entry.hard - entry.started, 3) if entry.hard else None
        self._decide(entry.task_id, {"kind": "timelimit", "limit": limit})

    def lost(self, entries: Iterable[Entry], code: int | None) -> None:
        """A child died while these tasks ran."""
        for entry in entries:
            task_id = entry.task_id
            if self.find(task_id) is not None:
                continue
            self._crashes[task_id] += 1
            if not entry.flags & REQUEUE_WHEN_LOST:
                self._decide(task_id, {"kind": "lost", "detail": lost_text(code)})
            elif self._crashes[task_id] >= self._max_crashes:
                self._decide(task_id, {"kind": "crashed", "detail": lost_text(code)})
            else:
                logger.warning(
                    "task %s will be started again: its process %s", task_id, describe_exit(code)
                )
        while len(self._crashes) > MOST:
            del self._crashes[next(iter(self._crashes))]

    def _decide(self, task_id: str, verdict: dict[str, Any]) -> None:
        self._keep(task_id, verdict)
        word = json.dumps({"by": self._me, "id": task_id, "verdict": verdict}).encode()
        self._keeper().ask(lambda: self._broker.broadcast(CHANNEL, word))

    def _keep(self, task_id: str, verdict: dict[str, Any]) -> None:
        now = time.monotonic()
        with self._lock:
            kept = self._verdicts
            kept[task_id] = now, verdict
            kept.move_to_end(task_id)
            while len(kept) > MOST or now - next(iter(kept.values()))[0] > KEPT:
                kept.popitem(last=False)

    # -- the thread ------------------------------------------------------------------------

    def _listen(self) -> None:
        mark: int | None = None
        while not self._over.is_set():
            try:
                mark, words = self._broker.listen(CHANNEL, after=mark, wait=LISTEN)
            except UmbelError:
                mark = None  # the keeper says that the broker is away
                self._over.wait(PAUSE)
                continue
            for word in words:
                self._hear(word)

    def _hear(self, word: bytes) -> None:
        try:
            said = json.loads(word)
            by, task_id, verdict = said["by"], said["id"], said["verdict"]
        except (ValueError, KeyError, TypeError):
            return
        if by != self._me and isinstance(task_id, str) and isinstance(verdict, dict):
            self._keep(task_id, verdict)
