"""One database file and the connections of this process to it.

Connections are kept by role, each with a lock, so that a slow or blocked role never holds up
another one of this process.  Three things can pull the ground from under a connection, and each
is looked for at every use:

* **Another process holds the write lock.** The call tries again, with short pauses, until its
  deadline.
* **A fork.** Connections are closed before it (see `forks`). Where a C library forks behind
  Python's back, the process id tells; the inherited connection is then left alone, unclosed,
  because closing it here would undo locks over there.
* **Somebody deletes or replaces the file.** The connection would go on with a file that has no
  name any more; instead the call fails, and the next one opens what is there.

What must survive a power cut is brought to the disk after its commit, by a flush of the log that
holds it, and not by SQLite within the commit: that would hold the write lock while the disk works,
which is ten times longer than the rest, and keep everybody else waiting.  Whatever becomes of the
log between the two, a checkpoint has flushed it before it took anything from it.
"""

from __future__ import annotations

import os
import random
import sqlite3
import sys
import time
import warnings
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

from umbel.drivers.sqlite import faults, forks, places, schema
from umbel.exceptions import UmbelWarning

if TYPE_CHECKING:
    from collections.abc import Callable

    from umbel.clock import Clock
    from umbel.drivers import Server
    from umbel.drivers.sqlite.options import Options
    from umbel.exceptions import UmbelError

T = TypeVar("T")

_SHORTEST_PAUSE = 0.000_1
_LONGEST_PAUSE = 0.002
# Whoever publishes leaves checkpoints to the workers, as long as there are any.
_CHECKPOINT = 1_000
LATE_CHECKPOINT = 8_000
_KEPT_LOG = 16 * 2**20

# Connections that were open when a C library forked; see the essay.
_inherited: list[sqlite3.Connection] = []


class Line:
    """One connection, used by one thread at a time.

    Args:
        store: the file.
        checkpoint: pages of the log after which a commit also copies them into the file.
    """

    def __init__(self, store: Store, *, checkpoint: int = _CHECKPOINT) -> None:
        self._store = store
        self._checkpoint = checkpoint
        self._lock = Lock()
        self._db: sqlite3.Connection | None = None
        self._pid = 0
        self._inode: tuple[int, int] | None = None
        forks.register(self)

    def write(self, work: Callable[[sqlite3.Connection], T], *, timeout: float | None = None) -> T:
        """What ``work`` returns, done in one transaction; it may be tried more than once."""

        def transaction(db: sqlite3.Connection) -> T:
            db.execute("BEGIN IMMEDIATE")
            answer = work(db)
            db.execute("COMMIT")
            self._check_file()
            return answer

        return self.run(transaction, timeout=timeout)

    def read(self, work: Callable[[sqlite3.Connection], T], *, timeout: float | None = None) -> T:
        """What ``work`` returns, all of it seen at one moment."""

        def transaction(db: sqlite3.Connection) -> T:
            db.execute("BEGIN")
            answer = work(db)
            db.execute("COMMIT")
            return answer

        return self.run(transaction, timeout=timeout)

    def run(self, work: Callable[[sqlite3.Connection], T], *, timeout: float | None = None) -> T:
        """What ``work`` returns, tried again while others are in the way.

        Raises:
            OperationalError: others were in the way for ``timeout`` seconds, or the file cannot
                be used at the moment.
            StoreError: the file is damaged, or of another version.
        """
        patience = self._store.options.busy_timeout if timeout is None else max(timeout, 0.0)
        deadline = time.monotonic() + patience
        if not self._lock.acquire(timeout=patience):
            raise faults.locked(self._store.path, patience)
        try:
            pause = _SHORTEST_PAUSE
            while True:
                try:
                    return work(self._opened())
                except sqlite3.Error as error:
                    if not faults.is_busy(error):
                        raise self._translated(error) from error
                    self._roll_back()
                    if time.monotonic() + pause > deadline:
                        raise faults.locked(self._store.path, patience) from error
                except BaseException:
                    self._roll_back()
                    raise
                time.sleep(pause * random.random())  # noqa: S311 - so that two do not meet again
                pause = min(pause * 1.5, _LONGEST_PAUSE)
        finally:
            self._lock.release()

    def close(self) -> None:
        """Give the connection back; it is opened again when next used."""
        with self._lock:
            self._drop()

    def __del__(self) -> None:
        self._drop()

    def before_fork(self) -> None:
        """Close the connection and keep everybody out."""
        self._lock.acquire()
        self._drop()

    def after_fork(self, *, child: bool) -> None:  # noqa: ARG002 - both sides start anew
        """Let everybody in again."""
        self._lock.release()

    def _opened(self) -> sqlite3.Connection:
        if self._db is not None and self._pid == os.getpid():
            self._check_file()
            return self._db
        self._drop()
        db = self._store.open(checkpoint=self._checkpoint)
        self._db, self._pid, self._inode = db, os.getpid(), _inode(self._store.path)
        return db

    def _check_file(self) -> None:
        if _inode(self._store.path) != self._inode:
            self._drop()
            raise faults.gone(self._store.path)

    def _translated(self, error: sqlite3.Error) -> UmbelError:
        """Leave the connection as it must be after ``error``, and say that in our words."""
        self._roll_back()
        if self._db is not None and _inode(self._store.path) != self._inode:
            self._drop()
            return faults.gone(self._store.path)
        if faults.is_broken(error):
            self._drop()
        return faults.translate(error, self._store.path)

    def _roll_back(self) -> None:
        if self._db is not None and self._db.in_transaction:
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")

    def _drop(self) -> None:
        db, self._db = self._db, None
        if db is None:
            return
        if self._pid == os.getpid():
            db.close()
        else:
            _inherited.append(db)


