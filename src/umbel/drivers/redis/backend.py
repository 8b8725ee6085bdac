"""The result backend on a Redis server."""

from __future__ import annotations

import time
from threading import Condition
from typing import TYPE_CHECKING, TypeVar

from umbel.drivers.redis.hub import Hub
from umbel.exceptions import BackendGetMetaError, BackendStoreError, OperationalError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from umbel.clock import Clock
    from umbel.drivers.redis.results import Format
    from umbel.drivers.redis.scripts import Scripts
    from umbel.message import StoredResult

T = TypeVar("T")

_SLICE = 500
# One who waits makes sure every so often that the thread which serves him still runs.
_LOOK_AFTER_HUB = 5.0


class RedisBackend:
    """A `ResultBackend` whose states are Celery's keys."""

    def __init__(self, scripts: Scripts, results: Format, clock: Clock | None) -> None:
        self._scripts = scripts
        self._results = results
        self._clock = clock
        self._hub = Hub(scripts.wires, results, self._final)

    def setup(self) -> None:
        """Nothing to create; see `ResultBackend.setup`."""

    def close(self) -> None:
        """Close connections and end the thread that waits; see `ResultBackend.close`."""
        self._hub.close()
        self._scripts.wires.close()

    def store(self, states: Sequence[StoredResult], /) -> None:
        """Keep states; see `ResultBackend.store`."""
        try:
            for part in _parts(states):
                arguments = [value for state in part for value in self._results.arguments(state)]
                self._scripts.run("store", *arguments)
        except OperationalError as error:
            first = states[0]
            raise BackendStoreError(str(error), state=first.status, task_id=first.id) from error

    def fetch(self, ids: Collection[str]) -> dict[str, StoredResult]:
        """The stored states of these tasks; see `ResultBackend.fetch`."""
        found: dict[str, StoredResult] = {}
        try:
            for part in _parts(list(dict.fromkeys(ids))):
                reply = self._scripts.run("fetch", *self._results.pairs(part))
                for at, task_id in enumerate(part):
                    value, beside, expires = reply[3 * at : 3 * at + 3]
                    if value is not None:
                        found[task_id] = self._results.result(
                            task_id, value, beside, expires=bool(expires)
                        )
        except OperationalError as error:
            raise BackendGetMetaError(str(error)) from error
        return found

    def _final(self, ids: Collection[str]) -> dict[str, StoredResult]:
        return {task_id: found for task_id, found in self.fetch(ids).items() if found.final}

    def wait(
        self, ids: Collection[str], timeout: float | None, *, any_of: bool = False
    ) -> dict[str, StoredResult]:
        """Block until all, or any, are final; see `ResultBackend.wait`."""
        wanted = set(ids)
        found: dict[str, StoredResult] = {}
        changed = Condition()
        enough = min(1, len(wanted)) if any_of else len(wanted)

        def take(result: StoredResult) -> None:
            with changed:
                found[result.id] = result
                changed.notify_all()

        cancel = self.watch(wanted, take)
        deadline = float("inf") if timeout is None else time.monotonic() + timeout
        try:
            with changed:
                while len(found) < enough and (left := deadline - time.monotonic()) > 0:
                    if not changed.wait(min(left, _LOOK_AFTER_HUB)):
                        self._hub.run()
                return dict(found)
        finally:
            cancel()

    def watch(
        self, ids: Collection[str], callback: Callable[[StoredResult], None]
    ) -> Callable[[], None]:
        """Call back for each that is final, now or later; see `ResultBackend.watch`."""
        wanted = set(ids)
        ready = self._final(wanted)
        for result in ready.values():
            callback(result)
        missing = wanted - ready.keys()
        if not missing:
            return lambda: None
        return self._hub.watch(missing, callback)

    def forget(self, ids: Collection[str]) -> int:
        """Delete stored states; see `ResultBackend.forget`."""
        return sum(
            int(self._scripts.run("forget", *self._results.pairs(part)))
            for part in _parts(list(dict.fromkeys(ids)))
        )

    def prune(self, limit: int = 10_000) -> int:
        """Delete states that have expired; see `ResultBackend.prune`.

        The server does that by itself, so there is nothing to find, unless the clock is not the
        server's.
        """
        if self._clock is None:
            return 0
        cursor, count = b"0", 0
        while count < limit:
            cursor, keys = self._scripts.wires.ask(
                "SCAN", cursor, "MATCH", self._results.all_keys, "COUNT", _SLICE
            )
            pairs = self._results.pairs([self._results.id_of(key) for key in keys])
            count += int(self._scripts.run("lapsed", limit - count, *pairs)) if pairs else 0
            if cursor == b"0":
                break
        return count


def _parts(whole: Sequence[T]) -> Iterator[Sequence[T]]:
    for at in range(0, len(whole), _SLICE):
        yield whole[at : at + _SLICE]
