"""Servers that systems need: found or started, a private part of them used, and left clean."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from benchmarks.processes import Tree
from benchmarks.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

LOCAL_REDIS = "redis://127.0.0.1:6379"
LAST_DATABASE = 15
CLAIM = "umbel-benchmarks"


class NoServerError(Exception):
    """A server can be neither reached nor started; the message says what to install."""


class RedisConnection:
    """As much of the Redis protocol as the harness needs: one command, one reply.

    Arrays are not understood; nothing here asks for one.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        address = (parts.hostname or "127.0.0.1", parts.port or 6379)
        self._socket = socket.create_connection(address, timeout=5)
        self._replies = self._socket.makefile("rb")
        if parts.password:
            names = [parts.username] if parts.username else []
            self.call("AUTH", *names, parts.password)

    def call(self, *words: str) -> str:
        """Send a command; its reply as text."""
        lines = [f"*{len(words)}"]
        for word in words:
            lines += [f"${len(word.encode())}", word]
        self._socket.sendall(("\r\n".join(lines) + "\r\n").encode())
        reply = self._replies.readline().decode().rstrip()
        kind, rest = reply[:1], reply[1:]
        if kind == "-":
            raise OSError(f"Redis answered {rest}")
        if kind != "$":
            return rest
        return self._replies.read(int(rest) + 2)[:-2].decode()

    def close(self) -> None:
        """End the connection."""
        self._replies.close()
        self._socket.close()


class RedisServer:
    """One database of a Redis server, empty at first and emptied in the end.

    A key in it tells other runs on the same server that the database is in use.
    """

    def __init__(self, scratch: Path) -> None:
        self._tree: Tree | None = None
        with contextlib.ExitStack() as undo:
            server = os.environ.get("UMBEL_TEST_REDIS_URL") or self._local()
            if server is None:
                server = self._started(scratch)
                undo.callback(self._stop)
            self._connection = RedisConnection(server)
            undo.callback(self._connection.close)
            self._database = self._empty_database()
            undo.pop_all()
        self.url = urlsplit(server)._replace(path=f"/{self._database}").geturl()
        info = self._connection.call("INFO", "server").splitlines()
        self.version = next(line.partition(":")[2] for line in info if "redis_version" in line)

    def _local(self) -> str | None:
        try:
            connection = RedisConnection(LOCAL_REDIS)
        except OSError:
            return None
        connection.close()
        return LOCAL_REDIS

    def _started(self, scratch: Path) -> str:
        program = shutil.which("redis-server")
        if program is None:
            raise NoServerError(
                "no Redis answers on localhost:6379, UMBEL_TEST_REDIS_URL is not set, and "
                "there is no redis-server to start: apt-get install redis-server"
            )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._tree = Tree(
            [program, *options], log=scratch / "redis.log", cwd=scratch, environment=os.environ
        )
        wait_until(lambda: self._answers(port), 10, what="start of redis-server", pause=0.02)
        return f"redis://127.0.0.1:{port}"

    def _answers(self, port: int) -> bool:
        try:
            RedisConnection(f"redis://127.0.0.1:{port}").close()
        except OSError:
            return False
        return True

    def _empty_database(self) -> int:
        for number in range(LAST_DATABASE, 0, -1):
            self._connection.call("SELECT", str(number))
            if self._connection.call("DBSIZE") == "0":
                self._claim()
                return number
        raise NoServerError("none of the Redis databases 1 to 15 is empty")

    def _claim(self) -> None:
        self._connection.call("SET", CLAIM, str(os.getpid()))

    def empty(self) -> None:
        """Delete every key of the private database."""
        self._connection.call("FLUSHDB")
        self._claim()

    def close(self) -> None:
        """Leave the database empty, and end the server if it was started here."""
        self._connection.call("FLUSHDB")
        self._connection.close()
        self._stop()

    def _stop(self) -> None:
        if self._tree is not None:
            self._tree.terminate(10)


class Servers:
    """The servers of one run, each made when first asked for."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._redis: RedisServer | None = None

    @property
    def redis(self) -> RedisServer:
        """The Redis database of this run."""
        if self._redis is None:
            self._redis = RedisServer(self._scratch)
        return self._redis

    def versions(self) -> dict[str, str]:
        """Names and versions of the servers in use."""
        return {} if self._redis is None else {"redis-server": self._redis.version}

    def close(self) -> None:
        """Leave all of them as they were found."""
        if self._redis is not None:
            self._redis.close()
