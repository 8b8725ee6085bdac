"""What SQLite reports, said once in our words: what happened to which file, and what to do."""

from __future__ import annotations

import sqlite3

from umbel.exceptions import EncodeError, OperationalError, StoreCorrupt, UmbelError

_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_NEXT_STEP = {
    sqlite3.SQLITE_FULL: "the disk is full; free some space and try again",
    sqlite3.SQLITE_READONLY: "it may not be written; check the rights on it and on its directory",
    sqlite3.SQLITE_PERM: "access is denied; check the rights on it and on its directory",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check that its directory is there and that "
    "both may be written",
    sqlite3.SQLITE_IOERR: "reading or writing it failed; check the disk and the system's log",
    sqlite3.SQLITE_NOLFS: "it is too large for this file system",
    sqlite3.SQLITE_NOMEM: "no memory is left",
}


def is_busy(error: sqlite3.Error) -> bool:
    """Whether somebody else was in the way, so that trying again is right."""
    return _primary(error) in _BUSY


def is_broken(error: sqlite3.Error) -> bool:
    """Whether the connection should not be used again: what it remembers may be wrong."""
    code = _primary(error)
    return code in _DAMAGED or code in _NEXT_STEP


def translate(error: sqlite3.Error, store: str) -> UmbelError:
    """The exception of ours that says the same."""
    code = _primary(error)
    if code in _DAMAGED:
        return StoreCorrupt(store, str(error))
    if code == sqlite3.SQLITE_TOOBIG:
        return EncodeError(f"{error}; a file takes at most about 1 GB in one value")
    hint = _NEXT_STEP.get(code)
    return OperationalError(f"{store}: {hint} ({error})" if hint else f"{store}: {error}")


def locked(store: str, seconds: float) -> OperationalError:
    """Somebody else kept the file locked until our deadline."""
    return OperationalError(
        f"{store}: still locked after {seconds:g} s; look for a program that keeps a transaction "
        "open, or raise busy_timeout"
    )


def gone(store: str) -> OperationalError:
    """The file under our connection is not the one at its path any more."""
    return OperationalError(
        f"{store}: the file was deleted or replaced while it was in use; what it held is out of "
        "reach, and the next call works with the file that is there by then"
    )


def unflushed(store: str, error: OSError) -> OperationalError:
    """The disk did not take what was committed."""
    return OperationalError(
        f"{store}: the disk refused to keep what was written ({error.strerror}); it may be there "
        "or not, so check the disk, then try again with the same ids"
    )


def unshared(store: str, mode: str) -> OperationalError:
    """The file system cannot give several processes a write-ahead log."""
    return OperationalError(
        f"{store}: its file system does not allow a write-ahead log (journal mode stays {mode}); "
        "put the file on a local disk"
    )


def _primary(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
