"""The cost of a message does not depend on how many wait, and idle processes cost nothing."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import contextmanager

import pytest

from files import File
from patience import Background, wait_until
from posts import Worker, ended, ids, post, posts, succeeded
from umbel.clock import SystemClock
from umbel.drivers.sqlite import (
    arrivals,
    bindings,
    broadcasts,
    burial,
    claims,
    coordinator,
    queues,
    reserving,
    results,
)

# Reads everything that waits, once per call of an operator and outside the write lock.
READS_ALL = {"queues.FIND"}
# Reads one page in the order of the table.
READS_A_PAGE = {"burial.NEWEST"}
# Sorts what is held, or counts by queue what is held or delayed; for operators, too.
SORTS = {"queues.BROWSE_CLAIMED", "queues.CLAIMED", "queues.DELAYED"}
MODULES = (arrivals, bindings, broadcasts, burial, claims, coordinator, queues, reserving, results)
STATEMENTS = {
    f"{module.__name__.rpartition('.')[2]}.{name}": value
    for module in MODULES
    for name, value in vars(module).items()
    if name.isupper() and isinstance(value, str) and not name.startswith("_")
}
LARGE = ("place", "payload", "result", "waiter", "dead")


@contextmanager
def traced(line):
    """The statements that a connection runs meanwhile."""
    seen: list[str] = []
    line.run(lambda db: db.set_trace_callback(seen.append))
    yield seen
    line.run(lambda db: db.set_trace_callback(None))


@contextmanager
def counted(line):
    """The steps of SQLite's machine that a connection takes meanwhile, ten by ten."""
    steps = Counter()

    def count():
        steps["done"] += 10

    line.run(lambda db: db.set_progress_handler(count, 10))
    yield steps
    line.run(lambda db: db.set_progress_handler(None, 10))


@pytest.mark.parametrize("name", sorted(STATEMENTS))
def test_no_statement_reads_a_whole_table_or_sorts_one(file, name):
    """Every one of them finds its rows by an index that has them in order."""
    file.broker.setup()
    sql = STATEMENTS[name]
    values = dict.fromkeys(re.findall(r":(\w+)", sql), 1) or (1,) * sql.count("?")
    with file.opened() as db:
        plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
    if name not in READS_ALL | READS_A_PAGE:
        assert [step for step in plan if re.match(f"SCAN ({'|'.join(LARGE)})$", step)] == []
    if name not in SORTS:
        assert [step for step in plan if "TEMP B-TREE" in step] == []


def test_claiming_and_settling_cost_the_same_with_many_messages(file):
    """Steps of SQLite's machine, not seconds, so that this holds on any computer."""
    worker = Worker(file.broker)
    reserve, settle = file.broker._reserving._line, file.broker._settling._line
    costs = []
    for number in (200, 20_000):
        file.broker.publish(posts(number))
        with counted(reserve) as claimed, counted(settle) as settled:
            file.broker.settle([ended(delivery) for delivery in worker.take(100)])
        costs.append((claimed["done"], settled["done"]))
    (claim_few, settle_few), (claim_many, settle_many) = costs
    assert claim_many < 1.3 * claim_few
    assert settle_many < 1.3 * settle_few


def test_publishing_costs_the_same_with_many_messages(file):
    """The last message is as cheap as the first."""
    costs = []
    for number in (100, 20_000):
        file.broker.publish(posts(number))
        with counted(file.broker._publishing) as published:
            file.broker.publish(posts(100))
        costs.append(published["done"])
    assert costs[1] < 1.3 * costs[0]


def test_delayed_messages_do_not_slow_down_the_others(file):
    """They are not looked at until the first is due."""
    worker = Worker(file.broker)
    costs = []
    for number in (10, 10_000):
        file.broker.publish([post(due_at=file.clock.now() + 1e6) for _ in range(number)])
        file.broker.publish(posts(10))
        with counted(file.broker._reserving._line) as claimed:
            assert len(worker.take(10)) == 10
        costs.append(claimed["done"])
    assert costs[1] < 1.3 * costs[0]


def test_a_batch_takes_few_statements(file):
    """Each one gives up the interpreter's lock while the file's lock is held."""
    worker = Worker(file.broker)
    with traced(file.broker._publishing) as published:
        file.broker.publish(posts(1_000))
    taken = worker.take(1_000)
    with traced(file.broker._settling._line) as settled:
        file.broker.settle([ended(delivery, follow=(post(queue="x"),)) for delivery in taken])
    with traced(file.broker._reserving._line) as reserved:
        worker.take(1_000, "x")
    assert len(published) < 40
    assert len(settled) < 60
    assert len(reserved) < 10


