"""What a supervisor says to the broker, said by a thread of its own.

A broker that stalls keeps whoever talks to it waiting until a deadline has passed.  The supervisor
must not wait meanwhile: limits are to be enforced, signals heard and dead children buried.  So it
leaves every word to the broker to this thread, which renews leases, promotes and reaps by itself
and does errands in the order in which they are given; what comes of an errand is told by the
supervisor's own thread, when that asks for `answers`.

A broker that stays away is tried again, further and further apart; when that was in vain as often
as the settings allow, `given_up` says why, and the worker ends.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

from umbel.exceptions import UmbelError
from umbel.worker.tries import Tries

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from umbel.ports.broker import Broker
    from umbel.worker.options import Facts

logger = logging.getLogger("umbel.worker")

PROMOTE_EVERY = 1.0
AWAY = "the broker is away: %s; %s in %.1f s"
"""What is logged when the broker cannot be used: why, which try comes next, and when."""


class Errand(NamedTuple):
    """Something to do with the broker, and whom to tell the answer or the error."""

    work: Callable[[], Any]
    then: Callable[[Any, Exception | None], None]


class Keeper:
    """Does the upkeep of one worker in a thread of its own.

    Args:
        broker: the supervisor's own connection.
        facts: the lease, the queues and how often to try.
        me: the supervisor's own name among the owners.
        owners: the owners whose leases are to be renewed; called from the thread.
        on_lost: told of an owner whose lease had ended and was taken anew.
        wake: has the supervisor ask for `answers` soon.
    """

    def __init__(
        self,
        broker: Broker,
        facts: Facts,
        *,
        me: str,
        owners: Callable[[], Collection[str]],
        on_lost: Callable[[str], None],
        wake: Callable[[], None],
    ) -> None:
        self._broker = broker
        self._facts = facts
        self._me = me
        self._owners = owners
        self._on_lost = on_lost
        self._wake = wake
        self._errands: SimpleQueue[Errand | None] = SimpleQueue()
        self._done: deque[Callable[[], None]] = deque()
        self._tries = Tries(facts.retry_limit)
        self._renew_at = self._promote_at = 0.0
        self._closing = False
        self.given_up: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="umbel-lease", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def ask(
        self,
        work: Callable[[], Any],
        then: Callable[[Any, Exception | None], None] = lambda *_: None,
    ) -> None:
        """Have ``work`` done; ``then`` gets what it returned, or the error, from `answers`."""
        self._errands.put(Errand(work, then))

    def answers(self) -> None:
        """Tell what has come of errands, in this thread."""
        while self._done:
            self._done.popleft()()

    def close(self, timeout: float) -> bool:
        """Do what is left to do and end the thread; False if that takes longer."""
        self._closing = True
        self._errands.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout)
        self.answers()
        return not self._thread.is_alive()

    # -- the thread ------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            try:
                errand = self._errands.get(timeout=self._pause())
            except Empty:
                errand = None
            if errand is not None:
                self._do(errand)
            elif self._closing:
                return
            if not self._closing:
                self._upkeep()

    def _pause(self) -> float:
        return max(min(self._renew_at, self._promote_at) - time.monotonic(), 0.0)

    def _do(self, errand: Errand) -> None:
        answer: Any = None
        failure: Exception | None = None
        try:
            answer = errand.work()
        except UmbelError as error:
            failure = error
        except Exception as error:
            logger.exception("an errand to the broker failed")
            failure = error
        self._tell(lambda: errand.then(answer, failure))

    def _tell(self, what: Callable[[], None]) -> None:
        self._done.append(what)
        self._wake()

    def _upkeep(self) -> None:
        """Renew leases, let due messages join their queues, give back what the dead held."""
        now = time.monotonic()
        try:
            if now >= self._renew_at:
                self._renew()
                self._renew_at = now + self._facts.lease / 3
            if now >= self._promote_at:
                due = self._broker.promote()
                self._promote_at = now + min(PROMOTE_EVERY, due or PROMOTE_EVERY)
        except UmbelError as error:
            self._failed(error)
        except Exception as error:
            logger.exception("the upkeep of the broker failed")
            self._failed(error)
        else:
            if self._tries.failures:
                logger.warning("the broker answers again")
            self._tries.succeed()

    def _failed(self, error: Exception) -> None:
        pause = self._tries.fail()
        if pause is None:
            pause = PROMOTE_EVERY
            if self.given_up is None:
                self.given_up = error
                self._wake()
        else:
            logger.warning(AWAY, error, self._tries.shown, pause)
        self._renew_at = self._promote_at = time.monotonic() + pause

    def _renew(self) -> None:
        broker, lease = self._broker, self._facts.lease
        if not broker.capabilities.leases:
            broker.stats(self._facts.queues[:1])  # a word, to learn whether it is there
            return
        owners = set(self._owners())
        held = broker.extend([*owners, self._me], lease)
        for owner in owners - held:
            logger.warning("the lease of %s had ended; it is taken anew", owner)
            broker.enroll(owner, lease)
            self._tell(lambda owner=owner: self._on_lost(owner))  # type: ignore[misc]
        if self._me not in held:
            broker.enroll(self._me, lease)
            broker.declare(self._facts.declared, owner=self._me)
        broker.reap()
