"""Where children come from: the fork server, and the first words of each child.

Children are forked from a server process that has imported the application once and has no
threads, so nothing is ever forked that holds a lock.  Where the application itself starts threads
when it is imported, children are spawned anew instead.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import multiprocessing
import os
import sys
import time
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from multiprocessing import connection, reduction
from typing import TYPE_CHECKING, Any

from umbel.worker import child as children
from umbel.worker.aftermath import describe_exit
from umbel.worker.preload import VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.process import BaseProcess

    from umbel.worker.options import WorkerOptions

logger = logging.getLogger("umbel.worker")

LOOK = 0.25
"""Seconds between looks at whether to go on, while a child is loading the application."""


@dataclass(slots=True)
class Member:
    """One place among the children, and who has it now.

    Attributes:
        index: its number, and that of its row on the board.
        owner: in whose name the child claims messages; empty until it may.
        ready: whether the child takes tasks.
        stopping: whether it was told to stop, or has said that it does.
        early_deaths: how many children in a row died before they were ready.
        due: when the place may be filled again (monotonic).
        in_vain: whether the child could not work because the broker is away.
        enroll_at: when to try again to have the broker know the child (monotonic).
        abandoned: the id of a task whose hard limit is the child's end.
        abandoned_at: since when; 0 once the child has cleaned up.
    """

    index: int
    owner: str = ""
    process: BaseProcess | None = None
    pipe: connection.Connection | None = None
    ready: bool = False
    stopping: bool = False
    early_deaths: int = 0
    due: float = 0.0
    in_vain: bool = False
    enroll_at: float = math.inf
    abandoned: str | None = None
    abandoned_at: float = 0.0

    @property
    def alive(self) -> bool:
        """Whether a process has the place."""
        return self.process is not None

    @property
    def pid(self) -> int | None:
        """The child's process id."""
        return self.process.pid if self.process is not None else None

    def sources(self) -> list[Any]:
        """What to wait for: the child's words, and its end."""
        if self.process is None or self.pipe is None:
            return []
        return [self.pipe, self.process.sentinel]

    def words(self) -> list[tuple[Any, ...]]:
        """What the child has said since it was last asked."""
        said: list[tuple[Any, ...]] = []
        with contextlib.suppress(EOFError, OSError):
            while self.pipe is not None and self.pipe.poll():
                said.append(self.pipe.recv())
        return said

    def tell(self, *words: Any) -> None:
        """Say something to the child; one that is gone hears nothing."""
        with contextlib.suppress(OSError):
            if self.pipe is not None:
                self.pipe.send(words)

    def hand_over(self, fd: int) -> None:
        """Give the child a descriptor."""
        with contextlib.suppress(OSError):
            if self.pipe is not None and self.pid is not None:
                reduction.send_handle(self.pipe, fd, self.pid)

    def signal(self, signum: int) -> None:
        """Send the child a signal."""
        with contextlib.suppress(ProcessLookupError):
            if self.pid is not None:
                os.kill(self.pid, signum)

    def leave(self) -> int | None:
        """Make the place free after the child's end; its exit code."""
        process, pipe = self.process, self.pipe
        self.process = self.pipe = None
        self.ready = False
        if process is None or pipe is None:
            return None
        process.join()
        code = process.exitcode
        pipe.close()
        process.close()
        return code


class Nursery:
    """Starts children of one application."""

    def __init__(self, options: WorkerOptions) -> None:
        self._options = options
        self._context: Any = multiprocessing.get_context("forkserver")

    def open(self) -> None:
        """Tell the fork server, which starts with the first child, what to load."""
        main = sys.modules["__main__"]
        if getattr(main, "__spec__", None) is None and _is_console_script(main):
            # Children must not run the console script again to find out what __main__ is.
            main.__spec__ = ModuleSpec("umbel.__main__", None)
        os.environ[VARIABLE] = json.dumps(
            {
                "supervisor": os.getpid(),
                "app": self._options.app,
                "workdir": self._options.workdir,
                "include": list(self._options.include),
                "path": [entry or os.getcwd() for entry in sys.path],  # noqa: PTH109 - a text
            }
        )
        self._context.set_forkserver_preload(["umbel.worker.preload", "umbel.worker.child"])

    def close(self) -> None:
        """Leave the environment as it was."""
        os.environ.pop(VARIABLE, None)

    def spawn_from_now_on(self) -> None:
        """Start children anew instead of forking them."""
        self._context = multiprocessing.get_context("spawn")
        os.environ.pop(VARIABLE, None)

    def fill(self, member: Member) -> bool:
        """Start a child in a place; False if that failed, and is logged."""
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=children.main,
            args=(member.index, self._options, theirs),
            name=f"umbel-child-{member.index}",
        )
        try:
            process.start()
        except (OSError, EOFError):
            logger.exception("child %d could not be started", member.index)
            ours.close()
            return False
        finally:
            theirs.close()
        member.process, member.pipe = process, ours
        member.ready = member.stopping = False
        member.owner = ""
        member.enroll_at = math.inf
        member.in_vain = False
        member.abandoned = None
        return True

    def first_words(
        self, member: Member, timeout: float, give_up: Callable[[], bool]
    ) -> tuple[Any, ...]:
        """What a child says when it has loaded the application, or cannot."""
        if not self.fill(member):
            return "failed", "the process that loads the application died while it did"
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            ready = connection.wait(member.sources(), timeout=LOOK)
            said = member.words()
            if said:
                return said[0]
            if ready:
                code = member.leave()
                return "failed", f"the process that loads the application {describe_exit(code)}"
            if give_up():
                return "failed", "stopped while the application was being loaded"
        return "failed", f"the application took longer than {timeout:.0f} s to load"


def _is_console_script(main: Any) -> bool:
    name = os.path.basename(getattr(main, "__file__", None) or "")  # noqa: PTH119 - a text
    return not name.endswith(".py")
