"""The servers that tests talk to: found where they run, else started, else installed.

For each kind the first of these that answers is taken:

1. the URL in the environment: ``UMBEL_TEST_REDIS_URL``, ``UMBEL_TEST_AMQP_URL``,
   ``UMBEL_TEST_POSTGRES_URL``;
2. what listens on this machine on the usual port;
3. a private server, from a program that is installed here;
4. the same after installing Debian's package, which only root can.

If none does, tests fail with a sentence that says what was tried; none is skipped.

`private` starts a server of a test's own, on its own port and with its data in the test's
directory, that can be killed, stopped and started again.  Everything listens on loopback only.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

START = 60.0
"""Seconds a server may take until it answers."""

# Read when this is imported: tests run without settings of the machine they run on.
_ENVIRONMENT = {
    kind: os.environ.get(f"UMBEL_TEST_{kind.upper()}_URL") for kind in ("redis", "amqp", "postgres")
}


class UnavailableError(Exception):
    """No server of a kind can be had here."""


def url(kind: str) -> str:
    """The URL of a running ``redis``, ``amqp`` or ``postgres`` server for the whole session.

    Raises:
        UnavailableError: there is none, and none can be started.
    """
    return _shared(kind)


@cache
def _shared(kind: str) -> str:
    server = KINDS[kind]
    given = _ENVIRONMENT[kind]
    if given:
        if not server.answers(given):
            raise UnavailableError(
                f"UMBEL_TEST_{kind.upper()}_URL names a server that does not answer"
            )
        return given
    if server.answers(server.usual):
        return server.usual
    directory = Path(tempfile.mkdtemp(prefix=f"umbel-{kind}-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    started = server(directory)
    started.start()
    atexit.register(started.kill)
    return started.url


def private(kind: str, directory: Path, *options: str) -> Server:
    """A server of a test's own, not yet started; ``options`` are added to its configuration.

    Raises:
        UnavailableError: its program is not installed and cannot be.
    """
    return KINDS[kind](directory / f"{kind}-server", options)


class Server:
    """One server process of our own, in a process group of its own."""

    kind: ClassVar[str]
    usual: ClassVar[str]
    package: ClassVar[str]

    def __init__(self, directory: Path, options: Sequence[str] = ()) -> None:
        self.directory = directory
        self.options = options
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)
        self.log = directory / "server.log"
        self.program = self._find()

    @property
    def url(self) -> str:
        """How clients reach it."""
        raise NotImplementedError

    @staticmethod
    def answers(url: str) -> bool:
        """Whether a server at ``url`` speaks its protocol and lets us in."""
        raise NotImplementedError

    def start(self) -> Self:
        """Start it, also again after `kill` or `stop`; returns when it answers."""
        self._launch()
        end = time.monotonic() + START
        while not self.answers(self.url):
            ended = self.process is not None and self.process.poll() is not None
            if ended or time.monotonic() > end:
                text = self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""
                self.kill()
                raise UnavailableError(f"{self.kind} at {self.port} does not answer:\n{text}")
            time.sleep(0.02)
        return self

    def kill(self) -> None:
        """End all its processes at once, as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to end, and wait until it has."""
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """Have it stall: connections stay open and nothing is answered."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on."""
        self._signal_all(signal.SIGCONT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _signal_all(self, number: int) -> None:
        self._signal(number)
        for pid in _descendants(self.process.pid) if self.process is not None else ():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _signal(self, number: int) -> None:
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def _end(self, number: int) -> None:
        if self.process is None:
            return
        # Some servers give each of their processes a group of its own.
        family = [self.process.pid, *_descendants(self.process.pid)]
        self._signal(number)
        try:
            self.process.wait(20 if number != signal.SIGKILL else 5)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self.process.wait(20)
        for pid in family[1:]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + 5
        while any(map(_runs, family)) and time.monotonic() < end:
            time.sleep(0.005)
        self.process = None

    def _launch(self) -> None:
        raise NotImplementedError

    def _find(self) -> str:
        raise NotImplementedError

    def _spawn(
        self, command: Sequence[str], *, cwd: Path | None = None, **environment: str
    ) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **environment},
                cwd=cwd or self.directory,
                start_new_session=True,
            )

    def _installed(self, look: Callable[[], str | None]) -> str:
        """What ``look`` finds, installing the package if it finds nothing at first."""
        found = look()
        if found is None and _install(self.package):
            found = look()
        if found is None:
            raise UnavailableError(
                f"tests need {self.kind}: none answers at {self.usual}, and its program is not "
                f"installed; install {self.package}, or set UMBEL_TEST_{self.kind.upper()}_URL"
            )
        return found


