"""``app.backend``: states of tasks as values, over whichever result backend is configured.

The driver below moves encoded payloads; this object encodes and decodes them with the
application's settings, and is where waiting, synchronous and asynchronous, comes together.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from itertools import count
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from umbel.exceptions import BackendError, BackendGetMetaError, DecodeError
from umbel.meta import pending_meta
from umbel.once import once
from umbel.states import READY_STATES as READY

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from umbel.app import Umbel
    from umbel.awaiting import Watching
    from umbel.context import Context
    from umbel.message import StoredResult
    from umbel.meta import MetaCodec
    from umbel.ports.backend import ResultBackend

T = TypeVar("T")

NO_BACKEND = (
    "no result backend is configured, so results of tasks are not kept: set result_backend "
    "(or the environment variable UMBEL_RESULT_BACKEND)"
)
_READS = frozenset(
    {"store", "get", "get_many", "exists", "wait", "wait_with", "watch", "await_final"}
)


class Backend:
    """Reads and writes states of tasks; safe to share between threads."""

    def __init__(self, app: Umbel, store: ResultBackend) -> None:
        self.app = app
        self.store = store
        self._known = _Known(app.conf.result_cache_max)

    @property
    def codec(self) -> MetaCodec:
        """How states are encoded, as the settings say now."""
        return self.app.meta_codec

    # -- reading ---------------------------------------------------------------------------

    def get(self, task_id: str) -> dict[str, Any]:
        """The stored state; PENDING if nothing is stored.

        Raises:
            BackendGetMetaError: the store cannot be read, or holds something unreadable.
            ContentDisallowed: what is stored has a format that is not accepted.
            SecurityError: what is stored names something as an exception that is none.
        """
        return self.get_many([task_id]).get(task_id) or pending_meta(task_id)

    def get_many(self, ids: Collection[str]) -> dict[str, dict[str, Any]]:
        """The stored states of those that have one; raises what `get` does."""
        known = self._known.find(ids)
        missing = [task_id for task_id in ids if task_id not in known]
        if missing:
            found = self._again(lambda: self.store.fetch(missing))
            known.update((task_id, self._decode(stored)) for task_id, stored in found.items())
        return known

    def exists(self, task_id: str) -> bool:
        """Whether anything is stored."""
        return bool(self._again(lambda: self.store.fetch([task_id])))

    # -- writing ---------------------------------------------------------------------------

    def put(
        self,
        task_id: str,
        value: Any,
        state: str,
        *,
        traceback: str | None = None,
        request: Context | None = None,
        children: list[Any] | None = None,
    ) -> None:
        """Store a state; a stored SUCCESS stays.

        Raises:
            EncodeError: the value cannot be encoded.
            BackendStoreError: it was not stored.
        """
        encoded = self.codec.encode(
            task_id, state, value, traceback=traceback, request=request, children=children
        )
        self._again(lambda: self.store.store([encoded]))

    def forget(self, ids: Collection[str]) -> int:
        """Delete stored states; returns how many there were."""
        self._known.drop(ids)
        return self._again(lambda: self.store.forget(ids))

    def cleanup(self) -> int:
        """Delete all states that have expired; returns how many."""
        total = 0
        while removed := self.store.prune():
            total += removed
        return total

    # -- waiting ---------------------------------------------------------------------------

    def wait(
        self, ids: Collection[str], timeout: float | None, *, any_of: bool = False
    ) -> dict[str, dict[str, Any]]:
        """Block until the tasks are done; those that are not when time is up are missing.

        With ``any_of`` the first that is done ends it. Raises what `get` does.
        """
        if timeout is not None and timeout <= 0:
            now = self.get_many(ids)
            return {key: meta for key, meta in now.items() if meta["status"] in READY}
        found = self.store.wait(ids, timeout, any_of=any_of)
        return {task_id: self._decode(stored) for task_id, stored in found.items()}

    def wait_with(
        self,
        ids: Collection[str],
        timeout: float | None,
        *,
        any_of: bool = False,
        interval: float,
        tick: Callable[[], Any],
    ) -> dict[str, dict[str, Any]]:
        """As `wait`, calling ``tick`` each ``interval`` seconds meanwhile."""
        enough = min(1, len(ids)) if any_of else len(ids)
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            left = interval if end is None else min(interval, end - time.monotonic())
            found = self.wait(ids, max(left, 0.0), any_of=any_of)
            if len(found) >= enough or (end is not None and time.monotonic() >= end):
                return found
            tick()

    def watch(self, task_id: str, callback: Callable[[], None]) -> Callable[[], None]:
        """Call ``callback`` once the task is done, in another thread or, if it is, in this one.

        Returns what ends that. The callback must be short and must not raise.
        """
        return self.store.watch([task_id], lambda _: callback())

    @once
    def _watching(self) -> Watching:
        from umbel.awaiting import Watching

        return Watching(self.store)

    async def await_final(
        self,
        ids: Collection[str],
        timeout: float | None,  # noqa: ASYNC109 - ended by the store, not by cancelling
    ) -> dict[str, dict[str, Any]]:
        """The final states of those of ``ids`` that come first; empty when time is up.

        Many coroutines may wait at once: what they ask for is put to the store in batches.
        """
        found = await self._watching.first(ids, timeout)
        return {stored.id: self._decode(stored) for stored in found}

    # -- within ----------------------------------------------------------------------------

    def _again(self, call: Callable[[], T]) -> T:
        """What ``call`` returns, tried again while the store is out of reach, if so set."""
        conf = self.app.conf
        if not conf.result_backend_always_retry:
            return call()
        pauses = _pauses(conf)
        while True:
            try:
                return call()
            except BackendError:
                pause = next(pauses, None)
                if pause is None:
                    raise
                time.sleep(pause)

    def _decode(self, stored: StoredResult) -> dict[str, Any]:
        try:
            meta = self.codec.decode(stored)
        except (DecodeError, ValueError) as error:
            msg = f"the stored result of task {stored.id} cannot be read: {error}"
            raise BackendGetMetaError(msg, task_id=stored.id) from error
        if meta["status"] in READY:
            self._known.keep(stored.id, meta)
        return meta


class NoBackend(Backend):
    """Stands in where no result backend is configured: storing is silent, reading is an error."""

    def __init__(self, app: Umbel) -> None:
        self.app = app

    def put(self, task_id: str, value: Any, state: str, **_: Any) -> None:
        """Keep nothing."""

    def cleanup(self) -> int:
        """There is nothing to delete."""
        return 0

    def forget(self, ids: Collection[str]) -> int:  # noqa: ARG002 - there are none
        """There is nothing to delete."""
        return 0

    def __getattribute__(self, name: str) -> Any:
        if name in _READS:
            raise NotImplementedError(NO_BACKEND)
        return super().__getattribute__(name)


class _Known:
    """Final states that were read before, the last ones read; for ``result_cache_max``.

    Args:
        most: how many are kept; a negative number keeps none, 0 all.
    """

    def __init__(self, most: int | None) -> None:
        self._most = -1 if most is None else most
        self._metas: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._lock = Lock()

    def find(self, ids: Collection[str]) -> dict[str, dict[str, Any]]:
        if self._most < 0:
            return {}
        with self._lock:
            return {task_id: self._metas[task_id] for task_id in ids if task_id in self._metas}

    def keep(self, task_id: str, meta: dict[str, Any]) -> None:
        if self._most < 0:
            return
        with self._lock:
            self._metas[task_id] = meta
            self._metas.move_to_end(task_id)
            while self._most and len(self._metas) > self._most:
                self._metas.popitem(last=False)

    def drop(self, ids: Collection[str]) -> None:
        with self._lock:
            for task_id in ids:
                self._metas.pop(task_id, None)


def _pauses(conf: Any) -> Iterator[float]:
    """Seconds between attempts to reach the store: doubling, up to a longest one."""
    shortest = conf.result_backend_base_sleep_between_retries_ms / 1000
    longest = conf.result_backend_max_sleep_between_retries_ms / 1000
    most = conf.result_backend_max_retries
    for attempt in count():
        if attempt >= most:
            return
        yield min(longest, shortest * 2.0 ** min(attempt, 60))
