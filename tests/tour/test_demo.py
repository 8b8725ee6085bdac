"""The demonstration runs from a clean copy of the source, and its proof can fail."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pexpect
import pytest

from umbel.ports.broker import QueueStats

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "demo"))

import proof  # noqa: E402 - found in the directory just added

KILL = proof.Kill(pid=7, at=100.0)


@pytest.fixture
def copy(tmp_path):
    """The package and the demonstration alone, as a fresh clone has them."""
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("src", "demo"):
        shutil.copytree(ROOT / name, tmp_path / "clone" / name, ignore=ignore)
    return tmp_path / "clone"


@pytest.fixture
def environment(copy):
    """The environment in which only the copy's package is found."""
    # The name of a Unix socket must be short, and the test's own directory has a long one.
    with tempfile.TemporaryDirectory(prefix="umbel-") as temporary:
        yield {
            **os.environ,
            "PYTHONPATH": str(copy / "src"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": temporary,
        }


def test_the_demonstration_counts_every_file_once_though_a_child_is_killed(copy, environment):
    """Every statement of the proof holds, the exit code is 0, and nothing is left on disk."""
    done = subprocess.run(
        [sys.executable, "demo/run.py", "--limit", "900"],
        check=False,
        cwd=copy,
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " is in the totals once, none is lost" in done.stdout
    assert len(re.findall(r"^  holds  ", done.stdout, re.MULTILINE)) == 5
    assert "killed on the way" in done.stdout
    assert "\r" not in done.stdout
    assert done.stderr == ""
    assert list(Path(environment["TMPDIR"]).iterdir()) == []


def test_a_terminal_shows_a_progress_bar(copy, environment):
    """On a terminal one line is drawn over and over, up to the last file."""
    terminal = pexpect.spawn(
        sys.executable,
        ["demo/run.py", "--limit", "400"],
        cwd=str(copy),
        env=environment,
        encoding="utf-8",
        timeout=60,
        dimensions=(24, 100),
    )
    terminal.expect(r"\r\[#+\] 400/400 files")
    terminal.expect("proof")
    terminal.expect(pexpect.EOF)
    terminal.close()


@pytest.fixture
def files(tmp_path):
    """Two small source files."""
    paths = [tmp_path / "a.py", tmp_path / "b.py"]
    for path in paths:
        path.write_text(f"def {path.stem}(): ...\n")
    return [str(path) for path in paths]


def counted(path, **changes):
    """A right count of one of ``files``, with some fields changed."""
    return {
        "path": path,
        "pid": 8,
        "lines": 1,
        "sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest(),
        "functions": 1,
        "classes": 0,
        "valid": True,
        **changes,
    }


def started(path, pid, at):
    """A line of the journal."""
    return {"path": path, "pid": pid, "at": at, "task_id": "t"}


def test_the_proof_fails_when_a_file_is_lost(files):
    """A file without a count is named."""
    finding = proof.counted_once(files, [counted(files[0])])
    assert finding.against == (f"not counted: {files[1]}",)


def test_the_proof_fails_when_a_file_is_counted_twice(files):
    """A second count of a file is named."""
    counts = [counted(path) for path in [*files, files[0]]]
    assert proof.counted_once(files, counts).against == (f"counted 2 times: {files[0]}",)


def test_the_proof_fails_when_a_count_was_never_asked_for(files):
    """A count of a file that was not published is named."""
    finding = proof.counted_once(files[:1], [counted(path) for path in files])
    assert finding.against == (f"never published: {files[1]}",)


@pytest.mark.parametrize("wrong", [{"lines": 2}, {"sha256": ""}, {"functions": 0}])
def test_the_proof_fails_when_a_count_is_wrong(files, wrong):
    """Totals are compared with what the runner finds out by itself."""
    counts = [counted(files[0], **wrong), counted(files[1])]
    finding = proof.counted_right(counts, [counted(path) for path in files])
    assert len(finding.against) == 1
    assert files[0] in finding.against[0]


def test_a_second_start_after_the_kill_of_its_child_is_explained(files):
    """The first start was in the killed child, the count comes from the second."""
    starts = [started(files[0], KILL.pid, 99.0), started(files[0], 8, 101.0)]
    finding = proof.starts_explained([counted(files[0])], starts, KILL)
    assert finding.holds
    assert proof.restarted(starts) == [(files[0], [KILL.pid, 8])]


@pytest.mark.parametrize("first", [(9, 99.0), (7, 100.5)], ids=["other child", "after the kill"])
def test_the_proof_fails_when_a_second_start_has_no_reason(files, first):
    """A first start in a child that lived, or after the kill, explains nothing."""
    starts = [started(files[0], *first), started(files[0], 8, 101.0)]
    finding = proof.starts_explained([counted(files[0])], starts, KILL)
    assert finding.against == (f"started again without a reason: {files[0]}",)


def test_the_proof_fails_when_a_stale_result_was_accepted(files):
    """A count of the killed child counts only if nobody else started the file."""
    starts = [started(files[0], KILL.pid, 99.0), started(files[0], 8, 101.0)]
    finding = proof.starts_explained([counted(files[0], pid=KILL.pid)], starts, KILL)
    assert finding.against == (f"counted by 7, last started by 8: {files[0]}",)


def test_the_proof_fails_when_nobody_took_the_place_of_the_killed_child(files):
    """Two children and no third mean that the killed one was not replaced."""
    counts = [counted(files[0], pid=KILL.pid), counted(files[1])]
    finding = proof.child_replaced(counts, KILL, children=2)
    assert finding.against == ("2 children worked, not 3",)


@pytest.mark.parametrize("changes", [{"ready": 1}, {"delayed": 1}, {"claimed": 1}])
def test_the_proof_fails_when_a_message_is_left_in_the_queue(changes):
    """A message that waits, is not due, or is held by somebody is named with its queue."""
    counts = {"ready": 0, "delayed": 0, "claimed": 0, **changes}
    finding = proof.queue_done([QueueStats("celery", oldest_age=None, **counts)], [])
    assert len(finding.against) == 1
    assert finding.against[0].startswith("celery: ")
