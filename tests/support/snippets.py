"""The code blocks of a Markdown page, and how each kind of them is run.

A page is one session in a directory of its own, read from top to bottom:

* a block with a ``title`` (```` ```python title="tasks.py" ````) becomes a file of that name;
* other ``python`` blocks run in one interpreter per page; top-level ``await`` is allowed;
* ``pycon`` blocks run there too, and what they print must be what the page shows;
* ``console`` blocks hold ``$ commands`` and the output they must give; workers keep running until
  the page ends, and must then stop cleanly;
* ``json`` and ``toml`` blocks must be well-formed; ``text``, ``diff`` and ``ini`` only show
  something.

In expected output ``...`` stands for anything.  A block in an HTML comment runs without being
shown; ``<!-- not run: reason -->`` in front of a block keeps it from being run.
"""

from __future__ import annotations

import doctest
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import textwrap
import time
import tomllib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

SHOWN_ONLY = {"text", "diff", "ini"}
PATIENCE = 30.0
FENCE = re.compile(r"^(?P<indent> *)(?P<fence>```+|~~~+)(?P<info>[^`]*)$")
TITLE = re.compile(r'title="([^"]+)"')
NOT_RUN = re.compile(r"<!-- not run: (.+?) -->")
COMMAND = re.compile(r"^\$ (.*(?:\\\n.*)*)$", re.MULTILINE)
INTERPRETER = Path(__file__).with_name("page_interpreter.py")


class SnippetError(AssertionError):
    """A block of a page did not do what the page says."""


@dataclass(frozen=True, slots=True)
class Snippet:
    """One code block; ``line`` is where its text starts in the page."""

    page: str
    line: int
    language: str
    title: str | None
    text: str
    not_run: str | None


def snippets_of(path: Path, name: str) -> list[Snippet]:
    """The code blocks of a page, in order."""
    found: list[Snippet] = []
    not_run = None
    lines = iter(enumerate(path.read_text("utf-8").splitlines(), start=1))
    for number, line in lines:
        if mark := NOT_RUN.search(line):
            not_run = mark[1]
        if not (opening := FENCE.match(line)):
            continue
        block = []
        for _, inside in lines:
            if inside.strip() == opening["fence"]:
                break
            block.append(inside)
        else:
            msg = f"{name}:{number}: this code block never ends"
            raise SnippetError(msg)
        info = opening["info"].strip()
        title = TITLE.search(info)
        text = textwrap.dedent("\n".join(block)) + "\n"
        language = info.split(" ", maxsplit=1)[0]
        found.append(Snippet(name, number + 1, language, title and title[1], text, not_run))
        not_run = None
    return found


