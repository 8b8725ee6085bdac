"""What arrives for this process at ``rpc://``: its queues, and the one thread that listens to them.

Each thread that makes calls has a queue, declared before the first of its calls is published, so
that no result can come too early.  Nobody listens until somebody asks; then one thread, on one
connection, consumes from all of them, and keeps what comes.  A queue goes when its consumer does,
and by itself when nobody has used it for as long as results last.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from contextlib import suppress
from threading import Event, Lock, Thread, current_thread
from typing import TYPE_CHECKING

from umbel.exceptions import BackendGetMetaError, UmbelError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from umbel.drivers.amqp.channel import Channel
    from umbel.drivers.amqp.messages import Incoming
    from umbel.drivers.amqp.session import Session
    from umbel.message import StoredResult
    from umbel.stored import Formats, Lifetimes

logger = logging.getLogger("umbel.results")

READ_KEPT = 10_000
"""Results that were read and are kept, so that they can be read again."""

_AT_ONCE = 500
_LISTEN = 60.0
_FIRST_PAUSE, _LAST_PAUSE = 0.05, 2.0
_CATCH_UP = 3.0  # seconds for which the first look waits for what is there already
_PATIENCE = 30.0  # seconds without a connection after which those who wait are told
_GOODBYE = 10.0
_NEVER = (-1, 0.0)
_OFTEN = 3  # how many times within its life a queue is declared anew, lest it goes unused


class Replies:
    """Queues of this process, and what came through them.

    Attributes:
        tell: called, in the listening thread, with each batch that came.
    """

    def __init__(self, session: Session, formats: Formats, lifetimes: Lifetimes) -> None:
        self._session = session
        self._formats = formats
        self._lifetimes = lifetimes
        self.tell: Callable[[Iterable[StoredResult]], None] = lambda _: None
        self._lock = Lock()
        self._declaring = Lock()
        # Addresses, and the connection and moment of their last declaration.
        self._queues: dict[str, tuple[int, float]] = {}
        # Results, and until when they are kept; oldest first.
        self._arrived: OrderedDict[str, tuple[StoredResult, float]] = OrderedDict()
        self._read: OrderedDict[str, None] = OrderedDict()
        self._thread: Thread | None = None
        self._channel: Channel | None = None
        self._stop = Event()
        self._caught_up = Event()
        self._failing_since: float | None = None
        self._failure: UmbelError | None = None

    # -- queues ----------------------------------------------------------------------------

    @property
    def is_expecting(self) -> bool:
        """Whether anything can be sent to this process."""
        return bool(self._queues)

    def expect(self, addresses: Collection[str], timeout: float) -> None:
        """Declare the queues of these addresses, unless they are there for sure."""
        missing = [address for address in addresses if not self._is_declared(address)]
        if not missing:
            return
        for address in missing:
            # Whoever listens declares what could not be declared now.
            self._queues.setdefault(address, _NEVER)
        channel = self._session.channel("replies", timeout=timeout)
        with self._declaring:
            for address in missing:
                self._declare(channel, address)
        if self._channel is not None:
            self._channel.interrupt()

    def _is_declared(self, address: str) -> bool:
        epoch, at = self._queues.get(address, _NEVER)
        if epoch != self._session.epoch or not self._session.is_open:
            return False
        lifetime = self._lifetimes.results
        return lifetime is None or time.monotonic() - at < lifetime / _OFTEN

    def _declare(self, channel: Channel, address: str) -> int:
        """Make sure the queue is there; returns how many messages wait in it."""
        lifetime = self._lifetimes.results
        unused = {} if lifetime is None else {"x-expires": max(int(lifetime * 1000), 1)}
        found = channel.declare_queue(address, durable=True, auto_delete=True, arguments=unused)
        self._queues[address] = self._session.epoch, time.monotonic()
        return found.messages

    # -- listening -------------------------------------------------------------------------

    def listen(self) -> None:
        """Have the thread running, if there is anything to listen to."""
        with self._lock:
            if self._queues and (self._thread is None or not self._thread.is_alive()):
                self._stop = Event()
                self._caught_up.clear()
                self._thread = Thread(target=self._serve, name="umbel-rpc-results", daemon=True)
                self._thread.start()

    def check(self) -> None:
        """See that the thread runs.

        Raises:
            BackendGetMetaError: the server has been out of reach for long.
        """
        self.listen()
        since, failure = self._failing_since, self._failure
        if since is not None and time.monotonic() - since > _PATIENCE:
            raise BackendGetMetaError(str(failure)) from failure

    def close(self) -> None:
        """End the thread and delete the queues."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._stop.set()
            channel = self._channel
        if channel is not None:
            channel.interrupt()
        if thread is not None and thread is not current_thread():
            thread.join()
        if self._queues and self._session.is_open:
            with suppress(UmbelError):
                self._delete(self._session.channel("replies", timeout=_GOODBYE))
        self._queues.clear()

    def _delete(self, channel: Channel) -> None:
        for address in self._queues:
            channel.delete_queue(address)

    def _serve(self) -> None:
        stop, pause = self._stop, _FIRST_PAUSE
        while not stop.is_set():
            try:
                self._listen(stop)
            except UmbelError as error:
                self._fails(error)
                stop.wait(pause)
                pause = min(pause * 2, _LAST_PAUSE)
            else:
                pause = _FIRST_PAUSE

    def _listen(self, stop: Event) -> None:
        """Consume until told to stop; ends with an error when the connection or a queue does."""
        self._session.ensure()
        channel = self._channel = self._session.own_channel()
        consumed: set[str] = set()
        behind = 0
        try:
            while not stop.is_set():
                for address in list(self._queues.keys() - consumed):
                    behind += self._declare(channel, address)
                    channel.consume(address, no_ack=True)
                    consumed.add(address)
                self._failing_since = self._failure = None
                if behind <= 0:
                    self._caught_up.set()
                came = channel.receive(_AT_ONCE, 0.0 if stop.is_set() else _LISTEN)
                behind -= len(came)
                self._take(came)
        finally:
            self._channel = None
            channel.close()

    def _fails(self, error: UmbelError) -> None:
        self._failure = error
        if self._failing_since is None:
            self._failing_since = time.monotonic()
            logger.warning("results cannot be received at the moment: %s", error)

    # -- what has arrived ------------------------------------------------------------------

    def _take(self, came: Iterable[Incoming]) -> None:
        results = [result for message in came if (result := self._result(message)) is not None]
        now = time.monotonic()
        with self._lock:
            self._forget_expired(now, len(results) + 1)
            for result in results:
                before = self._arrived.get(result.id)
                if before is None or before[0].status != "SUCCESS":
                    until = float("inf") if result.expires is None else now + result.expires
                    self._arrived[result.id] = result, until
                    self._arrived.move_to_end(result.id)
        self.tell(results)

    def _result(self, message: Incoming) -> StoredResult | None:
        try:
            task_id = message.properties.get("correlation_id")
        except UmbelError:
            return None  # what it is the result of cannot be known
        if not isinstance(task_id, str):
            return None
        return self._formats.result(task_id, bytes(message.body), self._lifetimes)

    def find(self, ids: Collection[str]) -> dict[str, StoredResult]:
        """What has arrived for these tasks."""
        self.listen()
        if self._queues and not self._caught_up.is_set():
            self._caught_up.wait(_CATCH_UP)
        now = time.monotonic()
        with self._lock:
            there = {task_id: self._arrived[task_id] for task_id in ids if task_id in self._arrived}
        results = {task_id: result for task_id, (result, until) in there.items() if until > now}
        self.mark_read(task_id for task_id, result in results.items() if result.final)
        return results

    def mark_read(self, ids: Iterable[str]) -> None:
        """Keep these final results only as long as there are not too many of them."""
        with self._lock:
            for task_id in ids:
                self._read[task_id] = None
                self._read.move_to_end(task_id)
            while len(self._read) > READ_KEPT:
                oldest, _ = self._read.popitem(last=False)
                self._arrived.pop(oldest, None)

    def forget(self, ids: Collection[str]) -> int:
        """Drop what has arrived for these tasks; returns for how many."""
        with self._lock:
            return sum(self._arrived.pop(task_id, None) is not None for task_id in set(ids))

    def prune(self, limit: int) -> int:
        """Drop what arrived long ago; returns how many."""
        with self._lock:
            return self._forget_expired(time.monotonic(), limit)

    def _forget_expired(self, now: float, limit: int) -> int:
        gone = 0
        while gone < limit and self._arrived:
            task_id, (_, until) = next(iter(self._arrived.items()))
            if until > now:
                break
            del self._arrived[task_id]
            self._read.pop(task_id, None)
            gone += 1
        return gone
