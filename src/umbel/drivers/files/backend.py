"""The result backend in files; when one was written is the time of the result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from umbel.exceptions import BackendGetMetaError, BackendStoreError, OperationalError
from umbel.lookout import Lookout

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from umbel.clock import Clock
    from umbel.drivers.files.folder import Folder
    from umbel.message import StoredResult
    from umbel.stored import Formats, Lifetimes


class FileBackend:
    """A `ResultBackend` with a file for each task.

    How long results last is the same for all of them: a file has no place for more.
    """

    def __init__(
        self, folder: Folder, formats: Formats, lifetimes: Lifetimes, clock: Clock
    ) -> None:
        self._folder = folder
        self._formats = formats
        self._lifetimes = lifetimes
        self._clock = clock
        self._lookout = Lookout(lambda ids: self.fetch(ids).values())

    def setup(self) -> None:
        """See that the directory is there; see `ResultBackend.setup`."""
        self._folder.check()

    def close(self) -> None:
        """End the thread that looks for results; see `ResultBackend.close`."""
        self._lookout.close()

    def store(self, results: Sequence[StoredResult]) -> None:
        """Keep states; see `ResultBackend.store`.

        They survive the death of every process; a power cut may take those of the last seconds.
        """
        for result in results:
            if self._folder.name(result.id) is None:
                msg = f"no file can be named after the task id {result.id[:300]!r}"
                raise BackendStoreError(msg, state=result.status, task_id=result.id)
        if not results:
            return
        try:
            with self._folder.locked():
                for result in results:
                    self._put(result)
        except OperationalError as error:
            first = results[0]
            raise BackendStoreError(str(error), state=first.status, task_id=first.id) from error
        self._lookout.stored(result.id for result in results)

    def _put(self, result: StoredResult) -> None:
        before = self._find(result.id)
        name = self._folder.name(result.id)
        if name is not None and (before is None or before.status != "SUCCESS"):
            self._folder.write(name, result.payload, self._clock.now())

    def fetch(self, ids: Collection[str]) -> dict[str, StoredResult]:
        """The stored states of these tasks; see `ResultBackend.fetch`."""
        try:
            found = {task_id: self._find(task_id) for task_id in ids}
        except OperationalError as error:
            raise BackendGetMetaError(str(error)) from error
        return {task_id: result for task_id, result in found.items() if result is not None}

    def _find(self, task_id: str) -> StoredResult | None:
        name = self._folder.name(task_id)
        read = None if name is None else self._folder.read(name)
        if read is None:
            return None
        payload, written_at = read
        result = self._formats.result(task_id, payload, self._lifetimes)
        if result.expires is not None and written_at + result.expires <= self._clock.now():
            return None
        return result

    def wait(
        self, ids: Collection[str], timeout: float | None, *, any_of: bool = False
    ) -> dict[str, StoredResult]:
        """Block until all, or any, are final; see `ResultBackend.wait`."""
        return self._lookout.wait(ids, timeout, any_of=any_of)

    def watch(
        self, ids: Collection[str], callback: Callable[[StoredResult], None]
    ) -> Callable[[], None]:
        """Call back for each that is final, now or later; see `ResultBackend.watch`."""
        return self._lookout.watch(ids, callback)

    def forget(self, ids: Collection[str]) -> int:
        """Delete stored states; see `ResultBackend.forget`."""
        names = {self._folder.name(task_id) for task_id in ids} - {None}
        with self._folder.locked():
            return sum(self._folder.remove(name) for name in names if name is not None)

    def prune(self, limit: int = 10_000) -> int:
        """Delete states that have expired, also saved groups; see `ResultBackend.prune`.

        Goes by the age of files, and so by ``result_expires`` alone.
        """
        if self._lifetimes.results is None:
            return 0
        moment = self._clock.now() - self._lifetimes.results
        gone = 0
        for name in self._folder.written_before(moment):
            if gone >= limit:
                break
            gone += self._prune(name, moment)
        return gone

    def _prune(self, name: Path, moment: float) -> bool:
        """Delete one file, unless it was written anew meanwhile."""
        with self._folder.locked():
            read = self._folder.read(name)
            return read is not None and read[1] <= moment and self._folder.remove(name)
