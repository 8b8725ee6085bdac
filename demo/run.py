"""Counts the running Python's standard library with a real worker, and kills a child on the way.

    python demo/run.py [--limit FILES]

One task per source file: parse it, count functions, classes and lines, hash it.  The broker is an
SQLite file in a temporary directory, the worker is ``umbel -A census worker -c 2`` in a process of
its own.  When a quarter of the results is in, one of its children is killed with SIGKILL.  The
end is the totals and the proof that nothing was lost and nothing counted twice; exit code 1 if the
proof fails.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import proof
from progress import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from umbel.result import AsyncResult

CHILDREN = 2
PATIENCE = 30.0  # seconds without any new result
SAMPLE = 100  # files that are parsed once more
SHOWN = 5  # examples of each kind


@dataclass(frozen=True, slots=True)
class Census:
    """Everything that is known when the last result is in."""

    files: list[str]
    counts: list[dict[str, Any]]
    starts: list[dict[str, Any]]
    kill: proof.Kill
    took: float


def main() -> int:
    """Run the demonstration; 0 if the proof holds."""
    arguments = argparse.ArgumentParser(description="Count Python's standard library.")
    arguments.add_argument("--limit", type=int, metavar="FILES", help="count only so many files")
    files = standard_library(arguments.parse_args().limit)
    with tempfile.TemporaryDirectory(prefix="umbel-demo-") as directory:
        database, journal = Path(directory, "census.db"), Path(directory, "starts.jsonl")
        os.environ["UMBEL_BROKER_URL"] = f"sqlite:///{database}"
        os.environ["CENSUS_JOURNAL"] = str(journal)
        print(f"{len(files):,} source files of Python {platform.python_version()}")
        with worker(Path(directory, "worker.log")):
            census = take(files, journal)
        show(census)
        return 0 if judge(census) else 1


def standard_library(limit: int | None) -> list[str]:
    """Source files of the running Python's standard library, evenly picked if limited."""
    root = Path(sysconfig.get_paths()["stdlib"])
    installed = {"site-packages", "dist-packages", "__pycache__"}
    files = sorted(str(path) for path in root.rglob("*.py") if not installed & set(path.parts[:-1]))
    step = max(1, len(files) // limit) if limit else 1
    return files[::step][:limit]


@contextmanager
def worker(log: Path) -> Iterator[None]:
    """A worker that runs as long as the block does; its log is shown if the block fails."""
    command = [sys.executable, "-m", "umbel", "-A", "census", "worker"]
    command += ["-c", str(CHILDREN), "-l", "INFO"]
    print("$", "umbel", *command[3:])
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=Path(__file__).parent, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield
    except BaseException:
        print("the worker's last lines:", *log.read_text().splitlines()[-20:], sep="\n  ")
        raise
    finally:
        stopping_at = time.monotonic()
        process.terminate()
        code = process.wait(timeout=10)
    if code:
        sys.exit(f"the worker ended with exit code {code}")
    print(f"worker stopped in {time.monotonic() - stopping_at:.2f} s")


def take(files: Sequence[str], journal: Path) -> Census:
    """Publish a task for each file, fetch every result, kill a child on the way."""
    from census import count

    started_at = time.monotonic()
    progress = Progress(len(files))
    results = [count.delay(path) for path in files]
    counts: list[dict[str, Any]] = []

    def fetch(part: Sequence[AsyncResult[dict[str, Any]]]) -> None:
        for result in part:
            counts.append(result.get(timeout=PATIENCE))
            progress(len(counts))

    before = len(results) // 4
    fetch(results[:before])
    kill = kill_child(counts[-1]["pid"])
    progress.say(f"killed child {kill.pid} (SIGKILL) after {before:,} results")
    fetch(results[before:])
    took = time.monotonic() - started_at
    starts = [json.loads(line) for line in journal.read_text().splitlines()]
    return Census(list(files), counts, starts, kill, took)


def kill_child(pid: int) -> proof.Kill:
    """End a process at once; it gets no chance to tidy up."""
    os.kill(pid, signal.SIGKILL)
    return proof.Kill(pid, time.time())


def show(census: Census) -> None:
    """Print the totals and who did how much."""
    total = {
        name: sum(count[name] for count in census.counts)
        for name in ("lines", "functions", "classes")
    }
    invalid = sum(not count["valid"] for count in census.counts)
    rate = len(census.counts) / census.took
    print(f"\n{len(census.counts):,} tasks in {census.took:.1f} s: {rate:,.0f} tasks/s")
    print(", ".join(f"{number:,} {name}" for name, number in total.items()))
    if invalid:
        print(f"{invalid} files are no valid Python: test data of the compiler")
    for pid, number in Counter(count["pid"] for count in census.counts).most_common():
        note = "  killed on the way" if pid == census.kill.pid else ""
        print(f"  child {pid:<8} {number:>6,} files{note}")


def judge(census: Census) -> bool:
    """Print the proof; True if it holds."""
    from census import app, parsed

    sample = random.sample(census.files, min(SAMPLE, len(census.files)))
    again = [{"path": path, **parsed(Path(path).read_bytes())} for path in sample]
    findings = [
        proof.counted_once(census.files, census.counts),
        proof.counted_right(census.counts, again),
        proof.starts_explained(census.counts, census.starts, census.kill),
        proof.child_replaced(census.counts, census.kill, children=CHILDREN),
        proof.queue_done(app.broker.stats(), app.broker.dead()),
    ]
    print("\nproof")
    for finding in findings:
        print(f"  {'holds' if finding.holds else 'FAILS'}  {finding.statement}")
        for reason in finding.against[:SHOWN]:
            print(f"           {reason}")
    again_by_path = proof.restarted(census.starts)
    if again_by_path:
        print(f"started again, as the kill came before their settlement: {len(again_by_path)}")
    for path, pids in again_by_path[:SHOWN]:
        print(f"  {Path(path).name} in {', then in '.join(map(str, pids))}")
    app.close()
    return all(finding.holds for finding in findings)


if __name__ == "__main__":
    sys.exit(main())
