"""Asynchronous tasks: many at once on one long-lived event loop in a thread of its own.

The loop lives as long as the child, so that connection pools made at its start serve every task.
A soft limit is thrown into the coroutine as `SoftTimeLimitExceeded` at the point where it waits;
a hard limit cancels it and lets go of it, whether it obeys or not.  A task that blocks the loop is
found out by a watchdog thread, which logs where it stands.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import threading
import time
import traceback
from collections.abc import Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

from umbel import attempt
from umbel.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded
from umbel.outcome import Failed
from umbel.worker.slots import exited

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    from umbel.outcome import Outcome
    from umbel.worker.admission import Job
    from umbel.worker.slots import Floor

logger = logging.getLogger("umbel.worker")

GRACE = 5.0
"""Seconds that start-up and shut-down hooks, and cancelled tasks at the end, may take."""


class Interruptible(Coroutine[Any, Any, Any]):
    """A coroutine into which an exception of one's choice can be thrown while it waits.

    asyncio can only cancel. Cancelling wakes the coroutine with `CancelledError`; if an exception
    was left here before, that is thrown in its place.
    """

    __slots__ = ("_inner", "instead")

    def __init__(self, inner: Coroutine[Any, Any, Any]) -> None:
        self._inner = inner
        self.instead: BaseException | None = None

    def send(self, value: Any) -> Any:
        """Go on."""
        return self._inner.send(value)

    def throw(self, *args: Any) -> Any:
        """Raise at the point where it waits."""
        instead, self.instead = self.instead, None
        if instead is not None:
            return self._inner.throw(instead)
        return self._inner.throw(args[0] if len(args) == 1 else args[1] or args[0])

    def close(self) -> None:
        """End it."""
        self._inner.close()

    def __await__(self) -> Any:
        return self

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return self.send(None)


class Loop:
    """The event loop of one child, with a number of slots."""

    def __init__(
        self,
        floor: Floor,
        *,
        first_slot: int,
        slots: int,
        warn_after: float,
        lifespans: Sequence[Callable[[Any], Any]] = (),
        on_free: Callable[[], None] | None = None,
    ) -> None:
        self._floor = floor
        self._free = list(range(first_slot + slots - 1, first_slot - 1, -1))
        self._slots = slots
        self._warn_after = warn_after
        self._lifespans = lifespans
        self._on_free = on_free
        self._active = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: dict[asyncio.Task[Any], Job] = {}
        self._ready = threading.Event()
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._tick = 0.0
        self._thread = threading.Thread(target=self._run, name="umbel-loop", daemon=True)
        self._watchdog = threading.Thread(target=self._watch, name="umbel-watchdog", daemon=True)

    @property
    def room(self) -> int:
        """How many more tasks it takes."""
        return self._slots - self._active

    def start(self, timeout: float = 60.0) -> None:
        """Start the thread and run the application's start-up hooks.

        Raises:
            Exception: what a hook raised.
        """
        self._thread.start()
        if not self._ready.wait(timeout):
            msg = f"the start-up hooks of the event loop took longer than {timeout:.0f} s"
            raise TimeoutError(msg)
        if self._error is not None:
            raise self._error
        self._watchdog.start()

    def submit(self, job: Job) -> None:
        """Run a job; called from the fetch thread."""
        self._active += 1
        cast("asyncio.AbstractEventLoop", self._loop).call_soon_threadsafe(self._begin, job)

    def jobs(self) -> list[Job]:
        """What runs at the moment."""
        return list(self._tasks.values())

    def drain(self, timeout: float | None) -> bool:
        """Wait until nothing runs; False if time is up first."""
        end = None if timeout is None else time.monotonic() + timeout
        while self._active:
            if end is not None and time.monotonic() >= end:
                return False
            self._stop.wait(0.01)
        return True

    def close(self) -> None:
        """Cancel what runs, run the shut-down hooks, end the thread."""
        self._stop.set()
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(loop.stop)
        self._thread.join(2 * GRACE)

    # -- the thread ------------------------------------------------------------------------

    def _run(self) -> None:
        loop = self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        stack = AsyncExitStack()
        try:
            loop.run_until_complete(self._enter(stack))
        except BaseException as error:  # noqa: BLE001 - start() raises it
            self._error = error
            self._ready.set()
            loop.close()
            return
        self._ready.set()
        try:
            loop.run_forever()
            loop.run_until_complete(self._leave(stack))
        except Exception:
            logger.exception("a shut-down hook of the event loop failed")
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    async def _enter(self, stack: AsyncExitStack) -> None:
        for hook in self._lifespans:
            manager = hook if hasattr(hook, "__aenter__") else asynccontextmanager(hook)
            await stack.enter_async_context(manager(self._floor.app))

    async def _leave(self, stack: AsyncExitStack) -> None:
        async with asyncio.timeout(GRACE):
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=GRACE / 2)
            await stack.aclose()

    def _begin(self, job: Job) -> None:
        job.slot = self._free.pop()
        loop = cast("asyncio.AbstractEventLoop", self._loop)
        inner = Interruptible(self._work(job))
        task = loop.create_task(inner, name=f"umbel-{job.message.id}")
        self._tasks[task] = job
        handles = [
            loop.call_later(after, call, task, job, inner)
            for after, call in ((job.soft, self._remind), (job.hard, self._abandon))
            if after
        ]
        task.add_done_callback(lambda done: self._end(done, handles))

    async def _work(self, job: Job) -> None:
        floor = self._floor
        if not floor.enter(job):
            return
        try:
            outcome: Outcome = await attempt.arun(job.plan, cast("Any", job.request))
        except (SystemExit, KeyboardInterrupt) as error:
            outcome = exited(error)
        if floor.erase(job):
            floor.leave(job, outcome)

    def _remind(self, task: asyncio.Task[Any], job: Job, inner: Interruptible) -> None:
        """The soft limit: throw it in where the coroutine waits."""
        if task.done():
            return
        inner.instead = SoftTimeLimitExceeded(job.soft)
        task.cancel()
        task.uncancel()

    def _abandon(self, task: asyncio.Task[Any], job: Job, _: Interruptible) -> None:
        """The hard limit: the task has failed, whatever its coroutine does from here on."""
        if task.done() or not self._floor.erase(job):
            return
        error = TimeLimitExceeded(job.hard)
        logger.error("Hard time limit (%ss) exceeded for %s", job.hard, job.message.id)
        self._floor.end_unrun(job, Failed(error, None))
        task.cancel()

    def _end(self, task: asyncio.Task[Any], handles: list[asyncio.TimerHandle]) -> None:
        for handle in handles:
            handle.cancel()
        job = self._tasks.pop(task)
        self._free.append(job.slot)
        self._active -= 1
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("task %s ended outside its attempt", job.message.id, exc_info=error)
        if self._on_free is not None:
            self._on_free()

    # -- the watchdog ----------------------------------------------------------------------

    def _watch(self) -> None:
        """Notice that the loop does not turn, and say where it stands."""
        period = max(self._warn_after / 2, 0.05)
        loop = cast("asyncio.AbstractEventLoop", self._loop)
        turned = threading.Event()
        while not self._stop.wait(period):
            if not self._active:
                continue
            turned.clear()
            asked = time.monotonic()
            try:
                loop.call_soon_threadsafe(turned.set)
            except RuntimeError:
                return
            if not turned.wait(self._warn_after):
                self._report(asked)
                turned.wait()

    def _report(self, asked: float) -> None:
        frame = frame_of(self._thread)
        stack = "".join(traceback.format_stack(frame)) if frame is not None else "(gone)"
        names = ", ".join(f"{job.message.task}[{job.message.id}]" for job in self.jobs()[:5])
        logger.warning(
            "the event loop has been blocked for %.2f s; all asynchronous tasks of this child wait "
            "(running: %s). It stands at:\n%s",
            time.monotonic() - asked,
            names,
            stack,
        )


def frame_of(thread: threading.Thread) -> FrameType | None:
    """Where ``thread`` stands now; None if it has ended."""
    # Collecting garbage in the middle of that call can deadlock (python/cpython#106883).
    collects = gc.isenabled()
    gc.disable()
    try:
        return sys._current_frames().get(thread.ident or 0)  # noqa: SLF001 - no other way
    finally:
        if collects:
            gc.enable()
