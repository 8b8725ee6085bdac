"""URLs, options, names, and how large the tables become."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import postgres_database
from posts import Worker, post, posts
from umbel.drivers import connect, postgres
from umbel.drivers.postgres import names, options
from umbel.drivers.postgres.options import Options
from umbel.exceptions import EncodeError, ImproperlyConfigured
from umbel.message import Settlement


@pytest.fixture
def broker():
    """A broker in the session's database, emptied before and after."""
    url = postgres_database.database()
    broker = postgres.serve(url, Options()).broker
    broker.setup()
    postgres_database.empty(url)
    yield broker
    broker.close()
    postgres_database.empty(url)


class TestUrls:
    def test_urls_of_one_database_name_one_place(self):
        """Whoever connects, and however the scheme is spelt."""
        one = connect("postgresql://me:secret@db.example:5432/shop")
        two = connect("postgres://other@db.example/shop")
        assert one.location == two.location == "postgresql://db.example:5432/shop?schema=umbel"

    def test_another_database_or_schema_is_another_place(self):
        """Their results are not one transaction with our messages."""
        url = "postgresql://db.example/shop"
        places = {
            connect(url).location,
            connect(f"{url}2").location,
            connect(url, {"schema": "other"}).location,
        }
        assert len(places) == 3

    def test_who_asks_twice_gets_the_same_server(self):
        """So that a settlement and its result are one transaction."""
        url = "postgresql://db.example/shop"
        server = connect(url)
        assert connect(url) is server
        assert connect(url, {"pool_size": 3}) is not server

    def test_several_urls_are_one_server_to_fail_over_to(self):
        """The one that takes writes is looked for."""
        found = options.address("postgresql://me@a/shop;postgresql://me@b:6432/shop", {})
        assert (found["host"], found["port"]) == ("a,b", "5432,6432")
        assert found["target_session_attrs"] == "read-write"

    def test_servers_that_differ_in_more_than_their_place_are_refused(self):
        """One of them would be somebody else's database."""
        with pytest.raises(ImproperlyConfigured, match="host and port alone") as error:
            connect("postgresql://me:s3cret@a/shop;postgresql://me@b/other")
        assert "s3cret" not in str(error.value)

    @pytest.mark.parametrize(
        "url", ["postgresql://me:s3cret@host:port:5/x", "postgresql://me:s3cret@h/x?nonsense=1"]
    )
    def test_a_malformed_url_is_refused_without_its_password(self, url):
        """With an example of one that is not."""
        with pytest.raises(ImproperlyConfigured, match="postgresql://user:password@host") as error:
            connect(url)
        assert "s3cret" not in str(error.value)

    def test_tls_is_verified_unless_it_is_asked_not_to_be(self):
        """The setting is that of all brokers."""
        url = "postgresql://db.example/shop"
        verified = options.address(url, {"broker_use_ssl": {"ca_certs": "ca.pem"}})
        assert (verified["sslmode"], verified["sslrootcert"]) == ("verify-full", "ca.pem")
        assert options.address(url, {"broker_use_ssl": True})["sslrootcert"] == "system"
        trusting = options.address(url, {"broker_use_ssl": {"cert_reqs": "none"}})
        assert trusting["sslmode"] == "require"
        own = options.address(f"{url}?sslmode=disable", {"broker_use_ssl": True})
        assert own["sslmode"] == "disable"


@pytest.mark.parametrize(
    "wrong",
    [
        {"poll_interval": 0},
        {"call_timeout": "long"},
        {"pool_size": 0},
        {"pool_size": True},
        {"listen": "no"},
        {"schema": ""},
        {"schema": "public"},
        {"schema": "pg_umbel"},
        {"schema": 'a"b'},
        {"schema": "x" * 64},
        {"nonsense": 1},
    ],
)
def test_an_option_that_makes_no_sense_is_named(wrong):
    """Before anything is opened."""
    with pytest.raises(ImproperlyConfigured, match=next(iter(wrong))):
        connect("postgresql://db.example/shop", wrong)


@given(st.text())
def test_any_text_can_be_kept_and_comes_back(text):
    """Nulls and lone surrogates included, which PostgreSQL does not take."""
    kept = names.stored(text)
    assert "\0" not in kept
    kept.encode()
    assert names.original(kept) == text
    assert names.all_stored([text, "plain"]) == [kept, "plain"]


def test_a_queue_name_that_no_index_takes_is_refused(broker):
    """With the reason, and nothing is stored."""
    # Not compressible: the index would take a long name that is.
    name = "".join(chr(0x4E00 + n * n % 20_000) for n in range(6_000))
    with pytest.raises(EncodeError, match="index row"):
        broker.publish([post("fine"), post(queue=name)])
    assert broker.stats() == []


def test_the_table_does_not_grow_with_what_has_passed_through(broker):
    """Though nobody else looks after it: the places of ended messages are used again."""
    worker = Worker(broker)
    url = postgres_database.database()
    postgres_database.run(url, "VACUUM FULL umbel.message")

    def size_after(number):
        for _ in range(number // 1_000):
            broker.publish(posts(1_000))
            taken = worker.take(1_000)
            assert all(broker.settle([Settlement(delivery) for delivery in taken]))
        return postgres_database.run(url, "SELECT pg_total_relation_size('umbel.message')")[0][0]

    once = size_after(22_000)
    assert size_after(44_000) < 1.5 * once


def test_a_large_queue_is_claimed_by_its_index(broker):
    """Also by a connection that made its plans while the table was empty."""
    worker = Worker(broker)
    for _ in range(10):
        assert worker.take(1) == []
    broker.publish(posts(6_000, queue="other"))
    broker.publish([post("needle")])
    url = postgres_database.database()
    before = _scans(url)
    assert [delivery.message.id for delivery in worker.take(1)] == ["needle"]
    broker.close()
    assert _scans(url) == before


def _scans(url):
    """How often the whole table was read."""
    return postgres_database.run(
        url,
        "SELECT pg_stat_force_next_flush()",
        "SELECT seq_scan FROM pg_stat_user_tables"
        " WHERE schemaname = 'umbel' AND relname = 'message'",
    )[0][0]
