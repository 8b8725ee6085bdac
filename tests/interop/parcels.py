"""The tasks of both sides: one source, in which nothing but the imports knows whose it runs under.

``INTEROP_LIBRARY`` says which library that is, ``INTEROP_SIDE`` how the side is called.  What tasks
do besides returning is written to the ledger: a directory with one file for each test, to which
every process appends lines.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

SIDE = os.environ["INTEROP_SIDE"]
LIBRARY = os.environ["INTEROP_LIBRARY"]
if LIBRARY == "celery":
    from celery import Celery, Task
    from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
else:
    from umbel import Task
    from umbel import Umbel as Celery
    from umbel.exceptions import Ignore, Reject, SoftTimeLimitExceeded

FORMATS = ["json", "yaml", "msgpack", "pickle"]
LEDGER = Path(os.environ["INTEROP_LEDGER"])
PATIENCE = 30.0

app = Celery("parcels", broker=os.environ["INTEROP_BROKER"], backend=os.environ["INTEROP_RESULTS"])
app.conf.update(
    task_default_queue=os.environ["INTEROP_QUEUE"],
    task_queues=json.loads(os.environ["INTEROP_QUEUES"]),
    accept_content=FORMATS,
    result_extended=True,
    result_expires=600,
    worker_prefetch_multiplier=1,
    worker_max_tasks_per_child=None,
    broker_connection_retry_on_startup=True,
    **json.loads(os.environ.get("INTEROP_SETTINGS", "{}")),
)


class OutOfPaperError(Exception):
    """An exception of the user's own, that takes more than a text."""

    def __init__(self, tray: str, sheets: int) -> None:
        super().__init__(tray, sheets)
        self.tray = tray
        self.sheets = sheets


class PickyError(Exception):
    """One that cannot be built again from what it keeps of its arguments."""

    def __init__(self, first: str, *, second: str) -> None:
        super().__init__(first)
        self.second = second


class Outer:
    """Holds an exception, whose name has a dot then."""

    class NestedError(Exception):
        """An exception with a qualified name."""


def enter(key: str, **facts: Any) -> None:
    """Append a line to the ledger."""
    line = json.dumps({"side": SIDE, "pid": os.getpid(), "at": time.time(), **facts}) + "\n"
    with (LEDGER / key).open("a") as ledger:
        ledger.write(line)


def wait_for(name: str) -> None:
    """Wait until the test has made this file in the ledger's directory."""
    end = time.monotonic() + PATIENCE
    while not (LEDGER / name).exists():
        if time.monotonic() > end:
            raise TimeoutError(name)
        time.sleep(0.005)


@app.task
def echo(value: Any) -> Any:
    return value


@app.task
def describe(*args: Any, **kwargs: Any) -> str:
    return repr((args, kwargs))


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task
def double(x: int) -> int:
    return 2 * x


FIELDS = (
    *("id", "task", "root_id", "parent_id", "correlation_id", "reply_to", "retries", "eta"),
    *("expires", "timelimit", "headers", "group", "group_index", "shadow", "origin", "lang"),
    *("argsrepr", "kwargsrepr", "ignore_result", "delivery_info", "called_directly", "is_eager"),
    *("replaced_task_nesting", "stamped_headers", "stamps", "args", "kwargs", "utc"),
)


