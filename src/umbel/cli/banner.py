"""What a worker says when it starts: who it is, where it works, and that it is ready."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from umbel import __version__
from umbel.representation import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from umbel.cli.console import Console
    from umbel.worker.options import Facts, WorkerOptions

logger = logging.getLogger("umbel.worker")

MOST_TASKS = 40
SQLITE = "sqlite:///"


class Banner:
    """Announces one worker: as text for people, or as log records where the log is JSON."""

    def __init__(
        self,
        console: Console,
        options: WorkerOptions,
        *,
        on_ready: Callable[[], None] | None = None,
    ) -> None:
        self._console = console
        self._json = options.log_format == "json"
        self._logged = bool(options.logfile) or self._json
        self._on_ready = on_ready

    def open(self, facts: Facts, node: str) -> None:
        """The application is known."""
        if self._logged:
            logger.info("worker %s starts", node, extra={"data": described(facts)})
        if not self._json:
            self._console.say(text_of(facts, node))

    def ready(self, node: str) -> None:
        """The worker takes tasks."""
        if self._logged:
            logger.info("%s ready.", node)
        if not self._json:
            self._console.say(f"{node} ready.")
        if self._on_ready is not None:
            self._on_ready()


def described(facts: Facts) -> dict[str, object]:
    """The same as plain data."""
    return {
        "version": __version__,
        "app": facts.name,
        "broker": facts.shown_broker,
        "results": facts.shown_backend,
        "pool": facts.pool,
        "concurrency": facts.concurrency,
        "queues": list(facts.queues),
        "tasks": list(facts.tasks),
    }


def text_of(facts: Facts, node: str) -> str:
    """The banner."""
    rows = [
        ("app", facts.name),
        ("broker", facts.shown_broker),
        ("database", database_of(facts.shown_broker)),
        ("results", _results(facts)),
        ("concurrency", _concurrency(facts)),
        ("queues", ", ".join(facts.queues)),
        ("tasks", f"\n{' ' * 15}".join(_tasks(facts.tasks))),
    ]
    lines = [f"  {name:<12} {text}" for name, text in rows if text]
    return one_line("\n".join([f"umbel {__version__} {node}", *lines]), keep="\n")


def database_of(url: str) -> str:
    """The file behind an SQLite URL, as a full path; empty for other brokers."""
    if not url.startswith(SQLITE):
        return ""
    return str(Path(url.removeprefix(SQLITE).partition("?")[0]).absolute())


def _results(facts: Facts) -> str:
    return "in the same place" if facts.shown_backend == facts.shown_broker else facts.shown_backend


def _concurrency(facts: Facts) -> str:
    noun = {"prefork": "process", "threads": "thread"}.get(facts.pool)
    plural = "" if facts.concurrency == 1 else "es" if noun == "process" else "s"
    text = f"{facts.concurrency} {noun}{plural}" if noun else "1 task at a time (solo)"
    if facts.async_slots:
        where = " in each" if noun == "process" and facts.concurrency > 1 else ""
        text += f", and up to {facts.async_slots} async tasks{where}"
    return text


def _tasks(names: tuple[str, ...]) -> list[str]:
    if not names:
        return ["none"]
    more = len(names) - MOST_TASKS
    return [*names[:MOST_TASKS], f"... and {more} more"] if more > 0 else list(names)
