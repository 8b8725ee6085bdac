"""The tables, and how a file written by an older version becomes one of this version.

A message is two rows under one number: `payload` is what travels, written once and deleted once;
`place` is where it stands, small enough that a claim rewrites a few pages and not the bodies.
A message is *delayed* while ``due_at`` is set, *claimed* while ``owner`` is set, else *ready*.

A `binding` with an ``owner`` goes with it, and the queue with its last binding; without, it stays.

`counter` numbers everything that must be ordered, and never gives a number twice; so a claim that
was lost can not be mistaken for one of a later message.

Rules for changes: add a step to `MIGRATIONS` and never edit one that was released.  Workers of two
versions run side by side while an installation is upgraded, so a step keeps what the version
before it reads and writes working (new columns have defaults; what is to go is not used for one
version, and goes in the next).  Each step says which is the oldest version that can still use the
file; older code refuses it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from umbel.exceptions import SchemaError, StoreError

if TYPE_CHECKING:
    import sqlite3

# "Umbl": tells our files from those of other programs.
APPLICATION_ID = 0x556D626C


class Step(NamedTuple):
    """How a file gets from one version to the next.

    Attributes:
        oldest: the oldest version that can use the file afterwards.
        statements: what is done, in one transaction.
    """

    oldest: int
    statements: tuple[str, ...]


_FIRST = Step(
    1,
    (
        "CREATE TABLE format (one INTEGER PRIMARY KEY CHECK (one = 1), oldest INTEGER NOT NULL)",
        "INSERT INTO format VALUES (1, 1)",
        "CREATE TABLE counter (one INTEGER PRIMARY KEY CHECK (one = 1), n INTEGER NOT NULL)",
        "INSERT INTO counter VALUES (1, 0)",
        """CREATE TABLE payload (
            seq INTEGER PRIMARY KEY,
            head BLOB NOT NULL,
            body BLOB NOT NULL
        )""",
        """CREATE TABLE place (
            seq INTEGER PRIMARY KEY,
            id TEXT NOT NULL,
            queue TEXT NOT NULL,
            priority INTEGER NOT NULL,
            rank INTEGER NOT NULL,
            due_at REAL,
            enqueued_at REAL NOT NULL,
            owner TEXT,
            fence INTEGER NOT NULL DEFAULT 0,
            deliveries INTEGER NOT NULL DEFAULT 0,
            crashes INTEGER NOT NULL DEFAULT 0,
            begun INTEGER NOT NULL DEFAULT 0
        )""",
        """CREATE INDEX place_ready ON place (queue, priority DESC, rank)
            WHERE owner IS NULL AND due_at IS NULL""",
        "CREATE INDEX place_delayed ON place (due_at, seq, queue) WHERE due_at IS NOT NULL",
        "CREATE INDEX place_claimed ON place (owner, fence) WHERE owner IS NOT NULL",
        """CREATE TABLE owner (
            name TEXT PRIMARY KEY,
            until REAL NOT NULL,
            lease REAL NOT NULL
        ) WITHOUT ROWID""",
        """CREATE TABLE listener (
            topic TEXT NOT NULL,
            port INTEGER NOT NULL,
            owner TEXT NOT NULL,
            at REAL NOT NULL,
            PRIMARY KEY (topic, port)
        ) WITHOUT ROWID""",
        "CREATE INDEX listener_port ON listener (port)",
        """CREATE TABLE dead (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL,
            queue TEXT NOT NULL,
            reason TEXT NOT NULL,
            detail TEXT NOT NULL,
            at REAL NOT NULL,
            head BLOB,
            body BLOB NOT NULL,
            evidence TEXT NOT NULL
        )""",
        """CREATE TABLE result (
            number INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            status TEXT NOT NULL,
            final INTEGER NOT NULL,
            stored_at REAL NOT NULL,
            expires REAL,
            expires_at REAL,
            content_type TEXT NOT NULL,
            payload BLOB NOT NULL
        )""",
        "CREATE INDEX result_expires ON result (expires_at) WHERE expires_at IS NOT NULL",
        """CREATE TABLE waiter (
            id TEXT NOT NULL,
            port INTEGER NOT NULL,
            at REAL NOT NULL,
            PRIMARY KEY (id, port)
        ) WITHOUT ROWID""",
        "CREATE INDEX waiter_at ON waiter (at)",
        """CREATE TABLE broadcast (
            mark INTEGER PRIMARY KEY,
            channel TEXT NOT NULL,
            payload BLOB NOT NULL,
            at REAL NOT NULL
        )""",
        """CREATE TABLE lease (
            name TEXT PRIMARY KEY,
            holder TEXT NOT NULL,
            token INTEGER NOT NULL,
            until REAL NOT NULL,
            ttl REAL NOT NULL
        ) WITHOUT ROWID""",
        "CREATE INDEX lease_until ON lease (until)",
        "CREATE TABLE bucket (name TEXT PRIMARY KEY, full_at REAL NOT NULL) WITHOUT ROWID",
        "CREATE INDEX bucket_full_at ON bucket (full_at)",
        """CREATE TABLE slot (
            name TEXT NOT NULL,
            holder TEXT NOT NULL,
            until REAL NOT NULL,
            ttl REAL NOT NULL,
            PRIMARY KEY (name, holder)
        ) WITHOUT ROWID""",
        "CREATE INDEX slot_until ON slot (until)",
        """CREATE TABLE unique_key (
            key TEXT PRIMARY KEY,
            holder TEXT NOT NULL,
            until REAL NOT NULL
        ) WITHOUT ROWID""",
        "CREATE INDEX unique_key_until ON unique_key (until)",
    ),
)
_SECOND = Step(
    1,
    (
        """CREATE TABLE binding (
            exchange TEXT NOT NULL,
            queue TEXT NOT NULL,
            pattern TEXT NOT NULL,
            owner TEXT NOT NULL,
            kind TEXT NOT NULL,
            PRIMARY KEY (exchange, queue, pattern, owner)
        ) WITHOUT ROWID""",
        "CREATE INDEX binding_queue ON binding (queue)",
        "CREATE INDEX binding_owner ON binding (owner) WHERE owner <> ''",
    ),
)
MIGRATIONS = (_FIRST, _SECOND)
VERSION = len(MIGRATIONS)


def version_of(db: sqlite3.Connection, store: str) -> int:
    """The schema version of a file, seen at one moment; 0 for an empty one.

    The caller has begun a transaction.

    Raises:
        StoreError: the file is a database of another program.
        SchemaError: it was written by a newer version, which this one cannot work beside.
    """
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if application or version or tables:
            raise StoreError(f"{store} is a database of another program; name another file")
        return 0
    if version > VERSION:
        (oldest,) = db.execute("SELECT oldest FROM format").fetchone()
        if oldest > VERSION:
            raise SchemaError(version, VERSION, store=store)
    return int(version)


def migrate(db: sqlite3.Connection, store: str) -> None:
    """Bring a file to this version; the caller has begun a transaction for writing."""
    version = version_of(db, store)
    for number, step in enumerate(MIGRATIONS[version:], version + 1):
        for statement in step.statements:
            db.execute(statement)
        db.execute("UPDATE format SET oldest = ?", (step.oldest,))
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {number}")
