"""The limit of SQLite: one transaction ends the batch before and claims the next.

A file lock around each transaction spares the two processes SQLite's own sleeping wait for the
write lock.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import raw_loop
from raw_loop import BATCH, IDLE, message_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FILE = os.environ["BENCH_BROKER"].removeprefix("sqlite:///")

SCHEMA = """
create table if not exists job (number integer primary key, owner integer, body text not null);
create index if not exists job_waiting on job (number) where owner is null;
create table if not exists result (id text primary key, body text not null) without rowid;
"""
CLAIM = """
update job set owner = ? where number in
    (select number from job where owner is null order by number limit ?)
returning number, body
"""
ADD = "insert into job (body) values (?)"


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
        done = [(number,) for number, _ in batch]
        results = [kept for _, body in batch if (kept := raw_loop.run(body))]
        if not batch:
            time.sleep(IDLE)


class Queue:
    """The producer's side of the raw loop."""

    def __init__(self) -> None:
        self.connection = connected("FULL")

    def sender(self, *, stored: bool) -> Callable[[int], object]:
        connection = self.connection
        return lambda index: connection.execute(ADD, (message_of(index, stored=stored),))

    def send_many(self, indexes: range, *, stored: bool) -> None:
        rows = [(message_of(index, stored=stored),) for index in indexes]
        self.connection.execute("begin immediate")
        self.connection.executemany(ADD, rows)
        self.connection.execute("commit")

    def outstanding(self) -> int:
        return int(self.connection.execute("select count(*) from job").fetchone()[0])

    def results(self) -> int:
        return int(self.connection.execute("select count(*) from result").fetchone()[0])

    def durability(self) -> str:
        return f"{os.environ['BENCH_SURVIVES']}; acknowledged after the task has run"


if __name__ == "__main__":
    raw_loop.supervise(int(sys.argv[1]), work)
