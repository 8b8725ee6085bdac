"""A directory of results: how its files are named, read, and written by one process at a time.

A new state is written to a file aside, which then takes the place of the old one, so that nobody
ever reads half of it.  Reading what is there and replacing it is one step under a lock that the
system gives back when its holder dies; the file aside is always the same, so that those who die
leave nothing behind but it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from umbel.exceptions import ImproperlyConfigured, OperationalError

if TYPE_CHECKING:
    from collections.abc import Iterator

_TASK, _GROUP = "celery-task-meta-", "celery-taskset-meta-"
_LOCK, _ASIDE = ".umbel-lock", ".umbel-new"
_LOCK_WAIT, _LOCK_PAUSE = 10.0, 0.005
_TAKEN = (errno.EAGAIN, errno.EACCES)
_LONGEST = 255


class Folder:
    """The files of one directory.

    Args:
        path: the directory.
        prefix: what the names of all its files begin with.
    """

    def __init__(self, path: str, prefix: str) -> None:
        self.path = path
        self._prefix = prefix

    def check(self) -> None:
        """Make sure that results can be kept here.

        Raises:
            ImproperlyConfigured: the directory is not there, or may not be written.
        """
        if not Path(self.path).is_dir():
            raise ImproperlyConfigured(
                f"file://{self.path}: there is no such directory; make it, or correct "
                "result_backend"
            )
        if not os.access(self.path, os.R_OK | os.W_OK | os.X_OK):
            raise ImproperlyConfigured(
                f"file://{self.path}: this user may not read and write the directory; change its "
                "rights, or correct result_backend"
            )

    def name(self, task_id: str) -> Path | None:
        """The path of a task's file; None if no file can have such a name."""
        name = f"{self._prefix}{_TASK}{task_id}"
        if "/" in task_id or "\0" in task_id or len(os.fsencode(name)) > _LONGEST:
            return None
        return Path(self.path, name)

    def read(self, name: Path) -> tuple[bytes, float] | None:
        """The content of a file and when it was written, or None if there is none.

        Raises:
            OperationalError: it is there and cannot be read.
        """
        try:
            with name.open("rb") as file:
                return file.read(), os.fstat(file.fileno()).st_mtime
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._fault(error) from error

    def write(self, name: Path, content: bytes, now: float) -> None:
        """Replace the content of a file; only while `locked`.

        Raises:
            OperationalError: the old content is there still.
        """
        aside = Path(self.path, _ASIDE)
        try:
            aside.unlink(missing_ok=True)  # that of another user could not be written
            aside.write_bytes(content)
            os.utime(aside, (now, now))
            aside.replace(name)
        except OSError as error:
            raise self._fault(error) from error

    def remove(self, name: Path) -> bool:
        """Delete a file; False if there was none.

        Raises:
            OperationalError: it is there still.
        """
        try:
            name.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self._fault(error) from error
        return True

    def written_before(self, moment: float) -> Iterator[Path]:
        """The paths of files of results, also of groups, that nobody has written since."""
        begins = (f"{self._prefix}{_TASK}", f"{self._prefix}{_GROUP}")
        try:
            with os.scandir(self.path) as entries:
                for entry in entries:
                    if entry.name.startswith(begins) and _written_at(entry) <= moment:
                        yield Path(entry.path)
        except OSError as error:
            raise self._fault(error) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other process and thread from writing.

        Raises:
            OperationalError: somebody else holds the lock for long, or there are no locks here.
        """
        file = self._open_lock()
        try:
            self._lock(file)
            yield
        finally:
            os.close(file)

    def _open_lock(self) -> int:
        path = Path(self.path, _LOCK)
        try:
            try:
                return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            except PermissionError:  # another user made it; most systems can lock it all the same
                return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise self._fault(error) from error

    def _lock(self, file: int) -> None:
        end = time.monotonic() + _LOCK_WAIT
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in _TAKEN:
                    raise self._fault(error) from error
                if time.monotonic() > end:
                    raise OperationalError(
                        f"file://{self.path}: still locked after {_LOCK_WAIT:g} s; look for a "
                        "process that was stopped while it wrote a result"
                    ) from error
            else:
                return
            time.sleep(_LOCK_PAUSE)

    def _fault(self, error: OSError) -> OperationalError:
        return OperationalError(f"file://{self.path}: {error.strerror} ({error.filename})")


def _written_at(entry: os.DirEntry[str]) -> float:
    try:
        return entry.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