@app.task(bind=True)
def facts(self: Task, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """What the request says, with the moment and the side it runs on."""
    found = {name: getattr(self.request, name, None) for name in FIELDS}
    return {**found, "side": SIDE, "now": time.time()}


@app.task(ignore_result=True)
def note(key: str, *args: Any) -> None:
    enter(key, args=args)


@app.task(ignore_result=True)
def show(key: str, *args: Any) -> None:
    """Note the representation of what it was called with."""
    enter(key, args=repr(args))


@app.task(bind=True)
def sign(self: Task, *args: Any, key: str) -> str:
    """Note what it was called with, and as what."""
    request = self.request
    enter(
        key,
        args=args,
        id=request.id,
        root=request.root_id,
        parent=request.parent_id,
        retries=request.retries,
        redelivered=(request.delivery_info or {}).get("redelivered"),
    )
    return SIDE


@app.task
def errback(request: Any, exc: Any, traceback: Any, key: str) -> None:
    """An error callback that takes request, exception and traceback."""
    enter(key, id=request.id, error=repr(exc), traceback=traceback and str(traceback))


@app.task
def fail(kind: str) -> None:  # noqa: C901 - a list of ways to fail
    match kind:
        case "builtin":
            raise ValueError("no such tray", 7)
        case "custom":
            raise OutOfPaperError("A4", 3)
        case "nested":
            raise Outer.NestedError("inside")
        case "picky":
            raise PickyError("one", second="two")
        case "unknown":
            raise type("Jam", (Exception,), {"__module__": "printers.errors"})("sheet", 2)
        case "unencodable":
            raise RuntimeError("cannot", object())
        case "caused":
            try:
                int("x")
            except ValueError as error:
                raise KeyError("tray") from error
        case "unprintable":
            raise RuntimeError("\udce4 \0 \n")
        case "lying":
            raise LyingError("text")
    raise AssertionError(kind)


class LyingError(Exception):
    """One whose text cannot be had."""

    def __str__(self) -> str:
        raise TypeError("no text")

    __repr__ = __str__


@app.task
def unencodable() -> object:
    return object()


@app.task(throws=(KeyError,))
def expected() -> None:
    raise KeyError("expected")


@app.task(bind=True, max_retries=5)
def again(self: Task, times: int, key: str | None = None) -> list[Any]:
    """Retry that often, then tell how often it was."""
    request = self.request
    if key is not None:
        enter(key, retries=request.retries, id=request.id, parent=request.parent_id)
    if request.retries < times:
        raise self.retry(countdown=0, exc=ValueError(f"attempt {request.retries}"))
    return [request.retries, SIDE, request.root_id, request.parent_id, request.headers]


@app.task(bind=True)
def later(self: Task) -> int:
    """Retry once, after a while."""
    if self.request.retries == 0:
        raise self.retry(countdown=1, exc=OutOfPaperError("A4", 3))
    return self.request.retries


@app.task(autoretry_for=(OSError,), retry_kwargs={"max_retries": 2, "countdown": 0})
def stubborn(key: str) -> None:
    enter(key)
    raise OSError(5, "no line")


@app.task(bind=True, max_retries=1)
def hopeless(self: Task) -> None:
    raise self.retry(countdown=0)


@app.task(bind=True, max_retries=10)
def wander(self: Task, key: str, queues: list[str]) -> int:
    """Hand itself to the next queue as a retry, until there is none."""
    enter(key, retries=self.request.retries, id=self.request.id)
    if queues:
        raise self.retry(args=(key, queues[1:]), queue=queues[0], countdown=0)
    return self.request.retries


@app.task(bind=True)
def skip(self: Task) -> None:
    raise Ignore


@app.task(bind=True, acks_late=True)
def refuse(self: Task, key: str, *, requeue: bool = False) -> str:
    """Reject the message; where it is to be requeued, only the first time."""
    with suppress(FileNotFoundError):
        if requeue and (LEDGER / key).read_text():
            return "again"
    enter(key)
    raise Reject("not today", requeue=requeue)


@app.task(acks_late=True)
def late(value: Any) -> Any:
    return value


@app.task(bind=True, track_started=True)
def hold(self: Task, key: str) -> str:
    """Say that it runs, and run until the test lets it go."""
    enter(key, id=self.request.id)
    wait_for(f"{key}.go")
    return SIDE


@app.task(bind=True)
def progress(self: Task, key: str) -> str:
    """Store a state of its own, and wait as `hold` does."""
    self.update_state(state="PROGRESS", meta={"done": 3, "of": 4})
    enter(key)
    wait_for(f"{key}.go")
    return "finished"


@app.task
def meet(key: str) -> str:
    """Return when somebody of the other side has come too."""
    enter(key)
    end = time.monotonic() + PATIENCE
    while {json.loads(line)["side"] for line in (LEDGER / key).open()} != {"celery", "umbel"}:
        if time.monotonic() > end:
            raise TimeoutError(key)
        time.sleep(0.005)
    return SIDE


@app.task(soft_time_limit=None)
def linger() -> str:
    """Run until a limit ends it."""
    try:
        wait_for("never")
    except SoftTimeLimitExceeded:
        return "soft"
    return "unlimited"


@app.task(bind=True)
def send_on(self: Task, name: str, args: list[Any], queue: str) -> str:
    """Send another task; its id."""
    result = app.send_task(name, args, queue=queue)
    return str(result.id)


@app.task(bind=True)
def replaced_id(self: Task) -> list[Any]:
    """The ids under which this runs, to be compared with those a chain was sent with."""
    request = self.request
    return [request.id, request.root_id, request.parent_id]


@app.task
def large(size: int) -> str:
    return "x" * size


if LIBRARY == "umbel":

    @app.task
    async def wait_async(value: Any) -> Any:
        """As `echo`, on the event loop."""
        await asyncio.sleep(0)
        return value
