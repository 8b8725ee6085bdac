"""Waiting for results, for the drivers whose servers do not call back.

`Watchers` is the list of those who wait, in this process, and tells them what is heard.
`Lookout` looks into the store for them, in one thread for all who wait: soon after a wait began,
since most results come soon, then less and less often.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from contextlib import suppress
from threading import Condition, Lock, Thread, current_thread
from typing import TYPE_CHECKING

from umbel.exceptions import BackendGetMetaError, UmbelError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from umbel.message import StoredResult

    Callback = Callable[[StoredResult], None]
    Look = Callable[[Collection[str]], Iterable[StoredResult]]

logger = logging.getLogger("umbel.results")

SHORTEST, LONGEST, GROWTH = 0.02, 1.0, 1.5
"""Seconds between two looks for the same results: at first, in the end, and how that grows."""

_SHARE = 4.0  # a look is followed by a pause of so many times its own length, or a longer one
_IDLE = 10.0  # seconds for which the thread stays though nobody waits
_CHECKED = 5.0  # seconds after which one who waits makes sure that the thread still runs
_PATIENCE = 30.0  # seconds for which a store may be out of reach before those who wait are told


class Watch:
    """One who waits for some results, and when they are looked for next."""

    __slots__ = ("callback", "due_at", "ids", "pause")

    def __init__(self, ids: set[str], callback: Callback) -> None:
        self.ids = ids
        self.callback = callback
        self.pause = SHORTEST
        self.due_at = time.monotonic() + SHORTEST


class Watchers:
    """Who waits for which result in this process.

    Args:
        look: finds those of some results that are in the store; called at the beginning of each
            wait, after who waits was put down, so that nothing falls in between.
    """

    def __init__(self, look: Look) -> None:
        self._look = look
        self._pid = os.getpid()
        self._lock = Lock()
        self._watched: dict[str, list[Watch]] = {}

    def watch(self, ids: Collection[str], callback: Callback) -> Callable[[], None]:
        """Call back for each that is final, now or later; see `ResultBackend.watch`."""
        wanted = frozenset(ids)
        watch = Watch(set(wanted), callback)
        self._forget_the_parent()
        with self._lock:
            for task_id in wanted:
                self._watched.setdefault(task_id, []).append(watch)

        def cancel() -> None:
            with self._lock:
                self._drop(watch)

        try:
            self.heard(self._look(wanted))
        except BaseException:
            cancel()
            raise
        self.begin(watch)
        return cancel

    def begin(self, watch: Watch) -> None:
        """Have what is missing looked for later; here nothing is, it has to be heard."""

    def check(self) -> None:
        """Raise if nothing can be heard any more."""

    def wait(
        self, ids: Collection[str], timeout: float | None, *, any_of: bool = False
    ) -> dict[str, StoredResult]:
        """Block until all, or any, are final; see `ResultBackend.wait`."""
        wanted = set(ids)
        found: dict[str, StoredResult] = {}
        changed = Condition()
        enough = min(1, len(wanted)) if any_of else len(wanted)
        end = float("inf") if timeout is None else time.monotonic() + timeout

        def take(result: StoredResult) -> None:
            with changed:
                found[result.id] = result
                if len(found) >= enough:
                    changed.notify_all()

        cancel = self.watch(wanted, take)
        try:
            with changed:
                while len(found) < enough and (left := end - time.monotonic()) > 0:
                    if not changed.wait(min(left, _CHECKED)):
                        self.check()
                return dict(found)
        finally:
            cancel()

    def heard(self, results: Iterable[StoredResult]) -> None:
        """Tell those who wait for what is final among ``results``, each of them once."""
        final = [result for result in results if result.final]
        if not final or not self._watched:
            return
        self._forget_the_parent()
        with self._lock:
            calls = [
                (watch.callback, result) for result in final for watch in self._taken(result.id)
            ]
        for callback, result in calls:
            try:
                callback(result)
            except Exception as error:  # noqa: BLE001 - the others still want to be called
                sys.excepthook(type(error), error, error.__traceback__)

    def stored(self, ids: Iterable[str]) -> None:
        """Tell those of this process who wait for what was stored just now.

        The store is asked what it has: it may have kept what was there before.
        """
        waited_for = self._watched.keys() & set(ids) if self._watched else set()
        if waited_for:
            with suppress(UmbelError):  # it is stored, and will be found later
                self.heard(self._look(waited_for))

    def clear(self) -> None:
        """Forget everybody."""
        with self._lock:
            self._watched.clear()

    def _taken(self, task_id: str) -> list[Watch]:
        watches = self._watched.pop(task_id, [])
        for watch in watches:
            watch.ids.discard(task_id)
        return watches

    def _drop(self, watch: Watch) -> None:
        for task_id in watch.ids:
            left = [other for other in self._watched.get(task_id, ()) if other is not watch]
            if left:
                self._watched[task_id] = left
            else:
                self._watched.pop(task_id, None)
        watch.ids.clear()

    def _forget_the_parent(self) -> None:
        """In a forked process nobody waits yet, and whoever held the lock is not here."""
        if self._pid != os.getpid():
            self._lock = Lock()
            self._watched = {}
            self._pid = os.getpid()
            self.after_fork()

    def after_fork(self) -> None:
        """Drop what else belongs to the parent process."""


class Lookout(Watchers):
    """Looks for what is waited for, in a thread that ends some time after the last who waits."""

    def __init__(self, look: Look) -> None:
        super().__init__(look)
        self._changed = Condition(self._lock)
        self._thread: Thread | None = None
        self._failing_since: float | None = None
        self._failure: UmbelError | None = None

    def after_fork(self) -> None:
        """The thread did not come along."""
        self._changed = Condition(self._lock)
        self._thread = None
        self._failing_since = self._failure = None

    def begin(self, watch: Watch) -> None:
        """Look for what is missing, from now on."""
        with self._lock:
            if watch.ids:
                watch.due_at = time.monotonic() + watch.pause
                self._run()

    def check(self) -> None:
        """See that the thread runs.

        Raises:
            BackendGetMetaError: the store has been out of reach for long.
        """
        with self._lock:
            since, failure = self._failing_since, self._failure
            self._run()
        if since is not None and time.monotonic() - since > _PATIENCE:
            raise BackendGetMetaError(str(failure)) from failure

    def close(self) -> None:
        """End the thread; who waits is served again when he looks after it."""
        self._forget_the_parent()
        with self._lock:
            thread, self._thread = self._thread, None
            self._changed.notify_all()
        if thread is not None and thread is not current_thread():
            thread.join()

    def _run(self) -> None:
        if self._watched and (self._thread is None or not self._thread.is_alive()):
            self._thread = Thread(target=self._serve, name="umbel-lookout", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _serve(self) -> None:
        idle_since = time.monotonic()
        while True:
            with self._lock:
                if self._thread is not current_thread():
                    return
                due = self._due()
                if self._watched:
                    idle_since = time.monotonic()
                elif time.monotonic() - idle_since > _IDLE:
                    if self._thread is current_thread():
                        self._thread = None
                    return
            if due:
                self._look_for(due)

    def _due(self) -> list[Watch]:
        """Those whose results are to be looked for now, after a pause if there are none."""
        watches = {id(watch): watch for each in self._watched.values() for watch in each}
        now = time.monotonic()
        due = [watch for watch in watches.values() if watch.due_at <= now]
        if not due:
            first = min((watch.due_at for watch in watches.values()), default=now + _IDLE)
            self._changed.wait(max(first - now, 0.0) + 0.001)
        return due

    def _look_for(self, due: list[Watch]) -> None:
        began = time.monotonic()
        with self._lock:
            ids = {task_id for watch in due for task_id in watch.ids}
        try:
            self.heard(self._look(ids))
        except UmbelError as error:
            self._fails(error)
        else:
            self._failing_since = self._failure = None
        now = time.monotonic()
        with self._lock:
            for watch in due:
                watch.pause = min(watch.pause * GROWTH, LONGEST)
                watch.due_at = now + max(watch.pause, _SHARE * (now - began))

    def _fails(self, error: UmbelError) -> None:
        self._failure = error
        if self._failing_since is None:
            self._failing_since = time.monotonic()
            logger.warning("results are waited for, but cannot be looked for: %s", error)
