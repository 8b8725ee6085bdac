"""Results in database tables: Celery's columns, what is safe to read, expiry, and loss."""

from __future__ import annotations

import json
import os
import pickle
import threading
from datetime import UTC, datetime

import pytest
import sqlalchemy
from sqlalchemy import create_engine, text

import servers
from patience import Background, wait_until
from posts import succeeded
from result_sites import DatabaseSite, PostgresTablesSite
from umbel import Umbel, drivers
from umbel.context import Context
from umbel.exceptions import (
    BackendGetMetaError,
    BackendStoreError,
    ContentDisallowed,
    ImproperlyConfigured,
    UmbelWarning,
)
from umbel.message import StoredResult

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")

COLUMNS = (
    *("id", "task_id", "status", "result", "date_done", "traceback", "children"),
    *("name", "args", "kwargs", "worker", "retries", "queue", "stamps"),
)
HOUR = 3600.0


@pytest.fixture
def site(tmp_path):
    site = DatabaseSite(tmp_path)
    yield site
    site.close()


@pytest.fixture
def rows(tmp_path):
    """What is in the file, asked without the driver."""
    engine = create_engine(f"sqlite:///{tmp_path}/results.db", poolclass=sqlalchemy.NullPool)

    def ask(statement, **values):
        with engine.begin() as connection:
            found = connection.execute(text(statement), values)
            return [dict(row) for row in found.mappings()] if found.returns_rows else []

    return ask


@pytest.fixture
def make(tmp_path):
    """Applications whose results are in one SQLite file."""
    apps = []

    def make(**conf):
        conf.setdefault("result_backend", f"db+sqlite:///{tmp_path}/results.db")
        app = Umbel("app", broker="memory://database", set_as_current=False)
        app.conf.update(conf)
        apps.append(app)
        return app

    yield make
    for app in apps:
        app.close()


def failed(task_id, **fields):
    payload = b'{"status": "FAILURE", "result": {"exc_type": "ValueError"}}'
    return StoredResult(task_id, "FAILURE", payload, final=True, **fields)


@pytest.mark.usefixtures("site")
def test_the_table_has_celerys_columns(rows):
    """All of them, also those for extended results."""
    assert [row["name"] for row in rows("PRAGMA table_info(celery_taskmeta)")] == list(COLUMNS)
    group = [row["name"] for row in rows("PRAGMA table_info(celery_tasksetmeta)")]
    assert group == ["id", "taskset_id", "result", "date_done"]


def test_each_value_of_a_result_has_its_column(make, rows):
    """Encoded one by one, as Celery does."""
    app = make(result_extended=True)
    request = Context(
        id="id",
        task="add",
        args=[1],
        kwargs={"y": 2},
        hostname="w@host",
        retries=3,
        delivery_info={"routing_key": "q"},
        stamped_headers=["colour"],
        stamps={"colour": "red"},
    )
    children = [(("child", None), None)]
    app.backend.put("id", {"a": [1]}, "SUCCESS", request=request, children=children)
    (row,) = rows("SELECT * FROM celery_taskmeta")
    done = datetime.fromisoformat(row.pop("date_done")).replace(tzinfo=UTC)
    assert abs((datetime.now(UTC) - done).total_seconds()) < HOUR
    assert {name: _plain(value) for name, value in row.items()} == {
        "id": 1,
        "task_id": "id",
        "status": "SUCCESS",
        "result": {"a": [1]},
        "traceback": None,
        "children": [[["child", None], None]],
        "name": "add",
        "args": [1],
        "kwargs": {"y": 2},
        "worker": "w@host",
        "retries": 3,
        "queue": "q",
        "stamps": {"stamped_headers": ["colour"], "stamps": {"colour": "red"}},
    }


def _plain(value):
    return json.loads(value) if isinstance(value, bytes) else value


def test_an_extended_result_comes_back_whole(make):
    """Under the names that other stores use."""
    app = make(result_extended=True)
    request = Context(id="id", task="add", args=[1], kwargs={}, hostname="w", retries=0,
                      stamped_headers=["colour"], stamps={"colour": "red"})  # fmt: skip
    app.backend.put("id", 5, "SUCCESS", request=request, children=[])
    meta = app.backend.get("id")
    shown = {key: meta[key] for key in ("name", "args", "kwargs", "worker", "retries", "queue")}
    assert shown == {
        "name": "add", "args": [1], "kwargs": {}, "worker": "w", "retries": 0, "queue": None,
    }  # fmt: skip
    assert (meta["stamped_headers"], meta["colour"]) == (["colour"], "red")
    assert app.AsyncResult("id").date_done.tzinfo is not None


