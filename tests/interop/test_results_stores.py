"""Results that one side stores and the other reads: databases, files, messages to the caller."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import uuid
from contextlib import closing
from pathlib import Path

import pytest

import sites  # noqa: F401 - before site_amqp, which it imports
from site_amqp import session_url
from umbel import Umbel
from umbel.context import Context
from umbel.drivers.amqp.connection import Connection
from umbel.drivers.amqp.urls import parse_many
from workers import Worker

HERE = Path(__file__).parent
PATIENCE = 60.0
FORMATS = {
    "json": {},
    "extended": {"result_extended": True},
    "yaml": {"result_serializer": "yaml", "result_accept_content": ["yaml"]},
    "msgpack": {"result_serializer": "msgpack", "result_accept_content": ["msgpack"]},
    "pickle": {
        "result_serializer": "pickle",
        "result_accept_content": ["pickle"],
        "result_extended": True,
    },
}
COMPRESSED = {"compressed": {"result_compression": "zlib"}}
PICKLED = {"pickled": {"result_backend_transport_options": {"pickled": True}}}
CASES = [
    *(("db", name) for name in FORMATS | PICKLED),
    *(("file", name) for name in FORMATS | COMPRESSED),
]


@pytest.fixture
def celery(celery_python):
    """Has Celery do something in a process of its own; what it found."""

    def run(do, backend, conf, **more):
        order = {"do": do, "backend": backend, "conf": conf, **more}
        done = subprocess.run(
            [celery_python, str(HERE / "store_side.py")],
            input=json.dumps(order),
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.fixture
def store(request, tmp_path):
    """A backend and settings, the same for both sides."""
    kind, name = request.param
    (tmp_path / "results").mkdir()
    path = tmp_path / "results"
    url = f"db+sqlite:///{path}/results.db" if kind == "db" else f"file://{path}"
    return url, (FORMATS | PICKLED | COMPRESSED)[name]


@pytest.fixture
def make():
    """Applications of ours, closed when the test ends."""
    apps = []

    def make(backend, conf, broker="memory://interop"):
        app = Umbel("app", broker=broker, backend=backend, set_as_current=False)
        app.conf.update(conf)
        apps.append(app)
        return app

    yield make
    for app in apps:
        app.close()


everywhere = pytest.mark.parametrize("store", CASES, indirect=True, ids=map("-".join, CASES))


@everywhere
def test_umbel_reads_what_celery_stored(celery, make, store):
    """Values, exceptions, progress, children, and the extended fields."""
    url, conf = store
    celery("write", url, conf)
    app = make(url, conf)
    success = app.AsyncResult("success")
    assert success.get(timeout=0) == {"a": [1, None, "ü"]}
    assert success.date_done is not None
    failure = app.AsyncResult("failure")
    with pytest.raises(ValueError, match="no") as caught:
        failure.get(timeout=0)
    assert caught.value.args == ("no", 3)
    assert failure.traceback == "where"
    assert repr(app.AsyncResult("foreign").info) == "LookupError('custom')"
    assert [app.AsyncResult(each).state for each in ("foreign", "started", "progress")] == [
        *("RETRY", "STARTED", "PROGRESS")
    ]
    assert app.AsyncResult("started").date_done is None
    assert app.AsyncResult("progress").info == {"done": 50}
    assert app.AsyncResult("nothing").get(timeout=0) is None
    if conf.get("result_extended"):
        assert (success.name, success.args, success.kwargs) == ("proj.add", [1, "ü"], {"y": 2})
        assert (success.worker, success.retries, success.queue) == ("celery@host", 3, "fast")
    app.backend.put("kept", 2, "FAILURE")
    assert app.AsyncResult("kept").get(timeout=0) == 1


@everywhere
def test_celery_reads_what_umbel_stored(celery, make, store):
    """Values, exceptions, progress, children, and the extended fields."""
    url, conf = store
    app = make(url, conf)
    request = Context(
        id="success",
        task="proj.add",
        args=[1, "ü"],
        kwargs={"y": 2},
        hostname="umbel@host",
        retries=3,
        delivery_info={"routing_key": "fast"},
        stamped_headers=["colour"],
        stamps={"colour": "red"},
    )
    children = [(("child", None), None)]
    app.backend.put("success", {"a": [1]}, "SUCCESS", request=request, children=children)
    app.backend.put("failure", ValueError("no", 3), "FAILURE", traceback="where")
    app.backend.put("started", {"pid": 1}, "STARTED")
    app.backend.put("progress", {"done": 50}, "PROGRESS")
    app.backend.put("nothing", None, "SUCCESS")
    ids = ["success", "failure", "started", "progress", "nothing", "unknown"]
    found = celery("read", url, conf, ids=ids)
    assert {key: (each["state"], each["value"]) for key, each in found.items()} == {
        "success": ("SUCCESS", {"a": [1]}),
        "failure": ("FAILURE", ["ValueError", "no", 3]),
        "started": ("STARTED", {"pid": 1}),
        "progress": ("PROGRESS", {"done": 50}),
        "nothing": ("SUCCESS", None),
        "unknown": ("PENDING", None),
    }
    assert found["failure"]["traceback"] == "where"
    assert found["success"]["dated"]
    pickled = "result_backend_transport_options" in conf
    assert found["success"]["children"] == ([] if pickled else ["child"])
    if conf.get("result_extended"):
        shown = {key: found["success"][key] for key in ("name", "args", "kwargs", "queue")}
        assert shown == {"name": "proj.add", "args": [1, "ü"], "kwargs": {"y": 2}, "queue": "fast"}
        assert (found["success"]["worker"], found["success"]["retries"]) == ("umbel@host", 3)


def test_both_sides_create_the_same_tables(celery, make, tmp_path):
    """Whoever comes first: columns, types, keys and indexes."""

    def schema(path):
        with closing(sqlite3.connect(path)) as db:
            tables = "SELECT name FROM sqlite_master WHERE name LIKE 'celery%' ORDER BY name"
            names = [name for (name,) in db.execute(tables)]
            columns = {name: db.execute(f"PRAGMA table_info({name})").fetchall() for name in names}
            indexes = "SELECT name FROM sqlite_master WHERE type = 'index' ORDER BY name"
            return columns, db.execute(indexes).fetchall()

    ours, theirs = tmp_path / "ours.db", tmp_path / "theirs.db"
    make(f"db+sqlite:///{ours}", {}).backend.put("id", 1, "SUCCESS")
    celery("write", f"db+sqlite:///{theirs}", {})
    assert schema(ours) == schema(theirs)


# -- messages to the caller ----------------------------------------------------------------------


@pytest.fixture
def queue():
    """Where tasks of this test wait."""
    name = f"interop-{uuid.uuid4()}"
    yield name
    connection = Connection(parse_many(session_url()))
    connection.channel().delete_queue(name)
    connection.close()


def test_a_worker_of_celery_answers_a_caller_of_umbel(celery_python, make, queue, tmp_path):
    """Through the caller's own queue."""
    conf = {"task_default_queue": queue}
    order = {"do": "work", "backend": "rpc://", "broker": session_url(), "conf": conf}
    log = tmp_path / "celery.log"
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [celery_python, str(HERE / "store_side.py")],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            cwd=tmp_path,
        )
    try:
        worker.stdin.write(json.dumps(order).encode())
        worker.stdin.close()
        app = make("rpc://", conf, broker=session_url())
        results = [app.send_task("proj.add", (n, n)) for n in range(20)]
        assert [result.get(timeout=PATIENCE) for result in results] == [2 * n for n in range(20)]
        app.close()
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(PATIENCE) == 0, log.read_text()
    finally:
        worker.kill()
        worker.wait()


def test_a_worker_of_umbel_answers_a_caller_of_celery(celery, queue, tmp_path):
    """Through the caller's own queue."""
    conf = {"task_default_queue": queue}
    settings = json.dumps({"result_backend": "rpc://", **conf})
    worker = Worker(tmp_path, ERRANDS_BROKER=session_url(), ERRANDS_SETTINGS=settings)
    try:
        worker.wait_ready()
        found = celery("call", "rpc://", conf, broker=session_url(), task="errands.add")
        assert found == [2 * n for n in range(20)]
        assert worker.stop() == 0
    finally:
        worker.end()
