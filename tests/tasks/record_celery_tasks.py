"""Writes celery_tasks.json: what the real Celery does with the tasks of task_scenarios.py.

Run it with tests/support on the path, by the Python of an environment that has Celery installed;
the tests only read the file.
"""

from __future__ import annotations

import json
import logging
import time
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from celery import Celery, Task, signals
from celery.canvas import Signature, StampingVisitor, maybe_signature, signature
from celery.contrib.testing.worker import start_worker
from celery.exceptions import Ignore, Reject, Retry

import task_scenarios as scenarios
from signature_scenarios import SIGNATURES, functions, stamps

STILL = 0.4
LONGEST = 10.0

library = SimpleNamespace(Task=Task, signals=signals, Ignore=Ignore, Reject=Reject, Retry=Retry)


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    told = {
        "worker": in_worker(),
        "eager": eagerly(),
        "request": request_fields(),
        "signatures": signatures(),
    }
    path = Path(__file__).parent / "celery_tasks.json"
    path.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")


def application() -> Any:
    app = Celery("t", broker="memory://", backend="cache+memory://", set_as_current=False)
    app.conf.broker_connection_retry_on_startup = False
    return app


def in_worker() -> dict[str, Any]:
    """Every call, sent to a worker in this process."""
    app = application()
    story = scenarios.Story(library)
    tasks = scenarios.define(app, story)
    app.finalize()
    told = {}
    with start_worker(
        app, perform_ping_check=False, pool="solo", loglevel="CRITICAL", shutdown_timeout=30
    ):
        for label, name, args, kwargs, options in scenarios.CALLS:
            story.lines = []
            story.listen()
            app.backend.forget("fixed-id")
            task, given = getattr(tasks, name), scenarios.options_of(tasks, options)
            task.typing = given.pop("typing", True)
            task.apply_async(args, kwargs, **given)
            wait_for_silence(story)
            story.close()
            result = app.AsyncResult("fixed-id")
            told[label] = {
                "story": story.lines,
                "state": result.state,
                "result": scenarios.shown(result.result),
            }
    return told


def wait_for_silence(story: scenarios.Story) -> None:
    started = changed = time.monotonic()
    count = 0
    while time.monotonic() - started < LONGEST:
        time.sleep(0.02)
        now = time.monotonic()
        if len(story.lines) != count:
            count, changed = len(story.lines), now
        elif count and now - changed > STILL:
            return


def eagerly() -> dict[str, Any]:
    """Every call, run in place; with and without raising errors."""
    app = application()
    app.conf.task_always_eager = True
    story = scenarios.Story(library)
    tasks = scenarios.define(app, story)
    told: dict[str, Any] = {}
    for throw in (False, True):
        for label, name, args, kwargs, options in scenarios.CALLS:
            story.lines = []
            story.listen()
            given = scenarios.options_of(tasks, options)
            given.pop("typing", None)
            ended: dict[str, Any]
            try:
                result = getattr(tasks, name).apply(args, kwargs, throw=throw, **given)
                ended = {"state": result.state, "result": scenarios.shown(result.result)}
            except Exception as error:  # noqa: BLE001 - whatever it is, it is recorded
                ended = {"raised": scenarios.shown(error)}
            story.close()
            told[f"{label}, throw={throw}"] = {"story": story.lines, **ended}
    return told


def signatures() -> dict[str, Any]:
    """What becomes of signatures."""
    app = application()

    @app.task(name="t.add", shared=False)
    def add(x: Any, y: Any = 2) -> Any:
        return x + y

    made = {name: act(add) for name, act in SIGNATURES.items()}
    made["stamps"] = stamps(StampingVisitor, add)
    return {**made, "functions": functions(signature, maybe_signature, Signature, add, app)}


def request_fields() -> list[str]:
    """The names a task finds in its request when a worker runs it."""
    app = application()
    fields: list[str] = []

    @app.task(bind=True, shared=False)
    def see(self: Any) -> None:
        fields.extend(name for name in dir(self.request) if not name.startswith("_"))

    app.finalize()
    with start_worker(app, perform_ping_check=False, pool="solo", loglevel="CRITICAL"):
        see.delay().get(timeout=LONGEST)
    return sorted(fields)


if __name__ == "__main__":
    main()
