"""Behind a pooler that gives every transaction another connection of the server."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

import postgres_database
from patience import Background
from pooler import Pooler
from posts import Worker, ended, ids, post, posts, succeeded
from umbel.drivers import postgres
from umbel.drivers.postgres.options import Options

LONG = 60.0


@pytest.fixture
def pooler(tmp_path):
    """A pooler before the session's database."""
    url = postgres_database.database()
    with Pooler(tmp_path, url) as pooler:
        yield pooler
    postgres_database.empty(url)


@pytest.fixture
def server(pooler):
    """The server behind it."""
    server = postgres.serve(pooler.url, Options())
    server.broker.setup()
    postgres_database.empty(postgres_database.database())
    yield server
    for role in (server.broker, server.backend, server.coordinator):
        role.close()


def test_messages_are_published_claimed_and_settled(server):
    """By more threads than the pooler has connections."""
    broker = server.broker
    batch = posts(120)
    workers = [Worker(broker, name=f"w{n}") for n in range(6)]

    def work(n):
        for message in batch[n::6]:
            broker.publish([message])
        found = []
        while taken := workers[n].take(5):
            found += ids(taken)
            assert all(broker.settle([ended(delivery) for delivery in taken]))
        return found

    with ThreadPoolExecutor(6) as pool:
        found = [one for part in pool.map(work, range(6)) for one in part]
    assert sorted(found + workers[0].drain()) == sorted(ids(batch))
    assert server.backend.fetch(found).keys() == set(found)


def test_nobody_listens_and_nobody_waits_long(server):
    """A look around every so often finds messages, results and broadcasts."""
    with psycopg.connect(postgres_database.database(), autocommit=True) as db:
        worker = Worker(server.broker)
        mark, _ = server.broker.listen("control", after=None, wait=0)
        with (
            Background(worker.take, 1, wait=LONG) as taking,
            Background(server.backend.wait, ["id"], LONG) as waiting,
            Background(server.broker.listen, "control", after=mark, wait=LONG) as hearing,
        ):
            server.broker.publish([post("news")])
            server.backend.store([succeeded("id")])
            server.broker.broadcast("control", b"hello")
            assert ids(taking.result()) == ["news"]
            assert waiting.result().keys() == {"id"}
            assert hearing.result()[1] == [b"hello"]
        assert db.execute("SELECT count(*) FROM umbel.waiting").fetchone() == (0,)


def test_locks_hold(server):
    """None of them lives in a session."""
    coordinator = server.coordinator
    assert coordinator.acquire("leader", "a", 60)
    assert coordinator.acquire("leader", "b", 60) is None
    with ThreadPoolExecutor(6) as pool:
        entered = pool.map(lambda n: coordinator.enter("db", f"h{n}", size=3, ttl=60), range(8))
        assert list(entered).count(True) == 3
