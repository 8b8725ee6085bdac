"""The application that workers under test run."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from umbel import Umbel, signals
from umbel.exceptions import SoftTimeLimitExceeded

app = Umbel(
    "errands",
    broker=os.environ.get("ERRANDS_BROKER", "memory://errands"),
    **json.loads(os.environ.get("ERRANDS_SETTINGS", "{}")),
)


def note(text: str) -> None:
    """Append a line to the notes, which tests read."""
    file = os.open("notes", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.write(file, text.encode() + b"\n")
    os.close(file)


def hold() -> None:
    """Say that we are here, and wait until the test lets go."""
    note(f"holding {os.getpid()}")
    while not Path("go").exists():
        time.sleep(0.005)


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task
def pid() -> int:
    return os.getpid()


@app.task
def held(value: int) -> int:
    hold()
    return value


@app.task(bind=True)
def deliveries(self) -> int:
    note("started")
    return self.request.deliveries


@app.task
async def anap(span: float) -> str:
    await asyncio.sleep(span)
    return "slept"


@app.task
async def together(size: int) -> int:
    """Return once ``size`` of these run at the same time."""
    pool.append(1)
    while len(pool) < size:  # noqa: ASYNC110 - the others come by message, not by event
        await asyncio.sleep(0.002)
    return len(pool)


pool: list[int] = []


@app.lifespan
async def pools(_app):
    note("pool opened")
    yield
    note("pool closed")


@app.task
async def where() -> int:
    return id(asyncio.get_running_loop())


@app.task(time_limit=0.4)
def sleeps() -> None:
    time.sleep(60)


@app.task(time_limit=0.4)
def spins() -> None:
    while True:
        with contextlib.suppress(BaseException):
            while True:
                pass


@app.task(time_limit=0.4)
def hogs() -> None:
    """Hold the interpreter lock in C code."""
    ctypes.PyDLL(None).sleep(60)


@app.task(time_limit=0.4)
async def astubborn() -> None:
    while True:
        with contextlib.suppress(BaseException):
            await asyncio.sleep(60)


@app.task(soft_time_limit=0.2)
def tidy() -> str:
    try:
        time.sleep(60)
    except SoftTimeLimitExceeded:
        return "tidied up"
    return "never"


@app.task(soft_time_limit=0.2)
async def atidy() -> str:
    try:
        await asyncio.sleep(60)
    except SoftTimeLimitExceeded:
        return "tidied up"
    return "never"


@app.task(soft_time_limit=0.2)
def untidy() -> None:
    time.sleep(60)


@app.task
async def cancelled() -> None:
    raise asyncio.CancelledError


@app.task
async def blocks(span: float) -> str:
    time.sleep(span)  # noqa: ASYNC251 - the fault under test
    return "blocked"


@app.task
def killed() -> None:
    note("killed")
    os.kill(os.getpid(), signal.SIGKILL)


@app.task
def exits(code: int) -> None:
    note("exits")
    os._exit(code)


@app.task
def leaves(code: int) -> None:
    note("leaves")
    sys.exit(code)


@app.task
async def aleaves() -> None:
    sys.exit(3)


@app.task
def segfaults() -> None:
    note("segfaults")
    ctypes.string_at(0)


@app.task(acks_late=False)
def early() -> None:
    note("early")
    os._exit(1)


@app.task(reject_on_worker_lost=False)
def once() -> None:
    note("once")
    os._exit(1)


@app.task(rate_limit="20/s")
def paced() -> float:
    return time.monotonic()


@app.task
def grows(megabytes: int) -> int:
    kept.append(bytearray(megabytes * 1024 * 1024))
    return os.getpid()


kept: list[bytearray] = []


@app.task
def unprintable() -> None:
    class Mute(Exception):  # noqa: N818 - a class as users write them
        def __init__(self, a, b):
            super().__init__()

        def __repr__(self):
            raise RuntimeError("no")

        __str__ = __repr__

    raise Mute(1, 2)


@app.task
def unencodable() -> object:
    return object()


@app.task
def talks() -> None:
    logging.getLogger("errands").warning("one\n[ERROR] forged line \x1b[31m")


@app.task
def spawns() -> int:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]).pid


@app.task(bind=True, max_retries=2, default_retry_delay=0.01)
def flaky(self, wanted: int) -> int:
    if self.request.retries < wanted:
        raise self.retry(exc=KeyError("not yet"))
    return self.request.retries


@app.task(track_started=True)
def tracked() -> str:
    hold()
    return "done"


@app.task(bind=True)
def custom(self) -> str:
    self.update_state(state="HALFWAY", meta={"done": 50})
    hold()
    return "done"


if os.environ.get("ERRANDS_SIGNALS"):

    def tell(name):
        def receive(sender=None, **_):
            note(f"signal {name}")

        return receive

    for _name in (
        "worker_init",
        "worker_process_init",
        "worker_ready",
        "worker_shutting_down",
        "worker_process_shutdown",
        "worker_shutdown",
        "task_prerun",
        "task_postrun",
        "task_success",
        "task_received",
        "task_unknown",
        "task_revoked",
        "task_failure",
    ):
        getattr(signals, _name).connect(tell(_name), weak=False)
