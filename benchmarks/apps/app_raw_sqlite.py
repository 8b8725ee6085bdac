"""The limit of SQLite itself: the least that a queue which loses nothing has to do.

Two processes claim batches, run the task of each message, and settle: one transaction ends the
batch before and claims the next. A file lock around each transaction spares them SQLite's own
sleeping wait for the write lock. A message carries what every queue's must: an id, the name of
the task, its arguments. No routing, no leases, no retries, no limits, no protocol.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sqlite3
import sys
import time
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

from probe import mark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FILE = os.environ["BENCH_SQLITE_FILE"]
BATCH = 500
IDLE = 0.002

SCHEMA = """
create table if not exists job (
    number integer primary key, owner integer, stored integer not null, body text not null);
create index if not exists job_waiting on job (number) where owner is null;
create table if not exists result (id text primary key, body text not null) without rowid;
"""
CLAIM = """
update job set owner = ? where number in
    (select number from job where owner is null order by number limit ?)
returning number, stored, body
"""
ADD = "insert into job (stored, body) values (?, ?)"


def noop(index: int) -> int:
    mark(index)
    return index


TASKS = {"bench.noop": noop}


def message_of(index: int) -> str:
    """A message as it is stored."""
    call = {"id": str(uuid.uuid4()), "task": "bench.noop", "args": [index], "kwargs": {}}
    return json.dumps(call)


def connected(synchronous: str) -> sqlite3.Connection:
    """A connection to the file, in autocommit mode, with the tables in place."""
    connection = sqlite3.connect(FILE, isolation_level=None, timeout=10)
    connection.execute("pragma journal_mode=wal")
    connection.execute(f"pragma synchronous={synchronous}")
    connection.executescript(SCHEMA)
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection, gate: int) -> Iterator[None]:
    """One write transaction, entered in turn with the other processes."""
    fcntl.flock(gate, fcntl.LOCK_EX)
    try:
        connection.execute("begin immediate")
        yield
        connection.execute("commit")
    finally:
        fcntl.flock(gate, fcntl.LOCK_UN)


def work(owner: int) -> None:
    """Run jobs until SIGTERM."""
    connection = connected("NORMAL")
    gate = os.open(f"{FILE}.gate", os.O_RDWR | os.O_CREAT, 0o600)
    done: list[tuple[int]] = []
    results: list[tuple[str, str]] = []
    while True:
        with transaction(connection, gate):
            connection.executemany("delete from job where number = ?", done)
            connection.executemany("insert into result values (?, ?)", results)
            batch = connection.execute(CLAIM, (owner, BATCH)).fetchall()
        done, results = [], []
        for number, stored, body in batch:
            message = json.loads(body)
            value = TASKS[message["task"]](*message["args"], **message["kwargs"])
            done.append((number,))
            if stored:
                results.append((message["id"], json.dumps(value)))
        if not batch:
            time.sleep(IDLE)


def supervise(children: int) -> None:
    """Keep so many working processes until SIGTERM."""
    connected("NORMAL").close()
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


class Queue:
    """The producer's side of the raw loop."""

    def __init__(self) -> None:
        self.connection = connected("FULL")

    def sender(self, *, stored: bool) -> Callable[[int], object]:
        connection, kept = self.connection, int(stored)
        return lambda index: connection.execute(ADD, (kept, message_of(index)))

    def send_many(self, indexes: range, *, stored: bool) -> None:
        rows = [(int(stored), message_of(index)) for index in indexes]
        self.connection.execute("begin immediate")
        self.connection.executemany(ADD, rows)
        self.connection.execute("commit")

    def outstanding(self) -> int:
        return int(self.connection.execute("select count(*) from job").fetchone()[0])

    def results(self) -> int:
        return int(self.connection.execute("select count(*) from result").fetchone()[0])

    def durability(self) -> str:
        return "synchronous=FULL at publish; acknowledged after the task has run"


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    supervise(int(sys.argv[1]))
