"""Calls that are part of the caller's transaction: there when it commits, never if it does not."""

from __future__ import annotations

import asyncio
import threading

import psycopg
import pytest
import sqlalchemy
from psycopg.rows import dict_row
from sqlalchemy.orm import Session

import postgres_database
from patience import Background
from posts import Worker as Owner
from umbel.exceptions import ImproperlyConfigured, OperationalError
from workers import Worker


@pytest.fixture
def url():
    """The database of the broker and of the callers, emptied before and after."""
    url = postgres_database.database()
    postgres_database.empty(url)
    yield url
    postgres_database.empty(url)


@pytest.fixture
def app(make, url):
    """An application whose broker lives in the database."""
    app = make(broker=url, result_backend=url)
    app.broker.setup()
    return app


@pytest.fixture
def add(app):
    @app.task(name="errands.add")
    def add(x, y):
        return x + y

    return add


@pytest.fixture
def db(url):
    """A connection of the caller's."""
    with psycopg.connect(url) as connection:
        yield connection


@pytest.fixture
def engine(url):
    """SQLAlchemy's way to the database."""
    engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    yield engine
    engine.dispose()


def ids(app):
    """The ids of what waits, as others see it."""
    return [
        entry.message.id for stats in app.broker.stats() for entry in app.broker.browse(stats.name)
    ]


def test_a_call_is_seen_when_its_transaction_commits(app, add, db):
    """Not before, and by everybody after."""
    with app.using(db):
        result = add.delay(1, 2)
        assert ids(app) == []
    assert ids(app) == []
    db.commit()
    assert ids(app) == [result.id]


def test_a_call_is_gone_when_its_transaction_is_rolled_back(app, add, db):
    """As if it had never been made."""
    with app.using(db):
        add.delay(1, 2)
        app.send_task("errands.add", (3, 4))
        app.publish_many([add.s(5, 6)])
    db.rollback()
    assert ids(app) == []


def test_a_savepoint_takes_its_calls_back_alone(app, add, db):
    """Those before and after it stay."""
    with app.using(db):
        first = add.delay(1, 1)
        with db.transaction(force_rollback=True):
            add.delay(2, 2)
        last = add.delay(3, 3)
    db.commit()
    assert ids(app) == [first.id, last.id]


def test_rows_and_calls_are_there_together(app, add, db):
    """The caller's own writes and its calls are one transaction."""
    db.execute("CREATE TEMPORARY TABLE orders (task text)")
    db.commit()
    with db.transaction(), app.using(db):
        db.execute("INSERT INTO orders VALUES (%s)", (add.delay(1, 2).id,))
    assert [(each,) for each in ids(app)] == db.execute("SELECT task FROM orders").fetchall()


def test_after_the_block_calls_go_to_the_broker_again(app, add, db):
    """Also when the block ended with an error."""
    with pytest.raises(ZeroDivisionError), app.using(db):
        raise ZeroDivisionError
    result = add.delay(1, 2)
    assert ids(app) == [result.id]
    db.rollback()
    assert ids(app) == [result.id]


def test_a_transaction_that_failed_takes_no_calls(app, add, db):
    """The caller hears of it as of any call that was not stored."""
    with pytest.raises(psycopg.Error):
        db.execute("SELECT 1/0")
    with app.using(db), pytest.raises(OperationalError, match="aborted"):
        add.delay(1, 2)


def test_what_a_connection_makes_of_rows_does_not_matter(app, add, url):
    """Dictionaries, for example."""
    with psycopg.connect(url, row_factory=dict_row) as db, app.using(db):
        result = add.delay(1, 2)
    assert ids(app) == [result.id]


def test_a_sqlalchemy_session_carries_calls(app, add, engine):
    """Committed with it, or rolled back with it."""
    with Session(engine) as session, app.using(session):
        add.delay(1, 2)
        session.rollback()
        result = add.delay(3, 4)
        assert ids(app) == []
        session.commit()
    assert ids(app) == [result.id]


def test_a_sqlalchemy_connection_carries_calls(app, add, engine):
    """Savepoints included."""
    with engine.begin() as connection, app.using(connection):
        first = add.delay(1, 2)
        inner = connection.begin_nested()
        add.delay(3, 4)
        inner.rollback()
    assert ids(app) == [first.id]


def test_any_connection_with_a_cursor_carries_calls(app, add, db):
    """As web frameworks wrap them."""

    class Wrapped:
        def cursor(self):
            return db.cursor()

    with app.using(Wrapped()):
        result = add.delay(1, 2)
    db.commit()
    assert ids(app) == [result.id]


def test_an_asynchronous_connection_carries_awaited_calls(app, add, url):
    """With the same rules."""

    async def work():
        async with await psycopg.AsyncConnection.connect(url) as db:
            with app.using(db):
                await add.adelay(1, 2)
                await db.rollback()
                result = await add.adelay(3, 4)
                before = await asyncio.to_thread(ids, app)
            await db.commit()
        return before, result.id

    before, result_id = asyncio.run(work())
    assert before == []
    assert ids(app) == [result_id]