@pytest.mark.parametrize("serializer", ["json", "yaml", "msgpack", "pickle"])
def test_every_serializer_works(make, serializer):
    """Values, exceptions and progress come back as they are."""
    app = make(result_serializer=serializer, result_accept_content=[serializer])
    app.backend.put("ok", {"a": [1, None, "ü"]}, "SUCCESS")
    app.backend.put("empty", {}, "SUCCESS")
    app.backend.put("bad", ValueError("no"), "FAILURE", traceback="where")
    app.backend.put("half", {"done": 5}, "PROGRESS")
    assert app.AsyncResult("ok").get(timeout=0) == {"a": [1, None, "ü"]}
    assert app.AsyncResult("empty").get(timeout=0) == {}
    with pytest.raises(ValueError, match="no"):
        app.AsyncResult("bad").get(timeout=0)
    assert app.AsyncResult("bad").traceback == "where"
    assert app.AsyncResult("half").info == {"done": 5}


def test_a_state_that_is_not_final_has_no_date_for_readers(make, rows):
    """The column has one, which it is deleted by."""
    app = make()
    app.backend.put("id", None, "STARTED")
    assert app.AsyncResult("id").date_done is None
    assert rows("SELECT date_done FROM celery_taskmeta") != [{"date_done": None}]


# -- what an old Celery left behind ------------------------------------------------------------


def insert(rows, **row):
    names = ", ".join(row)
    rows(f"INSERT INTO celery_taskmeta ({names}) VALUES (:{', :'.join(row)})", **row)


def test_plain_data_that_was_pickled_is_read(make, rows):
    """Without accepting pickle: such a pickle can do nothing."""
    app = make()
    app.backend.exists("any")
    value = {"n": [1, 2.5, None, True, "ü", b"x", (1, 2), {"deep": [10**30]}]}
    insert(rows, task_id="id", status="SUCCESS", result=pickle.dumps(value),
           children=pickle.dumps([]))  # fmt: skip
    assert app.AsyncResult("id").get(timeout=0) == {
        "n": [1, 2.5, None, True, "ü", b"x", [1, 2], {"deep": [10**30]}]
    }


def test_results_can_be_written_for_an_old_celery(make, rows):
    """As pickles of plain data, which are read here without accepting pickle."""
    app = make(result_backend_transport_options={"pickled": True})
    app.backend.put("id", {"a": [1, "ü"]}, "SUCCESS", children=[(("child", None), None)])
    app.backend.put("bad", ValueError("no"), "FAILURE")
    (row,) = rows("SELECT result, children FROM celery_taskmeta WHERE task_id = 'id'")
    assert pickle.loads(row["result"]) == {"a": [1, "ü"]}
    assert row["children"] is None
    assert app.AsyncResult("id").get(timeout=0) == {"a": [1, "ü"]}
    with pytest.raises(ValueError, match="no"):
        app.AsyncResult("bad").get(timeout=0)


class Evil:
    def __reduce__(self):
        return os.mkdir, ("pwned",)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_that_does_more_is_not_run(make, rows, protocol, tmp_path):
    """It is refused with the sentence about content that is not accepted."""
    app = make()
    app.backend.exists("any")
    insert(rows, task_id="id", status="SUCCESS", result=pickle.dumps(Evil(), protocol))
    with pytest.raises(ContentDisallowed, match="x-python-serialize"):
        app.AsyncResult("id").get(timeout=5)
    assert not (tmp_path / "pwned").exists()


def test_a_pickle_in_another_column_is_not_run(make, rows, tmp_path):
    """Children and arguments are no back door."""
    app = make()
    app.backend.exists("any")
    insert(rows, task_id="id", status="SUCCESS", result=b"1", children=pickle.dumps(Evil()))
    with pytest.raises((ContentDisallowed, BackendGetMetaError)):
        app.AsyncResult("id").get(timeout=5)
    assert not (tmp_path / "pwned").exists()


def test_what_makes_no_sense_is_an_error_for_who_asks(make, rows):
    """And not for those who ask for other results in the same breath."""
    app = make()
    app.backend.put("good", 1, "SUCCESS")
    insert(rows, task_id="bad", status="SUCCESS", result=b"\xff{")
    assert app.AsyncResult("good").get(timeout=0) == 1
    with pytest.raises(BackendGetMetaError, match="bad"):
        app.AsyncResult("bad").get(timeout=5)


