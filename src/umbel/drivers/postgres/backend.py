"""The result backend in PostgreSQL."""

from __future__ import annotations

import time
from threading import Condition
from typing import TYPE_CHECKING

from umbel.drivers.postgres import arrivals, results
from umbel.drivers.postgres.hub import Hub
from umbel.drivers.postgres.names import all_stored
from umbel.exceptions import BackendGetMetaError, BackendStoreError, OperationalError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from umbel.drivers.postgres.link import Link
    from umbel.drivers.postgres.store import Store
    from umbel.message import StoredResult

# One who waits makes sure every so often that the thread which serves him still runs.
_LOOK_AFTER_HUB = 5.0


class PostgresBackend:
    """A `ResultBackend` whose states are rows of one table."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._hub = Hub(store)

    def setup(self) -> None:
        """Create or migrate the schema; see `ResultBackend.setup`."""
        self._store.setup()

    @property
    def place(self) -> str:
        """Where the tables are; see `Migrating.place`."""
        return self._store.place

    def versions(self) -> tuple[int, int]:
        """The version of the tables and of this code; see `Migrating.versions`."""
        return self._store.versions()

    def migrate(self) -> int:
        """Bring the tables to this version; see `Migrating.migrate`."""
        return self._store.migrate()

    def close(self) -> None:
        """Give back what nobody uses now; see `ResultBackend.close`."""
        self._hub.close()
        self._store.close()

    def store(self, states: Sequence[StoredResult]) -> None:
        """Keep states, in one transaction; see `ResultBackend.store`."""
        if not states:
            return
        several = len(results.layers(states)) > 1
        run = self._store.transaction if several else self._store.run
        try:
            run(lambda link: results.store(link, self._store, states))
        except OperationalError as error:
            first = states[0]
            raise BackendStoreError(str(error), state=first.status, task_id=first.id) from error
        arrivals.wake(self._store, results.news_of(states))

    def fetch(self, ids: Collection[str]) -> dict[str, StoredResult]:
        """The stored states of these tasks; see `ResultBackend.fetch`."""
        return self._fetch(ids, final=False) if ids else {}

    def _fetch(self, ids: Collection[str], *, final: bool) -> dict[str, StoredResult]:
        def fetch(link: Link) -> dict[str, StoredResult]:
            return results.fetch(link, self._store, ids, final=final)

        try:
            return self._store.run(fetch)
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

        deadline = float("inf") if timeout is None else time.monotonic() + timeout
        cancel = self.watch(wanted, take)
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
        ready = self._fetch(wanted, final=True) if wanted else {}
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
        statement, names = self._store.sql(results.FORGET), all_stored(ids)
        return self._store.run(lambda link: link.count(statement, (names,)))

    def prune(self, limit: int = 10_000) -> int:
        """Delete states that have expired; see `ResultBackend.prune`."""

        def prune(link: Link) -> int:
            link.count(self._store.sql(arrivals.PRUNE))
            return link.count(self._store.sql(results.PRUNE), (limit,))

        return self._store.run(prune)
