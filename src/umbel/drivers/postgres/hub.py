"""Waiting for results: who is called back when a state becomes final.

Whoever waits is written into the table `waiting` under a ticket, and looks once after that; the
listening thread looks for those whose ticket was notified, and every few seconds for all, in case
a notification got lost.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING

from umbel.drivers.postgres import arrivals, forks, results
from umbel.exceptions import UmbelError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from umbel.drivers.postgres.link import Link
    from umbel.drivers.postgres.store import Store
    from umbel.message import StoredResult

_LONGEST_POLL = 5.0
_SHORTEST_LOOK = 0.02
# Seconds after which an entry in the list of those who wait is written anew.
_RENEWED = 600.0


class Hub:
    """Calls back when states become final.

    After a fork the child has a hub of its own, and none of those who wait in the parent.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._begin()
        store.listener.serve(self)
        forks.register(self)

    def _begin(self) -> None:
        self._lock = Lock()
        self._watched: dict[str, list[Callable[[StoredResult], None]]] = {}
        self._tickets: dict[int, str] = {}
        self._ticket_of: dict[str, int] = {}
        self._mailbox: str | None = None
        self._serving = False
        self._look_at = self._renew_at = 0.0
        self._pause = _SHORTEST_LOOK

    def after_fork(self) -> None:
        """Nobody waits in the child yet."""
        self._begin()

    # -- who waits -------------------------------------------------------------------------

    def watch(
        self, ids: Collection[str], callback: Callable[[StoredResult], None]
    ) -> Callable[[], None]:
        """Call back for each of ``ids``; returns what ends that."""
        with self._lock:
            for task_id in ids:
                self._watched.setdefault(task_id, []).append(callback)
            self._pause = _SHORTEST_LOOK

        def cancel() -> None:
            self._cancel(ids, callback)

        try:
            mailbox = self.run()
            if mailbox is not None:
                self._enlist(mailbox, ids)
            self._look(ids)
        except BaseException:
            cancel()
            raise
        return cancel

    def run(self) -> str | None:
        """See to it that the thread serves; returns where it is notified, None if nowhere."""
        self._serving = True
        listener = self._store.listener
        mailbox = listener.mailbox(self._store.options.call_timeout)
        if mailbox is None:
            listener.run()
        return mailbox

    def _enlist(self, mailbox: str, ids: Collection[str]) -> None:
        with self._lock:
            tickets = {
                task_id: self._ticket_of.get(task_id) or self._store.listener.ticket()
                for task_id in ids
                if task_id in self._watched
            }
            for task_id, ticket in tickets.items():
                self._tickets[ticket] = task_id
                self._ticket_of[task_id] = ticket
            self._mailbox = mailbox
        given = {
            "mailbox": mailbox,
            "owner": "",
            "topics": [results.topic(task_id) for task_id in tickets],
            "tickets": list(tickets.values()),
        }
        if tickets:
            statement = self._store.sql(arrivals.LISTEN)
            self._store.run(lambda link: link.count(statement, given))

    def _cancel(self, ids: Collection[str], callback: Callable[[StoredResult], None]) -> None:
        with self._lock:
            gone = [ticket for task_id in ids if (ticket := self._drop(task_id, callback))]
        if gone:
            # An entry that stays costs a notification and is pruned.
            statement = self._store.sql(arrivals.STOP_LISTENING)
            arrivals.quietly(self._store, lambda link: link.count(statement, (gone,)))

    def _drop(self, task_id: str, callback: Callable[[StoredResult], None]) -> int | None:
        """Forget one callback; the ticket if nobody waits for the task any more."""
        callbacks = self._watched.get(task_id)
        if callbacks is None or callback not in callbacks:
            return None
        callbacks.remove(callback)
        if callbacks:
            return None
        del self._watched[task_id]
        return self._give_up_ticket(task_id)

    def _give_up_ticket(self, task_id: str) -> int | None:
        ticket = self._ticket_of.pop(task_id, None)
        if ticket is not None:
            self._tickets.pop(ticket, None)
        return ticket

    def close(self) -> None:
        """Let the thread end; who waits is served again when somebody calls `run`."""
        self._serving = False

    # -- for the listening thread ----------------------------------------------------------

    def is_needed(self) -> bool:
        """Whether anybody waits."""
        return self._serving and bool(self._watched)

    def heard(self, tickets: Collection[int]) -> None:
        """The results of these were stored."""
        with self._lock:
            ids = [self._tickets[ticket] for ticket in tickets if ticket in self._tickets]
        if ids:
            self._look_quietly(ids)

    def tick(self) -> float | None:
        """Look for all who wait if it is time; returns in how many seconds it is again."""
        if not self.is_needed():
            return None
        now = time.monotonic()
        if now >= self._look_at:
            mailbox = self._store.listener.current()
            listed = mailbox is not None and mailbox == self._mailbox
            if mailbox is not None and (not listed or now >= self._renew_at):
                self._renew_at = now + _RENEWED
                with suppress(UmbelError):  # the next one may succeed
                    self._enlist(mailbox, list(self._watched))
            self._look_quietly(list(self._watched))
            shortest = self._store.options.poll_interval if mailbox else _SHORTEST_LOOK
            longest = _LONGEST_POLL if mailbox else self._store.options.poll_interval
            self._pause = min(max(self._pause * 1.5, shortest), max(longest, shortest))
            self._look_at = now + self._pause
        return max(self._look_at - now, 0.0)

    def _look_quietly(self, ids: Collection[str]) -> None:
        with suppress(UmbelError):  # the next look may succeed
            self._look(ids)

    def _look(self, ids: Collection[str]) -> None:
        """Call back for those of ``ids`` that are final."""

        def look(link: Link) -> dict[str, StoredResult]:
            return results.fetch(link, self._store, ids, final=True)

        found = self._store.run(look)
        listed = []
        for task_id, result in found.items():
            with self._lock:
                callbacks = self._watched.pop(task_id, [])
                ticket = self._give_up_ticket(task_id)
            if ticket is not None:
                listed.append(ticket)
            for callback in callbacks:
                try:
                    callback(result)
                except Exception as error:  # noqa: BLE001 - the others still want to be called
                    sys.excepthook(type(error), error, error.__traceback__)
