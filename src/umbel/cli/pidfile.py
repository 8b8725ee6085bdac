"""A file that holds the process id of a worker, for programs that start and stop it."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from umbel.cli.ends import CANNOT_CREATE, Failure
from umbel.identity import node_format

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def pidfile(name: str, node: str) -> Iterator[Path]:
    """Within the block, the file ``name`` holds the id of this process.

    Format characters in the name are replaced. A file that a dead process has left is taken over.

    Raises:
        Failure: it belongs to a process that runs, or cannot be made.
    """
    path = Path(node_format(name, node)).absolute()
    try:
        _claim(path)
    except OSError as error:
        raise Failure(
            f"the pidfile {path} cannot be made: {error.strerror}", CANNOT_CREATE
        ) from None
    try:
        yield path
    finally:
        if _owner(path) == os.getpid():
            path.unlink(missing_ok=True)


def _claim(path: Path) -> None:
    owner = _owner(path)
    if owner is not None and owner != os.getpid() and _runs(owner):
        raise Failure(
            f"process {owner} in the pidfile {path} still runs; stop it, or name another file",
            CANNOT_CREATE,
        )
    with suppress(FileNotFoundError):
        path.unlink()
    # Whoever comes first makes the file; a second worker that starts now fails here.
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644), "w") as file:
        file.write(f"{os.getpid()}\n")


def _owner(path: Path) -> int | None:
    try:
        return int(path.read_text("ascii"))
    except (FileNotFoundError, ValueError):
        return None


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
