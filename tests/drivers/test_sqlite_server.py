"""Which file a URL names, what may be configured, and who shares a connection."""

from __future__ import annotations

import gc
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from files import File
from posts import Worker, ids, post, posts
from umbel.drivers import connect
from umbel.drivers.sqlite import claims, places, queues, store
from umbel.exceptions import ImproperlyConfigured, OperationalError, UmbelWarning
from umbel.message import Settlement


def test_three_slashes_are_relative_and_four_absolute(tmp_path, monkeypatch):
    """To the current directory, when the URL is used."""
    monkeypatch.chdir(tmp_path)
    expected = f"sqlite:///{os.path.realpath(tmp_path)}/some/queue.db"
    assert connect("sqlite:///some/queue.db").location == expected
    assert connect(f"sqlite:///{tmp_path}/some/queue.db").location == expected
    assert connect("sqlite:///./some/../some/queue.db").location == expected


def test_two_ways_to_one_file_are_one_server(tmp_path):
    """Symbolic links lead to the same place, and it is opened once."""
    (tmp_path / "link").symlink_to(tmp_path)
    one = connect(f"sqlite:///{tmp_path}/queue.db")
    assert connect(f"sqlite:///{tmp_path}/link/queue.db") is one
    assert connect(f"sqlite:///{tmp_path}/queue.db", {"busy_timeout": 3.0}) is not one
    assert connect(f"sqlite:///{tmp_path}/other.db") is not one


def test_names_may_hold_anything(tmp_path):
    """Blanks, percent signs and letters of any alphabet, quoted as URLs are."""
    server = connect(f"sqlite:///{tmp_path}/my%20queue%25%C3%A4?.db".replace("?", "%3F"))
    server.broker.setup()
    server.broker.close()
    assert (tmp_path / "my queue%ä?.db").exists()


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:",
        "sqlite://",
        "sqlite:///",
        "sqlite://relative.db",
        "sqlite:///dir/",
        "sqlite:///a?b=1",
    ],
)
def test_a_url_without_a_file_is_refused(url):
    """With the forms that work."""
    with pytest.raises(
        ImproperlyConfigured, match=r"sqlite:///relative\.db|broker_transport_options"
    ):
        connect(url)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"visibility_timout": 3}, "does not know the option 'visibility_timout' .*busy_timeout"),
        ({"visibility_timeout": 0}, "visibility_timeout must be a number of seconds above 0"),
        ({"busy_timeout": "5"}, "busy_timeout must be a number of seconds above 0, not '5'"),
        ({"poll_interval": True}, "poll_interval must be a number"),
        ({"busy_timeout": float("nan")}, "busy_timeout must be a number"),
        ({"synchronous": "off"}, "synchronous must be 'full' or 'normal', not 'off'"),
    ],
)
def test_a_wrong_option_is_refused(options, said):
    """By its name, with what it may be."""
    with pytest.raises(ImproperlyConfigured, match=said):
        connect("sqlite:///queue.db", options)


def test_a_sqlite_that_is_too_old_is_refused(monkeypatch):
    """Before anything is opened, with both versions."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    monkeypatch.setattr(sqlite3, "sqlite_version", "3.34.1")
    with pytest.raises(ImproperlyConfigured, match=r"need SQLite 3\.35 or later; .* 3\.34\.1"):
        connect("sqlite:///queue.db")


def test_connecting_opens_nothing(tmp_path):
    """The file is created by its first use."""
    server = connect(f"sqlite:///{tmp_path}/queue.db")
    assert list(tmp_path.iterdir()) == []
    server.broker.setup()
    assert (tmp_path / "queue.db").exists()
    server.broker.close()


def test_it_needs_no_setting_up_and_keeps_results(tmp_path):
    """Embedded: broker, result backend and coordinator in one."""
    server = connect(f"sqlite:///{tmp_path}/queue.db")
    assert server.embedded
    assert server.broker is not None
    assert server.backend is not None
    assert server.coordinator is not None


def test_closing_the_last_connection_leaves_one_file(file):
    """The log is merged and removed, so that the file can be copied."""
    file.broker.publish([post("kept")])
    file.close()
    assert [path.name for path in file.path.parent.glob("queue.db*")] == ["queue.db"]
    assert ids(Worker(file.broker).take()) == ["kept"]


def test_a_server_that_is_dropped_closes_its_file(tmp_path):
    """Whoever forgets to close it leaks nothing, and is not scolded."""
    server = connect(f"sqlite:///{tmp_path}/queue.db")
    server.broker.publish([post()])
    del server
    gc.collect()
    assert [path.name for path in tmp_path.glob("queue.db*")] == ["queue.db"]


def test_connections_are_closed_before_a_fork(file):
    """A child whose parent had one open would work without locks of its own."""
    file.broker.publish([post()])
    lines = [file.broker._publishing, file.broker._settling._line]
    Worker(file.broker).take()
    pid = os.fork()
    if pid == 0:
        os._exit(0 if all(line._db is None for line in lines) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert [line._db for line in lines] == [None, None]
    file.broker.publish([post()])


def held_by(pid, path):
    """What Linux's table of locks says about a process and a file."""
    inode = f":{path.stat().st_ino} "
    table = Path("/proc/locks").read_text()
    return [row for row in table.splitlines() if inode in row and f" {pid} " in row]


