"""One live connection: who reads the socket, who keeps it alive, how it ends.

Nobody hands anything over.  The thread that waits for an answer reads the socket itself; if several
wait, one reads for all of them, and when it has what it wanted another takes its place.  So a
delivery reaches the thread that asked for it without a switch between threads, which at a few
microseconds per message would cost more than the message.

One thread of the link, ``umbel-amqp``, does what has to happen when nobody waits: it sends
heartbeats, notices that the server's have stopped, and reads when nobody else has read for a moment
(so that confirms, alarms and the end of the connection are noticed by a process that only
publishes).

When the link is lost, for whichever reason, `lost` says why; everybody who waits is woken and
raises it.  File descriptors are given back last, by the thread, when nobody can use them any more.
"""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from threading import Condition, Lock, Thread, get_ident
from typing import TYPE_CHECKING, Protocol

from umbel.drivers.amqp import errors
from umbel.drivers.amqp.codec import HEARTBEAT
from umbel.drivers.amqp.errors import ConnectionLost, FrameError, Unsent
from umbel.drivers.amqp.messages import Answer
from umbel.drivers.amqp.methods import commands, write
from umbel.exceptions import OperationalError, UmbelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from umbel.drivers.amqp.codec import Decoder, Event
    from umbel.drivers.amqp.login import Tuned
    from umbel.drivers.amqp.stream import Stream

_IDLE = 0.05
"""Seconds nobody has read until the link's own thread does."""
_REST = 0.25
"""Seconds between two looks of that thread while others read."""
_LONGEST = 60.0
_GOODBYE = 3.0


class Listening(Protocol):
    """The link's side of a channel."""

    def take(self, event: Event) -> None:
        """Something came for it; called by whichever thread reads, in the order of the server."""
        ...

    def forget(self) -> None:
        """This is a forked process, where no other thread is and locks may be held."""
        ...


