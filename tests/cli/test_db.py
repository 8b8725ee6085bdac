"""``umbel db``: tables that are created and migrated by somebody who may."""

from __future__ import annotations

import pytest
from psycopg.conninfo import conninfo_to_dict

import postgres_database
from commands import umbel


@pytest.fixture
def url():
    """A database without our tables, before and after."""
    url = postgres_database.database()
    postgres_database.run(url, "DROP SCHEMA IF EXISTS umbel CASCADE")
    yield url
    postgres_database.run(url, "DROP SCHEMA IF EXISTS umbel CASCADE")


def version(url):
    """The version that the tables say they have."""
    return postgres_database.run(url, "SELECT version FROM umbel.format")[0][0]


def test_tables_are_created_and_then_left_alone(url, own_directory):
    """However often it is run, and looking creates none."""
    before = umbel("-b", url, "db", "status")
    assert before.code == 1
    assert "no tables yet" in before.out
    assert "umbel db migrate" in before.err
    first = umbel("-b", url, "db", "migrate")
    assert (first.code, "new" in first.out) == (0, True)
    again = umbel("-b", url, "db", "migrate")
    assert (again.code, "already" in again.out) == (0, True)
    after = umbel("-b", url, "db", "status")
    assert (after.code, "up to date" in after.out) == (0, True)


def test_a_dry_run_changes_nothing(url, own_directory):
    """It says what would be done."""
    ended = umbel("-b", url, "db", "migrate", "--dry-run")
    assert (ended.code, "would be made version" in ended.out) == (0, True)
    assert umbel("-b", url, "db", "status").code == 1


def test_programs_get_a_document(url, own_directory):
    """With places and numbers."""
    done = umbel("-b", url, "db", "migrate", "--json").data["tables"]
    found = umbel("-b", url, "db", "status", "--json").data["tables"]
    number = version(url)
    assert [(each["from"], each["to"]) for each in done] == [(0, number)]
    assert [(each["version"], each["supported"]) for each in found] == [(number, number)]
    assert conninfo_to_dict(url)["dbname"] in found[0]["place"]


def test_tables_of_a_newer_version_are_not_touched(url, own_directory):
    """The sentence names both versions."""
    umbel("-b", url, "db", "migrate")
    postgres_database.run(url, "UPDATE umbel.format SET version = 900, oldest = 900")
    ended = umbel("-b", url, "db", "migrate")
    assert ended.code == 69
    assert "900" in ended.err
    assert version(url) == 900


def test_tables_of_broker_and_results_are_one_where_they_are_the_same(url, own_directory):
    """And two where they are not."""
    alone = umbel("-b", url, "--result-backend", url, "db", "status", "--json")
    assert len(alone.data["tables"]) == 1
    other = umbel("-b", "memory://", "--result-backend", url, "db", "status", "--json")
    assert len(other.data["tables"]) == 1


def test_a_broker_without_tables_has_nothing_to_migrate(own_directory):
    """It says so."""
    ended = umbel("-b", "memory://", "db", "migrate")
    assert (ended.code, "migrated by hand" in ended.err) == (1, True)


def test_the_password_is_not_shown(url, own_directory):
    """Neither in what is found nor in what is wrong."""
    wrong = "postgresql://nobody:s3cret@127.0.0.1:1/none?connect_timeout=2"
    ended = umbel("-b", wrong, "db", "migrate")
    assert ended.code == 69
    assert "s3cret" not in ended.out + ended.err
