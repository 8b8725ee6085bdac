"""The supervisor: keeps children running, their leases renewed and their limits enforced.

It imports no user code, so nothing in an application can stop it.  Everything it knows of the
application the first child has told it; everything it knows of running tasks it reads from the
board.  It acts on four things only: a child that said something, a child that died, a signal, and
the clock.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from multiprocessing import connection
from typing import TYPE_CHECKING, Any

from umbel import drivers
from umbel.exceptions import LeaseLost, OperationalError, StoreError
from umbel.identity import default_nodename, uuid7
from umbel.worker.aftermath import Aftermath, describe_exit
from umbel.worker.board import Board
from umbel.worker.nursery import Member, Nursery
from umbel.worker.options import Duty

if TYPE_CHECKING:
    from collections.abc import Callable

    from umbel.ports.broker import Broker
    from umbel.worker.board import Entry
    from umbel.worker.options import Facts, WorkerOptions

logger = logging.getLogger("umbel.worker")

TICK = 0.25
"""Seconds between looks at the board while nothing happens."""

FINE_TICK = 0.05
"""The same while some task has a time limit."""

BOOT_TIMEOUT = 60.0
ABANDON_GRACE = 0.5
COLD_GRACE = 2.0
MAX_EARLY_DEATHS = 5
FIRST_PAUSE, LAST_PAUSE = 0.1, 10.0
PROMOTE_EVERY = 1.0

EX_OK, EX_FAILURE = 0, 1


class StartFailure(Exception):  # noqa: N818 - it ends in a sentence for the user, not a traceback
    """The application could not be loaded; the text says why.

    ``usage`` is True where a name or setting is wrong, False where the user's code raised.
    """

    def __init__(self, text: str, *, usage: bool = False) -> None:
        super().__init__(text)
        self.usage = usage


class Supervisor:
    """Runs a worker of several processes; `run` returns its exit code.

    ``on_open(facts, node)`` is called when the application is known, ``on_ready(node)`` when all
    children take tasks.
    """

    def __init__(
        self,
        options: WorkerOptions,
        *,
        on_open: Callable[[Facts, str], None],
        on_ready: Callable[[str], None],
    ) -> None:
        self.options = options
        self._on_open = on_open
        self._on_ready = on_ready
        self._all_ready = False
        self.node = default_nodename(options.hostname)
        self.facts: Facts
        self.broker: Broker
        self.board: Board
        self.members: list[Member] = []
        self._nursery = Nursery(options)
        self._me = f"supervisor/{uuid7()}"
        self._stopping = ""
        self._stop_asked: list[str] = []
        self._wake_r, self._wake_w = os.pipe()
        self._renew_at = 0.0
        self._promote_at = 0.0
        self._cold_until = 0.0
        self._exit = EX_OK

    # -- start -----------------------------------------------------------------------------

    def run(self) -> int:
        """Start the children and keep them until told to stop; returns the exit code.

        Raises:
            StartFailure: the application cannot be loaded.
            OperationalError: the broker cannot be used.
        """
        self._catch_signals()
        try:
            first = self._boot_first()
            if not self._stop_asked:
                self._open(first)
                self._serve()
        finally:
            self._clean_up()
        return self._exit

    def _boot_first(self) -> Member:
        """Start the fork server and the first child, and hear what application it has."""
        self._nursery.open()
        first = Member(0)
        self.members = [first]
        word, value, *usage = self._nursery.first_words(
            first, BOOT_TIMEOUT, lambda: bool(self._stop_asked)
        )
        if word != "hello":
            raise StartFailure(str(value), usage=bool(usage and usage[0]))
        self.facts = value
        return first

    def _open(self, first: Member) -> None:
        """Connect to the broker, and let the first child and its siblings work."""
        facts = self.facts
        server = drivers.connect(facts.broker_url, facts.broker_options)
        if server.broker is None:
            msg = f"{facts.shown_broker} cannot be a broker"
            raise StartFailure(msg, usage=True)
        self.broker = server.broker
        self.broker.setup()
        if self.options.purge:
            for queue in facts.queues:
                self.broker.purge(queue)
        self.aftermath = Aftermath(self.broker, self._me, facts)
        self.broker.enroll(self._me, facts.lease)
        count = 1 if facts.pool == "threads" else facts.concurrency
        self.board = Board(count, self._threads + facts.async_slots)
        self.members = [first, *(Member(index) for index in range(1, count))]
        for text in facts.warnings:
            logger.warning("%s", text)
        if facts.threads_after_import:
            self._replace_forked(first)
        else:
            self._let_work(first)
        for member in self.members[1:]:
            self._nursery.fill(member)
        self._on_open(facts, self.node)
        reaped = self.broker.reap()
        if reaped:
            logger.info("%d messages of workers that are gone are back in their queues", reaped)

    def _replace_forked(self, first: Member) -> None:
        """Give up the forked first child: the server it came from has threads."""
        logger.warning(
            "the application starts threads when it is imported (%s); children are started anew "
            "instead of forked, so that none inherits a lock",
            ", ".join(self.facts.threads_after_import),
        )
        first.signal(signal.SIGKILL)
        first.leave()
        self._nursery.spawn_from_now_on()
        self._nursery.fill(first)

    @property
    def _threads(self) -> int:
        return self.facts.concurrency if self.facts.pool == "threads" else 1

    def _let_work(self, member: Member) -> None:
        """Give a child its owner and its row, and let it go."""
        facts = self.facts
        owner = f"{self.node}/{member.index}/{uuid7()}"
        self.board.clear(member.index)
        try:
            self.broker.enroll(owner, facts.lease)
        except (OperationalError, StoreError) as error:
            logger.warning("child %d cannot be enrolled (%s)", member.index, error)
            member.signal(signal.SIGKILL)
            return
        member.owner = owner
        duty = Duty.of(facts, self.options, owner=owner, node=self.node, threads=self._threads)
        settings = {
            "rows": self.board.rows,
            "slots": self.board.slots,
            "duty": duty,
            "initial": not self._all_ready,
        }
        member.tell("go", settings)
        member.hand_over(self.board.fd)

    # -- service ---------------------------------------------------------------------------

    def _serve(self) -> None:
        """Everything that happens after the start, until no child is left."""
        while not self._finished():
            self._act_on_signals()
            sources = [source for member in self.members for source in member.sources()]
            connection.wait([self._wake_r, *sources], timeout=self._pause())
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_r, 512)
            for member in self.members:
                for word, *details in member.words():
                    self._hears(member, word, details)
            for member in self.members:
                if member.process is not None and not member.process.is_alive():
                    self._bury(member)
            now = time.monotonic()
            self._enforce(now)
            self._upkeep(now)
            if not self._stopping:
                self._fill(now)

    def _pause(self) -> float:
        limited = any(
            entry.soft or entry.hard
            for member in self.members
            if member.ready
            for entry in self.board.row(member.index).entries()
        )
        return FINE_TICK if limited else TICK

    def _finished(self) -> bool:
        """Whether nothing is left to watch: everybody stopped, or left for good."""
        if any(member.alive for member in self.members):
            return False
        return bool(self._stopping) or self.options.until_empty

    def _hears(self, member: Member, word: str, details: list[Any]) -> None:
        match word:
            case "hello":
                self._let_work(member)
            case "ready":
                member.ready = True
                if not self._all_ready and all(each.ready for each in self.members):
                    self._all_ready = True
                    self._on_ready(self.node)
            case "failed":
                logger.error("a child could not load the application:\n%s", details[0])
            case "bye":
                member.stopping = True
            case "abandoned":
                member.abandoned_at = 0.0

    def _fill(self, now: float) -> None:
        """Put new children in places that have become free."""
        for member in self.members:
            if member.alive or now < member.due or self.options.until_empty:
                continue
            if not self._nursery.fill(member):
                self._schedule(member, served=False)

    # -- death -----------------------------------------------------------------------------

    def _bury(self, member: Member) -> None:
        """A child is gone: what it held goes on elsewhere, and its place is filled again."""
        for word, *details in member.words():
            self._hears(member, word, details)
        pid, served = member.pid, member.ready
        code = member.leave()
        entries = list(self.board.row(member.index).entries()) if member.owner else []
        expected = member.stopping and not entries
        if not expected and member.abandoned is None:
            logger.error("child %d (pid %s) %s", member.index, pid, describe_exit(code))
        if member.owner:
            self._settle_estate(member, entries, code)
        self._schedule(member, served=served)

    def _settle_estate(self, member: Member, entries: list[Entry], code: int | None) -> None:
        self.board.clear(member.index)
        overrun = member.abandoned
        cold = self._stopping == "cold"
        try:
            self.broker.enroll(self._me, self.facts.lease)
            self.aftermath.settle(member.owner, entries, code, overrun=overrun, charge=not cold)
        except (OperationalError, StoreError) as error:
            logger.warning(
                "cannot give back what child %d held (%s); its lease will end by itself",
                member.index,
                error,
            )

    def _schedule(self, member: Member, *, served: bool) -> None:
        """Decide when the place is filled again: at once, but later if children never get ready.

        A child that died at work says nothing against its successor: the task that killed it is
        counted, and ends in the dead letters.
        """
        now = time.monotonic()
        if served:
            member.early_deaths = 0
            member.due = now
            return
        member.early_deaths += 1
        member.due = now + min(FIRST_PAUSE * 2 ** (member.early_deaths - 1), LAST_PAUSE)
        if member.early_deaths >= MAX_EARLY_DEATHS and not any(m.ready for m in self.members):
            logger.critical("%d children in a row died before they were ready", member.early_deaths)
            self._exit = EX_FAILURE
            self._stop("warm")

    # -- limits ----------------------------------------------------------------------------

    def _enforce(self, now: float) -> None:
        overdue = self._stopping == "cold" and now > self._cold_until
        for member in self.members:
            if not member.alive:
                continue
            if overdue:
                member.signal(signal.SIGKILL)
            if not member.ready:
                continue
            if member.abandoned is not None:
                self._finish_abandoned(member, now)
                continue
            for entry in self.board.row(member.index).entries():
                if entry.slot < self._threads:
                    self._enforce_entry(member, entry, now)

    def _enforce_entry(self, member: Member, entry: Entry, now: float) -> None:
        if entry.hard and now >= entry.hard:
            member.abandoned, member.abandoned_at = entry.task_id, now
            member.tell("abandon", entry.task_id)
        elif entry.soft and now >= entry.soft and self.facts.pool == "prefork":
            member.signal(signal.SIGUSR1)

    def _finish_abandoned(self, member: Member, now: float) -> None:
        """Kill a child whose task passed its hard limit, once it has cleaned up or cannot."""
        if member.abandoned_at == 0.0 or now - member.abandoned_at > ABANDON_GRACE:
            member.signal(signal.SIGKILL)

    # -- upkeep ----------------------------------------------------------------------------

    def _upkeep(self, now: float) -> None:
        """Renew leases, let due messages join their queues, give back what the dead held."""
        try:
            if now >= self._renew_at:
                self._renew_at = now + self.facts.lease / 3
                self._renew()
            if now >= self._promote_at:
                due = self.broker.promote()
                self._promote_at = now + min(PROMOTE_EVERY, due or PROMOTE_EVERY)
        except (OperationalError, StoreError) as error:
            self._renew_at = self._promote_at = now + 1.0
            logger.warning("cannot renew leases (%s); trying again", error)

    def _renew(self) -> None:
        owners = {member.owner: member for member in self.members if member.owner and member.alive}
        held = self.broker.extend([*owners, self._me], self.facts.lease)
        for owner in owners.keys() - held:
            logger.warning("the lease of %s had ended; it is taken anew", owner)
            self.broker.enroll(owner, self.facts.lease)
            owners[owner].tell("forget")
        if self._me not in held:
            self.broker.enroll(self._me, self.facts.lease)
        self.broker.reap()

    # -- stopping --------------------------------------------------------------------------

    def _catch_signals(self) -> None:
        os.set_blocking(self._wake_w, False)
        os.set_blocking(self._wake_r, False)
        for name in ("SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP"):
            signal.signal(getattr(signal, name), self._asked_to_stop)
        signal.signal(signal.SIGUSR1, self._asked_for_stacks)

    def _asked_to_stop(self, signum: int, _frame: Any) -> None:
        name = signal.Signals(signum).name
        if name == "SIGTERM" and os.environ.get("REMAP_SIGTERM") == "SIGQUIT":
            name = "SIGQUIT"
        self._stop_asked.append(name)
        self._wake()

    def _asked_for_stacks(self, _signum: int, _frame: Any) -> None:
        for member in self.members:
            if member.alive:
                member.signal(signal.SIGUSR2)

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_w, b"!")

    def _act_on_signals(self) -> None:
        while self._stop_asked:
            name = self._stop_asked.pop(0)
            if name == "SIGQUIT" or (name == "SIGINT" and self._stopping):
                self._stop("cold")
            elif not self._stopping:
                self._stop("warm")
                self._say_stopping(name)

    def _say_stopping(self, name: str) -> None:
        running = sum(
            1
            for member in self.members
            if member.alive
            for _ in self.board.row(member.index).entries()
        )
        if running:
            hint = "; Ctrl-C again to stop now" if name == "SIGINT" else ""
            logger.warning("finishing %d running tasks%s", running, hint)

    def _stop(self, how: str) -> None:
        if self._stopping == "cold":
            return
        self._stopping = how
        if how == "cold":
            self._exit = EX_FAILURE
            self._cold_until = time.monotonic() + COLD_GRACE
        for member in self.members:
            if not member.alive:
                continue
            member.stopping = True
            member.tell("stop", how)
            if not member.ready and not member.owner:
                member.signal(signal.SIGKILL)

    def _clean_up(self) -> None:
        """Leave no process, lease or descriptor behind."""
        for member in self.members:
            if member.alive:
                member.stopping = True
                member.signal(signal.SIGKILL)
                self._bury(member)
        broker = getattr(self, "broker", None)
        if broker is not None:
            with contextlib.suppress(OperationalError, StoreError, LeaseLost):
                broker.retire(self._me)
            broker.close()
        board = getattr(self, "board", None)
        if board is not None:
            board.close()
        os.close(self._wake_r)
        os.close(self._wake_w)
        self._nursery.close()
