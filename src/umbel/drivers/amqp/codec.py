"""AMQP 0-9-1 as values: bytes go in, deliveries, confirms and answers come out.

Nothing here waits, reads or writes.  Two things are fast because they happen for every task: a
delivery whose three frames (method, header, body) lie in one read is taken apart in one step, and a
message to publish is joined from bytes that were made once for its exchange and key.  Everything
else goes the general way: frame by frame, with the content of each channel gathered until it is
complete.

What is read comes from a stranger, so every length is checked before it is believed: frames against
what was negotiated, bodies against ``max_body``.  Nothing is allocated because a header says so.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any

from umbel.drivers.amqp import fields, methods, properties
from umbel.drivers.amqp.errors import FrameError
from umbel.drivers.amqp.messages import Answer, Confirm, Incoming, Returned
from umbel.drivers.amqp.methods import commands
from umbel.exceptions import EncodeError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from umbel.drivers.amqp.messages import Outgoing

    Event = Incoming | Confirm | Returned | Answer

GREETING = b"AMQP\x00\x00\x09\x01"
HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"
FRAME_MAX = 131_072
"""Bytes of the longest frame we send or take, as RabbitMQ proposes it."""
MAX_BODY = 512 * 1024 * 1024
"""Bytes of the longest body that RabbitMQ can be configured to take."""

_METHOD, _HEADER, _BODY, _HEARTBEAT = 1, 2, 3, 8
_END = 0xCE
_AROUND = 8
"""Bytes of a frame that are not its payload."""
_CONTENT_HEAD = 12
_MOST_KNOWN = 512

_frame = Struct(">BHI")
_content = Struct(">BHIHHQ")
_tagged = Struct(">QB")
_confirm = Struct(">BHIIQBB")
_header = Struct(">HHQ")
_requeue = 2

_DELIVER = b"\x00\x3c\x00\x3c"
_CONFIRMED = b"\x00\x3c\x00\x50"
_REFUSED = b"\x00\x3c\x00\x78"
_CONFIRM_SIZE = 13
_ACK, _NACK = 0x003C0050, 0x003C0078
_WITH_CONTENT = {"Basic.Deliver", "Basic.GetOk", "Basic.Return"}
_Connection, _Channel = commands.Connection, commands.Channel
_Exchange, _Queue, _Basic = commands.Exchange, commands.Queue, commands.Basic
_FROM_SERVERS = frozenset(
    method.index.to_bytes(4, "big")
    for method in (
        *(_Connection.Start, _Connection.Secure, _Connection.Tune, _Connection.OpenOk),
        *(_Connection.Blocked, _Connection.Unblocked, _Connection.Close, _Connection.CloseOk),
        *(_Channel.OpenOk, _Channel.Close, _Channel.CloseOk, commands.Confirm.SelectOk),
        *(_Exchange.DeclareOk, _Exchange.DeleteOk, _Exchange.BindOk, _Exchange.UnbindOk),
        *(_Queue.DeclareOk, _Queue.DeleteOk, _Queue.BindOk, _Queue.UnbindOk, _Queue.PurgeOk),
        *(_Basic.QosOk, _Basic.ConsumeOk, _Basic.Cancel, _Basic.CancelOk, _Basic.Return),
        *(_Basic.Deliver, _Basic.GetOk, _Basic.GetEmpty),
    )
)


class _Content:
    """A message of which not everything has come yet."""

    __slots__ = ("method", "parts", "properties", "rest")

    def __init__(self, method: Any) -> None:
        self.method = method
        self.properties: bytes | None = None
        self.rest = 0
        self.parts: list[bytes] = []


class Decoder:
    """Takes what was read from a socket, however it was cut.

    Args:
        frame_max: bytes of the longest frame that is taken.
        max_body: bytes of the longest body that is taken.
    """

    def __init__(self, *, frame_max: int = FRAME_MAX, max_body: int = MAX_BODY) -> None:
        self.frame_max = frame_max
        self.max_body = max_body
        self._held: list[bytes] = []
        self._held_size = 0
        self._needed = 0
        self._open: dict[int, _Content] = {}
        self._texts: dict[bytes, str] = {}
        self._routes: dict[bytes, tuple[str, str]] = {}

    def feed(self, data: bytes) -> list[Event]:
        """What is complete by now, in order.

        Raises:
            FrameError: this is not AMQP, or exceeds a bound; the connection is of no use any more.
        """
        if self._held:
            self._held.append(data)
            self._held_size += len(data)
            if self._held_size < self._needed:
                return []
            data = b"".join(self._held)
            self._held = []
        events: list[Event] = []
        position = self._parse(data, events)
        if position < len(data):
            self._hold(data[position:])
        return events

    def _hold(self, rest: bytes) -> None:
        self._held = [rest]
        self._held_size = self._needed = len(rest)
        if self._held_size >= _frame.size:
            self._needed = _AROUND + _frame.unpack_from(rest)[2]

    def _parse(self, data: bytes, events: list[Event]) -> int:
        """Read frame by frame; returns where the first incomplete one begins."""
        position, end, limit = 0, len(data), self.frame_max - _AROUND
        head = _frame.unpack_from
        while end - position >= _frame.size:
            kind, channel, size = head(data, position)
            if size > limit or kind > _HEARTBEAT:
                raise _strange(data[position:], kind, size, limit)
            stop = position + 7 + size
            if stop >= end:
                break
            if data[stop] != _END:
                raise FrameError("a frame does not end where it says")
            if kind == _METHOD and data.startswith(_DELIVER, position + 7):
                whole = self._delivery(data, position + 11, stop, channel, events)
                position = whole or stop + 1
                continue
            self._general(kind, channel, data[position : stop + 1], events)
            position = stop + 1
        return position

    def _delivery(
        self, data: bytes, start: int, stop: int, channel: int, events: list[Event]
    ) -> int:
        """Take a delivery whose frames are all here; returns where it ends.

        If they are not, its method is remembered for the general way and 0 is returned.
        """
        if channel in self._open:
            raise FrameError("a message begins within another")
        header = stop + 1
        body = end = length = 0
        if len(data) - header > _content.size:
            kind, same, size, _, _, length = _content.unpack_from(data, header)
            body = header + _AROUND + size
            # Otherwise another channel's frame comes first, or it is malformed.
            if kind == _HEADER and same == channel and _CONTENT_HEAD < size <= self.frame_max:
                if not length:
                    end = body
                elif length < self.frame_max and data.startswith(
                    _frame.pack(_BODY, channel, length), body
                ):
                    end = body + _AROUND + length
        if not 0 < end <= len(data):
            self._open[channel] = _Content(methods.read(data[start - 11 : stop + 1]))
            return 0
        if data[body - 1] != _END or data[end - 1] != _END:
            raise FrameError("a frame does not end where it says")
        properties = data[header + _content.size : body - 1]
        content = data[body + 7 : end - 1] if length else b""
        events.append(Incoming(channel, *self._delivered(data, start, stop), properties, content))
        return end

    def _delivered(self, data: bytes, start: int, stop: int) -> tuple[str, int, bool, str, str]:
        """Consumer tag, delivery tag, redelivered, exchange and routing key."""
        number = start + 1 + data[start]
        if number + _tagged.size >= stop:
            raise FrameError("a delivery is cut off")
        consumer = self._texts.get(raw := data[start:number])
        if consumer is None:
            consumer = self._texts[raw] = fields.read_short(data, start, stop)[0]
            _bound(self._texts)
        tag, redelivered = _tagged.unpack_from(data, number)
        route = self._routes.get(raw := data[number + 9 : stop])
        if route is None:
            exchange, middle = fields.read_short(raw, 0, len(raw))
            key, rest = fields.read_short(raw, middle, len(raw))
            if rest != len(raw):
                raise FrameError("something stands behind a delivery")
            route = self._routes[raw] = (exchange, key)
            _bound(self._routes)
        return consumer, tag, redelivered != 0, *route

    def _general(self, kind: int, channel: int, frame: bytes, events: list[Event]) -> None:
        if kind == _METHOD:
            self._method(channel, frame, events)
        elif kind == _HEADER:
            self._content_header(channel, frame, events)
        elif kind == _BODY:
            self._content_body(channel, frame, events)
        elif kind != _HEARTBEAT:
            raise FrameError(f"there are no frames of type {kind}")

    def _method(self, channel: int, frame: bytes, events: list[Event]) -> None:
        if channel in self._open:
            raise FrameError("a message is interrupted by a method")
        index = frame[7:11]
        if index in {_CONFIRMED, _REFUSED}:
            if len(frame) != _CONFIRM_SIZE + _AROUND:
                raise FrameError("a confirm has the wrong length")
            tag, flags = _tagged.unpack_from(frame, 11)
            events.append(Confirm(channel, tag, bool(flags & 1), index == _CONFIRMED))
            return
        if index not in _FROM_SERVERS:
            raise FrameError(f"servers do not send the method {index.hex()}")
        method = methods.read(frame)
        if method.name in _WITH_CONTENT:
            self._open[channel] = _Content(method)
        else:
            events.append(Answer(channel, method))

    def _content_header(self, channel: int, frame: bytes, events: list[Event]) -> None:
        content = self._open.get(channel)
        if content is None or content.properties is not None or len(frame) < _content.size + 3:
            raise FrameError("a header comes without a message")
        _, _, length = _header.unpack_from(frame, 7)
        if length > self.max_body:
            raise FrameError(f"a message of {length} bytes is longer than {self.max_body}")
        content.properties = frame[_content.size : -1]
        content.rest = length
        if not length:
            self._complete(channel, content, events)

    def _content_body(self, channel: int, frame: bytes, events: list[Event]) -> None:
        content = self._open.get(channel)
        if content is None or content.properties is None:
            raise FrameError("a body comes without a header")
        content.rest -= len(frame) - _AROUND
        if content.rest < 0 or len(frame) == _AROUND:
            raise FrameError("a body is longer than its header says")
        content.parts.append(frame[7:-1])
        if not content.rest:
            self._complete(channel, content, events)

    def _complete(self, channel: int, content: _Content, events: list[Event]) -> None:
        del self._open[channel]
        events.append(_event(channel, content.method, content.properties or b"", content.parts))


def _event(channel: int, method: Any, raw: bytes, parts: list[bytes]) -> Event:
    body = b"".join(parts)
    name = method.name
    if name == "Basic.Return":
        return Returned(channel, method.exchange, method.routing_key, method.reply_text, raw, body)
    message = Incoming(
        channel,
        getattr(method, "consumer_tag", ""),
        method.delivery_tag,
        method.redelivered,
        method.exchange,
        method.routing_key,
        raw,
        body,
    )
    return message if name == "Basic.Deliver" else Answer(channel, method, message)


def _strange(data: bytes, kind: int, size: int, limit: int) -> FrameError:
    if data.startswith(b"AMQP"):
        return FrameError(f"the server speaks another version of AMQP: {data[:8]!r}")
    if kind > _HEARTBEAT:
        return FrameError(f"this is not AMQP: {data[:24]!r}")
    return FrameError(f"a frame of {size} bytes is longer than the {limit} agreed on")


def _bound(known: dict[bytes, str] | dict[bytes, tuple[str, str]]) -> None:
    if len(known) > _MOST_KNOWN:
        known.clear()


# --------------------------------------------------------------------------------------- writing


class Encoder:
    """Makes the frames of one channel.

    Args:
        channel: its number.
        frame_max: bytes of the longest frame the server takes.
    """

    def __init__(self, channel: int, frame_max: int = FRAME_MAX) -> None:
        self.channel = channel
        self._longest = frame_max - _AROUND
        self._methods: dict[tuple[str, str, bool], bytes] = {}

    def publish(self, messages: Iterable[Outgoing]) -> bytes:
        """The frames that publish ``messages``, one after the other.

        Raises:
            EncodeError: a property has no form in AMQP, or the headers exceed a frame.
        """
        parts: list[bytes] = []
        channel, longest = self.channel, self._longest
        for message in messages:
            raw = properties.write(message.properties)
            body = message.body
            size, length = _CONTENT_HEAD + len(raw), len(body)
            if size > longest:
                raise EncodeError(
                    f"properties and headers have {size} bytes, RabbitMQ takes {longest}", "headers"
                )
            route = (message.exchange, message.routing_key, message.mandatory)
            parts += (
                self._methods.get(route) or self._publish(route),
                _content.pack(_HEADER, channel, size, 60, 0, length),
                raw,
                b"\xce",
            )
            if 0 < length <= longest:
                parts += (_frame.pack(_BODY, channel, length), body, b"\xce")
            elif length:
                parts += self._split(body)
        return b"".join(parts)

    def _publish(self, route: tuple[str, str, bool]) -> bytes:
        exchange, key, mandatory = route
        if len(self._methods) > _MOST_KNOWN:
            self._methods.clear()
        method = self.method(
            commands.Basic.Publish, exchange=exchange, routing_key=key, mandatory=mandatory
        )
        self._methods[route] = method
        return method

    def _split(self, body: bytes) -> list[bytes]:
        parts = []
        for start in range(0, len(body), self._longest):
            part = body[start : start + self._longest]
            parts += [_frame.pack(_BODY, self.channel, len(part)), part, b"\xce"]
        return parts

    def method(self, method: type[methods.Method], **values: object) -> bytes:
        """The frame of any other method; see `methods.write`."""
        return methods.write(self.channel, method, **values)

    def ack(self, tag: int, *, multiple: bool = False) -> bytes:
        """Acknowledge a delivery, or all up to ``tag``."""
        return _confirm.pack(_METHOD, self.channel, _CONFIRM_SIZE, _ACK, tag, multiple, _END)

    def nack(self, tag: int, *, multiple: bool = False, requeue: bool = True) -> bytes:
        """Give back a delivery, or all up to ``tag``, or have them discarded."""
        flags = multiple | (_requeue if requeue else 0)
        return _confirm.pack(_METHOD, self.channel, _CONFIRM_SIZE, _NACK, tag, flags, _END)
