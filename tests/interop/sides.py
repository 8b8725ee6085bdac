"""The two sides of a conversation: on each a worker, and a desk that sends and reads for the tests.

All of it is started once for a session and for each broker, and talked to by every test; a test
has queues and a page of the ledger of its own where it needs them.
"""

from __future__ import annotations

import json
import os
import pickle
import select
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

HERE = Path(__file__).parent
PATIENCE = 60.0
SIDES = ("celery", "umbel")
ORACLE = bool(os.environ.get("INTEROP_ORACLE"))
"""Whether Celery plays both sides: then the cases say what is expected of Celery itself."""
COMMANDS = {
    "celery": ("--without-gossip", "--without-mingle", "--without-heartbeat"),
    "umbel": (),
}
# A busy machine may take long to answer.
SETTINGS: dict[str, dict[str, Any]] = {"celery": {}, "umbel": {"publish_timeout": 30}}
_keys = count(1)


@dataclass
class Process:
    """One process and its log."""

    command: list[str]
    log: Path
    environment: dict[str, str]
    piped: bool = False
    popen: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        pipe = subprocess.PIPE if self.piped else None
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(
                self.command,
                stdin=pipe or subprocess.DEVNULL,
                stdout=pipe or log,
                stderr=log,
                cwd=self.log.parent,
                env={**os.environ, **self.environment},
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for(self, text: str) -> None:
        end = time.monotonic() + PATIENCE
        while text not in self.text:
            if self.popen.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"{text!r} does not come from {self.command}:\n{self.text}")
            time.sleep(0.01)

    def end(self) -> int:
        """Ask it to stop; its exit code."""
        if self.popen.poll() is None:
            self.popen.terminate()
        return self.wait()

    def wait(self) -> int:
        """The exit code, once it has ended; nothing that it has started is left then."""
        try:
            return self.popen.wait(PATIENCE)
        finally:
            self.kill()

    def kill(self) -> None:
        """End it and everything it has started at once."""
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, 9)
        self.popen.wait(20)
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe is not None:
                pipe.close()


class Desk:
    """The desk of one side: every method of `desk.Desk`, called there."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: self._ask(name, args, kwargs)

    def _ask(self, name: str, args: Any, kwargs: Any) -> Any:
        pipes = self._process.popen
        pickle.dump((name, args, kwargs), pipes.stdin)
        pipes.stdin.flush()
        if not select.select([pipes.stdout], [], [], PATIENCE)[0]:
            raise AssertionError(f"no answer to {name}{args}:\n{self._process.text[-4000:]}")
        try:
            is_done, value = pickle.load(pipes.stdout)
        except EOFError:
            raise AssertionError(f"{name}{args} ended the desk:\n{self._process.text}") from None
        if not is_done:
            raise RuntimeError(value)
        return value

    def end(self) -> None:
        """Let it come to its end."""
        if self._process.popen.poll() is None:
            self.close()
            self._process.popen.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                self._process.popen.wait(20)
        self._process.kill()


class Side:
    """One side on one broker."""

    def __init__(self, name: str, fleet: Fleet) -> None:
        self.name = name
        self.library = "celery" if ORACLE else name
        self.fleet = fleet
        self.queue = f"{fleet.name}-{name}"
        self.desk = Desk(self.start("desk.py", kind="desk"))
        self.worker = self.start_worker(self.queue, fleet.both, fleet.topic(name))

    def start(self, *arguments: str, kind: str, settings: Any = None) -> Process:
        fleet = self.fleet
        path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
        if arguments[0].endswith(".py"):
            arguments = (str(HERE / arguments[0]), *arguments[1:])
        return Process(
            [fleet.pythons[self.library], *arguments],
            fleet.directory / f"{self.name}-{kind}.log",
            {
                "PYTHONPATH": path,
                "INTEROP_SIDE": self.name,
                "INTEROP_LIBRARY": self.library,
                "INTEROP_BROKER": fleet.url,
                "INTEROP_RESULTS": fleet.results,
                "INTEROP_QUEUE": self.queue,
                "INTEROP_QUEUES": json.dumps(fleet.declared),
                "INTEROP_LEDGER": str(fleet.ledger),
                "INTEROP_SETTINGS": json.dumps({**SETTINGS[self.library], **(settings or {})}),
                # Celery refuses pickles to root unless told so.
                "C_FORCE_ROOT": "1",
            },
            piped=kind == "desk",
        )

    def start_worker(self, *queues: str, name: str = "worker", settings: Any = None) -> Process:
        """A worker of this side on these queues, in one process besides its supervisor."""
        options = ("-c", "1", "-Q", ",".join(queues), "-l", "INFO", "-n", f"{name}-{queues[0]}@%h")
        command = ("-m", self.library, "-A", "parcels", "worker", *options, *COMMANDS[self.library])
        return self.start(*command, kind=name, settings=settings)


class Fleet:
    """Both sides on one broker."""

    def __init__(self, url: str, results: str, directory: Path, celery_python: str) -> None:
        self.url, self.results = url, results
        self.directory = directory
        self.ledger = directory / "ledger"
        self.ledger.mkdir(parents=True)
        self.name = f"interop-{uuid4().hex[:8]}"
        self.both = f"{self.name}-both"
        self.ranked = f"{self.name}-ranked"
        # Those that are more than a name; any other is made when it is first used.
        self.declared = {
            self.ranked: {
                "exchange": self.ranked,
                "routing_key": self.ranked,
                "queue_arguments": {"x-max-priority": 10},
            },
            **{
                self.topic(side): {
                    "exchange": f"{self.name}-topic",
                    "exchange_type": "topic",
                    "routing_key": f"{side}.#",
                }
                for side in SIDES
            },
        }
        self.pythons = {"celery": celery_python, "umbel": sys.executable}
        self.queues: list[str] = []
        self.sides: dict[str, Side] = {}

    def topic(self, side: str) -> str:
        """The queue of a side's worker that gets messages by their topic."""
        return f"{self.name}-{side}-topic"

    def start(self) -> None:
        for name in SIDES:
            self.sides[name] = Side(name, self)

    def wait_ready(self) -> Fleet:
        for side in self.sides.values():
            side.worker.wait_for(" ready.")
        return self

    def stop(self) -> None:
        """Have the workers begin to stop, which takes Celery's some seconds."""
        for side in self.sides.values():
            side.worker.popen.terminate()

    def end(self) -> None:
        """Stop everything, and delete what is on the broker."""
        codes = {name: side.worker.wait() for name, side in self.sides.items()}
        queues = [
            self.both,
            *self.declared,
            f"{self.name}-topic",
            *(side.queue for side in self.sides.values()),
            *self.queues,
        ]
        try:
            self.sides["umbel"].desk.purge_dead(self.name)
            self.sides["celery"].desk.delete(queues)
        finally:
            for side in self.sides.values():
                side.desk.end()
        logs = "\n".join(side.worker.text[-2000:] for side in self.sides.values())
        assert set(codes.values()) == {0}, f"the workers ended with {codes}\n{logs}"

    def kill(self) -> None:
        """Leave no process behind, whatever has happened."""
        for side in self.sides.values():
            side.worker.kill()
            side.desk._process.kill()


