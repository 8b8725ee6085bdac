"""The result backend in a SQLite file."""

from __future__ import annotations

import time
from threading import Condition
from typing import TYPE_CHECKING

from umbel.drivers.sqlite import results, rows
from umbel.drivers.sqlite.bell import ring
from umbel.drivers.sqlite.hub import Hub
from umbel.drivers.sqlite.store import Line, Store
from umbel.exceptions import BackendGetMetaError, BackendStoreError, OperationalError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Collection, Sequence

    from umbel.drivers.sqlite.bell import Rung
    from umbel.message import StoredResult

# Seconds after which an entry in the list of those who wait belongs to a process that died.
_WAITER_KEPT = 3600.0
# One who waits makes sure every so often that the thread which serves him still runs.
_LOOK_AFTER_HUB = 5.0


class SQLiteBackend:
    """A `ResultBackend` whose states are rows of one file."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._line = Line(store)
        self._hub = Hub(store, self._line)

    def setup(self) -> None:
        """Create or migrate the file; see `ResultBackend.setup`."""
        self._line.run(lambda _: None)

    def close(self) -> None:
        """Close the connection and end the thread that waits; see `ResultBackend.close`."""
        self._hub.close()
        self._line.close()

    def store(self, states: Sequence[StoredResult]) -> None:
        """Keep states; see `ResultBackend.store`.

        They survive the death of every process; a power cut may take those of the last moment.
        """
        if not states:
            return

        def store(db: sqlite3.Connection) -> list[Rung]:
            return results.hints(results.store(db, states, self._store.clock.now()))

        try:
            bells = self._line.write(store)
        except OperationalError as error:
            first = states[0]
            raise BackendStoreError(str(error), state=first.status, task_id=first.id) from error
        ring(bells)

    def fetch(self, ids: Collection[str]) -> dict[str, StoredResult]:
        """The stored states of these tasks; see `ResultBackend.fetch`."""
        return self._reading(lambda db: results.fetch(db, ids, self._store.clock.now()))

    def _reading(
        self, work: Callable[[sqlite3.Connection], dict[str, StoredResult]]
    ) -> dict[str, StoredResult]:
        try:
            return self._line.run(work)
        except OperationalError as error:
            raise BackendGetMetaError(str(error)) from error

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
        now = self._store.clock.now()
        ready = self._reading(lambda db: results.fetch_final(db, wanted, now))
        for result in ready.values():
            callback(result)
        missing = wanted - ready.keys()
        if not missing:
            return lambda: None
        try:
            return self._hub.watch(missing, callback)
        except OperationalError as error:
            raise BackendGetMetaError(str(error)) from error

    def forget(self, ids: Collection[str]) -> int:
        """Delete stored states; see `ResultBackend.forget`."""
        return self._line.write(lambda db: db.execute(results.FORGET, (rows.listed(ids),)).rowcount)

    def prune(self, limit: int = 10_000) -> int:
        """Delete states that have expired; see `ResultBackend.prune`."""

        def prune(db: sqlite3.Connection) -> int:
            now = self._store.clock.monotonic()
            db.execute(results.PRUNE_WAITERS, (now - _WAITER_KEPT, now))
            return db.execute(results.PRUNE, (self._store.clock.now(), limit)).rowcount

        return self._line.write(prune)
