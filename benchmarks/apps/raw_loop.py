"""What the bare loops share: the message that every queue has to carry, and two processes.

A bare loop is the limit that its server sets: it claims batches, runs the task of each message
and settles, loses nothing when it is killed, and does nothing else. No routing, no leases, no
retries, no limits, no message protocol.
"""

from __future__ import annotations

import json
import os
import signal
import uuid
from typing import TYPE_CHECKING

from probe import mark

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH = 500
IDLE = 0.002


def noop(index: int) -> int:
    mark(index)
    return index


TASKS = {"bench.noop": noop}


def message_of(index: int, *, stored: bool = False) -> str:
    """A message as it is stored: an id, the task's name, its arguments."""
    call = {
        "id": str(uuid.uuid4()),
        "task": "bench.noop",
        "args": [index],
        "kwargs": {},
        "stored": stored,
    }
    return json.dumps(call)


def run(body: str | bytes) -> tuple[str, str] | None:
    """Run the task of a message; its id and encoded result if that is to be kept."""
    message = json.loads(body)
    value = TASKS[message["task"]](*message["args"], **message["kwargs"])
    return (message["id"], json.dumps(value)) if message["stored"] else None


def supervise(children: int, work: Callable[[int], None]) -> None:
    """Keep so many processes that ``work`` until SIGTERM."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    pids = []
    for owner in range(1, children + 1):
        pid = os.fork()
        if pid == 0:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            work(owner)
        pids.append(pid)
    signal.sigwait({signal.SIGTERM})
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
