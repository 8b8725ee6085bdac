"""A TCP proxy before a server, which a test can make as faulty as networks are."""

from __future__ import annotations

import select
import socket
from contextlib import suppress
from threading import Event, Lock, Thread
from typing import Self
from urllib.parse import urlsplit, urlunsplit

_CHUNK = 65536
_LOOK = 0.02


class Proxy:
    """Passes connections on to the server of a URL, until it is told otherwise.

    As a context manager it is closed, with every connection, at the end.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "127.0.0.1", parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(_LOOK)
        port = self._listener.getsockname()[1]
        login, at, _ = parts.netloc.rpartition("@")
        self.url = urlunsplit(parts._replace(netloc=f"{login}{at}127.0.0.1:{port}"))
        self._port = port
        self._lock = Lock()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._swallowing = Event()
        self._refusing = Event()
        self._over = Event()
        self._threads = [Thread(target=self._accept, name="proxy", daemon=True)]
        self._threads[0].start()

    # -- faults ----------------------------------------------------------------------------

    def swallow(self) -> None:
        """From now on connections stay open, new ones are taken, and nothing arrives anywhere."""
        self._swallowing.set()

    def pass_on(self) -> None:
        """Be faultless again; what was swallowed is lost, so old connections are cut."""
        if self._swallowing.is_set() or self._refusing.is_set():
            self.cut()
        self._swallowing.clear()
        self._refusing.clear()

    def refuse(self) -> None:
        """Cut every connection, and every new one as soon as it is made."""
        self._refusing.set()
        self.cut()

    def cut(self) -> None:
        """Cut every connection at once; new ones are taken."""
        with self._lock:
            pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            for end in pair:
                # A shutdown wakes the thread that reads; it closes both ends.
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def half_close(self) -> None:
        """Tell clients that the server has said its last, and leave the other direction open."""
        with self._lock:
            for client, _ in self._pairs:
                with suppress(OSError):
                    client.shutdown(socket.SHUT_WR)

    @property
    def connections(self) -> int:
        """How many connections there are."""
        with self._lock:
            return len(self._pairs)

    # -- life ------------------------------------------------------------------------------

    def close(self) -> None:
        self._over.set()
        self.cut()
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                continue
            thread = Thread(target=self._serve, args=(client,), name="proxy", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            if self._refusing.is_set():
                return
            try:
                server = socket.create_connection(self._target, timeout=5)
            except OSError:
                return
            with server:
                pair = (client, server)
                with self._lock:
                    self._pairs.add(pair)
                with suppress(OSError):
                    self._pump(client, server)
                with self._lock:
                    self._pairs.discard(pair)

    def _pump(self, client: socket.socket, server: socket.socket) -> None:
        ends = {client: server, server: client}
        while ends and not self._over.is_set():
            readable, _, _ = select.select(list(ends), [], [], _LOOK)
            for end in readable:
                data = end.recv(_CHUNK)
                if not data:
                    return
                if not self._swallowing.is_set():
                    ends[end].sendall(data)
