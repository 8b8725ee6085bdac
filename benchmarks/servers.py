"""Servers that systems need: found or started, a private part of them used, and left clean."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psycopg

from benchmarks.processes import Tree
from benchmarks.waiting import wait_until

if TYPE_CHECKING:
    from types import ModuleType

LOCAL_REDIS = "redis://127.0.0.1:6379"
TESTS = Path(__file__).parent.parent / "tests" / "support"
LAST_DATABASE = 14  # the last one is the tests'
CTL_SECONDS = 60
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
        self.survives = self._survives()
        info = self._connection.call("INFO", "server").splitlines()
        self.version = next(line.partition(":")[2] for line in info if "redis_version" in line)

    def _survives(self) -> str:
        persistence = self._connection.call("INFO", "persistence")
        appends = "aof_enabled:1" in persistence
        return "in Redis's memory and its log" if appends else "in Redis's memory only"

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


def _servers_of_the_tests() -> ModuleType:
    """What the tests know about finding, starting and installing servers."""
    if str(TESTS) not in sys.path:
        sys.path.append(str(TESTS))
    import servers

    return servers


class RabbitServer:
    """A virtual host of its own on a RabbitMQ; each turn has a queue of its own in it.

    Without ``rabbitmqctl`` no virtual host can be made; a server is then started for the run,
    unless the environment names one, whose virtual host is used as it is.
    """

    def __init__(self, scratch: Path) -> None:
        found = _servers_of_the_tests()
        kind = found.KINDS["amqp"]
        self._started = None
        self._vhost = ""
        given = os.environ.get("UMBEL_TEST_AMQP_URL")
        shared = given or (kind.usual if kind.answers(kind.usual) else None)
        if shared and self._make_vhost(urlsplit(shared).username or "guest"):
            self.url = urlsplit(shared)._replace(path=f"/{self._vhost}").geturl()
        elif given:
            self.url = given
        else:
            self._started = found.private("amqp", scratch).start()
            self.url = self._started.url
        self.version = _rabbit_version(self.url)

    def _make_vhost(self, user: str) -> bool:
        name = f"umbel-benchmarks-{os.getpid()}"
        try:
            _rabbitmqctl("add_vhost", name)
            self._vhost = name
            _rabbitmqctl("set_permissions", "-p", name, user, ".*", ".*", ".*")
        except (OSError, subprocess.SubprocessError):
            return False
        return True

    def close(self) -> None:
        """Delete the virtual host with all that is in it, or end the server started here."""
        if self._vhost:
            _rabbitmqctl("delete_vhost", self._vhost)
        if self._started is not None:
            self._started.kill()


def _rabbitmqctl(*words: str) -> None:
    subprocess.run(
        ["rabbitmqctl", "--quiet", *words], check=True, capture_output=True, timeout=CTL_SECONDS
    )


def _rabbit_version(url: str) -> str:
    """The version that the server states when a connection begins."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port or 5672), timeout=5) as connection:
        connection.sendall(b"AMQP\x00\x00\x09\x01")
        greeting = connection.recv(4096)
    _, _, after = greeting.partition(b"\x07versionS")
    return after[4 : 4 + int.from_bytes(after[:4])].decode()


class PostgresServer:
    """A database of its own on a PostgreSQL server, made anew for each turn."""

    def __init__(self, scratch: Path) -> None:
        found = _servers_of_the_tests()
        kind = found.KINDS["postgres"]
        self._started = None
        given = os.environ.get("UMBEL_TEST_POSTGRES_URL")
        server = given or (kind.usual if kind.answers(kind.usual) else None)
        if server is None:
            self._started = found.private("postgres", scratch).start()
            server = self._started.url
        self._connection = psycopg.connect(server, autocommit=True)
        self._name = f"umbel_benchmarks_{os.getpid()}"
        self.url = urlsplit(server)._replace(path=f"/{self._name}").geturl()
        self.version = str(self._ask("show server_version")).partition(" ")[0]
        waits = self._ask("show fsync") == "on" and self._ask("show synchronous_commit") == "on"
        self.survives = "a commit reaches the disk" if waits else "a commit does not wait for disk"

    def _ask(self, question: str) -> object:
        row = self._connection.execute(question).fetchone()
        return row[0] if row else None

    def empty(self) -> None:
        """Make the database anew; whoever is still connected is not any more."""
        self._drop()
        self._connection.execute(f"create database {self._name}")

    def _drop(self) -> None:
        self._connection.execute(f"drop database if exists {self._name} with (force)")

    def close(self) -> None:
        """Drop the database, and end the server if it was started here."""
        self._drop()
        self._connection.close()
        if self._started is not None:
            self._started.kill()


class Servers:
    """The servers of one run, each made when first asked for."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._redis: RedisServer | None = None
        self._rabbitmq: RabbitServer | None = None
        self._postgres: PostgresServer | None = None
        self._turns = 0

    @property
    def redis(self) -> RedisServer:
        """The Redis database of this run."""
        if self._redis is None:
            self._redis = RedisServer(self._scratch)
        return self._redis

    @property
    def rabbitmq(self) -> RabbitServer:
        """The RabbitMQ virtual host of this run."""
        if self._rabbitmq is None:
            self._rabbitmq = RabbitServer(self._scratch)
        return self._rabbitmq

    @property
    def postgres(self) -> PostgresServer:
        """The PostgreSQL database of this run."""
        if self._postgres is None:
            self._postgres = PostgresServer(self._scratch)
        return self._postgres

    def queue(self) -> str:
        """A queue name that no turn of this run has had."""
        self._turns += 1
        return f"bench{os.getpid()}n{self._turns}"

    def versions(self) -> dict[str, str]:
        """Names and versions of the servers in use."""
        used = {
            "redis-server": self._redis,
            "rabbitmq-server": self._rabbitmq,
            "postgresql": self._postgres,
        }
        return {name: server.version for name, server in used.items() if server is not None}

    def close(self) -> None:
        """Leave all of them as they were found."""
        with contextlib.ExitStack() as closing:
            for server in (self._redis, self._rabbitmq, self._postgres):
                if server is not None:
                    closing.callback(server.close)