class Lane:
    """One broker in one direction: who sends, who works, and a page of the ledger."""

    def __init__(self, fleet: Fleet, broker: str, sender: str, worker: str) -> None:
        self.fleet = fleet
        self.broker = broker
        self.sender = fleet.sides[sender]
        self.worker = fleet.sides[worker]
        self.key = f"page-{next(_keys)}"

    def fresh_queue(self) -> str:
        """The name of a queue nobody consumes; it is deleted at the end."""
        name = f"{self.fleet.name}-{next(_keys)}"
        self.fleet.queues.append(name)
        return name

    def send(self, name: str, *args: Any, kwargs: Any = None, **options: Any) -> str:
        """Send to the worker by name; the id."""
        options.setdefault("queue", self.worker.queue)
        return self.sender.desk.send(f"parcels.{name}", args, kwargs or {}, options)

    def call(self, name: str, *args: Any, kwargs: Any = None, **options: Any) -> str:
        """Send to the worker by the sender's own task; the id."""
        options.setdefault("queue", self.worker.queue)
        return self.sender.desk.call(f"parcels.{name}", args, kwargs or {}, options)

    def end(self, task_id: str) -> Any:
        """How a task ended, as the sender reads what the worker stored."""
        return self.sender.desk.outcome(task_id)

    def run(self, name: str, *args: Any, **options: Any) -> Any:
        """What a task returns."""
        ended = self.end(self.send(name, *args, **options))
        assert ended["state"] == "SUCCESS", ended
        return ended["value"]

    def follower(
        self, name: str, *args: Any, kwargs: Any = None, immutable: bool = False, **options: Any
    ) -> Any:
        """A call to be linked to another; it goes to the sender's own worker."""
        options.setdefault("queue", self.sender.queue)
        return f"parcels.{name}", args, kwargs or {}, options, immutable

    # -- the ledger ------------------------------------------------------------------------

    def page(self, key: str | None = None) -> list[dict[str, Any]]:
        """What tasks have written so far."""
        path = self.fleet.ledger / (key or self.key)
        if not path.exists():
            return []
        text = path.read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def wait_lines(self, number: int, key: str | None = None) -> list[dict[str, Any]]:
        """The page, once it has so many lines."""
        end = time.monotonic() + PATIENCE
        while len(lines := self.page(key)) < number:
            if time.monotonic() > end:
                raise AssertionError(
                    f"{lines} are not {number} lines; the worker says:\n"
                    f"{self.worker.worker.text[-4000:]}"
                )
            time.sleep(0.005)
        return lines

    def go(self, key: str | None = None) -> None:
        """Let tasks that wait go on."""
        (self.fleet.ledger / f"{key or self.key}.go").touch()

    def settled(self) -> None:
        """Return when the worker has ended everything sent before."""
        assert self.run("echo", "settled") == "settled"
