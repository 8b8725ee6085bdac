"""Wake-ups between processes: notifications, for all who wait in this process.

Who waits writes itself into the table `waiting`, and looks for messages after that is committed;
who brings something looks into `waiting` after its own commit, takes the names off the list and
notifies those.  Whichever commits first, the other sees it: no wake-up falls between looking and
waiting, and while nobody waits nobody is notified.  (A notification in the publishing transaction
itself would be simpler, but PostgreSQL lets only one transaction of a database that notifies
commit at a time: all publishers would queue up for the disk.)  Whoever publishes within a
transaction of the user's cannot look after its commit, and notifies everybody of the queue.

A notification says "look", and whoever gets one looks.  One that is lost costs a polling interval.

One thread of the process waits at one connection.  Behind a pooler there is no connection to wait
at; those who wait look around often instead.
"""

from __future__ import annotations

import os
import select
import threading
import time
from contextlib import suppress
from itertools import count
from secrets import randbits, token_hex
from typing import TYPE_CHECKING, Protocol

import psycopg

from umbel.drivers.postgres import forks, schema
from umbel.drivers.postgres.link import Link, TooSlowError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from umbel.drivers.postgres.store import Store

CHANNEL = "umbel_"
FORGET_MAILBOX = "DELETE FROM umbel.waiting WHERE mailbox = %b"

_SHORTEST_LOOK = 0.02
_LONGEST_LOOK = 0.5
# Seconds for which the thread stays though nobody waits.
_IDLE = 10.0
_FIRST_PAUSE, _LAST_PAUSE = 0.1, 5.0
_CHECKED = 30.0
_CONNECTING = 3.0


class Hearing(Protocol):
    """What hears of everything else."""

    def heard(self, tickets: Collection[int], /) -> None:
        """These were notified; must not raise."""
        ...

    def tick(self) -> float | None:
        """Look if it is time; returns in how many seconds it is again, None if nobody waits."""
        ...

    def is_needed(self) -> bool:
        """Whether anybody waits."""
        ...


class Bell:
    """Wakes one who waits.

    Attributes:
        ticket: its name.
        topics: what it wants to hear of.
        mailbox: the one under which it stands in the table, as far as it knows; or None.
        enlisted: whether it was ever written there.
    """

    def __init__(self, ticket: int, topics: Collection[str]) -> None:
        self.ticket = ticket
        self.topics = frozenset(topics)
        self.mailbox: str | None = None
        self.enlisted = False
        self._interrupted = False
        self._rung = threading.Event()
        self._look = _SHORTEST_LOOK

    def wait(self, seconds: float) -> bool:
        """Block until it is rung, at most ``seconds``; whether it was."""
        rung = self._rung.wait(max(seconds, 0.0))
        self._rung.clear()
        return rung

    def pause(self, seconds: float) -> None:
        """As `wait`, for one whom nobody can notify: not for long."""
        self.wait(min(seconds, self._look))
        self._look = min(self._look * 1.5, _LONGEST_LOOK)

    def interrupt(self) -> None:
        """End the wait for good."""
        self._interrupted = True
        self._rung.set()

    def is_interrupted(self) -> bool:
        """Whether the wait is to end."""
        return self._interrupted

    def ring(self) -> None:
        """Wake who waits, or who waits next."""
        self._rung.set()


