"""PgBouncer before the PostgreSQL server, which hands out a connection per transaction."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import servers

if TYPE_CHECKING:
    from collections.abc import Sequence


class Pooler(servers.Server):
    """A pooler of a test's own for the database of a URL."""

    kind = "postgres"
    usual = "none"
    package = "pgbouncer"

    def __init__(self, directory: Path, url: str, options: Sequence[str] = ()) -> None:
        super().__init__(directory, options)
        self._database = urlsplit(url)
        # Not below pytest's folder, which is closed to other users.
        self._home = Path(tempfile.mkdtemp(prefix="umbel-pgbouncer-"))

    @property
    def url(self) -> str:
        login, at, _ = self._database.netloc.rpartition("@")
        netloc = f"{login}{at}127.0.0.1:{self.port}"
        return urlunsplit(self._database._replace(netloc=netloc))

    answers = staticmethod(servers.Postgres.answers)

    def _find(self) -> str:
        def look() -> str | None:
            return shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")

        return self._installed(look)

    def _launch(self) -> None:
        host, port = self._database.hostname, self._database.port or 5432
        user = self._database.username or "postgres"
        password = f"password={self._database.password}" if self._database.password else ""
        lines = (
            "[databases]",
            f"* = host={host} port={port} user={user} {password}",
            "[pgbouncer]",
            "listen_addr = 127.0.0.1",
            f"listen_port = {self.port}",
            "unix_socket_dir =",
            "auth_type = any",
            "pool_mode = transaction",
            "default_pool_size = 3",
            *self.options,
        )
        file = self._home / "pgbouncer.ini"
        file.write_text("\n".join(lines) + "\n")
        # It refuses to run as root.
        as_postgres = ("setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups")
        user = as_postgres if os.geteuid() == 0 else ()
        if user:
            shutil.chown(self._home, "postgres")
        self._spawn([*user, self.program, str(file)], cwd=self._home)

    def kill(self) -> None:
        super().kill()
        shutil.rmtree(self._home, ignore_errors=True)
