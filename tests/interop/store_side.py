"""Celery's side of test_results_stores: writes and reads results as it is told on standard input.

Runs under the interpreter that has the real Celery; what it finds it prints as JSON.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from celery import Celery
from celery.app.task import Context
from celery.result import AsyncResult

order = json.load(sys.stdin)
app = Celery("app", broker=order.get("broker", "memory://"), backend=order["backend"])
app.conf.update(order["conf"])


def write() -> None:
    """One result in each of the states that workers store."""
    backend = app.backend
    request = Context(
        id="x",
        task="proj.add",
        args=[1, "ü"],
        kwargs={"y": 2},
        hostname="celery@host",
        retries=3,
        delivery_info={"routing_key": "fast"},
        children=[AsyncResult("child", app=app)],
        stamped_headers=["colour"],
        stamps={"colour": "red"},
    )
    backend.store_result("success", {"a": [1, None, "ü"]}, "SUCCESS", request=request)
    backend.store_result("failure", ValueError("no", 3), "FAILURE", traceback="where")
    backend.store_result("foreign", LookupError("custom"), "RETRY", traceback="there")
    backend.store_result("started", {"pid": 1, "hostname": "h"}, "STARTED")
    backend.store_result("progress", {"done": 50}, "PROGRESS")
    backend.store_result("nothing", None, "SUCCESS")
    backend.store_result("kept", 1, "SUCCESS")


def read() -> dict[str, Any]:
    """What Celery makes of the results of these ids."""
    return {task_id: seen(AsyncResult(task_id, app=app)) for task_id in order["ids"]}


def seen(result: Any) -> dict[str, Any]:
    value = result.result
    if isinstance(value, BaseException):
        value = [type(value).__name__, *value.args]
    return {
        "state": result.state,
        "value": value,
        "traceback": result.traceback,
        "children": [child.id for child in result.children or ()],
        "dated": result.date_done is not None,
        "name": result.name,
        "args": result.args,
        "kwargs": result.kwargs,
        "worker": result.worker,
        "retries": result.retries,
        "queue": result.queue,
    }


def call() -> list[Any]:
    """Call a task of a worker that is there, and wait for the results."""
    results = [app.send_task(order["task"], (n, n)) for n in range(20)]
    return [result.get(timeout=30) for result in results]


def work() -> None:
    """Be a worker until told to stop."""

    @app.task(name="proj.add")
    def add(x: int, y: int) -> int:
        return x + y

    flags = ("--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "INFO")
    app.worker_main(["worker", "-P", "solo", *flags])


if __name__ == "__main__":
    done = {"write": write, "read": read, "call": call, "work": work}[order["do"]]()
    print(json.dumps(done))  # noqa: T201 - what the test reads
