"""The solo pool: one process that is worker and supervisor in one.

For debugging, for machines without fork or shared memory, and for tests, where a worker runs in a
thread beside the test.  Leases are renewed by a thread of the same process, so a task that holds
the interpreter lock for longer than the lease may run twice; time limits of ``def`` tasks are not
enforced.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from umbel import signals, telemetry
from umbel.exceptions import OperationalError, StoreError, UmbelError
from umbel.identity import default_nodename, uuid7
from umbel.worker import preload
from umbel.worker.board import Board
from umbel.worker.engine import Engine
from umbel.worker.facts import facts_of
from umbel.worker.keeper import AWAY
from umbel.worker.options import Duty
from umbel.worker.tries import Tries

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from umbel.app import Umbel
    from umbel.ports.broker import Broker
    from umbel.worker.options import Facts, WorkerOptions

logger = logging.getLogger("umbel.worker")

BETWEEN_PROMOTIONS = 0.5
EX_UNAVAILABLE = 69


class SoloWorker:
    """A worker inside this process; as a context manager it works in a thread of its own."""

    def __init__(self, app: Umbel, options: WorkerOptions) -> None:
        self.app = app
        self.options = options
        self.facts: Facts = facts_of(app, options)
        self.node = default_nodename(options.hostname)
        self._owner = f"{self.node}/solo/{uuid7()}"
        self._over = threading.Event()
        self._asked_to_stop = threading.Event()
        self.given_up = False
        self._thread: threading.Thread | None = None
        self._keeper = threading.Thread(target=self._keep, name="umbel-lease", daemon=True)
        facts = self.facts
        self._board = Board(1, 1 + facts.async_slots)
        duty = Duty.of(facts, options, owner=self._owner, node=self.node)
        self.engine = Engine(app, duty, self._board.row(0), self._board)

    def run(self, on_ready: Callable[[str], None] = lambda _: None) -> None:
        """Work in this thread until `stop` is called, or until the queues are empty if asked."""
        self.start()
        on_ready(self.node)
        try:
            self.engine.work()
        finally:
            self.close()

    def start(self) -> None:
        """Start everything but the slot itself."""
        broker = self.app.broker
        if self.options.purge:
            for queue in self.facts.queues:
                broker.purge(queue)
        broker.enroll(self._owner, self.facts.lease)
        signals.worker_init.send(sender=self)
        self.app.loader.on_worker_init()
        signals.worker_process_init.send(sender=self.node)
        self.app.loader.on_worker_process_init()
        self._keeper.start()
        self.engine.start()
        signals.worker_ready.send(sender=self)

    def stop(self) -> None:
        """End after the task that runs; safe to call from any thread and from a signal handler."""
        self._asked_to_stop.set()
        self.engine.end()

    def reach_broker(self) -> bool:
        """Wait for the broker, as often as the settings say; False if told to stop meanwhile.

        Raises:
            OperationalError: it stayed away.
        """
        tries = Tries(self.facts.start_retry_limit)
        while not self._asked_to_stop.is_set():
            try:
                self.app.broker.setup()
            except OperationalError as error:
                pause = tries.fail()
                if pause is None:
                    raise
                logger.warning(AWAY, error, tries.shown, pause)
                self._asked_to_stop.wait(pause)
            else:
                return True
        return False

    def close(self) -> None:
        """Give back what has not started and settle the rest."""
        self.engine.close()
        self._over.set()
        self._keeper.join(5.0)
        with suppress(OperationalError, StoreError):
            self.app.broker.retire(self._owner)
        signals.worker_process_shutdown.send(sender=self.node, pid=None, exitcode=0)
        signals.worker_shutdown.send(sender=self)
        self.app.loader.on_worker_shutdown()
        self._board.close()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._work, name="umbel-solo", daemon=True)
        self.start()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        if self._thread is not None:
            self._thread.join()
        self.close()

    def _work(self) -> None:
        self.app.set_current()
        self.engine.work()

    def _keep(self) -> None:
        """Renew the lease, and let due messages join their queues."""
        broker, lease = self.app.broker, self.facts.lease
        tries = Tries(self.facts.retry_limit)
        renew_at = 0.0
        pause: float | None = min(BETWEEN_PROMOTIONS, lease / 3)
        while not self._over.wait(pause):
            try:
                broker.promote()
                if time.monotonic() >= renew_at:
                    self._renew(broker, lease)
                    renew_at = time.monotonic() + lease / 3
            except UmbelError as error:
                pause = tries.fail()
                if pause is None:
                    logger.critical("the broker stays away (%s); giving up", error)
                    self.given_up = True
                    self.stop()
                    return
                logger.warning(AWAY, error, tries.shown, pause)
            else:
                tries.succeed()
                pause = min(BETWEEN_PROMOTIONS, lease / 3)

    def _renew(self, broker: Broker, lease: float) -> None:
        if not broker.capabilities.leases:
            broker.stats(self.facts.queues[:1])  # a word, to learn whether it is there
            return
        if self._owner not in broker.extend([self._owner], lease):
            broker.enroll(self._owner, lease)
        broker.reap()


def run(
    options: WorkerOptions,
    *,
    on_open: Callable[[Facts, str], None],
    on_ready: Callable[[str], None],
) -> int:
    """Load the application into this process and work until told to stop; returns the exit code.

    Raises:
        ImproperlyConfigured: the application cannot be found, or its settings cannot work.
    """
    app = preload.load(options.app, workdir=options.workdir, include=options.include)
    if options.config:
        app.config_from_cmdline(options.config, "worker")
    telemetry.setup_logging(
        level=options.loglevel,
        logfile=options.log_path(),
        style=options.log_format,
        color=options.color,
        conf=app.conf,
    )
    worker = SoloWorker(app, options)

    def stop(_signum: int, _frame: Any) -> None:
        worker.stop()

    for name in ("SIGTERM", "SIGINT"):
        signal.signal(getattr(signal, name), stop)
    on_open(worker.facts, worker.node)
    try:
        if worker.reach_broker():
            worker.run(on_ready)
    finally:
        app.disconnect()
    return EX_UNAVAILABLE if worker.given_up else 0
