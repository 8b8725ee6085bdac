"""Waiting for results in an event loop: many coroutines, few questions to the store.

Asking the store blocks, so it is done in a thread; and a thousand coroutines that begin to wait
in the same turn of the loop are one question.  The answer arrives in the store's own thread and
is handed over to the loop.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from umbel.message import StoredResult
    from umbel.ports.backend import ResultBackend

    Waiters = dict[str, list["asyncio.Future[StoredResult]"]]


_LOOK = 5.0
"""Seconds a look at the store may take, where the caller has less time than that."""


class Watching:
    """Who waits for what, for each event loop."""

    def __init__(self, store: ResultBackend) -> None:
        self._store = store
        self._rounds: WeakKeyDictionary[asyncio.AbstractEventLoop, _Round] = WeakKeyDictionary()

    async def first(
        self,
        ids: Collection[str],
        timeout: float | None,  # noqa: ASYNC109 - one look is always taken
    ) -> list[StoredResult]:
        """The final states of the first of ``ids`` to have one; empty when time is up.

        Looks once, however short the time is.

        Raises:
            BackendGetMetaError: the store cannot be read.
        """
        loop = asyncio.get_running_loop()
        until = None if timeout is None else loop.time() + timeout
        this = self._rounds.get(loop)
        if this is None:
            this = self._rounds[loop] = _Round(self._store, loop)
            loop.call_soon(self._start, loop)
        futures = [this.add(task_id) for task_id in ids]
        try:
            left = None
            if until is not None:
                await asyncio.wait([this.asked], timeout=max(until - loop.time(), _LOOK))
                left = max(until - loop.time(), 0.0)
            done, _ = await asyncio.wait(futures, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            failures = [future.exception() for future in done]
        finally:
            for future in futures:
                future.cancel()
        if failures and failures[0] is not None:
            raise failures[0]
        return [future.result() for future in done]

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._rounds.pop(loop).start()


class _Round:
    """All that coroutines of one loop began to wait for in one turn.

    Attributes:
        asked: done when the store has been asked, and what it had was told.
    """

    def __init__(self, store: ResultBackend, loop: asyncio.AbstractEventLoop) -> None:
        self.asked: asyncio.Future[None] = loop.create_future()
        self._store = store
        self._loop = loop
        self._waiters: Waiters = {}
        self._left = 0
        self._lock = Lock()
        self._cancel: Callable[[], None] | None = None
        self._over = False
        self._task: asyncio.Task[None] | None = None

    def add(self, task_id: str) -> asyncio.Future[StoredResult]:
        """A future for the state of one task."""
        future: asyncio.Future[StoredResult] = self._loop.create_future()
        future.add_done_callback(self._one_less)
        self._waiters.setdefault(task_id, []).append(future)
        self._left += 1
        return future

    def start(self) -> None:
        """Ask the store for all of them."""
        self._task = self._loop.create_task(self._ask())

    async def _ask(self) -> None:
        try:
            await asyncio.to_thread(self._watch)
        except asyncio.CancelledError:  # the loop ends; the thread may still be asking
            self._stop()
            raise
        except Exception as error:  # noqa: BLE001 - it belongs to those who wait
            self._fail(error)
        self.asked.set_result(None)
        if not self._left:
            self._stop()

    def _watch(self) -> None:
        """Runs in a thread, which may come to its end after nobody waits any more."""
        cancel = self._store.watch(list(self._waiters), self._arrived)
        with self._lock:
            if not self._over:
                self._cancel = cancel
                return
        cancel()

    def _fail(self, error: Exception) -> None:
        waiters, self._waiters = self._waiters, {}
        for futures in waiters.values():
            for future in futures:
                if not future.done():
                    future.set_exception(error)
                    future.exception()  # whoever waits for several looks at one of them

    def _arrived(self, stored: StoredResult) -> None:
        """Called in the store's thread."""
        with suppress(RuntimeError):  # the loop was closed; nobody waits any more
            self._loop.call_soon_threadsafe(self._fulfil, stored)

    def _fulfil(self, stored: StoredResult) -> None:
        for future in self._waiters.pop(stored.id, ()):
            if not future.done():
                future.set_result(stored)

    def _one_less(self, _: asyncio.Future[StoredResult]) -> None:
        self._left -= 1
        if not self._left:
            self._stop()

    def _stop(self) -> None:
        """Nobody waits any more: stop watching what has not come. That may block."""
        with self._lock:
            cancel, self._cancel = self._cancel, None
            self._over = True
        if cancel is not None and self._waiters:
            try:
                self._loop.run_in_executor(None, cancel)
            except RuntimeError:  # the loop is being closed, and its threads have ended
                cancel()