def test_ten_thousand_results_are_fetched_in_a_few_transactions(file):
    """Not in one for each."""
    names = [f"task-{n}" for n in range(10_000)]
    file.backend.store([succeeded(name) for name in names])
    with traced(file.backend._line) as fetched:
        assert len(file.backend.wait(names, 60.0)) == 10_000
    assert len(fetched) < 10


def test_waiting_writes_nothing(tmp_path):
    """Who waits enters the list once; then each look at the file is a single query."""
    file = File(tmp_path / "queue.db", clock=SystemClock(), poll_interval=0.01)
    worker = Worker(file.broker)
    assert worker.take(1) == []
    with (
        traced(file.broker._reserving._line) as seen,
        Background(worker.take, 1, wait=60.0) as waiting,
    ):
        wait_until(lambda: len(seen) > 20)
        del seen[:]
        wait_until(lambda: len(seen) > 20)
        written = [sql for sql in seen if not sql.lstrip().startswith("SELECT")]
        file.broker.publish([post("news")])
        assert ids(waiting.result()) == ["news"]
    assert written == []
    file.close()


def test_the_log_stays_short_under_load_and_is_given_back_when_idle(tmp_path):
    """It is copied into the file as it grows, and cut when nobody has work."""
    file = File(tmp_path / "queue.db", poll_interval=0.01)
    log = tmp_path / "queue.db-wal"
    worker = Worker(file.broker)
    for _ in range(15):
        file.broker.publish(posts(200, body=b"x" * 4_000))
        while taken := worker.take(100):
            file.broker.settle([ended(delivery) for delivery in taken])
    assert 4 * 2**20 < log.stat().st_size < 64 * 2**20
    with Background(worker.take, 1, wait=60.0) as waiting:
        wait_until(lambda: log.stat().st_size == 0)
        file.broker.interrupt()
        assert waiting.result() == []
    file.close()


def test_the_log_recovers_from_a_long_reader(tmp_path):
    """While somebody reads an old state the log cannot be cut; afterwards it is."""
    file = File(tmp_path / "queue.db", poll_interval=0.01)
    log = tmp_path / "queue.db-wal"
    worker = Worker(file.broker)
    with file.opened() as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM place").fetchall()
        for _ in range(25):
            file.broker.publish(posts(200, body=b"x" * 4_000))
            worker.drain()
        grown = log.stat().st_size
        reader.execute("COMMIT")
    assert grown > 20 * 2**20
    file.broker.publish(posts(200))
    worker.drain()
    assert worker.take(1, wait=0.05) == []
    assert log.stat().st_size < 2**16
    file.close()


def test_the_space_of_settled_messages_is_used_again(file):
    """A queue that is worked off does not grow its file."""
    worker = Worker(file.broker)
    sizes = []
    for _ in range(8):
        file.broker.publish(posts(500, body=b"x" * 1_000))
        worker.drain()
        sizes.append(file.ask("PRAGMA page_count")[0][0])
    assert max(sizes[2:]) <= 1.2 * sizes[1]


def test_nothing_is_left_of_those_who_came_and_went(file):
    """No entry of an owner, a listener or one who waited stays behind."""
    worker = Worker(file.broker)
    worker.take(1, wait=0.01)
    file.broker.listen("control", after=0, wait=0.01)
    file.backend.wait(["never"], 0.01)
    file.coordinator.enter("db", "dead", size=1, ttl=1.0)
    file.coordinator.claim("key", "dead", 1.0)
    file.coordinator.acquire("leader", "dead", 1.0)
    file.coordinator.take("mail", rate=1.0)
    file.clock.advance(60.0)
    file.coordinator.enter("other", "x", size=1, ttl=1.0)
    file.coordinator.leave("other", "x")
    file.coordinator.unclaim("other", "x")
    file.coordinator.claim("other", "x", 1.0)
    file.coordinator.unclaim("other", "x")
    file.coordinator.release_lease(file.coordinator.acquire("other", "x", 1.0))
    file.clock.advance(60.0)
    file.coordinator.take("mail", rate=1e9)
    file.clock.advance(60.0)
    file.coordinator.take("mail2", rate=1e9, cost=0)
    file.broker.retire("worker")
    tables = ("owner", "listener", "waiter", "slot", "unique_key", "lease", "place", "payload")
    left = {table: file.ask(f"SELECT count(*) FROM {table}")[0][0] for table in tables}
    assert left == dict.fromkeys(tables, 0)
    assert file.ask("SELECT name FROM bucket") == [("mail2",)]
