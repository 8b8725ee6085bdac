"""Results as files: Celery's names and content, one writer at a time, age, what is refused."""

from __future__ import annotations

import json
import os
import pickle
import stat
from pathlib import Path

import pytest

from patience import Background
from posts import succeeded
from result_sites import FileSite
from umbel import Umbel, drivers
from umbel.exceptions import (
    BackendGetMetaError,
    BackendStoreError,
    ContentDisallowed,
    ImproperlyConfigured,
)
from umbel.message import StoredResult

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")

HOUR = 3600.0


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    return folder


@pytest.fixture
def site(folder):
    site = FileSite(folder)
    yield site
    site.close()


@pytest.fixture
def make(folder):
    apps = []

    def make(**conf):
        conf.setdefault("result_backend", f"file://{folder}")
        app = Umbel("app", broker="memory://files", set_as_current=False)
        app.conf.update(conf)
        apps.append(app)
        return app

    yield make
    for app in apps:
        app.close()


def visible(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_a_result_is_one_file_with_the_whole_state(make, folder):
    """As Celery names and writes it."""
    make().backend.put("id", {"a": 1}, "SUCCESS")
    assert visible(folder) == ["celery-task-meta-id"]
    meta = json.loads((folder / "celery-task-meta-id").read_bytes())
    assert meta["date_done"]
    assert {**meta, "date_done": None} == {
        "status": "SUCCESS",
        "result": {"a": 1},
        "traceback": None,
        "children": None,
        "date_done": None,
        "task_id": "id",
    }


@pytest.mark.parametrize(("prefix", "name"), [("app", "app_"), ("app:", "app:"), ("a-", "a-")])
def test_names_can_begin_with_a_prefix(make, folder, prefix, name):
    """With what Celery puts in between."""
    app = make(result_backend_transport_options={"global_keyprefix": prefix})
    app.backend.put("id", 1, "SUCCESS")
    assert visible(folder) == [f"{name}celery-task-meta-id"]
    assert app.AsyncResult("id").get(timeout=0) == 1


@pytest.mark.parametrize("compression", [None, "zlib", "zstd"])
@pytest.mark.parametrize("serializer", ["json", "yaml", "msgpack", "pickle"])
def test_every_format_works(make, serializer, compression):
    """Compressed or not."""
    app = make(
        result_serializer=serializer,
        result_accept_content=[serializer],
        result_compression=compression,
    )
    app.backend.put("ok", {"a": [1, None, "ü"]}, "SUCCESS")
    app.backend.put("bad", ValueError("no"), "FAILURE")
    app.backend.put("half", 5, "PROGRESS")
    assert app.AsyncResult("ok").get(timeout=0) == {"a": [1, None, "ü"]}
    with pytest.raises(ValueError, match="no"):
        app.AsyncResult("bad").get(timeout=0)
    assert app.AsyncResult("half").state == "PROGRESS"


def test_a_change_of_serializer_leaves_old_results_readable(make):
    """If the old format is accepted still."""
    make().backend.put("id", [1], "SUCCESS")
    app = make(result_serializer="msgpack", result_accept_content=["json", "msgpack"])
    assert app.AsyncResult("id").get(timeout=0) == [1]


def test_a_pickle_that_is_not_accepted_is_not_run(make, folder, tmp_path):
    """Who waits is told at once."""

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "pwned"),)

    meta = {"status": "SUCCESS", "result": Evil()}
    (folder / "celery-task-meta-id").write_bytes(pickle.dumps(meta))
    with pytest.raises(ContentDisallowed):
        make().AsyncResult("id").get(timeout=5)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[1]", b'{"status": 5}', b'{"status"'])
def test_what_makes_no_sense_is_an_error_for_who_asks(make, folder, content):
    """Nobody waits for it until time is up."""
    (folder / "celery-task-meta-id").write_bytes(content)
    with pytest.raises(BackendGetMetaError, match="id"):
        make().AsyncResult("id").get(timeout=5)


@pytest.mark.parametrize("task_id", ["../../x", "a/b", "x" * 250, "nul\0"])
def test_an_id_that_is_no_file_name_is_refused(site, folder, task_id):
    """Nothing is written elsewhere, and nothing is found."""
    with pytest.raises(BackendStoreError, match="no file can be named"):
        site.backend.store([succeeded(task_id)])
    assert site.backend.fetch([task_id]) == {}
    assert site.backend.forget([task_id]) == 0
    assert visible(folder) == []


