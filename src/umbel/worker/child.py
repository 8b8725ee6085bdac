"""A child: loads the application, says what it is, and runs tasks until it is told to stop.

It talks with its supervisor over one pipe.  When the pipe ends the supervisor is dead, and so is
the child at once: a process nobody watches must not work on.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from multiprocessing import reduction
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from umbel import signals, telemetry
from umbel.exceptions import OperationalError, SoftTimeLimitExceeded, UmbelError
from umbel.worker import lifeline, preload
from umbel.worker.blame import blame
from umbel.worker.board import Board
from umbel.worker.engine import Engine
from umbel.worker.facts import facts_of

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from types import FrameType

    from umbel.app import Umbel
    from umbel.worker.options import Duty, Facts, WorkerOptions

logger = logging.getLogger("umbel.worker")

ASK = 5.0
"""Seconds to wait for the supervisor's answer."""


def main(index: int, options: WorkerOptions, pipe: Connection) -> None:
    """Run one child; returns when it has stopped."""
    _prepare_signals()
    lifeline.arm()
    _name_process(index)
    try:
        app = _load(options)
        telemetry.setup_logging(
            level=options.loglevel,
            logfile=options.log_path(index + 1),
            style=options.log_format,
            color=options.color,
            conf=app.conf,
        )
        facts = facts_of(app, options)
    except BaseException as error:  # noqa: BLE001 - the supervisor reports it
        _report_failure(pipe, error)
        return
    try:
        pipe.send(("hello", facts))
        word, *details = pipe.recv()
    except (EOFError, OSError):
        return  # the supervisor is gone
    if word == "go":
        Child(app, facts, index, pipe).serve(details[0], reduction.recv_handle(pipe))


def _load(options: WorkerOptions) -> Umbel:
    if preload.failure is not None:
        raise preload.failure
    app = preload.loaded
    if app is None:
        app = preload.load(options.app, workdir=options.workdir, include=options.include)
    if options.config:
        app.config_from_cmdline(options.config, "worker")
    return app


def _report_failure(pipe: Connection, error: BaseException) -> None:
    """Tell the supervisor why the application cannot be loaded, without our own frames."""
    found = blame(error)
    with contextlib.suppress(OSError):
        pipe.send(("failed", found.text, found.usage))