class Store:
    """One database file as this process sees it."""

    # Set by `connect`: who asks again for this file shares the roles that are there.
    server: Server

    def __init__(self, path: str, options: Options, clock: Clock) -> None:
        self.path = path
        self.options = options
        self.clock = clock
        self._place_known = False

    def open(self, *, checkpoint: int) -> sqlite3.Connection:
        """A new connection to the file, which is created or migrated if need be.

        Raises:
            sqlite3.Error: as it comes; the caller translates.
            StoreError: the file is not one of ours.
        """
        db = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(db, checkpoint)
        except BaseException:
            db.close()
            raise
        return db

    def _prepare(self, db: sqlite3.Connection, checkpoint: int) -> None:
        db.execute("BEGIN")
        version = schema.version_of(db, self.path)
        db.execute("COMMIT")
        (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise faults.unshared(self.path, mode)
        for pragma in (
            "synchronous = NORMAL",
            f"wal_autocheckpoint = {checkpoint}",
            f"journal_size_limit = {_KEPT_LOG}",
            "secure_delete = OFF",
            "temp_store = MEMORY",
        ):
            db.execute(f"PRAGMA {pragma}").fetchall()
        self._warn_of_place()
        if version < schema.VERSION:
            db.execute("BEGIN IMMEDIATE")
            schema.migrate(db, self.path)
            db.execute("COMMIT")

    def _warn_of_place(self) -> None:
        if self._place_known:
            return
        self._place_known = True
        kind = places.network_file_system(self.path)
        if kind is not None:
            warnings.warn(
                f"{self.path} is on a network file system ({kind}); used from several machines "
                "it will lose data, so put it on a local disk",
                UmbelWarning,
                stacklevel=2,
            )

    def flush(self) -> None:
        """Bring every commit so far to the disk, if the options ask for it.

        Raises:
            OperationalError: the disk refused; what was committed last may be lost by a power cut.
        """
        if self.options.synchronous == "normal":
            return
        try:
            log = os.open(f"{self.path}-wal", os.O_RDONLY)
        except FileNotFoundError:
            return  # its last user has moved everything into the file, and flushed that
        except OSError as error:
            raise faults.unflushed(self.path, error) from error
        try:
            _flush(log)
        except OSError as error:
            raise faults.unflushed(self.path, error) from error
        finally:
            os.close(log)


def _flush(descriptor: int) -> None:
    if sys.platform == "darwin":  # where fsync leaves the data in the disk's cache
        import fcntl

        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fdatasync(descriptor)


def _inode(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - at every use, and twice as fast as Path.stat
    except OSError:
        return None
    return status.st_dev, status.st_ino