def test_many_write_at_once_and_a_success_stays(site):
    """Also when all write the same file."""
    failure = StoredResult("id", "FAILURE", b'{"status": "FAILURE"}', final=True)

    def write(number):
        backend = site.another().backend
        for turn in range(50):
            backend.store([succeeded("id") if (number, turn) == (0, 25) else failure])

    jobs = [Background(write, number).start() for number in range(4)]
    for job in jobs:
        job.result()
    assert site.backend.fetch(["id"])["id"].status == "SUCCESS"


def test_results_expire_by_age(folder):
    """Hidden at once, deleted by pruning; files of others stay."""
    site = FileSite(folder)
    backend = site.connect(result_expires=HOUR).backend
    backend.store([succeeded(f"{number}") for number in range(3)])
    (folder / "celery-taskset-meta-g").write_text("{}")
    (folder / "other").write_text("")
    assert backend.prune() == 0
    site.advance(2 * HOUR)
    assert backend.fetch(["0"]) == {}
    backend.store([StoredResult("0", "FAILURE", b'{"status": "FAILURE"}', final=True)])
    assert [backend.prune(limit=2) for _ in range(3)] == [2, 1, 0]
    assert visible(folder) == ["celery-task-meta-0", "other"]
    backend.close()
    site.close()


def test_results_that_are_to_be_kept_for_ever_are(site):
    """0 means that, as None does."""
    backend = site.connect(result_expires=0).backend
    backend.store([succeeded("id")])
    site.advance(1e9)
    assert backend.fetch(["id"])
    assert backend.prune() == 0


def test_a_writer_that_died_in_between_is_no_obstacle(site, folder):
    """What it left aside is written over, its lock is gone with it."""
    (folder / ".umbel-new").write_bytes(b"half of a res")
    (folder / ".umbel-new").chmod(0o400)
    site.backend.store([succeeded("id")])
    assert site.backend.fetch(["id"]).keys() == {"id"}
    assert not (folder / ".umbel-new").exists()


def test_a_directory_that_is_not_there_is_named(make, folder):
    """When the backend is first used."""
    with pytest.raises(ImproperlyConfigured, match="no such directory"):
        _ = make(result_backend=f"file://{folder}/none").backend
    (folder / "file").write_text("")
    with pytest.raises(ImproperlyConfigured, match="no such directory"):
        _ = make(result_backend=f"file://{folder}/file").backend


def test_a_directory_that_goes_away_is_an_error(site, folder):
    """Of the class that belongs to what was tried."""
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    with pytest.raises(BackendStoreError, match="No such file or directory"):
        site.backend.store([succeeded("id")])
    assert site.backend.fetch(["id"]) == {}


@pytest.mark.parametrize(
    ("url", "options", "sentence"),
    [
        ("file://", {}, "names no directory"),
        ("file:///", {}, "names no directory"),
        ("file://host/path", {}, "names no directory of this machine"),
        ("file:///path?x=1", {}, "names no directory"),
        ("file:///path", {"visibility": 1}, "does not know the option 'visibility'"),
        ("file:///path", {"global_keyprefix": "a/b"}, "without slashes"),
    ],
)
def test_a_url_that_cannot_work_is_told_how_it_could(url, options, sentence):
    """Before anything is touched."""
    with pytest.raises(ImproperlyConfigured, match=sentence):
        drivers.connect(url, options)


def test_a_url_may_name_this_machine_and_quote_characters(folder):
    """As URLs of files do."""
    spaced = folder / "with space"
    spaced.mkdir()
    backend = drivers.connect(f"file://localhost{folder}/with%20space").backend
    backend.setup()
    backend.store([succeeded("id")])
    assert visible(spaced) == ["celery-task-meta-id"]


def test_files_have_the_rights_that_the_process_gives(site, folder):
    """The file aside is made as any other."""
    site.backend.store([succeeded("id")])
    umask = os.umask(0)
    os.umask(umask)
    mode = stat.S_IMODE(Path(folder / "celery-task-meta-id").stat().st_mode)
    assert mode == 0o666 & ~umask


def test_a_forked_process_waits_by_itself(site):
    """The thread of its parent did not come along."""
    with Background(site.backend.wait, ["never"], 2.0) as waiting:
        waiting.blocks()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                site.backend.store([succeeded("child")])
                status = 0 if site.backend.wait(["child"], 10.0) else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert site.backend.fetch(["child"])
