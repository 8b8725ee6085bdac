"""A file that is locked, full, unreadable, damaged, foreign or gone: said clearly, nothing lost."""

from __future__ import annotations

import errno
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from files import File
from patience import Background
from posts import Worker, ended, ids, post, posts, succeeded
from umbel.drivers.sqlite import schema
from umbel.exceptions import (
    BackendGetMetaError,
    BackendStoreError,
    OperationalError,
    SchemaError,
    StoreCorrupt,
    StoreError,
    UmbelError,
)
from umbel.message import Settlement

# The superuser may write anything, so the rights are given up once all is imported.
AS_NOBODY = """
import os, sys
from umbel.drivers import connect
from umbel.exceptions import OperationalError
from umbel.message import Message
broker = connect(sys.argv[1]).broker
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    broker.publish([Message("id", {}, b"", queue="q")])
except OperationalError as error:
    print(error)
"""


# -- locked


def test_a_locked_file_is_an_error_at_the_deadline_and_not_before(file):
    """It names the file and what to look for, and the next call works."""
    file.broker.setup()
    with file.locked():
        began = time.monotonic()
        with pytest.raises(OperationalError, match=r"queue\.db: still locked .* busy_timeout"):
            file.broker.publish([post()], timeout=0.2)
        assert 0.15 < time.monotonic() - began < 5
    file.broker.publish([post("later")])
    assert Worker(file.broker).drain() == ["later"]


def test_every_writing_call_ends_while_the_file_is_locked(tmp_path):
    """None of them hangs, whatever role it plays."""
    file = File(tmp_path / "queue.db", busy_timeout=0.05)
    worker = Worker(file.broker)
    file.broker.publish(posts(2))
    held = worker.take_one()
    calls = [
        worker.take,
        lambda: file.broker.settle([Settlement(held)]),
        lambda: file.broker.release([held]),
        lambda: file.broker.begin(held),
        lambda: file.broker.extend(["worker"], 1.0),
        lambda: file.broker.enroll("other", 1.0),
        lambda: file.broker.retire("worker"),
        lambda: file.broker.takeover("other", "worker"),
        file.broker.reap,
        lambda: file.broker.purge("tasks"),
        lambda: file.broker.replay([1]),
        lambda: file.broker.broadcast("control", b""),
        lambda: file.backend.store([succeeded("id")]),
        lambda: file.backend.wait(["id"], 1.0),
        lambda: file.backend.forget(["id"]),
        lambda: file.coordinator.acquire("leader", "me", 1.0),
        lambda: file.coordinator.take("mail", rate=1.0),
        lambda: file.coordinator.enter("db", "me", size=1, ttl=1.0),
        lambda: file.coordinator.claim("key", "me", 1.0),
    ]
    with file.locked():
        for call in calls:
            with pytest.raises(UmbelError, match="still locked"):
                call()
        assert file.broker.stats()[0].claimed == 1
    assert file.broker.settle([ended(held)]) == [True]
    file.close()


def test_a_short_lock_is_waited_for(file):
    """Nobody is bothered with a lock that goes away within the deadline."""
    file.broker.setup()
    with file.opened() as db:
        db.execute("BEGIN IMMEDIATE")
        with Background(file.broker.publish, [post("patient")]) as publishing:
            publishing.begins()
            db.execute("ROLLBACK")
            publishing.result()
    assert Worker(file.broker).drain() == ["patient"]


def test_eight_threads_with_connections_of_their_own_get_along(file):
    """All of them write all the time, and nobody hears of a lock."""

    def work(n: int) -> list[str]:
        server = file.again()
        worker = Worker(server.broker, name=f"w{n}")
        found = []
        for k in range(30):
            server.broker.publish([post(f"{n}-{k}")])
            taken = worker.take(3)
            found += ids(taken)
            assert server.broker.settle([ended(delivery) for delivery in taken]) == [True] * len(
                taken
            )
        return found

    with ThreadPoolExecutor(8) as pool:
        found = [one for some in pool.map(work, range(8)) for one in some]
    found += Worker(file.broker).drain()
    assert sorted(found) == sorted(f"{n}-{k}" for n in range(8) for k in range(30))
    assert file.is_sound()


# -- full, failing, read-only


def test_a_full_disk_is_said_and_passes(file):
    """The batch that did not fit is not there in part; with space again, all goes on."""
    worker = Worker(file.broker)
    file.broker.publish([post("before")])
    line = file.broker._publishing
    (pages,) = line.run(lambda db: db.execute("PRAGMA page_count").fetchone())
    line.run(lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchall())
    with pytest.raises(OperationalError, match=r"queue\.db: the disk is full; free some space"):
        file.broker.publish(posts(50, body=b"x" * 10_000))
    file.broker.publish([post("after")])
    assert worker.drain() == ["before", "after"]
    assert file.is_sound()