def _prepare_signals() -> None:
    """Leave all stopping to the supervisor, also where a signal hits the whole group."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    faulthandler.register(signal.SIGUSR2, all_threads=True, chain=False)


def _name_process(index: int) -> None:
    """Name the process for logs, and for ``ps`` where setproctitle is installed."""
    multiprocessing.current_process().name = f"child-{index}"
    with contextlib.suppress(ImportError):
        from setproctitle import setproctitle

        setproctitle(f"umbel: child {index}")


class Child:
    """One child at work.

    The first child of a worker leads: it sends the signals about the worker as a whole, which
    receivers of the application cannot get in a supervisor that does not import it.
    """

    def __init__(
        self,
        app: Umbel,
        facts: Facts,
        index: int,
        pipe: Connection,
    ) -> None:
        self.app = app
        self.facts = facts
        self.index = index
        self.leads = index == 0
        self.pipe = pipe
        self.node = ""
        self.engine: Engine
        self._stopping = threading.Event()
        self._how = "warm"
        self._send_lock = threading.Lock()
        self._ask_lock = threading.Lock()
        self._verdicts: SimpleQueue[tuple[str, dict[str, Any] | None]] = SimpleQueue()

    def serve(self, settings: dict[str, Any], board_fd: int) -> None:
        """Work until told to stop, or until it is time to be replaced."""
        shared = Board(settings["rows"], settings["slots"], board_fd)
        self.node = settings["duty"].node
        row = shared.row(self.index)
        self._listen_to_soft_limit(row)
        initial = self.leads and settings["initial"]
        if initial:
            signals.worker_init.send(sender=self)
            self.app.loader.on_worker_init()
        signals.worker_process_init.send(sender=self.node)
        self.app.loader.on_worker_process_init()
        try:
            self._start_engine(settings["duty"], row, shared)
        except UmbelError as error:
            self._say("unable", str(error), isinstance(error, OperationalError))
            return
        listener = threading.Thread(target=self._listen, name="umbel-control", daemon=True)
        listener.start()
        self.engine.beat()
        self._say("ready")
        if initial:
            signals.worker_ready.send(sender=self)
        self.engine.work()
        self._finish()

    def _start_engine(self, duty: Duty, row: Any, shared: Board) -> None:
        for queue in duty.declared:
            self.app.queues[queue.name] = queue  # a broadcast queue has another name here
        self.engine = Engine(
            self.app,
            duty,
            row,
            shared,
            has_expired=self._should_be_replaced if self._is_limited() else None,
            verdict_of=self._verdict_of,
        )
        self.engine.start()

    def _finish(self) -> None:
        done = self.engine.close()
        signals.worker_process_shutdown.send(sender=self.node, pid=os.getpid(), exitcode=0)
        if self._stopping.is_set() and self.leads:
            signals.worker_shutdown.send(sender=self)
            self.app.loader.on_worker_shutdown()
        self.app.disconnect()
        self._say("bye", done)
        logging.shutdown()

    # -- limits ----------------------------------------------------------------------------

    def _is_limited(self) -> bool:
        return bool(self.facts.max_tasks or self.facts.max_memory)

    def _should_be_replaced(self) -> bool:
        facts = self.facts
        if facts.max_tasks and self.engine.floor.executed >= facts.max_tasks:
            return True
        return bool(facts.max_memory and _memory() > facts.max_memory)

    def _listen_to_soft_limit(self, row: Any) -> None:
        """The supervisor's SIGUSR1: the main slot's task has passed its soft limit."""

        def soft_limit(_signum: int, _frame: FrameType | None) -> None:
            entry = row.entry(0)
            if entry is None or not entry.soft or time.monotonic() < entry.soft:
                return
            if not self.engine.floor.interruptible:
                return
            row.disarm_soft(0)
            raise SoftTimeLimitExceeded(round(entry.soft - entry.started, 3))

        signal.signal(signal.SIGUSR1, soft_limit)

    # -- the supervisor --------------------------------------------------------------------

    def _say(self, *words: Any) -> None:
        with self._send_lock, contextlib.suppress(OSError):
            self.pipe.send(words)

    def _verdict_of(self, task_id: str) -> dict[str, Any] | None:
        """What the supervisor has decided about a message somebody held before."""
        end = time.monotonic() + ASK
        with self._ask_lock:
            self._say("redelivered", task_id)
            while (left := end - time.monotonic()) > 0:
                try:
                    about, verdict = self._verdicts.get(timeout=left)
                except Empty:
                    break
                if about == task_id:
                    return verdict
        return None

    def _listen(self) -> None:
        """Do what the supervisor says; end with it."""
        while True:
            try:
                word, *details = self.pipe.recv()
            except (EOFError, OSError):
                os._exit(1)
            match word:
                case "stop":
                    self._stop(*details)
                case "forget":
                    self.engine.consumer.let_go()
                case "reconnect":
                    self.engine.consumer.reconnect()
                case "verdict":
                    self._verdicts.put(tuple(details))
                case "abandon":
                    self._say("abandoned", self.engine.abandon(*details))
                case _:
                    logger.warning("the supervisor said something unknown: %r", word)

    def _stop(self, how: str) -> None:
        if self.leads and not self._stopping.is_set():
            signals.worker_shutting_down.send(
                sender=self.node, sig="", how=how.capitalize(), exitcode=0
            )
        self._stopping.set()
        if how == "cold":
            self.engine.give_up()
            self._say("bye", True)
            logging.shutdown()
            os._exit(0)
        self.engine.consumer.stop()
        self.engine.end()


def _memory() -> int:
    """Resident memory of this process in KiB."""
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - twice as fast
            pages = int(file.read().split()[1])
    except OSError:
        usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return usage // 1024 if sys.platform == "darwin" else usage
    return pages * resource.getpagesize() // 1024
