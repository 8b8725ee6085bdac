"""The limit of PostgreSQL: one transaction ends the batch before and claims the next."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

import psycopg
import raw_loop
from raw_loop import BATCH, IDLE, message_of
from stored import counter

if TYPE_CHECKING:
    from collections.abc import Callable

URL = os.environ["BENCH_BROKER"]

SCHEMA = """
create table if not exists job (
    number bigint generated always as identity primary key, owner int, body text not null);
create index if not exists job_waiting on job (number) where owner is null;
create table if not exists result (id text primary key, body text not null);
"""
CLAIM = """
update job set owner = %s where number in (
    select number from job where owner is null order by number limit %s for update skip locked)
returning number, body
"""
END = "delete from job where number = any(%s)"
STORE = "insert into result select * from unnest(%s::text[], %s::text[])"
ADD = "insert into job (body) values (%s)"
ADD_MANY = "insert into job (body) select unnest(%s::text[])"


def work(owner: int) -> None:
    """Run jobs until SIGTERM."""
    connection = psycopg.connect(URL, autocommit=True)
    done: list[int] = []
    results: list[tuple[str, str]] = []
    while True:
        with connection.pipeline(), connection.transaction():
            if done:
                connection.execute(END, (done,))
            if results:
                ids, bodies = zip(*results, strict=True)
                connection.execute(STORE, (list(ids), list(bodies)))
            claimed = connection.execute(CLAIM, (owner, BATCH))
        batch = claimed.fetchall()
        done = [number for number, _ in batch]
        results = [kept for _, body in batch if (kept := raw_loop.run(body))]
        if not batch:
            time.sleep(IDLE)


class Queue:
    """The producer's side of the raw loop."""

    def __init__(self) -> None:
        self.connection = psycopg.connect(URL, autocommit=True)
        self.connection.execute(SCHEMA)
        self.results = counter(URL, redis_keys="", table="result")

    def sender(self, *, stored: bool) -> Callable[[int], object]:
        connection = self.connection
        return lambda index: connection.execute(ADD, (message_of(index, stored=stored),))

    def send_many(self, indexes: range, *, stored: bool) -> None:
        self.connection.execute(
            ADD_MANY, ([message_of(index, stored=stored) for index in indexes],)
        )

    def outstanding(self) -> int:
        row = self.connection.execute("select count(*) from job").fetchone()
        return int(row[0]) if row else 0

    def durability(self) -> str:
        return f"{os.environ['BENCH_SURVIVES']}; acknowledged after the task has run"


if __name__ == "__main__":
    raw_loop.supervise(int(sys.argv[1]), work)