class Bells:
    """The bells of one role, and how all of them are interrupted at once."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self.after_fork()
        forks.register(self)

    def after_fork(self) -> None:
        """Nobody waits in the child yet."""
        self._lock = threading.Lock()
        self._waiting: set[Bell] = set()
        self._interrupt_next = False

    def take(self, topics: Collection[str]) -> Bell:
        """A bell for one who is about to wait."""
        bell = self._listener.add(topics)
        with self._lock:
            self._waiting.add(bell)
            if self._interrupt_next:
                self._interrupt_next = False
                bell.interrupt()
        return bell

    def give_back(self, bell: Bell) -> None:
        """The wait is over."""
        with self._lock:
            self._waiting.discard(bell)
        self._listener.remove(bell)

    def interrupt(self) -> None:
        """End all waits; if there is none, the next one."""
        with self._lock:
            self._interrupt_next = not self._waiting
            for bell in self._waiting:
                bell.interrupt()


class Listener:
    """The thread that waits for notifications, as long as anybody needs it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._hub: Hearing | None = None
        self._begin()
        forks.register(self)

    def _begin(self) -> None:
        self._lock = threading.Condition()
        self._bells: dict[int, Bell] = {}
        self._run: _Run | None = None
        self._tickets = count(randbits(62))

    def after_fork(self) -> None:
        """The thread and its connection are the parent's."""
        if self._run is not None:
            self._run.leave()
        self._begin()

    def serve(self, hub: Hearing) -> None:
        """Hand on to ``hub`` what is no bell's."""
        self._hub = hub

    def ticket(self) -> int:
        """A name for one who waits, which no other has."""
        return next(self._tickets) & (2**63 - 1)

    # -- who waits -------------------------------------------------------------------------

    def add(self, topics: Collection[str]) -> Bell:
        """A bell that is rung by notifications."""
        bell = Bell(self.ticket(), topics)
        with self._lock:
            self._bells[bell.ticket] = bell
        return bell

    def remove(self, bell: Bell) -> None:
        """Nobody waits for this bell any more."""
        with self._lock:
            self._bells.pop(bell.ticket, None)

    def mailbox(self, seconds: float) -> str | None:
        """Where this process is notified, waited for up to ``seconds``; None if nowhere."""
        if not self._store.options.listen:
            return None
        run = self.run()
        run.ready.wait(max(seconds, 0.0))
        return run.mailbox

    def current(self) -> str | None:
        """Where this process is notified now; None if nowhere."""
        run = self._run
        return run.mailbox if run is not None else None

    def run(self) -> _Run:
        """The thread, which is started if there is none."""
        with self._lock:
            if self._run is None or not self._run.thread.is_alive():
                self._run = _Run(self, self._store)
                self._run.thread.start()
            return self._run

    def close(self) -> None:
        """End the thread if nobody waits; else it ends some time after the last."""
        with self._lock:
            run = self._run
            if run is None or self._bells or (self._hub is not None and self._hub.is_needed()):
                return
            self._run = None
        run.end()

    # -- for the thread --------------------------------------------------------------------

    def is_idle(self, run: _Run, idle_since: float) -> bool:
        """Whether the thread is to end; it is then nobody's any more."""
        with self._lock:
            if self._run is not run:
                return True
            if self._bells or time.monotonic() - idle_since < _IDLE:
                return False
            self._run = None
            return True

    def has_bells(self) -> bool:
        """Whether anybody waits for a bell."""
        return bool(self._bells)

    def dispatch(self, payloads: Sequence[str]) -> None:
        """Wake those who are meant."""
        others: list[int] = []
        with self._lock:
            for payload in payloads:
                if payload[:1] == "q" or not payload:
                    self._ring_topic(payload)
                    continue
                for text in payload.split():
                    ticket = int(text) if text.isdecimal() else 0
                    bell = self._bells.get(ticket)
                    if bell is None:
                        others.append(ticket)
                    else:
                        bell.mailbox = None
                        bell.ring()
        if others and self._hub is not None:
            self._hub.heard(others)

    def _ring_topic(self, topic: str) -> None:
        for bell in self._bells.values():
            if not topic or topic in bell.topics:
                bell.ring()

    def ring_all(self) -> None:
        """Nobody knows what was missed: have all look."""
        with self._lock:
            for bell in self._bells.values():
                bell.mailbox = None
                bell.ring()

    def tick(self) -> float | None:
        """Let the hub look if it is time; returns the seconds until it is again, None if never."""
        return self._hub.tick() if self._hub is not None else None


