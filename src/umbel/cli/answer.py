"""What a task answered, shown in a shell: its value on standard output, its failure beside it."""

from __future__ import annotations

import json
import signal
import sys
from contextlib import contextmanager
from threading import current_thread, main_thread
from typing import TYPE_CHECKING, Any

from umbel import exceptions, states
from umbel.cli.console import plain
from umbel.cli.ends import FAILED, INTERRUPTED, NOT_YET, OK, Failure
from umbel.representation import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from umbel.app import Umbel
    from umbel.cli.console import Console
    from umbel.result import AsyncResult

NO_RESULTS = (
    "there is no result backend, so nobody keeps what tasks return: set result_backend, or give "
    "--result-backend"
)

LOOK_EVERY = 0.2
"""Seconds within which Ctrl-C is noticed."""


def keeps_results(app: Umbel) -> bool:
    """Whether the application has a result backend."""
    return app.result_store is not None


def wait_for(console: Console, result: AsyncResult[Any], timeout: float | None) -> dict[str, Any]:
    """The final state of a task, as soon as it is there; at a terminal its id is said before.

    Raises:
        Failure: time is up, or the user gave up waiting.
    """
    try:
        with _interruptible() as look:
            if sys.stderr.isatty():
                console.say(f"waiting for {result.id}")
            result.get(timeout=timeout, propagate=False, on_interval=look, interval=LOOK_EVERY)
    except exceptions.TimeoutError:
        raise Failure(
            f"there is no result after {timeout:g} s; the task goes on, and `umbel result "
            f"{result.id} --wait` waits for it",
            NOT_YET,
        ) from None
    except KeyboardInterrupt:
        raise Failure(
            f"not waiting any more; the task goes on, and `umbel result {result.id}` shows "
            "what became of it",
            INTERRUPTED,
        ) from None
    return state_of(result)


@contextmanager
def _interruptible() -> Iterator[Callable[[], None]]:
    """Within the block, Ctrl-C counts when the yielded function is called, not before.

    So it does not strike a driver in the middle of what it does.
    """
    pressed = False

    def press(_signum: int, _frame: object) -> None:
        nonlocal pressed
        pressed = True

    def look() -> None:
        if pressed:
            raise KeyboardInterrupt

    if current_thread() is not main_thread():
        yield look
        return
    before = signal.signal(signal.SIGINT, press)
    try:
        yield look
    finally:
        signal.signal(signal.SIGINT, before)


def state_of(result: AsyncResult[Any]) -> dict[str, Any]:
    """What is known of a task now."""
    return {
        "id": result.id,
        "state": result.state,
        "result": result.result,
        "traceback": result.traceback,
    }


def show(console: Console, meta: dict[str, Any], *, traceback: bool) -> int:
    """Print a state; returns the exit code: 0 for success, 1 for failure, 75 if not final."""
    state = meta["state"]
    code = OK if state == states.SUCCESS else FAILED
    if state not in states.READY_STATES:
        code = NOT_YET
    if console.json:
        console.emit(_document(meta, traceback=traceback))
    elif code == OK:
        console.line(text_of(meta["result"]))
    elif code == FAILED:
        raise Failure(_failure(meta, traceback=traceback))
    else:
        raise Failure(_not_yet(meta), NOT_YET)
    return code


def text_of(value: Any) -> str:
    """A value for a shell: text as it is, everything else as JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(plain(value), ensure_ascii=False)


def _document(meta: dict[str, Any], *, traceback: bool) -> dict[str, Any]:
    shown = {"id": meta["id"], "state": meta["state"]}
    if meta["state"] in states.PROPAGATE_STATES:
        shown["error"] = meta["result"]
    else:
        shown["result"] = meta["result"]
    if traceback:
        shown["traceback"] = meta["traceback"]
    return shown


def _failure(meta: dict[str, Any], *, traceback: bool) -> str:
    if traceback and meta["traceback"]:
        return str(one_line(meta["traceback"].rstrip(), keep="\n\t"))
    error = meta["result"]
    text = f"{type(error).__name__}: {error}" if isinstance(error, BaseException) else str(error)
    return f"the task ended as {meta['state']}: {one_line(text)}"


def _not_yet(meta: dict[str, Any]) -> str:
    if meta["state"] == states.PENDING:
        return (
            f"nothing is known of {meta['id']}: it waits in a queue, it is not kept any more, or "
            "there is no such task"
        )
    detail = "" if meta["result"] is None else f" ({one_line(text_of(meta['result']))})"
    return f"the task is not done: {meta['state']}{detail}"