def test_a_settlement_that_does_not_fit_leaves_the_claim(file):
    """Nothing of it happened, so it can be tried again."""
    file.broker.publish([post("task")])
    held = Worker(file.broker).take_one()
    line = file.broker._settling._line
    (pages,) = line.run(lambda db: db.execute("PRAGMA page_count").fetchone())
    line.run(lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchall())
    large = Settlement(held, succeeded("task", payload=b"x" * 1_000_000))
    with pytest.raises(OperationalError, match="the disk is full"):
        file.broker.settle([large])
    assert file.backend.fetch(["task"]) == {}
    assert file.broker.settle([large]) == [True]
    assert file.backend.fetch(["task"])


def test_writing_that_fails_is_said_and_passes(file):
    """The system's own limit on file sizes stands for any device error."""
    file.broker.publish([post("before")])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = (file.path.parent / "queue.db-wal").stat().st_size
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 4096, limits[1]))
    try:
        with pytest.raises(OperationalError, match=r"queue\.db: "):
            file.broker.publish(posts(50, body=b"x" * 10_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    file.broker.publish([post("after")])
    assert Worker(file.broker).drain() == ["before", "after"]
    assert file.is_sound()


def test_a_disk_that_cannot_flush_is_an_error_of_publish(tmp_path, monkeypatch):
    """The caller must not believe that the message would survive a power cut."""

    def refuse(_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    file = File(tmp_path / "queue.db", synchronous="full")
    file.broker.setup()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", refuse)
        with pytest.raises(OperationalError, match="refused to keep what was written"):
            file.broker.publish([post()])
    file.broker.publish([post()])
    file.close()


def test_publishing_flushes_the_log_and_settling_does_not(tmp_path, monkeypatch):
    """Redelivery covers what a power cut takes from settlements, and nothing covers a publish."""
    flushed = []
    flush = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda fd: (flushed.append(fd), flush(fd)))
    file = File(tmp_path / "queue.db", synchronous="full")
    file.broker.publish([post()])
    assert len(flushed) == 1
    assert file.broker.settle([ended(Worker(file.broker).take_one())]) == [True]
    assert len(flushed) == 1
    file.close()


@pytest.mark.parametrize("what", ["file", "directory"])
def test_a_read_only_file_or_directory_is_said(tmp_path, what):
    """By its name, with what to check."""
    place = tmp_path / "place"
    place.mkdir()
    File(place / "queue.db").broker.setup()
    for path in place.glob("queue.db-*"):
        path.unlink()
    (place / "queue.db").chmod(0o444)
    place.chmod(0o555 if what == "directory" else 0o777)
    for parent in [tmp_path, *tmp_path.parents][:3]:
        parent.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, f"sqlite:///{place}/queue.db"],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    place.chmod(0o755)
    assert "check" in done.stdout, done.stderr
    assert "queue.db" in done.stdout


def test_a_directory_that_is_not_there_is_said(tmp_path):
    """Nothing is created in unexpected places."""
    file = File(tmp_path / "missing" / "queue.db")
    with pytest.raises(OperationalError, match="check that its directory is there"):
        file.broker.publish([post()])
    assert not (tmp_path / "missing").exists()


def test_a_directory_in_place_of_the_file_is_said(tmp_path):
    """It cannot be opened."""
    (tmp_path / "queue.db").mkdir()
    with pytest.raises(OperationalError, match=r"queue\.db: it cannot be opened"):
        File(tmp_path / "queue.db").broker.setup()


def test_the_backend_speaks_of_its_own_errors(tmp_path):
    """Who stores or fetches results gets the classes of the result backend."""
    file = File(tmp_path / "missing" / "queue.db")
    with pytest.raises(BackendStoreError, match="missing"):
        file.backend.store([succeeded("id")])
    for call in (file.backend.fetch, lambda ids: file.backend.wait(ids, 1.0)):
        with pytest.raises(BackendGetMetaError, match="missing"):
            call(["id"])


# -- damaged and foreign


def test_a_file_that_is_no_database_is_refused(tmp_path):
    """And left as it is."""
    path = tmp_path / "queue.db"
    path.write_text("Dear diary, " * 1000)
    with pytest.raises(StoreCorrupt, match=r"queue\.db is damaged \(file is not a database\)"):
        File(path).broker.publish([post()])
    assert path.read_text() == "Dear diary, " * 1000


def test_a_database_of_another_program_is_refused(tmp_path):
    """And left as it is, journal mode included."""
    path = tmp_path / "queue.db"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE theirs (x)")
    db.commit()
    db.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"queue\.db is a database of another program"):
        File(path).broker.publish([post()])
    assert path.read_bytes() == before


def test_a_damaged_page_is_noticed(file):
    """What cannot be read is not guessed at, and the file is named."""
    file.broker.publish(posts(2_000, body=b"x" * 500))
    file.close()
    data = bytearray(file.path.read_bytes())
    for at in range(3 * 4096, len(data), 4096):
        data[at : at + 64] = b"\xff" * 64
    file.path.write_bytes(data)
    again = File(file.path)
    with pytest.raises(StoreCorrupt, match=r"queue\.db is damaged .*restore it from a backup"):
        Worker(again.broker).drain()
    again.close()