class _Run:
    """One life of the thread.

    Attributes:
        mailbox: where it is notified; None while it is not.
        ready: set once that is known.
    """

    def __init__(self, listener: Listener, store: Store) -> None:
        self._listener = listener
        self._store = store
        self.mailbox: str | None = None
        self.ready = threading.Event()
        self._ended = False
        self._wake_r, self._wake_w = os.pipe()
        os.set_blocking(self._wake_r, False)
        os.set_blocking(self._wake_w, False)
        self.thread = threading.Thread(target=self._live, name="umbel-postgres-listen", daemon=True)

    def wake(self) -> None:
        """Have the thread look up."""
        with suppress(OSError):
            os.write(self._wake_w, b"w")

    def end(self) -> None:
        """End the thread."""
        self._ended = True
        self.wake()
        if self.thread is not threading.current_thread():
            self.thread.join()

    def leave(self) -> None:
        """In a forked child: the pipe was copied, and is of no use."""
        for number in (self._wake_r, self._wake_w):
            with suppress(OSError):
                os.close(number)

    def _live(self) -> None:
        pause = _FIRST_PAUSE
        idle_since = time.monotonic()
        try:
            while not self._ended:
                link = self._connected()
                if link is not None:
                    pause = _FIRST_PAUSE
                    idle_since = self._listen(link, idle_since)
                    self._lost(link)
                else:
                    self.ready.set()
                    idle_since = self._rest(pause, idle_since)
                    pause = min(pause * 2, _LAST_PAUSE)
                if self._listener.is_idle(self, idle_since):
                    break
        finally:
            self.ready.set()
            for number in (self._wake_r, self._wake_w):
                os.close(number)

    def _connected(self) -> Link | None:
        """A connection that listens, or None if there can be none now."""
        if not self._store.options.listen:
            return None
        try:
            link = self._store.open(until=time.monotonic() + _CONNECTING)
        except (psycopg.Error, TooSlowError):
            return None
        try:
            if link.pgconn.backend_pid == link.one("SELECT pg_backend_pid()")[0]:
                mailbox = token_hex(8)
                everybody = schema.everybody(self._store.options.schema)
                link.execute(f'LISTEN "{CHANNEL}{mailbox}"'.encode())
                link.execute(f'LISTEN "{everybody}"'.encode())
                self.mailbox = mailbox
                self.ready.set()
                return link
        except (psycopg.Error, TooSlowError):
            pass
        self._drop(link)
        return None

    def _drop(self, link: Link) -> None:
        link.drop()
        self._store.forget(link)

    def _lost(self, link: Link) -> None:
        """The connection is over: whoever stands in the table under its name stands there in vain.

        Their entries are taken away here if the server lets us; if not, they cost a wake-up each.
        """
        mailbox, self.mailbox = self.mailbox, None
        self.ready.clear()
        link.until = time.monotonic() + 1.0
        with suppress(psycopg.Error, TooSlowError):
            link.execute(self._store.sql(FORGET_MAILBOX).encode(), (mailbox,))
        self._drop(link)
        self._listener.ring_all()

    def _listen(self, link: Link, idle_since: float) -> float:
        """Hand on notifications until the connection or the thread ends; since when it is idle."""
        asked = self._listener.tick()
        while not self._ended:
            now = time.monotonic()
            if asked is not None or self._listener.has_bells():
                idle_since = now
            elif self._listener.is_idle(self, idle_since):
                self._ended = True
                break
            pause = min(_CHECKED if asked is None else asked, _IDLE)
            found = self._wait([link.pgconn.socket], pause)
            link.until = time.monotonic() + self._store.options.call_timeout
            try:
                if link.pgconn.socket in found:
                    self._listener.dispatch(self._received(link))
                elif not found and now - link.idle_since > _CHECKED:
                    link.idle_since = now
                    link.execute("SELECT 1")
            except (psycopg.Error, TooSlowError):
                break
            asked = self._listener.tick()
        return idle_since

    def _received(self, link: Link) -> list[str]:
        link.pgconn.consume_input()
        payloads = []
        while (note := link.pgconn.notifies()) is not None:
            payloads.append(note.extra.decode("utf-8", "replace"))
        return payloads

    def _rest(self, pause: float, idle_since: float) -> float:
        """Without a connection: those who wait for results look by themselves."""
        asked = self._listener.tick()
        if asked is not None or self._listener.has_bells():
            idle_since = time.monotonic()
        self._wait([], min(pause, pause if asked is None else max(asked, 0.02)))
        return idle_since

    def _wait(self, sockets: list[int], seconds: float) -> list[int]:
        poll = select.poll()
        for number in (self._wake_r, *sockets):
            poll.register(number, select.POLLIN)
        found = [number for number, _ in poll.poll(max(seconds, 0.0) * 1000)]
        if self._wake_r in found:
            with suppress(OSError):
                while os.read(self._wake_r, 4096):
                    pass
        return [number for number in found if number != self._wake_r]
