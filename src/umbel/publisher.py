"""One thread per process that publishes for asynchronous callers.

Coroutines must not block, and brokers block.  Whatever they want published is queued here; the
thread takes everything that has gathered and stores it as one batch, so that a thousand
concurrent ``await task.adelay()`` cost a few round trips.

Each caller has a deadline of its own.  A batch is tried until the earliest of them; whoever's
time is up is told so, and the others go into the next try.  If a batch is refused for another
reason, each caller's messages are tried by themselves, so that one cannot fail for another.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NamedTuple

from umbel.exceptions import OperationalError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from umbel.message import Message

BATCH = 1000
IDLE = 30.0
"""Seconds without work after which the thread ends; the next call starts another."""

_POLICY = ("retry", "retry_policy")
_SLACK = 0.01
"""Seconds by which deadlines may differ and still count as the same."""


class Job(NamedTuple):
    """What one caller wants published.

    Attributes:
        messages: the messages.
        until: the caller's deadline, on the monotonic clock.
        policy: how to try again, where the caller does not leave that to the settings.
        done: told when they are stored, or why they are not.
    """

    messages: Sequence[Message]
    until: float
    policy: Mapping[str, Any]
    done: Future[None]


class Publisher:
    """Publishes batches in a thread of its own; a forked process has one of its own."""

    def __init__(
        self, store: Callable[[Sequence[Message], float, Mapping[str, Any]], None]
    ) -> None:
        self._store = store
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._jobs: deque[Job] = deque()
        self._work = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(
        self, messages: Sequence[Message], until: float, options: Mapping[str, Any]
    ) -> Future[None]:
        """Publish soon; the future is done when the broker has stored the messages."""
        if self._pid != os.getpid():
            self._begin()
        policy = {key: options[key] for key in _POLICY if options.get(key) is not None}
        job = Job(messages, until, policy, Future())
        with self._work:
            self._jobs.append(job)
            if self._thread is None:
                self._closed = False
                self._thread = threading.Thread(
                    target=self._run, name="umbel-publisher", daemon=True
                )
                self._thread.start()
            self._work.notify()
        return job.done

    def close(self, timeout: float = 5.0) -> None:
        """Publish what waits, and end the thread; waits for it up to ``timeout`` seconds."""
        if self._pid != os.getpid():
            return
        with self._work:
            self._closed = True
            thread = self._thread
            self._work.notify()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def _run(self) -> None:
        while True:
            with self._work:
                if not self._jobs and not self._closed:
                    self._work.wait(IDLE)
                batch = self._take()
                if not batch and not self._jobs:
                    self._thread = None
                    return
            self._send(batch)

    def _take(self) -> list[Job]:
        """The jobs that wait, up to one that is to be tried in another way."""
        batch: list[Job] = []
        size = 0
        while self._jobs and size < BATCH:
            if batch and self._jobs[0].policy != batch[0].policy:
                break
            job = self._jobs.popleft()
            if job.done.set_running_or_notify_cancel():
                batch.append(job)
                size += len(job.messages)
        return batch

    def _send(self, batch: list[Job]) -> None:
        while batch:
            until = min(job.until for job in batch)
            messages = [message for job in batch for message in job.messages]
            try:
                self._store(messages, until, batch[0].policy)
            except OperationalError as error:
                # Given up before anybody's time was up, it is given up for all.
                over = time.monotonic() + _SLACK
                late = batch if over < until else [job for job in batch if job.until <= over]
                _fail(late, error)
                batch = [job for job in batch if not job.done.done()]
            except BaseException as error:  # noqa: BLE001 - it belongs to those who wait
                self._send_apart(batch, error)
                return
            else:
                for job in batch:
                    job.done.set_result(None)
                return

    def _send_apart(self, batch: list[Job], error: BaseException) -> None:
        if len(batch) == 1:
            _fail(batch, error)
            return
        for job in batch:
            self._send([job])


def _fail(jobs: list[Job], error: BaseException) -> None:
    for job in jobs:
        job.done.set_exception(error)