def test_an_empty_file_is_taken_as_new(tmp_path):
    """Somebody may have created it in advance, to set its rights."""
    (tmp_path / "queue.db").touch()
    file = File(tmp_path / "queue.db")
    file.broker.publish([post("first")])
    assert Worker(file.broker).drain() == ["first"]
    file.close()


def test_a_row_that_makes_no_sense_is_delivered_as_malformed(file):
    """The worker sends it to the dead letters with its bytes; the others are not held up."""
    file.broker.publish([post("good"), post("bad"), post("ugly"), post("fine")])
    with file.opened() as db:
        heads = dict(db.execute("SELECT seq, head FROM payload").fetchall())
        bad, ugly = sorted(heads)[1:3]
        db.execute("UPDATE payload SET head = ? WHERE seq = ?", (b"{not json", bad))
        db.execute("UPDATE payload SET head = ? WHERE seq = ?", ("[1, 2]", ugly))
    found = Worker(file.broker).take()
    assert ids(found) == ["good", "bad", "ugly", "fine"]
    assert b"{not json" in found[1].message.raw
    assert [type(d.message).__name__ for d in found[1:3]] == ["Malformed", "Malformed"]


# -- deleted and replaced


def test_a_deleted_file_is_noticed_and_a_new_one_is_begun(file):
    """No message goes into a file that has no name any more."""
    file.broker.publish([post("lost")])
    for path in file.path.parent.glob("queue.db*"):
        path.unlink()
    with pytest.raises(OperationalError, match="deleted or replaced while it was in use"):
        file.broker.publish([post()])
    file.broker.publish([post("new")])
    assert file.ask("SELECT id FROM place") == [("new",)]


def test_a_file_that_is_deleted_amid_a_transaction_is_noticed(file):
    """What was committed into it is nowhere, so nobody is told that it was stored."""
    file.broker.setup()
    with pytest.raises(OperationalError, match="deleted or replaced"):
        file.broker._publishing.write(lambda _: file.path.unlink())
    for path in file.path.parent.glob("queue.db-*"):
        path.unlink()


def test_a_replaced_file_is_noticed_and_used(file, tmp_path):
    """What is at the path counts."""
    other = File(tmp_path / "other.db")
    other.broker.publish([post("restored")])
    other.close()
    worker = Worker(file.broker)
    assert worker.take() == []
    for path in file.path.parent.glob("queue.db-*"):
        path.unlink()
    other.path.replace(file.path)
    with pytest.raises(OperationalError, match="deleted or replaced"):
        worker.take()
    with pytest.raises(OperationalError, match="deleted or replaced"):
        file.broker.enroll("worker", 1e6)
    file.broker.enroll("worker", 1e6)
    assert worker.drain() == ["restored"]


def test_a_file_that_is_deleted_during_a_wait_ends_the_wait(file):
    """A worker does not wait for ever for a file that is gone."""
    worker = Worker(File(file.path, poll_interval=0.05).broker)
    with Background(worker.take, 1, wait=60.0) as waiting:
        waiting.blocks()
        for path in file.path.parent.glob("queue.db*"):
            path.unlink()
        with pytest.raises(OperationalError, match="deleted or replaced"):
            waiting.result()
    worker.broker.close()


# -- versions


@pytest.fixture
def next_version(monkeypatch):
    """What makes this process one of the next version, for a while."""

    @contextmanager
    def upgraded(oldest: int = 1):
        step = schema.Step(oldest, ("ALTER TABLE place ADD COLUMN colour TEXT DEFAULT 'red'",))
        with monkeypatch.context() as patch:
            patch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, step))
            patch.setattr(schema, "VERSION", schema.VERSION + 1)
            yield

    return upgraded


def test_an_older_file_is_migrated_by_whoever_opens_it_first(file, next_version):
    """With everything in it, once, however many come at the same time."""
    file.broker.publish(batch := posts(3))
    file.close()
    servers = [file.again() for _ in range(6)]
    with next_version():
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda server: server.broker.setup(), servers))
        assert file.ask("PRAGMA user_version") == [(schema.VERSION,)]
        assert file.ask("SELECT DISTINCT colour FROM place") == [("red",)]
        assert Worker(servers[0].broker).drain() == ids(batch)


def test_a_process_of_the_version_before_works_on_beside_the_new_one(file, next_version):
    """With connections it had, and with those it opens later."""
    worker = Worker(file.broker)
    file.broker.publish([post("before")])
    with next_version():
        file.again().broker.setup()
    file.broker.publish([post("after")])
    assert worker.drain() == ["before", "after"]
    late = file.again().broker
    late.publish([post("late")])
    assert worker.drain() == ["late"]


def test_a_file_that_is_too_new_is_refused_untouched(file, next_version):
    """An older installation does not meddle with what it does not know."""
    with next_version(oldest=schema.VERSION + 1):
        file.broker.publish([post("kept")])
        file.close()
    before = file.path.read_bytes()
    with pytest.raises(SchemaError, match="upgrade umbel here") as caught:
        file.broker.publish([post()])
    assert (caught.value.found, caught.value.supported) == (schema.VERSION + 1, schema.VERSION)
    assert str(file.path) in str(caught.value)
    assert file.path.read_bytes() == before
