"""Waiting for results: one thread and one socket for all who wait in this process."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from threading import Lock, Thread, current_thread
from typing import TYPE_CHECKING

from umbel.drivers.sqlite import forks, results, rows
from umbel.drivers.sqlite.bell import Bell
from umbel.exceptions import UmbelError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Collection

    from umbel.drivers.sqlite.store import Line, Store
    from umbel.message import StoredResult

_LONGEST_POLL = 5.0
# Seconds for which the thread stays though nobody waits.
_IDLE = 10.0
# Seconds after which an entry in the list of those who wait is written anew.
_RENEWED = 600.0


class Hub:
    """Calls back when states become final.

    The thread starts with the first who waits, and ends with `close` or some time after the last;
    after a fork the child has its own, and none of those who wait in the parent.
    """

    def __init__(self, store: Store, line: Line) -> None:
        self._store = store
        self._line = line
        self._lock = Lock()
        self._watched: dict[str, list[Callable[[StoredResult], None]]] = {}
        self._bell: Bell | None = None
        self._thread: Thread | None = None
        forks.register(self)

    def watch(
        self, ids: Collection[str], callback: Callable[[StoredResult], None]
    ) -> Callable[[], None]:
        """Call back for each of ``ids``; returns what ends that."""
        with self._lock:
            for task_id in ids:
                self._watched.setdefault(task_id, []).append(callback)
        bell = self.run()

        def cancel() -> None:
            self._cancel(bell, ids, callback)

        try:
            self._look(bell, ids, enlist=True)
        except BaseException:
            cancel()
            raise
        return cancel

    def _cancel(
        self, bell: Bell, ids: Collection[str], callback: Callable[[StoredResult], None]
    ) -> None:
        with self._lock:
            given_up = [task_id for task_id in ids if self._drop(task_id, callback)]
        if given_up:
            # An entry that stays costs a datagram and is pruned.
            with suppress(UmbelError):
                entries = (bell.port, rows.listed(given_up))
                self._line.write(lambda db: db.execute(results.STOP_WAITING, entries))

    def _drop(self, task_id: str, callback: Callable[[StoredResult], None]) -> bool:
        """Forget one callback; whether nobody waits for the task any more."""
        callbacks = self._watched.get(task_id)
        if callbacks is None or callback not in callbacks:
            return False
        callbacks.remove(callback)
        if not callbacks:
            del self._watched[task_id]
        return not callbacks

    def run(self) -> Bell:
        """The bell of the thread, which is started if there is none."""
        with self._lock:
            if self._bell is None or self._thread is None or not self._thread.is_alive():
                self._bell = bell = Bell()
                self._thread = Thread(
                    target=self._serve, args=(bell,), name="umbel-sqlite-results", daemon=True
                )
                self._thread.start()
            return self._bell

    def close(self) -> None:
        """End the thread; who waits is served again when somebody runs it."""
        with self._lock:
            bell, self._bell = self._bell, None
            thread, self._thread = self._thread, None
        if bell is None or thread is None:
            return
        bell.ring_here()
        if thread is not current_thread():
            thread.join()

    def _serve(self, bell: Bell) -> None:
        shortest = pause = self._store.options.poll_interval
        renew_at = time.monotonic()  # somebody may wait since before this thread
        idle_since = renew_at
        while True:
            heard = bell.wait(pause)
            now = time.monotonic()
            watched = self._watched_by(bell, ends=now - idle_since > _IDLE)
            if watched is None:
                break
            if watched:
                idle_since = now
            renew = now >= renew_at
            if renew:
                renew_at = now + _RENEWED
            ids = watched if renew or not heard else watched & _mentioned(heard, watched)
            pause = shortest if heard else min(pause * 1.5, _LONGEST_POLL)
            if ids:
                with suppress(UmbelError):  # the next look may succeed
                    self._look(bell, ids, enlist=renew)
        bell.close()

    def _watched_by(self, bell: Bell, *, ends: bool) -> set[str] | None:
        """What the thread of this bell waits for, or None if it is to end."""
        with self._lock:
            if self._bell is bell and ends and not self._watched:
                self._bell = self._thread = None
            return set(self._watched) if self._bell is bell else None

    def _look(self, bell: Bell, ids: Collection[str], *, enlist: bool) -> None:
        """Call back for those of ``ids`` that are final; put the others on the list if asked."""
        clock = self._store.clock

        def look(db: sqlite3.Connection) -> dict[str, StoredResult]:
            found = results.fetch_final(db, ids, clock.now())
            if enlist and bell.port:
                missing = rows.listed(task_id for task_id in ids if task_id not in found)
                db.execute(results.WAIT, (bell.port, clock.monotonic(), missing))
            return found

        found = self._line.write(look) if enlist else self._line.run(look)
        for task_id, result in found.items():
            with self._lock:
                callbacks = self._watched.pop(task_id, [])
            for callback in callbacks:
                try:
                    callback(result)
                except Exception as error:  # noqa: BLE001 - the others still want to be called
                    sys.excepthook(type(error), error, error.__traceback__)

    def before_fork(self) -> None:
        """Keep everybody out."""
        self._lock.acquire()

    def after_fork(self, *, child: bool) -> None:
        """Let everybody in again; nobody waits in the child yet."""
        if child:
            if self._bell is not None:
                self._bell.close()
            self._bell = self._thread = None
            self._watched = {}
        self._lock.release()


def _mentioned(heard: list[bytes], watched: set[str]) -> set[str]:
    """The ids that were rung; all that are watched if a datagram makes no sense."""
    mentioned: set[str] = set()
    for datagram in heard:
        ids = results.hinted(datagram)
        if ids is None:
            return watched
        mentioned |= ids
    return mentioned
