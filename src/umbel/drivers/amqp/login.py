"""From a connected socket to an open connection: greeting, login, limits, virtual host."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from umbel.drivers.amqp import errors, fields, tls
from umbel.drivers.amqp.codec import FRAME_MAX, GREETING, Decoder
from umbel.drivers.amqp.errors import AccessRefused, ConnectionLost, FrameError
from umbel.drivers.amqp.messages import Answer
from umbel.drivers.amqp.methods import commands, write
from umbel.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from collections.abc import Mapping

    from umbel.drivers.amqp.methods import Method
    from umbel.drivers.amqp.stream import Stream
    from umbel.drivers.amqp.urls import AMQPUrl

METHODS = ("PLAIN", "AMQPLAIN", "EXTERNAL")
_CHANNEL_MAX = 2047
_TLS_ALERT = b"\x15\x03"
_CAPABILITIES = {
    "authentication_failure_close": True,
    "basic.nack": True,
    "connection.blocked": True,
    "consumer_cancel_notify": True,
    "exchange_exchange_bindings": True,
    "publisher_confirms": True,
}


@dataclass(frozen=True, slots=True)
class Tuned:
    """What both sides agreed on.

    Attributes:
        channel_max: the highest number of a channel; 0 is no bound.
        frame_max: bytes of the longest frame.
        heartbeat: seconds between heartbeats; 0 for none.
        server_properties: what the server says about itself.
    """

    channel_max: int
    frame_max: int
    heartbeat: float
    server_properties: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Wishes:
    """What we ask for: how to log in, and how often to hear from each other."""

    method: str
    heartbeat: int
    name: str


def log_in(
    stream: Stream, decoder: Decoder, url: AMQPUrl, wishes: Wishes, deadline: float
) -> Tuned:
    """Open the connection to ``url`` until ``deadline`` (monotonic).

    Raises:
        AccessRefused: the server does not want this user, or there is no such vhost.
        ImproperlyConfigured: what answers is no RabbitMQ.
        ConnectionLost: it does not answer in time, or closes the connection.
    """
    talk = _Talk(stream, decoder, str(url), deadline)
    talk.send(GREETING)
    start = talk.answer(commands.Connection.Start)
    offered = _words(start["mechanisms"])
    if wishes.method not in offered:
        raise AccessRefused(
            f"{url} does not offer the login method {wishes.method} (it offers "
            f"{', '.join(offered)}); set broker_login_method"
        )
    talk.say(
        commands.Connection.StartOk,
        client_properties=_about_us(wishes.name),
        mechanism=wishes.method,
        response=_response(url, wishes.method),
        locale="en_US",
    )
    tune = talk.answer(commands.Connection.Tune)
    tuned = Tuned(
        _lower(tune["channel_max"], _CHANNEL_MAX),
        _lower(tune["frame_max"], FRAME_MAX),
        _beat(tune["heartbeat"], wishes.heartbeat),
        dict(start["server_properties"]),
    )
    talk.say(
        commands.Connection.TuneOk,
        channel_max=tuned.channel_max,
        frame_max=tuned.frame_max,
        heartbeat=int(tuned.heartbeat),
    )
    talk.say(commands.Connection.Open, virtual_host=url.vhost)
    talk.answer(commands.Connection.OpenOk)
    decoder.frame_max = tuned.frame_max
    return tuned


def _words(text: str | bytes) -> list[str]:
    return (text.decode("utf-8", "replace") if isinstance(text, bytes) else text).split()


def _lower(theirs: int, ours: int) -> int:
    """The stricter of two bounds, where 0 is none."""
    return min(theirs, ours) if theirs else ours


def _beat(theirs: int, ours: int) -> int:
    """The shorter of two intervals; none if we want none."""
    return min(theirs or ours, ours)


def _about_us(name: str) -> dict[str, Any]:
    # Drivers import nothing from above; the package itself is loaded whenever one of them is.
    version = getattr(sys.modules["umbel"], "__version__", "")
    properties = {
        "product": "Umbel",
        "version": version,
        "platform": "Python",
        "capabilities": _CAPABILITIES,
    }
    return {**properties, "connection_name": name} if name else properties


def _response(url: AMQPUrl, method: str) -> bytes:
    if method == "PLAIN":
        return b"\0" + url.user.encode() + b"\0" + url.password.encode()
    if method == "AMQPLAIN":
        return fields.table({"LOGIN": url.user, "PASSWORD": url.password})[4:]
    return b""


class _Talk:
    """Question and answer before there are channels."""

    def __init__(self, stream: Stream, decoder: Decoder, place: str, deadline: float) -> None:
        self._stream = stream
        self._decoder = decoder
        self._place = place
        self._deadline = deadline
        self._heard: list[Any] = []
        self._bytes = b""

    def say(self, method: type[Method], **values: Any) -> None:
        self.send(write(0, method, **values))

    def send(self, data: bytes) -> None:
        # If the other side is gone, what it said before tells more, and is read next.
        sent = len(data)
        with suppress(ConnectionLost):
            sent = self._stream.write(data, self._deadline)
        if sent < len(data):
            raise self._late()

    def answer(self, expected: type[Method]) -> Any:
        while not self._heard:
            self._hear()
        event = self._heard.pop(0)
        if not isinstance(event, Answer):
            raise ImproperlyConfigured(f"{self._place} is no RabbitMQ: it sent a message unasked")
        method = event.method
        if method.name == expected.name:
            return method
        if method.name == "Connection.Close":
            raise errors.of_connection(method.reply_code, method.reply_text, self._place)
        if method.name == "Connection.Secure":
            raise ImproperlyConfigured(f"{self._place} asks for a login in several steps")
        raise ImproperlyConfigured(
            f"{self._place} is no RabbitMQ: {expected.name} was expected, {method.name} came"
        )

    def _hear(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise self._late()
        if not self._stream.wait(left):
            return
        try:
            data = self._stream.read()
        except ConnectionLost as error:
            said = getattr(error.__cause__, "reason", None) or ""
            if "ALERT" in said:  # TLS 1.3 asks for certificates when both sides are done
                raise tls.refused(self._place, said) from error
            raise ConnectionLost(f"{self._place} closed the connection during the login") from error
        self._bytes = (self._bytes + data)[:64]
        try:
            self._heard += self._decoder.feed(data)
        except FrameError as error:
            raise self._no_rabbit(error) from error

    def _late(self) -> ConnectionLost:
        what = "has not finished the login" if self._bytes else "has not answered AMQP's greeting"
        return ConnectionLost(f"{self._place} {what} in time; is it a RabbitMQ server?")

    def _no_rabbit(self, error: FrameError) -> ImproperlyConfigured:
        if self._bytes.startswith(_TLS_ALERT):
            return ImproperlyConfigured(f"{self._place} expects TLS on this port; use amqps://")
        return ImproperlyConfigured(
            f"what answers at {self._place} is no RabbitMQ server (AMQP 0-9-1): {error}"
        )
