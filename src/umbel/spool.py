"""A file beside the program that takes messages while the broker is away.

With ``publish_spool`` a call that the broker cannot store in time is written into a SQLite file,
durably, and counts as sent.  A thread of this process, or of the next one that sends something,
hands the messages on, in the order in which they were written, until none is left; meanwhile
everything else this process sends goes behind them, so that nothing overtakes.

Ids were made by the caller and stay, so handing a message on twice is as safe as sending it
twice.  That happens when the broker stored a message and its answer was lost, or when a process
dies between handing on and crossing off.

The file is one of the embedded broker, with one queue; what keeps messages safe there keeps them
safe here.  One process at a time hands on: it holds a lease, which ends by itself if it dies.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from umbel import drivers
from umbel.exceptions import LeaseLost, OperationalError, UmbelError
from umbel.identity import uuid7
from umbel.message import DeadLetter, Malformed, Message, Settlement
from umbel.once import once

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from umbel.drivers import Server
    from umbel.message import Delivery
    from umbel.ports.broker import Broker

logger = logging.getLogger("umbel.client")

FILE = "umbel-spool.db"
QUEUE = "spool"
BATCH = 100
LEASE = 30.0
FIRST_PAUSE, LAST_PAUSE = 0.5, 5.0
_FIELDS = (
    *("headers", "properties", "queue", "exchange", "routing_key", "priority", "due_at"),
    "expires_at",
)


class Standing(NamedTuple):
    """How many messages wait in the file, and how many could not be handed on at all."""

    waiting: int
    refused: int


class Spool:
    """The file at ``path``, and the thread that empties it.

    Args:
        path: where the file is; it is made when it is first needed.
        limit: how many messages it takes.
        publish: hands messages to the broker, within a deadline of its own.
    """

    def __init__(self, path: str, limit: int, publish: Callable[[Sequence[Message]], None]) -> None:
        self.path = path
        self._limit = limit
        self._publish = publish
        self._begin()
        self._active = os.path.exists(path) and self._waiting() > 0  # noqa: PTH110 - a text

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._owner = f"spool/{uuid7()}"
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    @once
    def _server(self) -> Server:
        return drivers.connect(f"sqlite:///{os.path.abspath(self.path)}")  # noqa: PTH100 - a text

    @property
    def _broker(self) -> Broker:
        broker = self._server.broker
        if broker is None:  # pragma: no cover - SQLite is one
            raise OperationalError("the spool has no broker")
        return broker

    def _waiting(self) -> int:
        (stats,) = self._broker.stats([QUEUE])
        return stats.ready + stats.claimed

    @property
    def standing(self) -> Standing:
        """What is in the file; nothing where there is none."""
        if not os.path.exists(self.path):  # noqa: PTH110 - a text
            return Standing(0, 0)
        return Standing(self._waiting(), len(self._broker.dead(limit=self._limit)))

    @property
    def is_in_use(self) -> bool:
        """Whether messages wait here, so that what is sent now has to wait behind them."""
        if self._active:
            self._hand_on_in_background()
        return self._active

    def add(self, messages: Sequence[Message], error: OperationalError | None = None) -> None:
        """Write messages down, all or none; ``error`` is why the broker did not take them.

        Raises:
            OperationalError: the file is full or cannot be written.
        """
        self._notice_fork()
        with self._lock:
            if self._waiting() + len(messages) > self._limit:
                why = f"the spool {self.path} is full ({self._limit} messages)"
                raise OperationalError(f"{error}; {why}" if error else why)
            self._broker.publish([_wrapped(message) for message in messages])
            if not self._active:
                logger.warning(
                    "the broker did not take a call (%s); calls are kept in %s until it does",
                    error,
                    self.path,
                )
            self._active = True
        self._hand_on_in_background()

    def close(self, timeout: float = 5.0) -> None:
        """End the thread; what is in the file stays there."""
        if self._pid != os.getpid():
            return
        self._over.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
        if "_server" in self.__dict__:
            self._broker.close()

    # -- handing on ------------------------------------------------------------------------

    def hand_on(self) -> int:
        """Hand everything on now; returns how many messages.

        Raises:
            OperationalError: the broker is away still, or another process is handing on.
        """
        if not os.path.exists(self.path):  # noqa: PTH110 - a text
            return 0
        total = 0
        try:
            while (count := self._hand_on_some()) is not None:
                total += count
        finally:
            self._retire()
        return total

    def _hand_on_in_background(self) -> None:
        self._notice_fork()
        with self._lock:
            if self._active and self._thread is None and not self._over.is_set():
                self._thread = threading.Thread(target=self._run, name="umbel-spool", daemon=True)
                self._thread.start()

    def _notice_fork(self) -> None:
        if self._pid != os.getpid():
            self._begin()

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while not self._over.is_set():
            try:
                if self._hand_on_some() is None and self._finished():
                    break
                pause = FIRST_PAUSE
            except UmbelError as error:
                logger.info("the calls in %s still wait: %s", self.path, error)
                self._over.wait(pause)
                pause = min(pause * 2, LAST_PAUSE)
        self._retire()

    def _finished(self) -> bool:
        """Whether nothing has come since we looked; then whatever is sent now goes directly."""
        with self._lock:
            if self._waiting():
                return False
            self._active = False
            self._thread = None
            logger.warning("the calls kept in %s have reached the broker", self.path)
            return True

    def _hand_on_some(self) -> int | None:
        """Hand on the oldest; how many there were, None if there is none at all."""
        coordinator, broker = self._server.coordinator, self._broker
        if coordinator is None or coordinator.acquire("relay", self._owner, LEASE) is None:
            raise OperationalError("another process hands them on")
        broker.enroll(self._owner, LEASE)
        broker.reap()
        held = broker.reserve(self._owner, [QUEUE], limit=BATCH, wait=0)
        if not held:
            return None if not self._waiting() else 0
        try:
            self._pass(held)
        except LeaseLost as error:
            raise OperationalError(str(error)) from error
        except BaseException:
            broker.release(held)
            raise
        return len(held)

    def _pass(self, held: Sequence[Delivery]) -> None:
        """Publish and cross off; what the broker will never take is put aside."""
        try:
            self._publish([_unwrapped(delivery) for delivery in held])
        except OperationalError:
            raise
        except Exception as error:
            if len(held) > 1:
                for delivery in held:
                    self._pass([delivery])
                return
            logger.exception("%s cannot be sent; it stays in %s", held[0].message.id, self.path)
            self._broker.settle([Settlement(held[0], dead=_letter(held[0], error))])
        else:
            self._broker.settle([Settlement(delivery) for delivery in held])

    def _retire(self) -> None:
        """Let another process go on at once."""
        try:
            self._broker.retire(self._owner)
            if self._server.coordinator is not None:
                lease = self._server.coordinator.acquire("relay", self._owner, LEASE)
                if lease is not None:
                    self._server.coordinator.release_lease(lease)
        except UmbelError as error:
            logger.debug("the lease on %s will end by itself: %s", self.path, error)


def _wrapped(message: Message) -> Message:
    """A message as the body of another, so that nothing of it is acted upon here."""
    inner: dict[str, Any] = {name: getattr(message, name) for name in _FIELDS}
    inner["headers"], inner["properties"] = dict(message.headers), dict(message.properties)
    return replace(
        message,
        headers={"message": inner},
        properties={},
        queue=QUEUE,
        exchange="",
        routing_key=QUEUE,
        priority=None,
        due_at=None,
        expires_at=None,
    )


def _unwrapped(delivery: Delivery) -> Message:
    message = delivery.message
    if isinstance(message, Malformed):
        raise ValueError(f"it is no message: {message.reason}")  # noqa: TRY004 - of the content
    return replace(message, **message.headers["message"])


def _letter(delivery: Delivery, error: Exception) -> DeadLetter:
    return DeadLetter(delivery.message, QUEUE, "rejected", str(error), time.time())
