"""The guard of the whole suite is itself tested: it sees what is left, and only that."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from leaks import Repository, Watch

FOREVER = "import time; time.sleep(600)"
# Starts a process that outlives it, as a killed supervisor would leave a child.
ORPHANING = f"""
import subprocess, sys
child = subprocess.Popen(
    [sys.executable, "-c", {FOREVER!r}],
    start_new_session=True,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
)
print(child.pid)
child.returncode = 0
"""


@pytest.fixture
def repository(tmp_path):
    return Repository(tmp_path, every_file=False)


@pytest.fixture(autouse=True)
def short_grace(monkeypatch):
    monkeypatch.setattr("leaks.GRACE", 0.1)


def test_a_quiet_test_leaves_nothing(repository):
    """No threads, processes or files: nothing is reported."""
    assert Watch(repository, "quiet").left() == []


def test_a_running_thread_is_named(repository):
    """A thread that would keep the interpreter alive is reported under its name."""
    watch, stop = Watch(repository, "thread"), threading.Event()
    thread = threading.Thread(target=stop.wait, name="forgotten")
    thread.start()
    left = watch.left()
    stop.set()
    thread.join()
    assert left == ["thread 'forgotten'"]


def test_a_daemon_thread_of_ours_is_named(repository):
    """Daemon threads are reported if the product started them, others are not."""
    watch, stop = Watch(repository, "daemons"), threading.Event()
    threads = [
        threading.Thread(target=stop.wait, name=name, daemon=True)
        for name in ("umbel-settle", "somebody-else")
    ]
    for thread in threads:
        thread.start()
    left = watch.left()
    stop.set()
    for thread in threads:
        thread.join()
    assert left == ["thread 'umbel-settle'"]


def test_a_child_process_is_named_and_ended(repository):
    """A child that still runs is reported, and killed so that the next test is not disturbed."""
    watch = Watch(repository, "child")
    child = subprocess.Popen([sys.executable, "-c", FOREVER])
    left = watch.left()
    child.wait(timeout=10)
    assert len(left) == 1
    assert f"process {child.pid} " in left[0]


def test_a_process_whose_parent_died_is_found(repository):
    """An orphan is nobody's child, and is still traced to the test that caused it."""
    watch = Watch(repository, "orphan")
    done = subprocess.run(
        [sys.executable, "-c", ORPHANING], capture_output=True, text=True, check=True, timeout=30
    )
    left = watch.left()
    assert len(left) == 1
    assert f"process {int(done.stdout)} " in left[0]


def test_a_file_in_the_repository_is_named(repository, tmp_path):
    """A file that a test wrote into the source tree is reported with its path."""
    (tmp_path / "src").mkdir()
    watch = Watch(repository, "file")
    (tmp_path / "src" / "umbel.db").touch()
    assert watch.left() == ["file src/umbel.db"]
