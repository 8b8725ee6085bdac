"""Connections to a real RabbitMQ, and something between us and it that can go silent."""

from __future__ import annotations

import select
import socket
import threading
from contextlib import ExitStack, suppress
from uuid import uuid4

import pytest

import servers
from umbel.drivers.amqp.connection import Connection
from umbel.drivers.amqp.urls import parse


@pytest.fixture(scope="session")
def url():
    return parse(servers.url("amqp"))


@pytest.fixture
def connect(url):
    """Makes connections that are closed when the test ends."""
    with ExitStack() as made:

        def make(*urls, **options):
            connection = Connection(urls or [url], **options)
            made.callback(connection.close)
            return connection

        yield make


@pytest.fixture
def connection(connect):
    return connect()


@pytest.fixture
def channel(connection):
    return connection.channel()


@pytest.fixture
def name(url):
    """A name of this test's own, for queues and exchanges; both are deleted when it ends."""
    chosen = f"umbel-test-{uuid4().hex[:12]}"
    yield chosen
    connection = Connection([url])
    cleaner = connection.channel()
    cleaner.delete_queue(chosen)
    cleaner.delete_exchange(chosen)
    connection.close()


@pytest.fixture
def queue(name, channel):
    channel.declare_queue(name)
    return name


class Relay:
    """Passes bytes between clients and a server, until it is told to be silent."""

    def __init__(self, host, port):
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.from_client = bytearray()
        self.silent = False
        self._pairs = []
        self._bell, self._ringer = socket.socketpair()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while True:
            ends = {a: b for pair in self._pairs for a, b in (pair, pair[::-1])}
            awaited = [self._listener, self._bell] + ([] if self.silent else list(ends))
            for each in select.select(awaited, [], [])[0]:
                if each is self._bell:
                    if self._bell.recv(100) != b"!":
                        return
                elif each is self._listener:
                    client = self._listener.accept()[0]
                    self._pairs.append((client, socket.create_connection(self._target)))
                else:
                    self._pass(each, ends[each])

    def _pass(self, source, target):
        data = b""
        with suppress(OSError):
            data = source.recv(65_536)
        if any(source is client for client, _ in self._pairs):
            self.from_client += data
        with suppress(OSError):
            if data:
                target.sendall(data)
                return
        self._pairs = [pair for pair in self._pairs if source not in pair]
        source.close()
        target.close()

    def be_silent(self):
        """Pass nothing on any more; connections stay open."""
        self.silent = True
        self._ringer.send(b"!")

    def speak(self):
        """Go on."""
        self.silent = False
        self._ringer.send(b"!")

    def close(self):
        self._ringer.close()
        self._thread.join(10)
        for pair in self._pairs:
            for end in pair:
                end.close()
        self._listener.close()
        self._bell.close()


@pytest.fixture
def relay(url):
    between = Relay(url.host, url.port)
    yield between
    between.close()


@pytest.fixture
def answering():
    """Starts servers that answer whatever is said with the same bytes; returns their port.

    With None they say nothing; with empty bytes they hang up.
    """
    with ExitStack() as started:

        def start(answer):
            listener = started.enter_context(socket.create_server(("127.0.0.1", 0)))
            clients = []

            def serve():
                with suppress(OSError):
                    while True:
                        client = listener.accept()[0]
                        clients.append(client)
                        if answer is not None:
                            client.recv(8)
                            client.sendall(answer)
                            client.shutdown(socket.SHUT_RDWR)

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()

            def stop():
                with suppress(OSError):
                    listener.shutdown(socket.SHUT_RDWR)
                thread.join(10)
                for client in clients:
                    client.close()

            started.callback(stop)
            return listener.getsockname()[1]

        yield start
