"""Waiting in tests: for conditions, with a deadline, and for threads that are meant to wait."""

from __future__ import annotations

import gc
import sys
import time
from concurrent.futures import Future
from threading import Thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

DEADLINE = 20.0


def wait_until(condition: Callable[[], Any], *, deadline: float = DEADLINE) -> Any:
    """What ``condition`` returns once that is true; fails after ``deadline`` seconds."""
    end = time.monotonic() + deadline
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"not true within {deadline:g} s")
        time.sleep(0.002)
    return value


class Background:
    """A call in a thread of its own, used as a context or with `start`."""

    def __init__(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self._future: Future[Any] = Future()
        self._thread = Thread(target=self._run, args=(call, args, kwargs), daemon=True)

    def _run(self, call: Callable[..., Any], args: Any, kwargs: Any) -> None:
        try:
            self._future.set_result(call(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - it is raised by `result`
            self._future.set_exception(error)

    def start(self) -> Background:
        self._thread.start()
        return self

    __enter__ = start

    def __exit__(self, *_: object) -> None:
        self._thread.join(DEADLINE)

    def blocks(self) -> None:
        """Return when the thread rests in a wait: its stack does not change any more."""
        seen: tuple[Any, ...] = ()
        same = 0
        while same < 10:
            assert not self._future.done(), f"it did not wait: {self._future}"
            now = self._stack()
            same = same + 1 if now == seen else 0
            seen = now
            time.sleep(0.002)

    def begins(self) -> None:
        """Return when the thread runs and has not come to its end."""
        wait_until(self._thread.is_alive)
        assert not self._future.done()

    def _stack(self) -> tuple[Any, ...]:
        frame = frame_of(self._thread)
        stack = []
        while frame is not None:
            stack.append((frame.f_code, frame.f_lasti))
            frame = frame.f_back
        return tuple(stack)

    def result(self) -> Any:
        """What the call returned or raised, within a deadline."""
        return self._future.result(DEADLINE)


def frame_of(thread: Thread) -> FrameType | None:
    """Where ``thread`` stands now; None if it has ended."""
    # Collecting garbage in the middle of that call can deadlock (python/cpython#106883).
    collects = gc.isenabled()
    gc.disable()
    try:
        return sys._current_frames().get(thread.ident or 0)
    finally:
        if collects:
            gc.enable()
