"""The application under chaos: its tasks write their own history, outside the system under test.

Every process appends to one file of its own, one write per line, so that what a task did before
its process was killed is known afterwards. CLOCK_MONOTONIC is shared by all processes of a
machine, so the lines of all files have one order.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from umbel import Umbel

HISTORY = Path(os.environ.get("CHAOS_HISTORY", "."))

app = Umbel(
    "workload",
    broker=os.environ.get("CHAOS_BROKER", "memory://chaos"),
    backend=os.environ.get("CHAOS_BACKEND"),
    broker_transport_options=json.loads(os.environ.get("CHAOS_OPTIONS", "{}")),
    task_max_crashes=1_000_000,
)

_files: dict[int, int] = {}


def write(event: str, task: str, **more: object) -> None:
    """Append one line to this process's history."""
    pid = os.getpid()
    if pid not in _files:
        path = HISTORY / f"{pid}-{time.monotonic_ns()}.jsonl"
        _files[pid] = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    line = {"ev": event, "task": task, "pid": pid, "at": time.monotonic(), **more}
    os.write(_files[pid], json.dumps(line).encode() + b"\n")


@app.task(bind=True)
def work(self, number: int, span: float) -> int:
    """Take ``span`` seconds, and say so."""
    write("start", self.request.id, number=number, deliveries=self.request.deliveries)
    time.sleep(span)
    write("end", self.request.id)
    return number * 2


@app.task(bind=True)
async def awork(self, number: int, span: float) -> int:
    """As `work`, on the event loop."""
    import asyncio

    write("start", self.request.id, number=number, deliveries=self.request.deliveries)
    await asyncio.sleep(span)
    write("end", self.request.id)
    return number * 2
