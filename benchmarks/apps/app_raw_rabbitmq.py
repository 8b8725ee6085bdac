"""The limit of RabbitMQ: frames are split by hand, and one acknowledgement ends a batch.

As much of AMQP 0-9-1 as that takes: a connection, a channel, a durable queue, publishing with
confirms, consuming, acknowledging. Results go to Redis, as with the other systems on RabbitMQ.
"""

from __future__ import annotations

import os
import socket
import sys
from struct import Struct, pack
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import raw_loop
import redis
from raw_loop import BATCH, message_of
from stored import counter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BROKER = os.environ["BENCH_BROKER"]
RESULTS = os.environ["BENCH_RESULTS"]
QUEUE = os.environ["BENCH_QUEUE"]

FRAME = Struct("!BHI")
LONG = Struct("!Q")
METHOD, HEADER, BODY = 1, 2, 3
DELIVER = b"\x00\x3c\x00\x3c"
ACK = b"\x00\x3c\x00\x50"
WAIT = 60.0


def short(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()


def method(number: tuple[int, int], payload: bytes, *, channel: int = 1) -> bytes:
    """A method frame."""
    body = pack("!HH", *number) + payload
    return FRAME.pack(METHOD, channel, len(body)) + body + b"\xce"


class Connection:
    """One connection with one open channel on one durable queue."""

    def __init__(self) -> None:
        parts = urlsplit(BROKER)
        self._socket = socket.create_connection((parts.hostname, parts.port or 5672), WAIT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()
        login = f"\0{unquote(parts.username or 'guest')}\0{unquote(parts.password or 'guest')}"
        secret = pack("!I", len(login)) + login.encode()
        vhost = unquote(parts.path[1:]) or "/"
        self._socket.sendall(b"AMQP\x00\x00\x09\x01")
        self._expect(10, 10)
        plain = pack("!I", 0) + short("PLAIN") + secret + short("en_US")
        self._socket.sendall(method((10, 11), plain, channel=0))
        self._expect(10, 30)
        self._socket.sendall(method((10, 31), pack("!HIH", 16, 131072, 0), channel=0))
        self.call((10, 40), short(vhost) + b"\0\0", channel=0)
        self.call((20, 10), b"\0")
        self.waiting()

    def waiting(self) -> int:
        """Declare the queue, and say how many messages wait in it."""
        answer = self.call((50, 10), pack("!H", 0) + short(QUEUE) + b"\x02" + pack("!I", 0))
        at = 5 + answer[4]
        return int.from_bytes(answer[at : at + 4])

    def call(self, number: tuple[int, int], payload: bytes, *, channel: int = 1) -> bytes:
        """Call a method and wait for its answer, the method numbered one higher."""
        self.send(method(number, payload, channel=channel))
        return self._expect(number[0], number[1] + 1)

    def _expect(self, group: int, number: int) -> bytes:
        wanted = pack("!HH", group, number)
        for kind, payload in self.frames():
            if kind == METHOD and payload[:4] == wanted:
                return payload
            raise OSError(f"RabbitMQ answered {payload!r}")
        raise OSError("RabbitMQ closed the connection")

    def send(self, frames: bytes) -> None:
        self._socket.sendall(frames)

    def read(self) -> None:
        part = self._socket.recv(1 << 20)
        if not part:
            raise OSError("RabbitMQ closed the connection")
        self._buffer += part

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """The frames that are here; waits for one if there is none."""
        found = self.frames_at_hand()
        while not found:
            self.read()
            found = self.frames_at_hand()
        return iter(found)

    def frames_at_hand(self) -> list[tuple[int, bytes]]:
        """The whole frames among what was read, without waiting."""
        data, at, found = bytes(self._buffer), 0, []
        while at + 7 <= len(data):
            kind, _, size = FRAME.unpack_from(data, at)
            end = at + 8 + size
            if end > len(data):
                break
            found.append((kind, data[at + 7 : end - 1]))
            at = end
        del self._buffer[:at]
        return found

    def patiently(self) -> None:
        """Wait for frames for ever: what a consumer does."""
        self._socket.settimeout(None)


PUBLISH = method((60, 40), pack("!H", 0) + short("") + short(QUEUE) + b"\0")
PERSISTENT = b"\x02"


def publication(body: bytes) -> bytes:
    """The three frames of a durable message."""
    header = pack("!HHQH", 60, 0, len(body), 0x1000) + PERSISTENT
    return b"".join(
        (
            PUBLISH,
            FRAME.pack(HEADER, 1, len(header)) + header + b"\xce",
            FRAME.pack(BODY, 1, len(body)) + body + b"\xce",
        )
    )


def work(owner: int) -> None:  # noqa: ARG001 - what it holds is tied to its connection
    """Run jobs until SIGTERM."""
    store = redis.Redis.from_url(RESULTS)
    connection = Connection()
    connection.call((60, 10), pack("!IH", 0, 2 * BATCH) + b"\0")
    # Its answer comes together with deliveries, and is passed over with all that is not one.
    consume = pack("!H", 0) + short(QUEUE) + short("") + b"\0" + pack("!I", 0)
    connection.send(method((60, 20), consume))
    connection.patiently()
    arriving = b""
    while True:
        results, finished = [], b""
        for kind, payload in connection.frames():
            if kind == BODY:
                results.append(raw_loop.run(payload))
                finished = arriving
            elif kind == METHOD and payload[:4] == DELIVER:
                begin = 5 + payload[4]
                arriving = payload[begin : begin + 8]
        keep(store, [result for result in results if result])
        if finished:
            connection.send(method((60, 80), finished + b"\x01"))


def keep(store: redis.Redis, results: list[tuple[str, str]]) -> None:
    """Store results in one step."""
    if results:
        with store.pipeline(transaction=False) as pipe:
            for name, value in results:
                pipe.set(f"raw-result:{name}", value, ex=3600)
            pipe.execute()


class Queue:
    """The producer's side of the raw loop."""

    def __init__(self) -> None:
        self.connection = Connection()
        self.connection.call((85, 10), b"\0")
        self.confirmed = self.sent = 0
        self.results = counter(RESULTS, redis_keys="raw-result:*")

    def sender(self, *, stored: bool) -> Callable[[int], object]:
        return lambda index: self._publish([index], stored=stored)

    def send_many(self, indexes: range, *, stored: bool) -> None:
        self._publish(indexes, stored=stored)

    def _publish(self, indexes: range | list[int], *, stored: bool) -> None:
        for first in range(0, len(indexes), BATCH):
            part = indexes[first : first + BATCH]
            bodies = (message_of(index, stored=stored).encode() for index in part)
            self.connection.send(b"".join(map(publication, bodies)))
            self.sent += len(part)
        while self.confirmed < self.sent:
            for kind, payload in self.connection.frames():
                if kind == METHOD and payload[:4] == ACK:
                    (tag,) = LONG.unpack_from(payload, 4)
                    self.confirmed = tag if payload[12] & 1 else self.confirmed + 1

    def outstanding(self) -> int:
        # What a worker holds is not seen here.
        return self.connection.waiting()

    def durability(self) -> str:
        return f"{os.environ['BENCH_SURVIVES']}; confirmed; acknowledged after the task has run"


if __name__ == "__main__":
    raw_loop.supervise(int(sys.argv[1]), work)