def test_an_asynchronous_connection_refuses_calls_that_are_not_awaited(app, add, url):
    """With a sentence that names those that are."""

    async def work():
        async with await psycopg.AsyncConnection.connect(url) as db:
            with app.using(db), pytest.raises(ImproperlyConfigured, match=r"adelay\(\)"):
                add.delay(1, 2)

    asyncio.run(work())
    assert ids(app) == []


def test_other_threads_do_not_see_the_block(app, add, db):
    """Their calls are their own."""
    with app.using(db):
        add.delay(1, 2)
        thread = threading.Thread(target=add.delay, args=(3, 4))
        thread.start()
        thread.join()
    db.rollback()
    assert len(ids(app)) == 1


def test_tasks_of_one_event_loop_have_a_block_each(app, add, url):
    """However they take turns."""

    async def work(*, commit):
        async with await psycopg.AsyncConnection.connect(url) as db:
            with app.using(db):
                result = await add.adelay(1, 2)
                await asyncio.sleep(0)
            await (db.commit() if commit else db.rollback())
        return result.id

    async def both():
        return await asyncio.gather(work(commit=True), work(commit=False))

    committed, _ = asyncio.run(both())
    assert ids(app) == [committed]


def test_a_task_that_outlives_the_block_is_not_in_it(app, add, db):
    """It was started within, and calls when the transaction is the caller's own again."""

    async def work():
        ended = asyncio.Event()

        async def late():
            await ended.wait()
            return await add.adelay(1, 2)

        with app.using(db):
            later = asyncio.create_task(late())
            await asyncio.sleep(0)
        ended.set()
        return (await later).id

    result_id = asyncio.run(work())
    db.rollback()
    assert ids(app) == [result_id]


def test_the_inner_of_two_blocks_counts(app, add, db, url):
    """Then the outer one again."""
    with psycopg.connect(url) as other, app.using(other):
        with app.using(db):
            add.delay(1, 2)
        outer = add.delay(3, 4)
    db.rollback()
    assert ids(app) == [outer.id]


def test_other_applications_are_not_affected(app, add, make, db):
    """The block is this application's."""
    other = make()
    with app.using(db):
        other.send_task("elsewhere")
    assert sum(stats.ready for stats in other.broker.stats()) == 1


def test_a_connection_to_another_database_is_refused(app, add):
    """Its transaction could not hold the message; nothing is written there."""
    elsewhere = postgres_database.database().rpartition("/")[0] + "/postgres"
    with (
        psycopg.connect(elsewhere) as db,
        app.using(db),
        pytest.raises(ImproperlyConfigured, match="another database"),
    ):
        add.delay(1, 2)
    assert ids(app) == []


def test_what_is_no_connection_is_refused(app):
    """With a sentence that lists what is one."""
    with pytest.raises(ImproperlyConfigured, match=r"psycopg.*SQLAlchemy.*builtins\.str"):
        app.using("postgresql://localhost/test")


def test_a_broker_elsewhere_is_refused(make, db):
    """Nothing could make its messages part of the transaction."""
    app = make(broker="sqlite:///own.db")
    with pytest.raises(ImproperlyConfigured, match=r"sqlite:///own\.db"):
        app.using(db)


def test_ids_queues_and_delays_come_through(app, add, db):
    """Whatever they look like."""
    with app.using(db):
        add.apply_async((1, 2), task_id="na\0me-ü-\udcff", queue="wärteschlange", priority=7)
        add.apply_async((1, 2), task_id="later", queue="wärteschlange", countdown=3600)
    db.commit()
    now, later = app.broker.browse("wärteschlange")
    assert (now.message.id, now.message.priority, now.state) == ("na\0me-ü-\udcff", 7, "ready")
    assert (later.message.id, later.state) == ("later", "delayed")


def test_a_waiting_worker_is_woken_by_the_commit(app, add, db):
    """And not by its next look."""
    owner = Owner(app.broker)
    queue = add.delay(0, 0) and app.broker.stats()[0].name
    owner.drain(queue)
    with Background(owner.take, 1, queue, wait=60.0) as taking:
        taking.begins()
        with app.using(db):
            result = add.delay(1, 2)
        db.commit()
        assert [d.message.id for d in taking.result()] == [result.id]


def test_a_committed_call_is_run_and_a_rolled_back_one_is_not(app, add, db, url, tmp_path):
    """By a real worker, which had nothing else to do."""
    environment = {"ERRANDS_BROKER": url, "ERRANDS_SETTINGS": f'{{"result_backend": "{url}"}}'}
    worker = Worker(tmp_path, **environment).wait_ready()
    try:
        with app.using(db):
            gone = add.delay(1, 1)
            db.rollback()
            kept = add.delay(1, 2)
            db.commit()
        assert kept.get(timeout=20) == 3
        assert gone.state == "PENDING"
        assert worker.stop() == 0
    finally:
        worker.end()
