"""The result backend in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from umbel.drivers.memory.space import Space
    from umbel.message import StoredResult


class MemoryBackend:
    """A `ResultBackend` for the threads of one process; callbacks run where a result is stored."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._results: dict[str, tuple[StoredResult, float]] = {}
        self._watched: dict[str, list[Callable[[StoredResult], None]]] = {}
        self._calls: list[tuple[Callable[[StoredResult], None], StoredResult]] = []

    def setup(self) -> None:
        """Nothing to create."""

    def close(self) -> None:
        """Forget who watches; what is stored stays."""
        with self._space.enter():
            self._watched.clear()

    def store(self, results: Sequence[StoredResult]) -> None:
        """Keep states."""
        with self._space.enter():
            self.put(results)
        self.call_back()

    def put(self, results: Sequence[StoredResult]) -> None:
        """Keep states while the lock is held; a SUCCESS that is there stays."""
        now = self._space.clock.now()
        for result in results:
            before = self._fresh(result.id)
            if before is not None and before.status == "SUCCESS":
                continue
            until = float("inf") if result.expires is None else now + result.expires
            self._results[result.id] = result, until
            if result.final:
                self._calls += ((c, result) for c in self._watched.pop(result.id, []))
        self._space.changed.notify_all()

    def call_back(self) -> None:
        """Tell those who watched what was put; to be called after the lock was given up."""
        with self._space.enter():
            calls, self._calls = self._calls, []
        for callback, result in calls:
            callback(result)

    def fetch(self, ids: Collection[str]) -> dict[str, StoredResult]:
        """The states that are there and have not expired."""
        with self._space.enter():
            return {
                task_id: result for task_id in ids if (result := self._fresh(task_id)) is not None
            }

    def wait(
        self, ids: Collection[str], timeout: float | None, *, any_of: bool = False
    ) -> dict[str, StoredResult]:
        """Block until all, or any, are final."""
        wanted = set(ids)
        enough = min(1, len(wanted)) if any_of else len(wanted)
        with self._space.enter():
            self._space.changed.wait_for(lambda: len(self._final(wanted)) >= enough, timeout)
            return self._final(wanted)

    def watch(
        self, ids: Collection[str], callback: Callable[[StoredResult], None]
    ) -> Callable[[], None]:
        """Call back for each that is final, now or later."""
        wanted = set(ids)
        with self._space.enter():
            ready = self._final(wanted)
            for task_id in wanted - ready.keys():
                self._watched.setdefault(task_id, []).append(callback)
        for result in ready.values():
            callback(result)

        def cancel() -> None:
            with self._space.enter():
                for task_id in wanted & self._watched.keys():
                    self._watched[task_id] = [
                        c for c in self._watched[task_id] if c is not callback
                    ]

        return cancel

    def forget(self, ids: Collection[str]) -> int:
        """Delete states."""
        with self._space.enter():
            doomed = set(ids) & self._results.keys()
            for task_id in doomed:
                del self._results[task_id]
            return len(doomed)

    def prune(self, limit: int = 10_000) -> int:
        """Delete states that have expired."""
        with self._space.enter():
            now = self._space.clock.now()
            doomed = [task_id for task_id, (_, until) in self._results.items() if until <= now][
                :limit
            ]
            for task_id in doomed:
                del self._results[task_id]
            return len(doomed)

    def _final(self, ids: Collection[str]) -> dict[str, StoredResult]:
        fresh = {task_id: self._fresh(task_id) for task_id in ids}
        return {
            task_id: result
            for task_id, result in fresh.items()
            if result is not None and result.final
        }

    def _fresh(self, task_id: str) -> StoredResult | None:
        result, until = self._results.get(task_id, (None, 0.0))
        return result if until > self._space.clock.now() else None
