"""Waiting for a result, and for those before it in its chain.

The task after a failed one never runs, so who waits for its result must be told of the failure:
the results before it are waited for as well, and the first that failed ends the wait.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from umbel import states
from umbel.exceptions import TimeoutError as ResultTimeout
from umbel.failure import RemoteTraceback
from umbel.lineage import Lineage

if TYPE_CHECKING:
    from collections.abc import Callable

    from umbel.backend import Backend

_SHORTEST_INTERVAL = 0.01


class Waiting(Lineage):
    """How a result is waited for; see `umbel.result.AsyncResult`."""

    _meta: dict[str, Any] | None

    if TYPE_CHECKING:

        @property
        def backend(self) -> Backend:
            """Where the state is read."""
            raise NotImplementedError

    def _wait(
        self,
        chain: list[Waiting],
        timeout: float | None,
        on_interval: Callable[[], Any] | None,
        interval: float,
    ) -> None:
        backend = self.backend
        until = None if timeout is None else time.monotonic() + timeout
        while missing := self._missing(chain):
            left = None if until is None else max(until - time.monotonic(), 0.0)
            ids = [node.id for node in missing]
            if on_interval is None:
                found = backend.wait(ids, left, any_of=True)
            else:
                found = backend.wait_with(
                    ids,
                    left,
                    any_of=True,
                    interval=max(interval, _SHORTEST_INTERVAL),
                    tick=on_interval,
                )
            self._take(found, missing, timeout)

    async def _await(self, chain: list[Waiting], timeout: float | None) -> None:  # noqa: ASYNC109 - as `_wait`
        until = None if timeout is None else time.monotonic() + timeout
        while missing := self._missing(chain):
            left = None if until is None else max(until - time.monotonic(), 0.0)
            found = await self.backend.await_final([node.id for node in missing], left)
            self._take(found, missing, timeout)

    def _missing(self, chain: list[Waiting]) -> list[Waiting]:
        """What is still to be waited for: nothing once this result is known.

        Raises what a task before it raised: this one will never run then.
        """
        for node in chain:
            node._raise_if_known()  # noqa: SLF001 - its own class
        if self._known_final() is not None:
            return []
        return [node for node in (*chain, self) if node._known_final() is None]  # noqa: SLF001

    def _take(
        self,
        found: dict[str, dict[str, Any]],
        missing: list[Waiting],
        timeout: float | None,
    ) -> None:
        if not found:
            raise ResultTimeout(task_id=self.id, timeout=timeout)
        for node in missing:
            node._meta = found.get(node.id, node._meta)  # noqa: SLF001 - its own class

    def _raise_if_known(self) -> None:
        meta = self._known_final()
        if meta is not None and meta["status"] in states.PROPAGATE_STATES:
            raise as_exception(meta)

    def _known_final(self) -> dict[str, Any] | None:
        meta = self._meta
        if meta is not None and meta["status"] in states.READY_STATES:
            return meta
        return None


def as_exception(meta: dict[str, Any]) -> BaseException:
    """What a failed task raised, with its place in the worker as the cause."""
    result = meta["result"]
    error = result if isinstance(result, BaseException) else Exception(result)
    text = meta.get("traceback")
    if text and error.__cause__ is None and error.__traceback__ is None:
        error.__cause__ = RemoteTraceback(text)
    return error
