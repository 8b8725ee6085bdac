"""The result backend port: where states and results of tasks are kept and waited for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from umbel.message import StoredResult


class ResultBackend(Protocol):
    """Where results are kept.

    A stored SUCCESS is never replaced by another state; `forget` it first to run a task anew.
    Instances are safe to share between threads and notice a fork, as brokers do.
    """

    def setup(self) -> None:
        """Create or migrate what the backend needs."""
        ...

    def close(self) -> None:
        """Give back connections, files and the thread that waits for results."""
        ...

    def store(self, results: Sequence[StoredResult], /) -> None:
        """Keep states; on return they are visible to `fetch`, and waiting callers were woken.

        Raises:
            BackendStoreError: not stored.
        """
        ...

    def fetch(self, ids: Collection[str]) -> dict[str, StoredResult]:
        """The stored states of these tasks; ids that are unknown or expired are absent.

        Raises:
            BackendGetMetaError: the store cannot be read.
        """
        ...

    def wait(
        self, ids: Collection[str], timeout: float | None, *, any_of: bool = False
    ) -> dict[str, StoredResult]:
        """Block until all of ``ids`` (or one, with ``any_of``) have a final state.

        Returns what was final when it ended; on time-out some are missing. Wakes on the result,
        not on a polling interval; one subscription serves all waiting threads of a process.
        """
        ...

    def watch(
        self, ids: Collection[str], callback: Callable[[StoredResult], None]
    ) -> Callable[[], None]:
        """Call ``callback`` once for each id when its state is final; returns a cancel function.

        The callback runs in the subscription's thread, or at once in this one for ids that are
        final already; it must be short and must not raise.
        """
        ...

    def forget(self, ids: Collection[str]) -> int:
        """Delete stored states; returns how many there were."""
        ...

    def prune(self, limit: int = 10_000) -> int:
        """Delete states that have expired, at most ``limit``; returns how many."""
        ...


class ReplyBackend(ResultBackend, Protocol):
    """A result backend that sends results to the process that made the call, and keeps none.

    A result goes where the call's ``reply_to`` says, so nobody else can ask for it.
    """

    def expect(self, addresses: Collection[str], timeout: float) -> None:
        """Have what is sent to these addresses kept for this process, from now on.

        To be called before the calls are published that name an address as their ``reply_to``.

        Raises:
            OperationalError: not within ``timeout`` seconds.
        """
        ...
