"""The command line as users run it.

`umbel` runs a command here and now, `program` in a process of its own, `at_terminal` in one that
has a terminal, and `Running` in the background.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import signal
import subprocess
import sys
import sysconfig
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pexpect

import umbel as umbel_package
from patience import wait_until
from umbel import current
from umbel.app import Umbel
from umbel.cli.root import execute
from umbel.cli.session import Session
from umbel.message import DeadLetter, Malformed, Settlement

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

PATIENCE = 30
PROGRAM = [sys.executable, "-W", "error", "-m", "umbel"]

STAYING = (sysconfig.get_path("stdlib"), sys.prefix, str(Path(umbel_package.__file__).parent))
"""Where modules lie that belong to no test."""

SHOP = """
from umbel import Umbel
from umbel.exceptions import Reject

app = Umbel("shop")

@app.task
def add(x, y):
    return x + y

@app.task(ignore_result=True)
def silent():
    return "heard"

@app.task
def boom():
    raise ValueError("out of paper")

@app.task
def refuse():
    raise Reject("no such order", requeue=False)
"""


@dataclass(frozen=True)
class Ended:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """The JSON document that standard output must be."""
        return json.loads(self.out)


def environment(**changes: str) -> dict[str, str]:
    """The environment without what steers Umbel or colours."""
    unwanted = ("UMBEL_", "CELERY_", "NO_COLOR", "FORCE_COLOR", "CLICOLOR")
    kept = {name: text for name, text in os.environ.items() if not name.startswith(unwanted)}
    return {**kept, "TERM": "xterm", **changes}


def umbel(*words: str, cwd: Path | None = None, stdin: str = "", **env: str) -> Ended:
    """Run a command to its end in this process, and let nothing of it stay."""
    out, err = io.StringIO(), io.StringIO()
    with _anew(), chdir(cwd or Path.cwd()), redirect_stdout(out), redirect_stderr(err):
        stdin_before, sys.stdin = sys.stdin, io.StringIO(stdin)
        os.environ.update(env)
        try:
            code = execute(Session(), words)
        finally:
            sys.stdin = stdin_before
            for name in env:
                os.environ.pop(name)
    return Ended(code, out.getvalue(), err.getvalue())


@contextmanager
def _anew() -> Iterator[None]:
    """Within the block, modules are imported anew and applications know none made before."""
    modules, finalizers = set(sys.modules), current._on_finalize[:]
    current._on_finalize.clear()
    importlib.invalidate_caches()
    try:
        yield
    finally:
        current._on_finalize[:] = finalizers
        current.set_current_app(None)
        current.set_default_app(None)
        for name in set(sys.modules) - modules:
            module = sys.modules[name]
            file = getattr(module, "__file__", None) or next(
                iter(getattr(module, "__path__", [])), ""
            )
            if file and not file.startswith(STAYING):
                del sys.modules[name]


def program(*words: str, cwd: Path | None = None, stdin: str | None = None, **env: str) -> Ended:
    """Run a command to its end in a process of its own."""
    done = subprocess.run(
        [*PROGRAM, *words],
        check=False,
        cwd=cwd,
        env=environment(**env),
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


@contextmanager
def at_terminal(*words: str, cwd: Path | None = None, **env: str) -> Iterator[pexpect.spawn]:
    """A command in a terminal of 120 columns; it is killed if it outlives the block."""
    child = pexpect.spawn(
        PROGRAM[0],
        [*PROGRAM[1:], *words],
        cwd=cwd,
        env=environment(**env),
        encoding="utf-8",
        timeout=PATIENCE,
        dimensions=(50, 120),
    )
    try:
        yield child
    finally:
        child.close(force=True)


def end_of(child: pexpect.spawn) -> int:
    """Wait until a command at a terminal has ended; its exit code."""
    child.expect(pexpect.EOF)
    child.wait()
    child.close()
    return child.exitstatus


def bury(directory: Path, *letters: DeadLetter) -> None:
    """Put dead letters into the database of a directory."""
    url = f"sqlite:///{directory / 'umbel.db'}"
    with Umbel("undertaker", broker=url, set_as_current=False) as app:
        app.broker.settle([Settlement(None, dead=letter) for letter in letters])


def garbage(number: int = 0, *, raw: bytes = b"?", queue: str = "celery") -> DeadLetter:
    """A dead letter that never was a message."""
    malformed = Malformed(raw, "no header", f"garbage-{number}", queue)
    return DeadLetter(malformed, queue, "malformed", "no header", 1e9, {"host": "h"})


class Running:
    """A command in the background, and what it has written so far."""

    def __init__(self, *words: str, cwd: Path, **env: str) -> None:
        self._log = cwd / f"log-{len(list(cwd.glob('log-*')))}"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*PROGRAM, *words],
                cwd=cwd,
                env=environment(**env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def text(self) -> str:
        """Everything it has printed."""
        return self._log.read_text("utf-8", "replace")

    def expect(self, *texts: str) -> str:
        """Wait until all of these were printed."""

        def printed() -> bool:
            missing = [text for text in texts if text not in self.text]
            assert not missing or self.process.poll() is None, f"it ended:\n{self.text}"
            return not missing

        wait_until(printed, deadline=PATIENCE)
        return self.text

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