def test_a_forked_child_holds_locks_of_its_own(file):
    """So that nobody takes it for absent and removes the log under its hands."""
    file.broker.publish([post()])
    pid = os.fork()
    if pid == 0:
        file.broker.publish([post()])
        os._exit(0 if held_by(os.getpid(), file.path) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_fork_behind_pythons_back_is_noticed(file):
    """The inherited connection is left alone: closing it would undo locks over there."""
    file.broker.publish([post("before")])
    line = file.broker._publishing
    inherited = line._db
    line._pid -= 1
    file.broker.publish([post("after")])
    assert line._db is not inherited
    assert inherited in store._inherited
    assert inherited.execute("SELECT count(*) FROM place").fetchone() == (2,)
    store._inherited.remove(inherited)
    inherited.close()


MOUNTS = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:25 / /srv rw shared:1 - nfs4 host:/srv rw
31 30 0:26 / /srv/local\\040disk rw - ext4 /dev/vdb rw
32 22 0:27 / /twice rw - cifs //host/share rw
33 22 0:28 / /twice rw - tmpfs tmpfs rw
34 22 0:29 / /srvr rw - tmpfs tmpfs rw
broken
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/queue.db", None),
        ("/srv/queue.db", "nfs4"),
        ("/srv/deep/down/queue.db", "nfs4"),
        ("/srv/local disk/queue.db", None),
        ("/srvr/queue.db", None),
        ("/twice/queue.db", None),
        ("/queue.db", None),
    ],
)
def test_a_network_file_system_is_recognised(tmp_path, monkeypatch, path, kind):
    """By the mount nearest above the file."""
    (tmp_path / "mounts").write_text(MOUNTS)
    monkeypatch.setattr(places, "_MOUNTS", str(tmp_path / "mounts"))
    assert places.network_file_system(path) == kind


def test_a_file_on_a_network_file_system_is_warned_of_once(tmp_path, monkeypatch):
    """It works, for one machine; from several it would lose data."""
    (tmp_path / "mounts").write_text("1 0 0:1 / / rw - nfs4 host:/ rw\n")
    monkeypatch.setattr(places, "_MOUNTS", str(tmp_path / "mounts"))
    file = File(tmp_path / "queue.db")
    with pytest.warns(UmbelWarning, match=r"queue\.db is on a network file system \(nfs4\)"):
        file.broker.setup()
    file.backend.setup()
    file.close()


def test_importing_the_driver_is_cheap():
    """It brings nothing but the standard library."""
    code = (
        "import sys; before = set(sys.modules); import umbel.drivers.sqlite;"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    foreign = set(done.stdout.split()) - sys.stdlib_module_names - {"umbel", "orjson"}
    assert foreign == set()


def test_the_same_file_by_two_options_is_shared_through_the_file(tmp_path):
    """Each has its own connections; both see the same queues."""
    one, two = File(tmp_path / "queue.db"), File(tmp_path / "queue.db", busy_timeout=1.0)
    one.broker.publish([post("task")])
    assert Worker(two.broker).drain() == ["task"]
    one.close()
    two.close()


def test_a_claim_takes_its_share_from_each_queue(file):
    """Already within one claim, not only over many."""
    for name in ("a", "b", "c"):
        file.broker.publish(posts(10, queue=name))
    taken = Worker(file.broker).take(9, "a", "b", "c")
    assert Counter(delivery.queue for delivery in taken) == {"a": 3, "b": 3, "c": 3}
    assert len({delivery.queue for delivery in taken[:3]}) == 3


def test_a_claim_that_could_not_be_read_is_handed_out_by_the_next(file, monkeypatch):
    """It was committed, so its messages are nobody else's any more."""
    worker = Worker(file.broker)
    file.broker.publish([post("first"), post("second")])
    with monkeypatch.context() as patch:
        patch.setattr(claims, "CLAIMED", "SELECT no_such_column FROM place WHERE ? OR ?")
        with pytest.raises(OperationalError, match="no_such_column"):
            worker.take(1)
    assert worker.drain() == ["first", "second"]


def test_what_is_claimed_between_looking_and_deleting_is_not_deleted(file):
    """A purge finds its messages first, so as not to keep the file locked; then it asks again."""
    file.broker.publish([post("claimed"), post("purged")])
    found = file.broker._upkeep.run(lambda db: db.execute("SELECT seq FROM place").fetchall())
    worker = Worker(file.broker)
    held = worker.take_one()
    assert queues._delete(file.broker._upkeep, found) == 1
    assert file.broker.settle([Settlement(held)]) == [True]