def test_columns_that_an_old_celery_did_not_know_are_added(tmp_path, make):
    """What is in the table stays."""
    engine = create_engine(f"sqlite:///{tmp_path}/results.db", poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        connection.execute(
            text(
                "CREATE TABLE celery_taskmeta (id INTEGER PRIMARY KEY, "
                "task_id VARCHAR(155) UNIQUE, status VARCHAR(50), result BLOB, "
                "date_done DATETIME, traceback TEXT, children BLOB)"
            )
        )
        connection.execute(
            text("INSERT INTO celery_taskmeta (task_id, status, result) VALUES ('a','SUCCESS',:r)"),
            {"r": pickle.dumps(42)},
        )
    app = make()
    assert app.AsyncResult("a").get(timeout=0) == 42
    app.backend.put("b", 1, "SUCCESS")
    assert app.AsyncResult("b").get(timeout=0) == 1


# -- expiry ------------------------------------------------------------------------------------


@pytest.fixture(params=[DatabaseSite, PostgresTablesSite])
def any_site(request, tmp_path):
    site = request.param(tmp_path)
    yield site
    site.close()


def test_results_expire_as_set_and_failures_as_set_for_them(any_site):
    """Hidden at once, deleted by pruning, some at a time; a new state starts anew."""
    backend = any_site.connect(result_expires=HOUR, result_failure_expires=HOUR / 2).backend
    backend.store([succeeded(f"s{n}") for n in range(5)])
    backend.store([failed("f"), StoredResult("p", "STARTED", b'{"result": 1}', final=False)])
    any_site.advance(HOUR * 0.75)
    assert backend.fetch(["s0", "f"]).keys() == {"s0"}
    assert [backend.prune() for _ in range(2)] == [1, 0]
    any_site.advance(HOUR)
    assert backend.fetch(["s0", "p"]) == {}
    backend.store([failed("s0")])
    assert backend.fetch(["s0"])["s0"].status == "FAILURE"
    assert [backend.prune(limit=3) for _ in range(3)] == [3, 2, 0]
    assert backend.fetch(["s0"])
    backend.close()


def test_pruning_deletes_saved_groups_as_well(site, rows):
    """Celery writes them into the same database."""
    backend = site.connect(result_expires=HOUR).backend
    backend.setup()
    rows("INSERT INTO celery_tasksetmeta (taskset_id, date_done) VALUES ('g', '2020-01-01')")
    assert backend.prune() == 1
    assert rows("SELECT * FROM celery_tasksetmeta") == []


def test_results_that_are_to_be_kept_for_ever_are(site):
    """None and 0 mean that."""
    backend = site.connect(result_expires=None).backend
    backend.store([succeeded("id")])
    site.advance(HOUR * 1e5)
    assert backend.fetch(["id"])
    assert backend.prune() == 0


# -- several at once ---------------------------------------------------------------------------


def test_many_write_the_same_results_at_once(any_site):
    """Nobody fails, and the one success of each task stays."""
    ids = [f"task-{n}" for n in range(30)]
    begin = threading.Barrier(6)

    def write(number):
        backend = any_site.another().backend
        begin.wait(60)
        order = ids if number % 2 else ids[::-1]
        backend.store([failed(task_id) for task_id in order])
        if number == 0:
            backend.store([succeeded(task_id) for task_id in order])
        backend.store([failed(task_id) for task_id in order])

    jobs = [Background(write, number).start() for number in range(6)]
    for job in jobs:
        job.result()
    stored = any_site.backend.fetch(ids)
    assert {result.status for result in stored.values()} == {"SUCCESS"}


def test_several_create_the_tables_at_once(tmp_path):
    """Whoever comes second uses what is there."""

    site = PostgresTablesSite(tmp_path)
    names = {"task": "other_tasks", "group": "other_groups"}
    made = [site.connect(database_table_names=names).backend for _ in range(5)]
    try:
        jobs = [Background(backend.setup).start() for backend in made]
        for job in jobs:
            job.result()
        made[0].store([succeeded("id")])
        assert made[1].fetch(["id"])
    finally:
        for backend in made:
            backend.close()
        site.close()


def test_a_forked_process_has_connections_of_its_own(any_site):
    """And leaves those of its parent alone."""
    backend = any_site.backend
    backend.store([succeeded("before")])
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            backend.store([succeeded("from-child")])
            done = backend.wait(["from-child", "before"], 10.0)
            status = 0 if len(done) == 2 else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert backend.fetch(["before", "from-child"]).keys() == {"before", "from-child"}


# -- settings ----------------------------------------------------------------------------------


def test_tables_can_have_other_names(make, rows):
    """The keys are Celery's."""
    app = make(database_table_names={"task": "mine", "group": "groups"})
    app.backend.put("id", 1, "SUCCESS")
    assert rows("SELECT task_id FROM mine") == [{"task_id": "id"}]


def test_a_wrong_key_of_a_table_is_named(make):
    """With those there are."""
    app = make(database_table_names={"tasks": "mine"})
    with pytest.raises(ImproperlyConfigured, match="'tasks'; the keys are task and group"):
        _ = app.backend


def test_the_tables_can_wait_for_the_first_use(make, rows):
    """For databases that are not there yet when the application starts."""
    app = make(database_create_tables_at_setup=False)
    _ = app.backend
    tables = "SELECT name FROM sqlite_master WHERE name LIKE 'celery%'"
    assert rows(tables) == []
    app.backend.put("id", 1, "SUCCESS")
    assert len(rows(tables)) == 2


def test_the_engine_is_made_as_the_settings_say(make):
    """Options go to SQLAlchemy, and the callback sees the engine."""
    engines = []
    app = make(
        result_backend="db+" + servers.url("postgres"),
        database_engine_options={"pool_size": 3},
        database_engine_callback=engines.append,
        database_create_tables_at_setup=False,
    )
    _ = app.backend
    assert engines[0].pool.size() == 3
    assert engines[0].url.drivername == "postgresql+psycopg"


def test_short_lived_sessions_keep_no_connection(make):
    """Options of the pool, which there is none of, do no harm."""
    engines = []
    app = make(
        result_backend="db+" + servers.url("postgres"),
        database_short_lived_sessions=True,
        database_engine_callback=engines.append,
        database_create_tables_at_setup=False,
    )
    _ = app.backend
    assert isinstance(engines[0].pool, sqlalchemy.NullPool)


def test_compression_is_said_to_have_no_effect(make):
    """The result is readable all the same."""
    app = make(result_compression="zlib")
    with pytest.warns(UmbelWarning, match="result_compression has no effect"):
        _ = app.backend
    app.backend.put("id", "x" * 1000, "SUCCESS")
    assert app.AsyncResult("id").get(timeout=0) == "x" * 1000


def test_the_kind_alone_takes_the_place_from_its_setting(make, tmp_path):
    """As in Celery: database_url, without db+."""
    app = make(result_backend="database", database_url=f"sqlite:///{tmp_path}/other.db")
    app.backend.put("id", 1, "SUCCESS")
    assert (tmp_path / "other.db").exists()
    with pytest.raises(ImproperlyConfigured, match="database_url, which says where it is"):
        _ = make(result_backend="database").backend


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("db+", "is no SQLAlchemy URL"),
        ("db+nonsense", "is no SQLAlchemy URL"),
        ("db+sqlite://", "names no file"),
        ("db+postgres://u:secret@h/d", r"write db\+postgresql:// instead"),
        ("db+nosuch://u:secret@h/d", "knows no database called 'nosuch'"),
        ("db+mysql://u:secret@h/d", "is not installed: pip install"),
        ("db+postgresql://u:secret@h:port/d", "is no SQLAlchemy URL"),
    ],
)
def test_a_url_that_cannot_work_is_told_how_it_could(url, sentence):
    """And shows no password."""
    with pytest.raises(ImproperlyConfigured, match=sentence) as caught:
        drivers.connect(url)
    assert "secret" not in str(caught.value)


