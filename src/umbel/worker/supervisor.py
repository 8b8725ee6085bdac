"""The supervisor: keeps children running, their leases renewed and their limits enforced.

It imports no user code, so nothing in an application can stop it.  Everything it knows of the
application the first child has told it; everything it knows of running tasks it reads from the
board.  It acts on four things only: a child that said something, a child that died, a signal, and
the clock.  The broker is none of them: what is to be said to it is left to the `Keeper`.
"""

from __future__ import annotations

import logging
import math
import signal
import time
from multiprocessing import connection
from typing import TYPE_CHECKING, Any

from umbel import drivers
from umbel.exceptions import OperationalError
from umbel.identity import default_nodename, uuid7
from umbel.worker.aftermath import Aftermath, describe_exit
from umbel.worker.board import Board
from umbel.worker.docket import Docket
from umbel.worker.keeper import AWAY, Keeper
from umbel.worker.limits import Limits
from umbel.worker.nursery import Member, Nursery
from umbel.worker.options import Duty
from umbel.worker.orders import Orders
from umbel.worker.questions import Questions
from umbel.worker.stalls import Stalls
from umbel.worker.tries import Tries

if TYPE_CHECKING:
    from collections.abc import Callable

    from umbel.ports.broker import Broker, QueueStats
    from umbel.worker.board import Entry
    from umbel.worker.options import Facts, WorkerOptions

logger = logging.getLogger("umbel.worker")

TICK = 0.25
"""Seconds between looks at the board while nothing happens."""

FINE_TICK = 0.05
"""The same while some task has a time limit."""

BOOT_TIMEOUT = 60.0
COLD_GRACE = 2.0
MAX_EARLY_DEATHS = 5
FIRST_PAUSE, LAST_PAUSE = 0.1, 10.0
ENROLL_EVERY = 1.0

LEAVE = 10.0
"""Seconds the last words to the broker may take."""