class Session:
    """A reader who does everything a page says, in a directory of their own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._logs = directory.parent / f"{directory.name}-logs"
        self._logs.mkdir()
        self._cwd = directory
        scripts = str(Path(sys.executable).parent)
        self._environment = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
        self._interpreter: subprocess.Popen[str] | None = None
        self._background: list[tuple[str, subprocess.Popen[bytes], Path]] = []

    def run(self, snippet: Snippet) -> None:
        """Do what one block says.

        Raises:
            SnippetError: it did not work, or not as the page says.
        """
        try:
            self._run(snippet)
        except (SnippetError, ValueError, subprocess.TimeoutExpired) as error:
            msg = f"{snippet.page}:{snippet.line}: {error}{self._workers_said()}"
            raise SnippetError(msg) from error

    def close(self) -> None:
        """End what still runs.

        Raises:
            SnippetError: a worker did not stop cleanly.
        """
        try:
            if self._interpreter is not None:
                _end(self._interpreter)
        finally:
            self._interpreter = None
            self._stop_workers()

    def _stop_workers(self) -> None:
        failed = []
        for _, process, _ in self._background:
            process.send_signal(signal.SIGTERM)
        for command, process, log in self._background:
            try:
                code = process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
            if code:
                failed.append(f"`{command}` ended with {code}:\n{log.read_text()}")
        self._background.clear()
        if failed:
            raise SnippetError("\n".join(failed))

    def _run(self, snippet: Snippet) -> None:
        if snippet.title:
            path = self._directory / snippet.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(snippet.text, "utf-8")
        elif snippet.language in ("python", "pycon"):
            self._python(snippet)
        elif snippet.language == "console":
            self._console(snippet.text)
        elif snippet.language == "json":
            json.loads(snippet.text)
        elif snippet.language == "toml":
            tomllib.loads(snippet.text)
        elif snippet.language not in SHOWN_ONLY:
            msg = f"nobody knows how to run a block of {snippet.language or 'no language'!r}"
            raise SnippetError(msg)

    # -- python ----------------------------------------------------------------------------

    def _python(self, snippet: Snippet) -> None:
        process = self._interpreter or self._start_interpreter()
        request = {
            "file": snippet.page,
            "line": snippet.line,
            "text": snippet.text,
            "session": snippet.language == "pycon",
        }
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        if not answer:
            msg = "the interpreter has ended"
            raise SnippetError(msg)
        if trouble := json.loads(answer):
            raise SnippetError(trouble)

    def _start_interpreter(self) -> subprocess.Popen[str]:
        self._interpreter = subprocess.Popen(
            [sys.executable, "-W", "error", str(INTERPRETER)],
            cwd=self._cwd,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self._interpreter

    # -- console ---------------------------------------------------------------------------

    def _console(self, text: str) -> None:
        commands = list(COMMAND.finditer(text))
        if not commands or text[: commands[0].start()].strip():
            msg = "a console block starts with `$ command`"
            raise SnippetError(msg)
        ends = [*(command.start() for command in commands[1:]), len(text)]
        for command, end in zip(commands, ends, strict=True):
            self._command(command[1], text[command.end() + 1 : end])

    def _command(self, command: str, expected: str) -> None:
        words = shlex.split(command, comments=True)
        if words[:2] == ["pip", "install"]:
            check_requirements(words[2:])
        elif (
            words[0] == "umbel" and {"worker", "beat", "dev"} & set(words) and "--help" not in words
        ):
            self._start(command, expected)
        else:
            self._wait(command, expected)

    def _wait(self, command: str, expected: str) -> None:
        state = self._logs / "state"
        script = f"{command}\ncode=$?; pwd >{state}; env -0 >>{state}; exit $code"
        done = subprocess.run(
            ["bash", "-c", script],
            check=False,
            cwd=self._cwd,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
        )
        refused = "exit code" in command  # `# exit code 1` after a command that must fail
        wanted = int(command.rsplit(maxsplit=1)[-1]) if refused else 0
        if done.returncode != wanted:
            msg = f"`{command}` ended with {done.returncode}:\n{done.stdout}"
            raise SnippetError(msg)
        if expected.strip() and not same(expected, done.stdout):
            msg = f"`{command}` printed:\n{done.stdout}\ninstead of:\n{expected}"
            raise SnippetError(msg)
        directory, _, variables = state.read_text().partition("\n")
        self._cwd = Path(directory)
        self._environment = dict(
            pair.split("=", 1) for pair in variables.split("\0") if "=" in pair
        )

    def _start(self, command: str, expected: str) -> None:
        log = self._logs / f"{len(self._background)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {command}"],
                cwd=self._cwd,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._background.append((command, process, log))
        wanted = expected.rstrip() + "\n...\n" if expected.strip() else "...ready...\n"
        deadline = time.monotonic() + PATIENCE
        while not same(wanted, log.read_text() + "\n"):
            if process.poll() is not None or time.monotonic() > deadline:
                msg = f"`{command}` did not print:\n{wanted}"
                raise SnippetError(msg)
            time.sleep(0.02)

    def _workers_said(self) -> str:
        return "".join(
            f"\n`{command}` printed:\n{log.read_text()}" for command, _, log in self._background
        )


def _end(interpreter: subprocess.Popen[str]) -> None:
    """Let the interpreter finish: its input ends."""
    try:
        interpreter.communicate(timeout=10)
    except subprocess.TimeoutExpired:
        interpreter.kill()
        interpreter.communicate()
        msg = "the page's interpreter does not end: something of it still runs"
        raise SnippetError(msg) from None


def same(expected: str, printed: str) -> bool:
    """Whether a page shows what was printed; ``...`` is anything, blanks are alike."""
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    return doctest.OutputChecker().check_output(expected, printed, options)


def check_requirements(requirements: list[str]) -> None:
    """What a page tells to install is this package, with extras that exist.

    Raises:
        SnippetError: an extra or a package that the page cannot mean.
    """
    known = set(metadata.metadata("umbel").get_all("Provides-Extra") or ())
    for requirement in requirements:
        parts = re.fullmatch(r"umbel(?:\[([\w,]+)\])?", requirement)
        if parts is None:
            msg = f"{requirement} is not this package"
            raise SnippetError(msg)
        unknown = set(filter(None, (parts[1] or "").split(","))) - known
        if unknown:
            msg = f"no such extra: {', '.join(sorted(unknown))}"
            raise SnippetError(msg)
