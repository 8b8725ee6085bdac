"""An application whose tasks do what only a real worker can show; run with ``-A chores``."""
# ruff: noqa: ASYNC110, ASYNC240 - the tasks meet at files, for lack of anything smaller

from __future__ import annotations

import asyncio
import enum
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic

from umbel import Task, Umbel
from umbel.exceptions import Reject, SoftTimeLimitExceeded

app = Umbel("chores", broker=os.environ.get("CHORES_BROKER"), set_as_current=False)


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Size:
    width: int


class User(pydantic.BaseModel):
    name: str


def note(text: str) -> None:
    with Path(os.environ["CHORES_NOTES"]).open("a") as file:
        file.write(text + "\n")


@app.task(bind=True, default_retry_delay=0.05)
def flaky(self: Task[..., Any], times: int) -> list[int]:
    if self.request.retries < times:
        raise self.retry(exc=ValueError(self.request.retries))
    return [self.request.retries, self.request.deliveries]


@app.task(autoretry_for=(KeyError,), retry_kwargs={"countdown": 0.05}, max_retries=1)
def always(key: str) -> None:
    raise KeyError(key)


@app.task(bind=True)
def slow_step(self: Task[..., Any], gate: str) -> str:
    self.update_state(state="PROGRESS", meta={"step": 1})
    while not Path(gate).exists():
        time.sleep(0.01)
    return "done"


@app.task(soft_time_limit=0.3, time_limit=20)
def interrupted() -> str:
    try:
        while True:
            time.sleep(0.01)
    except SoftTimeLimitExceeded as error:
        return f"cleaned up after {error.limit}"


@app.task(time_limit=0.4)
def stuck() -> None:
    while True:
        time.sleep(10)


@app.task
def errback(request: Any, exc: BaseException, traceback: str) -> None:
    note(f"errback {request.id} {type(exc).__name__}")


@app.task
def typed(colour: Colour, size: Size, user: User) -> list[str]:
    return [type(value).__name__ for value in (colour, size, user)]


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task
async def meet(name: str, other: str, folder: str) -> str:
    """Waits for another task that waits for this one."""
    Path(folder, name).touch()
    while not Path(folder, other).exists():
        await asyncio.sleep(0.01)
    return name


@app.task
def refuse() -> None:
    raise Reject("not for me")


class Telling(Task[..., Any]):
    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        note(f"on_success {retval} {self.request.id == task_id}")


@app.task(base=Telling)
def told() -> int:
    return 5