class Redis(Server):
    """redis-server or valkey-server."""

    kind = "redis"
    usual = "redis://127.0.0.1:6379/15"
    package = "redis-server"

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @staticmethod
    def answers(url: str) -> bool:
        return _ask(url, b"PING\r\n", b"+PONG") or _ask(url, b"PING\r\n", b"-NOAUTH")

    def _find(self) -> str:
        return self._installed(
            lambda: shutil.which("redis-server") or shutil.which("valkey-server")
        )

    def _launch(self) -> None:
        options = {"--appendonly": "yes", "--appendfsync": "always", "--save": ""}
        flat = [text for pair in options.items() for text in pair]
        address = ("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.directory))
        self._spawn([self.program, *address, *flat, *self.options])


class Postgres(Server):
    """A database cluster of its own."""

    kind = "postgres"
    usual = "postgresql://postgres@127.0.0.1:5432/test"
    package = "postgresql"

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    @staticmethod
    def answers(url: str) -> bool:
        import psycopg

        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.Error:
            return False
        return True

    def _find(self) -> str:
        def look() -> str | None:
            found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
            return str(found[-1]) if found else shutil.which("postgres")

        return self._installed(look)

    def __init__(self, directory: Path, options: Sequence[str] = ()) -> None:
        super().__init__(directory, options)
        # Not below pytest's folder: each pytest that starts closes that to other users, and with
        # it a server that runs as one.
        self._home = Path(tempfile.mkdtemp(prefix="umbel-postgres-"))
        atexit.register(shutil.rmtree, self._home, ignore_errors=True)

    def _launch(self) -> None:
        data = self._home / "data"
        # The server refuses to run as root; Debian's package brings a user for it.
        as_postgres = ("setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups")
        user = as_postgres if os.geteuid() == 0 else ()
        if not data.exists():
            if user:
                shutil.chown(self._home, "postgres")
            init = [str(Path(self.program).with_name("initdb")), "-D", str(data)]
            subprocess.run(
                [*user, *init, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"],
                check=True,
                capture_output=True,
                cwd=self._home,
            )
        settings = ("-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={data}")
        address = ("-D", str(data), "-p", str(self.port))
        self._spawn([*user, self.program, *address, *settings, *self.options], cwd=self._home)


class RabbitMQ(Server):
    """One node, with a name, a distribution port and a database of its own."""

    kind = "amqp"
    usual = "amqp://guest:guest@127.0.0.1:5672//"
    package = "rabbitmq-server"

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    @staticmethod
    def answers(url: str) -> bool:
        return _ask(url, b"AMQP\x00\x00\x09\x01", b"\x01\x00\x00", wait=5.0)

    def _find(self) -> str:
        def look() -> str | None:
            inner = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # Debian's wrapper changes user
            return str(inner) if inner.exists() else shutil.which("rabbitmq-server")

        return self._installed(look)

    def _environment(self) -> dict[str, str]:
        home = str(self.directory)
        return {
            "HOME": home,
            "RABBITMQ_NODENAME": f"umbel{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_MNESIA_BASE": f"{home}/mnesia",
            "RABBITMQ_LOG_BASE": f"{home}/log",
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": f"{home}/pid",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{home}/plugins",
            "RABBITMQ_CONFIG_FILE": f"{home}/rabbitmq",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1"
            ),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._name_port),
        }

    def __init__(self, directory: Path, options: Sequence[str] = ()) -> None:
        super().__init__(directory, options)
        self._dist_port = free_port()
        self._name_port = free_port()

    def _end(self, number: int) -> None:
        super()._end(number)
        # Erlang's name server leaves the family it was started by, and refuses to end until it
        # has noticed that the node is gone.
        end = time.monotonic() + 10
        while _listens(self._name_port) and time.monotonic() < end:
            subprocess.run(
                ["epmd", "-port", str(self._name_port), "-kill"], check=False, capture_output=True
            )

    def _launch(self) -> None:
        (self.directory / "plugins").write_text("[].\n")
        lines = ("vm_memory_high_watermark.relative = 0.6", *self.options)
        (self.directory / "rabbitmq.conf").write_text("\n".join(lines) + "\n")
        self._spawn([self.program], **self._environment())

    def ctl(self, *arguments: str) -> str:
        """What ``rabbitmqctl`` says about this node."""
        program = str(Path(self.program).with_name("rabbitmqctl"))
        return subprocess.run(
            [program, "-q", *arguments],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, **self._environment()},
        ).stdout


KINDS: dict[str, type[Server]] = {"redis": Redis, "amqp": RabbitMQ, "postgres": Postgres}


def free_port() -> int:
    """A port of the loopback address that nobody uses now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    """Whether somebody takes connections at a port of the loopback address."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _runs(pid: int) -> bool:
    """Whether a process has neither ended nor waits, dead, for its parent to notice."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def _descendants(pid: int) -> list[int]:
    """The processes that ``pid`` started, and those that they did."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = entry.read_text().rpartition(")")[2].split()
            parents.setdefault(int(fields[1]), []).append(int(entry.parent.name))
    found: list[int] = []
    below = [pid]
    while below:
        children = parents.get(below.pop(), [])
        found += children
        below += children
    return found


def _ask(url: str, request: bytes, answer: bytes, *, wait: float = 2.0) -> bool:
    """Whether the server at ``url`` begins its reply to ``request`` with ``answer``."""
    parts = urlsplit(url)
    default = {"redis": 6379, "amqp": 5672}.get(parts.scheme, 0)
    try:
        address = (parts.hostname or "127.0.0.1", parts.port or default)
        with socket.create_connection(address, timeout=wait) as connection:
            connection.sendall(request)
            connection.settimeout(wait)
            return connection.recv(len(answer)) == answer
    except OSError:
        return False


def _install(package: str) -> bool:
    """Install a Debian package, as root where there is apt; nothing starts by itself."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return False
    print(f"tests: installing {package}", file=sys.stderr)  # noqa: T201 - it takes a while
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    subprocess.run(["apt-get", "update", "-q"], check=False, capture_output=True, env=quiet)
    done = subprocess.run(
        ["apt-get", "install", "-q", "-y", "--no-install-recommends", package],
        check=False,
        capture_output=True,
        env=quiet,
    )
    return done.returncode == 0