class Link:
    """Made when logged in; used by `Connection` and `Channel` only.

    Attributes:
        tuned: what was agreed on with the server.
        lost: why it has ended, or None.
        blocked: why the server takes no messages at the moment, or None.
    """

    def __init__(self, stream: Stream, decoder: Decoder, tuned: Tuned, place: str) -> None:
        self.tuned = tuned
        self.place = place
        self.lost: UmbelError | None = None
        self.blocked: str | None = None
        self._stream = stream
        self._decoder = decoder
        self._channels: dict[int, Listening] = {}
        self._turn = Condition()  # reentrant: a signal handler may call `poke`
        self._reader: int | None = None
        self._reading_for_nobody = False
        self._inside = False
        self._wanted = 0
        self._writing = Lock()
        self._unsent = b""
        self._closed_ok = False
        self._heard_at = self._said_at = self._read_at = time.monotonic()
        self._resting = Condition()
        self._thread = Thread(target=self._keep, name="umbel-amqp", daemon=True)
        self._thread.start()

    # ------------------------------------------------------------------------------- channels

    def enter(self, channel: Listening) -> int:
        """A free number for ``channel``, which is told from now on what comes for it."""
        with self._turn:
            self.check()
            most = self.tuned.channel_max or 65_535
            number = next((n for n in range(1, most + 1) if n not in self._channels), None)
            if number is None:
                raise ConnectionLost(f"all {most} channels of the connection are in use")
            self._channels[number] = channel
            return number

    def leave(self, number: int) -> None:
        """The server knows that the channel is closed: its number is free."""
        with self._turn:
            self._channels.pop(number, None)

    def check(self) -> None:
        """Raise if the link is lost."""
        if self.lost is not None:
            raise errors.again(self.lost) from self.lost

    # -------------------------------------------------------------------------------- writing

    def send(self, data: bytes, deadline: float) -> None:
        """Write ``data``, after whatever an earlier call could not finish.

        If the server takes only part of it until ``deadline`` (monotonic), the rest is kept and
        goes out before anything else does.

        Raises:
            Unsent: nothing of it was written until ``deadline``.
            OperationalError: the link is lost.
        """
        with self._alone(deadline):
            self._flush(deadline)
            sent = 0 if self._unsent else self._stream.write(data, deadline)
            if not sent:
                raise Unsent(self._slow())
            self._keep_for_later(data[sent:])

    def entrust(self, data: bytes, deadline: float) -> None:
        """Write ``data``, or keep it until the server takes it: little, and never too late.

        Raises:
            OperationalError: the link is lost, or another thread still writes at ``deadline``.
        """
        try:
            with self._alone(deadline):
                now = time.monotonic()
                self._flush(now)
                sent = 0 if self._unsent else self._stream.write(data, now)
                self._keep_for_later(self._unsent + data[sent:])
        except Unsent as error:
            self.lose(ConnectionLost(error.reason))
            raise

    @contextmanager
    def _alone(self, deadline: float) -> Iterator[None]:
        """The turn to write."""
        if not self._writing.acquire(timeout=max(deadline - time.monotonic(), 0)):
            self.check()
            raise Unsent(self._slow())
        try:
            self.check()
            yield
            self._said_at = time.monotonic()
        except ConnectionLost as error:
            self.lose(error)
            raise
        except UmbelError:
            raise
        except BaseException:  # a signal: nobody knows how much was written
            self.lose(ConnectionLost("writing was interrupted"))
            raise
        finally:
            self._writing.release()

    def _flush(self, deadline: float) -> None:
        if self._unsent:
            self._unsent = self._unsent[self._stream.write(self._unsent, deadline) :]

    def _keep_for_later(self, rest: bytes) -> None:
        self._unsent = rest
        if rest:
            self._stream.wake()  # the link's own thread takes care of it

    def _slow(self) -> str:
        if self.blocked is not None:
            return f"{self.place} takes no messages at the moment: {self.blocked}"
        return f"{self.place} did not take what was sent in time"

    # -------------------------------------------------------------------------------- reading

    def wait(self, ready: Callable[[], object], deadline: float) -> bool:
        """Read until ``ready()`` is true; False if it is not by ``deadline`` (monotonic).

        Raises:
            OperationalError: the link is lost.
        """
        while not ready():
            self.check()
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            if not self._take_turn(ready, left):
                continue
            try:
                if not ready():
                    self._read(left)
            finally:
                self._give_turn()
        return True

    def _take_turn(self, ready: Callable[[], object], left: float) -> bool:
        """Become the one who reads; if another is, wait until something changes."""
        with self._turn:
            if self._reader == get_ident() and self._inside:
                raise OperationalError(
                    f"{self.place} cannot be asked within a signal handler that interrupted a "
                    "thread which reads from it"
                )
            if self._reader in {None, get_ident()}:  # its own: a signal kept it from giving it up
                self._reader = get_ident()
                return True
            if not ready() and self.lost is None:
                self._wanted += 1
                try:
                    if self._reading_for_nobody:  # it makes way; others pass the turn on
                        self._stream.wake()
                    self._turn.wait(left)
                finally:
                    self._wanted -= 1
            return False

    def _give_turn(self) -> None:
        with self._turn:
            self._reader, self._reading_for_nobody = None, False
            self._read_at = time.monotonic()
            if self._wanted or self.lost is not None:
                self._turn.notify_all()

    def poke(self) -> None:
        """Have everybody who waits look again at what he waits for."""
        with self._turn:
            self._turn.notify_all()
            if self.lost is None:
                self._stream.wake()

    def _read(self, seconds: float) -> None:
        self._inside = True
        try:
            if self._stream.wait(min(seconds, _LONGEST)):
                self._take_in()
        finally:
            self._inside = False

    def _take_in(self) -> None:
        try:
            data = self._stream.read()
            if data:
                self._heard_at = time.monotonic()
                self._dispatch(data)
        except FrameError as error:
            self.lose(ConnectionLost(f"{self.place} sent what is not AMQP: {error}"))
        except UmbelError as error:
            self.lose(error)
        except BaseException:  # a signal: nobody knows what of this has arrived
            self.lose(ConnectionLost("reading was interrupted"))
            raise

    def _dispatch(self, data: bytes) -> None:
        channels = self._channels
        for event in self._decoder.feed(data):
            channel = channels.get(event.channel)
            if channel is not None:
                channel.take(event)
            elif event.channel == 0 and isinstance(event, Answer):
                self._about_connection(event)

    def _about_connection(self, answer: Answer) -> None:
        method = answer.method
        match method.name:
            case "Connection.Blocked":
                self.blocked = method.reason or "an alarm"
            case "Connection.Unblocked":
                self.blocked = None
            case "Connection.CloseOk":
                self._closed_ok = True
            case "Connection.Close":
                self._said_goodbye()
                raise errors.of_connection(method.reply_code, method.reply_text, self.place)
            case _:
                pass

    def _said_goodbye(self) -> None:
        if self._writing.acquire(timeout=_GOODBYE):
            try:
                frame = write(0, commands.Connection.CloseOk)
                self._stream.write(self._unsent + frame, time.monotonic() + _GOODBYE)
            except ConnectionLost:
                pass
            finally:
                self._writing.release()

    # ----------------------------------------------------------------------------------- upkeep

    def _keep(self) -> None:
        """What the link's own thread does until the link is lost."""
        while self.lost is None:
            self._heartbeat()
            with self._turn:
                idle = time.monotonic() - self._read_at
                mine = self._reader is None and not self._wanted and idle >= _IDLE
                if mine:
                    self._reader, self._reading_for_nobody = get_ident(), True
                rest = _IDLE if self._reader is None or self._unsent else _REST
            if mine:
                self._read_for_nobody()
            else:
                with self._resting:
                    if self.lost is None:
                        self._resting.wait(rest)
        self._give_back()

    def _read_for_nobody(self) -> None:
        """Read as long as nobody wants to do it for himself."""
        try:
            while self.lost is None and not self._wanted:
                self._read(self._pause())
                self._heartbeat()
        finally:
            self._give_turn()

    def _pause(self) -> float:
        if self._unsent:
            return _IDLE
        beat = self.tuned.heartbeat
        return min(beat / 4, _LONGEST) if beat else _LONGEST

    def _heartbeat(self) -> None:
        """Say that we live, and notice that the server does not."""
        beat, now = self.tuned.heartbeat, time.monotonic()
        if self._unsent or (beat and now - self._said_at >= beat / 2):
            with suppress(UmbelError):
                self.send(HEARTBEAT, now)
        if beat and now - self._heard_at > 2 * beat and not self._stream.has_news():
            self.lose(
                ConnectionLost(
                    f"{self.place} has not been heard of for {now - self._heard_at:.0f} s, two "
                    f"heartbeats of {beat:g} s are missing"
                )
            )

    # ---------------------------------------------------------------------------------- the end

    def lose(self, error: UmbelError) -> None:
        """The link is of no use any more, because of ``error``; the first one stands."""
        with self._turn:
            if self.lost is not None:
                return
            self.lost = error
            self._stream.hang_up()
            self._turn.notify_all()
        with self._resting:
            self._resting.notify_all()

    def _give_back(self) -> None:
        with self._turn:
            self._turn.wait_for(lambda: self._reader is None)
            self._reader = get_ident()  # for ever
        with self._writing:
            self._stream.close()

    def close(self, deadline: float) -> None:
        """Say goodbye and wait for the answer until ``deadline`` (monotonic)."""
        if self.lost is None:
            try:
                self.send(write(0, commands.Connection.Close, reply_code=200), deadline)
                self.wait(lambda: self._closed_ok, deadline)
            except UmbelError:
                pass
            self.lose(ConnectionLost("the connection was closed here"))
        self._thread.join(max(deadline - time.monotonic(), 1.0))

    def forget(self) -> None:
        """Give it up in a forked process, where no other thread is and locks may be held."""
        self.lost = ConnectionLost("the connection belongs to the process this one was forked from")
        self._turn, self._resting = Condition(), Condition()
        self._writing = Lock()
        for channel in self._channels.values():
            channel.forget()
        self._stream.close()