EX_OK, EX_FAILURE, EX_UNAVAILABLE = 0, 1, 69


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
        self._me = f"{self.node}/supervisor/{uuid7()}"
        self._stopping = ""
        self._orders = Orders(self._show_stacks)
        self.keeper: Keeper
        self.docket: Docket | None = None
        self._limits: Limits
        self._stalls: Stalls
        self._questions: Questions
        self._cold_until = 0.0
        self._exit = EX_OK

    # -- start -----------------------------------------------------------------------------

    def run(self) -> int:
        """Start the children and keep them until told to stop; returns the exit code.

        Raises:
            StartFailure: the application cannot be loaded.
            OperationalError: the broker cannot be used.
        """
        self._orders.listen()
        try:
            first = self._boot_first()
            if not self._orders.stops and self._open(first):
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
            first, BOOT_TIMEOUT, lambda: bool(self._orders.stops)
        )
        if word != "hello":
            raise StartFailure(str(value), usage=bool(usage and usage[0]))
        self.facts = value
        return first

    def _open(self, first: Member) -> bool:
        """Connect to the broker, and let the first child and its siblings work.

        Returns False if the worker was told to stop before the broker could be reached.
        """
        facts = self.facts
        server = drivers.connect(facts.broker_url, facts.broker_options, facts.conf)
        if server.broker is None:
            msg = f"{facts.shown_broker} cannot be a broker"
            raise StartFailure(msg, usage=True)
        self.broker = server.broker
        if not self._reach_broker():
            return False
        count = 1 if facts.pool == "threads" else facts.concurrency
        self.board = Board(count, self._threads + facts.async_slots)
        self.members = [first, *(Member(index) for index in range(1, count))]
        self._begin_upkeep()
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
        return True

    def _reach_broker(self) -> bool:
        """Make ourselves known to the broker, as often as it takes; False if told to stop."""
        tries = Tries(self.facts.start_retry_limit)
        while not self._orders.stops:
            try:
                self._introduce()
            except OperationalError as error:
                pause = tries.fail()
                if pause is None:
                    raise
                logger.warning(AWAY, error, tries.shown, pause)
                connection.wait([self._orders.reader], timeout=pause)
            else:
                return True
        return False

    def _introduce(self) -> None:
        facts = self.facts
        self.broker.setup()
        self.broker.enroll(self._me, facts.lease)
        self.broker.declare(facts.declared, owner=self._me)
        if self.options.purge:
            for queue in facts.queues:
                self.broker.purge(queue)

    def _begin_upkeep(self) -> None:
        facts = self.facts
        self.keeper = Keeper(
            self.broker,
            facts,
            me=self._me,
            owners=lambda: [each.owner for each in self.members if each.owner and each.alive],
            on_lost=self._lost_lease,
            wake=self._orders.wake,
        )
        self.keeper.start()
        self.aftermath = Aftermath(self.broker, self._me, facts)
        self._questions = Questions(self.board)
        self._limits = Limits(
            self.board,
            slots=self._threads,
            soft=facts.pool == "prefork",
            on_overrun=self._overran,
        )
        self._stalls = Stalls(self.board, None if self.options.until_empty else facts.stall)
        if not self.broker.capabilities.leases:
            self.docket = Docket(
                self.broker, lambda: self.keeper, me=self._me, max_crashes=facts.max_crashes
            )
            self.docket.start()

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
        owner = f"{self.node}/{member.index}/{uuid7()}"
        process = member.process
        member.enroll_at = math.inf

        def enrolled(_answer: None, error: Exception | None) -> None:
            if member.process is not process:
                return  # it died meanwhile, and its lease ends by itself
            if error is None:
                self._let_go(member, owner)
            else:
                member.enroll_at = time.monotonic() + ENROLL_EVERY

        self.keeper.ask(lambda: self.broker.enroll(owner, self.facts.lease), enrolled)

    def _let_go(self, member: Member, owner: str) -> None:
        self.board.clear(member.index)
        member.owner = owner
        duty = Duty.of(self.facts, self.options, owner=owner, node=self.node, threads=self._threads)
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
            connection.wait([self._orders.reader, *sources], timeout=self._pause())
            self._orders.rest()
            for member in self.members:
                for word, *details in member.words():
                    self._hears(member, word, details)
            for member in self.members:
                if member.process is not None and not member.process.is_alive():
                    self._bury(member)
            now = time.monotonic()
            self.keeper.answers()
            self._questions.answer(now, self.members, self.docket)
            self._enforce(now)
            if not self._stopping:
                self._look_for_stalls(now)
                self._fill(now)
                self._end_if_given_up()

    def _pause(self) -> float:
        if self._questions.pending:
            return FINE_TICK
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
            case "redelivered":
                self._questions.put(member, details[0])
            case "unable":
                text, member.in_vain = details
                logger.error("child %d cannot work: %s", member.index, text)
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
            if member.alive and now >= member.enroll_at:
                self._let_work(member)
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
        """Decide about what a dead child held."""
        self.board.clear(member.index)
        owner, overrun, index = member.owner, member.abandoned, member.index
        charge = self._stopping != "cold"
        if self.docket is not None:
            self.docket.lost(entries if charge else (), code)
            self.keeper.ask(lambda: self.broker.retire(owner))
            return

        def settle() -> None:
            self.broker.enroll(self._me, self.facts.lease)
            self.aftermath.settle(owner, entries, code, overrun=overrun, charge=charge)

        def settled(_answer: None, error: Exception | None) -> None:
            if error is not None:
                logger.warning(
                    "cannot give back what child %d held (%s); its lease will end by itself",
                    index,
                    error,
                )

        self.keeper.ask(settle, settled)

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
        if member.in_vain:  # the broker is away; the keeper says for how long that is borne
            member.due = now + ENROLL_EVERY
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
            if member.alive and overdue:
                member.signal(signal.SIGKILL)
            if member.alive and member.ready:
                self._limits.enforce(member, now)

    def _overran(self, entry: Entry) -> None:
        if self.docket is not None:
            self.docket.overran(entry)

    # -- the broker ------------------------------------------------------------------------

    def _lost_lease(self, owner: str) -> None:
        for member in self.members:
            if member.owner == owner:
                member.tell("forget")

    def _end_if_given_up(self) -> None:
        if self.keeper.given_up is not None:
            logger.critical("the broker stays away (%s); giving up", self.keeper.given_up)
            self._exit = EX_UNAVAILABLE
            self._stop("warm")

    def _look_for_stalls(self, now: float) -> None:
        if self._stalls.is_due(now, self.members):
            self.keeper.ask(lambda: self.broker.stats(self.facts.queues), self._judge_stalls)

    def _judge_stalls(self, stats: list[QueueStats] | None, error: Exception | None) -> None:
        if error is not None or stats is None:
            return
        reconnect, replace = self._stalls.judge(self.members, stats)
        for member in reconnect:
            member.tell("reconnect")
        for member in replace:
            logger.error("child %d gets nothing although work waits; replacing it", member.index)
            member.signal(signal.SIGKILL)

    # -- stopping --------------------------------------------------------------------------

    def _show_stacks(self) -> None:
        for member in self.members:
            if member.alive:
                member.signal(signal.SIGUSR2)

    def _act_on_signals(self) -> None:
        while self._orders.stops:
            name = self._orders.stops.pop(0)
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
        self._take_leave()
        board = getattr(self, "board", None)
        if board is not None:
            board.close()
        self._orders.close()
        self._nursery.close()

    def _take_leave(self) -> None:
        """End what talks to the broker; one that does not answer is not waited for."""
        if self.docket is not None:
            self.docket.close(LEAVE)
        keeper = getattr(self, "keeper", None)
        if keeper is not None:
            keeper.ask(lambda: self.broker.retire(self._me))
            if keeper.close(LEAVE):
                self.broker.close()