def test_options_of_other_backends_are_refused():
    """The text says where options of a database go."""
    with pytest.raises(ImproperlyConfigured, match="see also database_engine_options"):
        drivers.connect("db+sqlite:///x.db", {"global_keyprefix": "x"})


def test_a_wrong_engine_option_names_the_setting():
    """SQLAlchemy says which."""
    with pytest.raises(ImproperlyConfigured, match="database_engine_options"):
        drivers.connect("db+sqlite:///x.db", {}, {"database_engine_options": {"nonsense": 1}})


# -- loss --------------------------------------------------------------------------------------


def test_a_database_out_of_reach_is_an_error_without_password():
    """Of the class that belongs to what was tried."""
    port = servers.free_port()
    backend = drivers.connect(f"db+postgresql://user:secret@127.0.0.1:{port}/results").backend
    with pytest.raises(BackendGetMetaError, match=r"user:\*\*@127\.0\.0\.1") as caught:
        backend.fetch(["id"])
    assert "secret" not in str(caught.value)
    with pytest.raises(BackendStoreError, match=r"127\.0\.0\.1"):
        backend.store([succeeded("id")])
    backend.close()


def test_a_wait_outlives_a_restart_of_the_database(tmp_path):
    """Connections are made anew, by those who store and by the one who looks."""
    with servers.private("postgres", tmp_path) as server:
        one, two = (drivers.connect(f"db+{server.url}").backend for _ in range(2))
        one.setup()
        two.store([succeeded("warm")])
        with Background(one.wait, ["id"], 60.0) as waiting:
            waiting.blocks()
            server.kill()
            server.start()

            def store():
                try:
                    two.store([succeeded("id")])
                except BackendStoreError:
                    return False
                return True

            wait_until(store)
            assert waiting.result().keys() == {"id"}
        one.close()
        two.close()


def test_an_id_that_does_not_fit_is_refused(site):
    """Not cut short by the database."""
    with pytest.raises(BackendStoreError, match="longer than its column"):
        site.backend.store([succeeded("x" * 156)])
