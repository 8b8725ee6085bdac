"""The no-op tasks on Procrastinate, and how a user enqueues them."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import psycopg
from probe import mark
from procrastinate import App, PsycopgConnector, SyncPsycopgConnector

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

URL = os.environ["BENCH_BROKER"]
QUEUE = os.environ["BENCH_QUEUE"]
BATCH = 1000

app = App(connector=PsycopgConnector(conninfo=URL))


@app.task(queue=QUEUE, name="noop")
def noop(index: int) -> None:
    mark(index)


class Queue:
    """Procrastinate as a producer sees it; it keeps no results."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.reader = psycopg.connect(URL, autocommit=True)
        self.loop.run_until_complete(app.open_async())
        if self._ask("select to_regclass('procrastinate_jobs') is null"):
            self.loop.run_until_complete(app.schema_manager.apply_schema_async())
        self.sync = app.with_connector(SyncPsycopgConnector(conninfo=URL))
        self.sync.open()
        self.task = self.sync.tasks["noop"]

    def sender(self, *, stored: bool) -> Callable[[int], object]:  # noqa: ARG002
        defer = self.task.defer
        return lambda index: defer(index=index)

    def async_sender(self) -> Callable[[int], Awaitable[object]]:
        return lambda index: noop.defer_async(index=index)

    def send_many(self, indexes: range, *, stored: bool) -> None:  # noqa: ARG002
        for first in range(indexes.start, indexes.stop, BATCH):
            part = range(first, min(first + BATCH, indexes.stop))
            self.task.batch_defer(*({"index": index} for index in part))

    def outstanding(self) -> int:
        return self._ask(
            "select count(*) from procrastinate_jobs where status in ('todo', 'doing')"
        )

    def results(self) -> int:
        return 0

    def _ask(self, question: str) -> int:
        row = self.reader.execute(question).fetchone()
        return int(row[0]) if row else 0

    def durability(self) -> str:
        return f"{os.environ['BENCH_SURVIVES']}; acknowledged after the task has run"
