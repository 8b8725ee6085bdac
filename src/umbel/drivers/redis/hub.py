"""Waiting for results: one thread and one connection for all who wait in this process.

Whoever stores a state, Umbel or Celery, announces it on a channel that is called like its key.
The thread subscribes to the channels of what is waited for; an announcement is never trusted: it
says "look".  All that is waited for is looked for now and then besides, in case one got lost.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import time
from contextlib import suppress
from threading import Lock, Thread, current_thread
from typing import TYPE_CHECKING

from umbel.drivers.redis.wires import TROUBLE
from umbel.exceptions import UmbelError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from umbel.drivers.redis.results import Format
    from umbel.drivers.redis.wire import Wire
    from umbel.drivers.redis.wires import Wires
    from umbel.message import StoredResult

    Callback = Callable[[StoredResult], None]

_LONGEST_POLL = 30.0
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0
_GROWTH = 1.5
# Seconds for which the thread stays though nobody waits.
_IDLE = 10.0
# Channels of one command.
_MOST = 1_000


class Hub:
    """Calls back when states become final.

    The thread starts with the first who waits, and ends with `close` or some time after the last;
    after a fork the child has its own, and none of those who wait in the parent.

    Args:
        wires: the connections.
        results: how channels are called.
        look: finds those that are final among some results.
    """

    def __init__(
        self,
        wires: Wires,
        results: Format,
        look: Callable[[Collection[str]], dict[str, StoredResult]],
    ) -> None:
        self._wires = wires
        self._results = results
        self._look = look
        self._forget()

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._lock = Lock()
        self._watched: dict[str, list[Callback]] = {}
        self._listener: Listener | None = None

    def _mine(self) -> None:
        if self._pid != os.getpid():
            self._forget()

    def watch(self, ids: Collection[str], callback: Callback) -> Callable[[], None]:
        """Call back for each of ``ids``; returns what ends that."""
        self._mine()
        with self._lock:
            for task_id in ids:
                self._watched.setdefault(task_id, []).append(callback)
        self.run().add(ids)

        def cancel() -> None:
            if self._pid == os.getpid():
                self._cancel(ids, callback)

        return cancel

    def _cancel(self, ids: Collection[str], callback: Callback) -> None:
        with self._lock:
            given_up = [task_id for task_id in ids if self._drop(task_id, callback)]
            listener = self._listener
        if given_up and listener is not None:
            listener.remove(given_up)

    def _drop(self, task_id: str, callback: Callback) -> bool:
        """Forget one callback; whether nobody waits for the task any more."""
        callbacks = self._watched.get(task_id)
        if callbacks is None or callback not in callbacks:
            return False
        callbacks.remove(callback)
        if not callbacks:
            del self._watched[task_id]
        return not callbacks

    def run(self) -> Listener:
        """The thread, which is started if there is none."""
        self._mine()
        with self._lock:
            if self._listener is None or not self._listener.is_alive():
                self._listener = Listener(self, self._wires, self._results)
                self._listener.add(self._watched)
                self._listener.start()
            return self._listener

    def close(self) -> None:
        """End the thread; who waits is served again when somebody runs it."""
        self._mine()
        with self._lock:
            listener, self._listener = self._listener, None
        if listener is not None:
            listener.end()
            if listener is not current_thread():
                listener.join()

    def watched(self) -> set[str]:
        """What is waited for."""
        with self._lock:
            return set(self._watched)

    def leave(self, listener: Listener) -> bool:
        """Whether a thread that has nothing to do may end."""
        with self._lock:
            if self._listener is listener and self._watched:
                return False
            if self._listener is listener:
                self._listener = None
            return True

    def look(self, ids: Collection[str]) -> list[str]:
        """Call back for those of ``ids`` that are final; returns them."""
        found = self._look(ids)
        for task_id, result in found.items():
            with self._lock:
                callbacks = self._watched.pop(task_id, [])
            for callback in callbacks:
                try:
                    callback(result)
                except Exception as error:  # noqa: BLE001 - the others still want to be called
                    sys.excepthook(type(error), error, error.__traceback__)
        return list(found)


class Listener(Thread):
    """The thread that hears announcements."""

    def __init__(self, hub: Hub, wires: Wires, results: Format) -> None:
        super().__init__(name="umbel-redis-results", daemon=True)
        self._hub = hub
        self._wires = wires
        self._results = results
        self._changes = Lock()
        self._wanted: dict[str, bool] = {}
        self._ended = False
        self._end, self._bell = socket.socketpair()
        for each in (self._end, self._bell):
            each.setblocking(False)

    def add(self, ids: Collection[str]) -> None:
        """Listen for these, too."""
        with self._changes:
            self._wanted.update(dict.fromkeys(ids, True))
        self._ring()

    def remove(self, ids: Collection[str]) -> None:
        """Listen for these no longer."""
        with self._changes:
            self._wanted.update(dict.fromkeys(ids, False))
        self._ring()

    def end(self) -> None:
        """Have the thread end."""
        self._ended = True
        self._ring()

    def _ring(self) -> None:
        with suppress(OSError):
            self._bell.send(b"x")

    def run(self) -> None:
        """Listen until ended, over as many connections as it takes."""
        pause = _SHORTEST_PAUSE
        while not self._ended:
            wire, began = None, time.monotonic()
            try:
                wire = self._wires.open(self._wires.deadline(None))
                with self._changes:
                    self._wanted.clear()
                self._listen(wire)
            except (*TROUBLE, UmbelError):
                pass  # whatever it was may be over soon; those who wait have deadlines
            finally:
                if wire is not None:
                    wire.close()
            if time.monotonic() - began > _LONGEST_PAUSE:
                pause = _SHORTEST_PAUSE
            if not self._ended:
                self._rest(pause)
                pause = min(pause * _GROWTH, _LONGEST_PAUSE)
        self._end.close()
        self._bell.close()

    def _rest(self, seconds: float) -> None:
        """Wait until there is something to change, or the time is over."""
        poller = select.poll()
        poller.register(self._end, select.POLLIN)
        poller.poll(seconds * 1000)

    def _listen(self, wire: Wire) -> None:
        """Serve those who wait over one connection, until it or the thread ends."""
        poller = select.poll()
        poller.register(self._end, select.POLLIN)
        poller.register(wire.socket, select.POLLIN)
        self.add(self._hub.watched())
        shortest = self._wires.options.poll_interval
        poll = shortest
        look_at = time.monotonic() + poll
        idle_since = time.monotonic()
        while not self._ended:
            self._send_changes(wire)
            poller.poll(max(min(look_at - time.monotonic(), _IDLE), 0) * 1000 + 1)
            heard = {self._results.id_of(name) for name in wire.heard()}
            now = time.monotonic()
            if now >= look_at:
                poll = min(poll * _GROWTH, max(shortest, _LONGEST_POLL))
                look_at = now + poll
                heard |= self._hub.watched()
            if heard:
                idle_since = now
                self.remove(self._hub.look(heard))
            elif now - idle_since > _IDLE and self._hub.leave(self):
                self._ended = True

    def _send_changes(self, wire: Wire) -> None:
        with suppress(BlockingIOError):
            while self._end.recv(64):
                pass
        with self._changes:
            changes, self._wanted = self._wanted, {}
        for command, wanted in (("SUBSCRIBE", True), ("UNSUBSCRIBE", False)):
            names = [self._results.key(task_id) for task_id, on in changes.items() if on is wanted]
            for at in range(0, len(names), _MOST):
                wire.tell(command, *names[at : at + _MOST], until=self._wires.deadline(None))
