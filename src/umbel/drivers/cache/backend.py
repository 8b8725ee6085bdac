"""The result backend in a dictionary, each of whose entries lasts as long as it was told to."""

from __future__ import annotations

import heapq
import os
from threading import Lock
from typing import TYPE_CHECKING

from umbel.lookout import Watchers

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from umbel.clock import Clock
    from umbel.message import StoredResult

_FOREVER = float("inf")


class CacheBackend:
    """A `ResultBackend` for the threads of one process; a forked one begins with nothing."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._watchers = Watchers(lambda ids: self.fetch(ids).values())
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = Lock()
        self._results: dict[str, tuple[StoredResult, float]] = {}
        # When entries end, the first one first; an entry that was written anew is in it twice.
        self._ends: list[tuple[float, str]] = []

    def setup(self) -> None:
        """Nothing to create."""

    def close(self) -> None:
        """Forget who waits; what is stored stays."""
        self._watchers.clear()

    def store(self, results: Sequence[StoredResult]) -> None:
        """Keep states; see `ResultBackend.store`."""
        self._notice_a_fork()
        kept = []
        with self._lock:
            now = self._clock.now()
            self._forget_expired(now, len(results) + 1)
            for result in results:
                before, until = self._results.get(result.id, (None, 0.0))
                if before is not None and before.status == "SUCCESS" and until > now:
                    continue
                self._keep(result, now)
                kept.append(result)
        self._watchers.heard(kept)

    def _keep(self, result: StoredResult, now: float) -> None:
        until = _FOREVER if result.expires is None else now + result.expires
        self._results[result.id] = result, until
        if until < _FOREVER:
            heapq.heappush(self._ends, (until, result.id))

    def fetch(self, ids: Collection[str]) -> dict[str, StoredResult]:
        """The stored states of these tasks; see `ResultBackend.fetch`."""
        self._notice_a_fork()
        with self._lock:
            now = self._clock.now()
            there = {task_id: self._results[task_id] for task_id in ids if task_id in self._results}
            return {task_id: result for task_id, (result, until) in there.items() if until > now}

    def wait(
        self, ids: Collection[str], timeout: float | None, *, any_of: bool = False
    ) -> dict[str, StoredResult]:
        """Block until all, or any, are final; see `ResultBackend.wait`."""
        return self._watchers.wait(ids, timeout, any_of=any_of)

    def watch(
        self, ids: Collection[str], callback: Callable[[StoredResult], None]
    ) -> Callable[[], None]:
        """Call back for each that is final, now or later; see `ResultBackend.watch`."""
        return self._watchers.watch(ids, callback)

    def forget(self, ids: Collection[str]) -> int:
        """Delete stored states; see `ResultBackend.forget`."""
        self._notice_a_fork()
        with self._lock:
            return sum(self._results.pop(task_id, None) is not None for task_id in set(ids))

    def prune(self, limit: int = 10_000) -> int:
        """Delete states that have expired; see `ResultBackend.prune`.

        Storing does the same by and by, so that nobody has to.
        """
        self._notice_a_fork()
        with self._lock:
            return self._forget_expired(self._clock.now(), limit)

    def _forget_expired(self, now: float, limit: int) -> int:
        gone = 0
        while self._ends and self._ends[0][0] <= now and gone < limit:
            until, task_id = heapq.heappop(self._ends)
            if self._results.get(task_id, (None, None))[1] == until:
                del self._results[task_id]
                gone += 1
        return gone

    def _notice_a_fork(self) -> None:
        if self._pid != os.getpid():
            self._begin()
