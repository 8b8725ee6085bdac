"""The database is locked, deleted or damaged under a worker: it says so, and serves again."""

from __future__ import annotations

import sqlite3

import pytest

from workers import wait_until


@pytest.fixture
def database(own_directory):
    return own_directory / "errands.db"


def test_a_locked_database_is_waited_for(errands, start, holding, let_go, database):
    """Somebody locks it while a task runs: its end is settled when they are done."""
    start()
    result = errands.held.delay(5)
    holding(1)
    other = sqlite3.connect(database, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    let_go()
    assert result.state == "PENDING"
    other.execute("ROLLBACK")
    other.close()
    assert result.get(timeout=15) == 5
    assert errands.add.delay(1, 1).get(timeout=10) == 2


def test_a_deleted_database_is_said_and_made_anew(errands, start, database):
    """What was in it is gone; calls sent from then on run."""
    worker = start()
    assert errands.add.delay(1, 1).get(timeout=10) == 2
    for path in database.parent.glob("errands.db*"):
        path.unlink()

    def runs_again():
        try:
            return errands.add.delay(2, 2).get(timeout=2) == 4
        except Exception:  # noqa: BLE001 - the first calls may be told of the loss
            return False

    assert wait_until(runs_again, "a call to run again")
    assert "errands.db" in worker.text.partition("ready.")[2]
    assert worker.stop() == 0


def test_a_worker_on_something_that_is_no_database_says_so(start, errands, database):
    """One sentence with the file's name, no traceback, exit code not 0."""
    database.write_bytes(b"this is not a database, but long enough to look like one" * 100)
    worker = start(ready=False)
    assert worker.wait() != 0
    assert "errands.db" in worker.text
    assert "Traceback" not in worker.text


def test_a_worker_on_a_newer_schema_says_so(start, errands, database):
    """As written by a later version that this one cannot work beside."""
    errands.app.broker.stats()
    other = sqlite3.connect(database)
    (version,) = other.execute("PRAGMA user_version").fetchone()
    other.execute(f"PRAGMA user_version = {version + 1000}")
    other.execute("UPDATE format SET oldest = ?", (version + 1000,))
    other.commit()
    other.close()
    worker = start(ready=False)
    assert worker.wait() != 0
    assert "errands.db" in worker.text
    assert "Traceback" not in worker.text
