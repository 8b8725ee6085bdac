"""One AMQP channel: declarations, publishing with confirms, consuming with acknowledgements."""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Any

from umbel.drivers.amqp import errors
from umbel.drivers.amqp.acks import Acks
from umbel.drivers.amqp.confirms import Confirms
from umbel.drivers.amqp.errors import ChannelClosed, ConsumerCancelled, Unsent
from umbel.drivers.amqp.messages import Answer, Confirm, Incoming, Returned
from umbel.drivers.amqp.methods import commands
from umbel.drivers.amqp.questions import Questions
from umbel.exceptions import OperationalError, UmbelError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from umbel.drivers.amqp.confirms import Failure
    from umbel.drivers.amqp.link import Link
    from umbel.drivers.amqp.messages import Outgoing

_GOODBYE = 5.0
_Basic = commands.Basic


class Channel(Questions):
    """Made by `Connection.channel`; of no use once the server or a lost connection has closed it.

    Declarations and other questions to the server: one thread at a time. `publish`,
    `wait_confirmed`, `unconfirmed`, `ack`, `nack`, `ack_many` and `interrupt`: any thread.
    `receive`: one thread. Every method raises `OperationalError` when the channel or the connection
    is gone.
    """

    def __init__(self, link: Link, answer_timeout: float) -> None:
        self._publishing = Lock()
        self._confirms: Confirms | None = None
        self._acks = Acks()
        self._acking = Lock()
        self._inbox: deque[Incoming] = deque()
        self._consumers: dict[str, str] = {}
        self._without_acks: set[str] = set()
        self._cancelled: deque[ConsumerCancelled] = deque()
        self._interrupted = False
        # From here on things may come for it; they find everything above.
        super().__init__(link, link.enter(self), answer_timeout)

    # -------------------------------------------------------------------------------- publishing

    def select_confirms(self) -> None:
        """Have the server confirm what is published from now on; idempotent."""
        if self._confirms is None:
            self._ask(commands.Confirm.Select, commands.Confirm.SelectOk)
            self._confirms = Confirms()

    def publish(self, messages: Sequence[Outgoing], *, timeout: float) -> int:
        """Write all messages in one go; returns the sequence number of the last (0 if none).

        Written is not confirmed: see `wait_confirmed`. While the server takes no messages (memory
        or disk alarm) this waits up to ``timeout`` seconds.

        Raises:
            Unsent: nothing was written within ``timeout``; the messages are not in `unconfirmed`.
            EncodeError: a message has no form in AMQP; nothing was written.
            OperationalError: the channel or connection is gone: see `unconfirmed`.
        """
        deadline = time.monotonic() + timeout
        frames = self._encoder.publish(messages)
        self._check()
        link = self._link
        if link.blocked is not None and not link.wait(lambda: link.blocked is None, deadline):
            raise Unsent(f"{link.place} takes no messages at the moment: {link.blocked}")
        if not self._publishing.acquire(timeout=max(deadline - time.monotonic(), 0)):
            raise Unsent(f"{link.place} did not take what was sent in time")
        try:
            self._check()
            last = 0 if self._confirms is None else self._confirms.add(messages)
            try:
                if frames:
                    link.send(frames, deadline)
            except Unsent:
                if self._confirms is None:
                    raise
                self._confirms.withdraw(len(messages))
                raise
            return last
        finally:
            self._publishing.release()

    def wait_confirmed(self, until_sequence: int, timeout: float) -> None:
        """Return when everything up to and including ``until_sequence`` is confirmed.

        What failed is reported once, to whoever asks first; where both kinds of failure happened
        the second is reported by the next call.

        Raises:
            Unroutable: mandatory messages came back; its ``messages`` are those.
            Nacked: the server refused some; its ``messages`` are those.
            OperationalError: not within ``timeout`` seconds, or the channel is gone: see
                `unconfirmed`.
        """
        confirms = self._confirms
        if confirms is None:
            return

        def settled() -> bool:
            return confirms.is_settled(until_sequence) or self._closed is not None

        if not self._link.wait(settled, time.monotonic() + timeout):
            raise OperationalError(
                f"{self._link.place} has not confirmed {len(confirms.waiting())} message(s) within "
                f"{timeout:g} s; they may be stored or not, so try again with the same ids"
            )
        failures = confirms.take_failures(until_sequence)
        returned = [each for each in failures if each.returned]
        refused = [each for each in failures if not each.returned]
        if returned:
            confirms.put_back(refused)
            raise errors.Unroutable([each.message for each in returned], returned[0].reason)
        if refused:
            raise errors.Nacked([each.message for each in refused])
        if not confirms.is_settled(until_sequence):
            self._check()

    def unconfirmed(self) -> list[Outgoing]:
        """What was published and neither confirmed nor refused, oldest first.

        Also when the connection is lost: it may be with the server or not, and is to be sent again.
        """
        return [] if self._confirms is None else self._confirms.waiting()

    def take_failures(self) -> list[Failure]:
        """What the server refused or returned and `wait_confirmed` has not reported; once."""
        return [] if self._confirms is None else self._confirms.take_failures()

    # --------------------------------------------------------------------------------- consuming

    def qos(self, prefetch: int) -> None:
        """How many unacknowledged deliveries each consumer may hold; for consumers started later.

        0 is no bound.
        """
        self._ask(_Basic.Qos, _Basic.QosOk, prefetch_count=min(prefetch, 65_535))

    def consume(
        self,
        queue: str,
        *,
        tag: str | None = None,
        exclusive: bool = False,
        no_ack: bool = False,
        arguments: Mapping[str, Any] | None = None,
    ) -> str:
        """Start a consumer; returns its tag.

        Raises:
            NotFound: there is no such queue (the channel is closed then).
        """
        chosen = tag or f"umbel.{self._number}.{len(self._consumers) + 1}.{time.monotonic_ns()}"
        # Its first deliveries may come before this thread sees the answer.
        self._consumers[chosen] = queue
        if no_ack:
            self._without_acks.add(chosen)
        self._ask(
            _Basic.Consume,
            _Basic.ConsumeOk,
            queue=queue,
            consumer_tag=chosen,
            exclusive=exclusive,
            no_ack=no_ack,
            arguments=arguments,
        )
        return chosen

    def cancel(self, tag: str) -> None:
        """End a consumer; what it was sent already still comes out of `receive`."""
        self._ask(_Basic.Cancel, _Basic.CancelOk, consumer_tag=tag)
        self._consumers.pop(tag, None)

    def receive(self, limit: int, timeout: float) -> list[Incoming]:
        """Up to ``limit`` deliveries, in the order of the server.

        Blocks while there is none; empty after ``timeout`` seconds or `interrupt`.

        Raises:
            ConsumerCancelled: the server ended a consumer (after its deliveries were received).
            OperationalError: the channel or the connection is gone.
        """
        inbox = self._inbox
        if not inbox:
            self._link.wait(self._has_news, time.monotonic() + timeout)
        self._check()
        if inbox:
            taken = [inbox.popleft() for _ in range(min(limit, len(inbox)))]
            if self._without_acks:
                self._need_no_ack(taken)
            return taken
        if self._cancelled:
            raise self._cancelled.popleft()
        self._interrupted = False
        return []

    def _has_news(self) -> bool:
        return bool(self._inbox or self._interrupted or self._cancelled or self._closed)

    def interrupt(self) -> None:
        """End a `receive` that waits; if none does, the next that would returns at once."""
        self._interrupted = True
        self._link.poke()

    def ack(self, tag: int, *, multiple: bool = False) -> None:
        """Acknowledge one delivery, or all up to ``tag``."""
        self._settle(self._encoder.ack(tag, multiple=multiple), tag, multiple=multiple)

    def nack(self, tag: int, *, multiple: bool = False, requeue: bool = True) -> None:
        """Give a delivery back, or discard it to the dead letter exchange of its queue."""
        frame = self._encoder.nack(tag, multiple=multiple, requeue=requeue)
        self._settle(frame, tag, multiple=multiple)

    def _settle(self, frame: bytes, tag: int, *, multiple: bool) -> None:
        with self._acking:
            self._check()
            if multiple:
                self._acks.settle_up_to(tag)
            else:
                self._acks.settle((tag,))
            self._link.entrust(frame, time.monotonic() + self._answer_timeout)

    def ack_many(self, tags: Collection[int]) -> None:
        """Acknowledge exactly these deliveries in one write, with as few frames as possible."""
        ack = self._encoder.ack
        with self._acking:
            self._check()
            floor, singles = self._acks.settle(tags)
            frames = [ack(floor, multiple=True)] if floor else []
            frames += map(ack, singles)
            if frames:
                self._link.entrust(b"".join(frames), time.monotonic() + self._answer_timeout)

    def get(self, queue: str, *, no_ack: bool = False) -> Incoming | None:
        """Take one message; None if none is ready.

        Raises:
            NotFound: there is no such queue (the channel is closed then).
        """
        answer = self._ask(_Basic.Get, _Basic.GetOk, _Basic.GetEmpty, queue=queue, no_ack=no_ack)
        if no_ack and answer.message is not None:
            with self._acking:
                self._acks.settle((answer.message.delivery_tag,))
        return answer.message

    def _need_no_ack(self, messages: Sequence[Incoming]) -> None:
        """Enter those that the server does not wait for."""
        free = [m.delivery_tag for m in messages if m.consumer_tag in self._without_acks]
        with self._acking:
            self._acks.settle(free)

    def close(self) -> None:
        """Close the channel politely, within a bound; what was not acknowledged is requeued."""
        if self.is_open:
            self._answer_timeout = min(self._answer_timeout, _GOODBYE)
            with suppress(UmbelError):
                self._ask(commands.Channel.Close, commands.Channel.CloseOk, reply_code=200)
                self._link.leave(self._number)
            self._closed = self._closed or ChannelClosed("the channel was closed here")
            self._link.poke()

    # -------------------------------------------------------------- what the link has for us

    def forget(self) -> None:
        """After a fork: locks may be held by threads that are not here."""
        self._asking, self._publishing, self._acking = Lock(), Lock(), Lock()
        if self._confirms is not None:
            self._confirms.forget_lock()

    def take(self, event: Incoming | Confirm | Returned | Answer) -> None:
        """Called by whichever thread reads, in the order in which things come."""
        if type(event) is Incoming:
            self._inbox.append(event)
        elif isinstance(event, Answer):
            self._take_answer(event)
        elif self._confirms is not None:
            if isinstance(event, Confirm):
                self._confirms.settle(event)
            elif isinstance(event, Returned):
                self._confirms.returned(event)

    def _take_answer(self, answer: Answer) -> None:
        method = answer.method
        match method.name:
            case "Channel.Close":
                self._closed = errors.of_channel(method.reply_code, method.reply_text)
                with suppress(UmbelError):
                    frame = self._encoder.method(commands.Channel.CloseOk)
                    self._link.send(frame, time.monotonic() + _GOODBYE)
                    self._link.leave(self._number)
            case "Basic.Cancel":
                queue = self._consumers.pop(method.consumer_tag, "")
                self._cancelled.append(ConsumerCancelled(queue, method.consumer_tag))
            case _:
                self._answers.append(answer)
