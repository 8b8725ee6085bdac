"""What PostgreSQL and the network do wrong, and what the caller hears of it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

import postgres_database
import servers
from patience import DEADLINE, Background, wait_until
from posts import Worker, ended, ids, post, posts, succeeded
from proxy import Proxy
from umbel.drivers import postgres
from umbel.drivers.postgres.options import Options
from umbel.exceptions import (
    BackendGetMetaError,
    BackendStoreError,
    ImproperlyConfigured,
    OperationalError,
    SchemaError,
    StoreError,
)

LONG = 60.0
QUICK = 1.0
"""Seconds by which a busy machine may be late."""


@pytest.fixture
def url():
    """A database of the session's, emptied before and after."""
    url = postgres_database.database()
    broker = postgres.serve(url, Options()).broker
    broker.setup()
    broker.close()
    postgres_database.empty(url)
    yield url
    postgres_database.run(url, "DROP SCHEMA IF EXISTS other CASCADE")
    postgres_database.empty(url)


@pytest.fixture
def serve(url):
    """Servers with connections of their own, closed when the test ends."""
    made = []

    def serve(where=url, **options):
        server = postgres.serve(where, Options(**options))
        made.append(server)
        return server

    yield serve
    for server in made:
        server.broker.close()
        server.backend.close()
        server.coordinator.close()


@pytest.fixture
def proxy(url):
    """A network before the server."""
    with Proxy(url) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def private(tmp_path_factory):
    """A server that may be killed."""
    with servers.private("postgres", tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture
def clean(private):
    """Its URL; what a test makes there is undone."""
    yield private.url
    postgres_database.run(private.url, "DROP SCHEMA IF EXISTS umbel CASCADE")


def taken(call):
    """The seconds that ``call`` took to raise that the server is away."""
    start = time.monotonic()
    with pytest.raises(OperationalError):
        call()
    return time.monotonic() - start


def activity(url, condition="true"):
    """Process ids of our connections, by what pg_stat_activity says of them."""
    return [
        pid
        for (pid,) in postgres_database.run(
            url,
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'umbel'"
            f" AND datname = current_database() AND {condition}",
        )
    ]


class TestAway:
    def test_a_server_that_is_not_there_is_said_to_be_away(self, serve):
        """At once, without the password."""
        where = f"postgresql://me:s3cret@127.0.0.1:{servers.free_port()}/test"
        broker = serve(where).broker
        with pytest.raises(OperationalError) as error:
            broker.publish([post()], timeout=5.0)
        assert "127.0.0.1" in str(error.value)
        assert "s3cret" not in str(error.value)

    def test_a_server_that_stalls_costs_no_more_than_the_time_there_is(self, serve, proxy):
        """In every role."""
        server = serve(proxy.url, call_timeout=0.4)
        server.broker.enroll("worker", 60)
        proxy.swallow()
        assert taken(lambda: server.broker.publish([post()], timeout=0.2)) < 0.2 + 1.0 + QUICK
        assert taken(server.broker.stats) < 2.0 + 1.0 + QUICK
        with pytest.raises(BackendStoreError):
            server.backend.store([succeeded("id")])
        with pytest.raises(BackendGetMetaError):
            server.backend.fetch(["id"])
        with pytest.raises(OperationalError):
            server.coordinator.acquire("leader", "me", 60)

    def test_connections_that_were_cut_while_idle_cost_nothing(self, serve, proxy):
        """Nobody hears of it."""
        server = serve(proxy.url)
        server.broker.publish([post("before")])
        proxy.cut()
        wait_until(lambda: not activity(proxy.url, "state = 'active' AND pid <> pg_backend_pid()"))
        server.broker.publish([post("after")])
        assert Worker(server.broker).drain() == ["before", "after"]

    def test_connections_that_were_ended_by_an_administrator_cost_nothing(self, serve, url):
        """Nobody hears of it."""
        server = serve()
        server.broker.publish([post("before")])
        postgres_database.run(url, f"SELECT pg_terminate_backend({activity(url)[0]}, 5000)")
        server.broker.publish([post("after")])
        assert Worker(server.broker).drain() == ["before", "after"]

    def test_whoever_waits_is_woken_again_after_the_listening_connection_was_ended(
        self, serve, url
    ):
        """By a new one; no look in between would be soon enough."""
        server = serve(poll_interval=3600.0)
        worker = Worker(server.broker)
        listening = "query LIKE 'LISTEN%'"
        with Background(worker.take, 1, wait=LONG) as reserving:
            (pid,) = wait_until(lambda: activity(url, listening))
            postgres_database.run(url, f"SELECT pg_terminate_backend({pid}, 5000)")
            wait_until(lambda: activity(url, f"{listening} AND pid <> {pid}"))
            serve().broker.publish([post("news")])
            assert ids(reserving.result()) == ["news"]

    def test_whoever_waits_for_results_gets_them_after_the_network_was_away(self, serve, proxy):
        """Cut or swallowed, once it is back."""
        server = serve(proxy.url, call_timeout=0.5)
        with Background(server.backend.wait, ["id"], LONG) as waiting:
            waiting.blocks()
            proxy.refuse()
            serve().backend.store([succeeded("id")])
            proxy.pass_on()
            assert waiting.result().keys() == {"id"}

    def test_messages_of_a_claim_whose_answer_was_lost_are_found_again(self, serve, proxy, url):
        """By the same owner, as the same deliveries."""
        postgres_database.run(
            url,
            "CREATE FUNCTION umbel.slow() RETURNS trigger LANGUAGE plpgsql AS"
            " 'BEGIN PERFORM pg_sleep(0.3); RETURN new; END'",
            "CREATE TRIGGER slow BEFORE UPDATE ON umbel.message"
            " FOR EACH ROW EXECUTE FUNCTION umbel.slow()",
        )
        try:
            server = serve(proxy.url, call_timeout=2.0)
            worker = Worker(server.broker)
            serve().broker.publish([post("lost")])
            with Background(worker.take, 1) as reserving:
                wait_until(lambda: activity(url, "state = 'active' AND wait_event = 'PgSleep'"))
                proxy.swallow()
                with pytest.raises(OperationalError, match="no answer"):
                    reserving.result()
            proxy.pass_on()
            (delivery,) = wait_until(worker.take)
            assert (ids([delivery]), delivery.deliveries) == (["lost"], 1)
            assert server.broker.settle([ended(delivery)]) == [True]
        finally:
            postgres_database.run(url, "DROP FUNCTION umbel.slow() CASCADE")

    def test_what_was_given_up_is_given_up_by_the_server_as_well(self, serve, url):
        """A call that waited for somebody's lock leaves nothing behind."""
        server = serve()
        server.broker.publish([post("before")])
        with psycopg.connect(url) as other:
            other.execute("LOCK TABLE umbel.message")
            assert taken(lambda: server.broker.publish([post("late")], timeout=0.3)) < 2.0 + QUICK
            wait_until(lambda: not activity(url, "state = 'active' AND wait_event_type = 'Lock'"))
        assert Worker(server.broker).drain() == ["before"]

    def test_a_killed_server_loses_nothing_it_confirmed(self, serve, tmp_path):
        """Everybody goes on when it is back."""
        with servers.private("postgres", tmp_path) as private:
            self.kill_amid_work(serve(private.url), private)

    def kill_amid_work(self, server, private):
        worker = Worker(server.broker)
        batch = posts(20)
        for message in batch:
            server.broker.publish([message])
        held = worker.take(5)
        private.kill()
        with pytest.raises(OperationalError):
            server.broker.publish([post()], timeout=1.0)
        private.start()
        # A claim is not waited for; one that the server forgot is a message that is ready again.
        kept = server.broker.settle([ended(delivery) for delivery in held])
        again = [d.message.id for d, ok in zip(held, kept, strict=True) if not ok]
        with Background(worker.take, 1, "later", wait=LONG) as reserving:
            assert worker.drain() == [*again, *ids(batch[5:])]
            server.broker.publish([post("news", queue="later")])
            assert ids(reserving.result()) == ["news"]
        server.broker.close()


class TestRefused:
    @pytest.fixture
    def user(self, private, clean):
        """Makes a user and returns the URL with which it connects."""
        made = []

        def user(name, *statements, password=""):
            made.append(name)
            postgres_database.run(clean, f"CREATE ROLE {name} LOGIN", *statements)
            login = f"{name}:{password}" if password else name
            return clean.replace("postgres@", f"{login}@")

        yield user
        for name in made:
            postgres_database.run(clean, f"DROP OWNED BY {name}", f"DROP ROLE {name}")

    def test_a_wrong_password_is_a_mistake_of_the_configuration(self, serve, private, user):
        """The sentence says where to correct it, and does not show it."""
        rules = Path(postgres_database.run(private.url, "SHOW hba_file")[0][0])
        before = rules.read_text()
        rules.write_text(f"host all guarded 127.0.0.1/32 scram-sha-256\n{before}")
        try:
            where = user("guarded", "ALTER ROLE guarded PASSWORD 'right'", password="wr0ng")
            postgres_database.run(private.url, "SELECT pg_reload_conf()")

            def refused():
                try:
                    serve(where).broker.stats()
                except ImproperlyConfigured as error:
                    return str(error)
                return None

            text = wait_until(refused)
            assert "password" in text
            assert "wr0ng" not in text
            assert serve(where.replace("wr0ng", "right")).broker.capabilities
        finally:
            rules.write_text(before)
            postgres_database.run(private.url, "SELECT pg_reload_conf()")

    def test_a_missing_database_is_named(self, serve, clean):
        """With the fix."""
        where = clean.rpartition("/")[0] + "/missing"
        with pytest.raises(ImproperlyConfigured, match=r"missing.*create it"):
            serve(where).broker.stats()

    def test_a_user_who_may_not_create_tables_hears_who_has_to(self, serve, user):
        """Rather than of some table that is not there."""
        with pytest.raises(ImproperlyConfigured, match="umbel db migrate"):
            serve(user("visitor")).broker.setup()

    def test_a_user_with_rights_on_the_schema_alone_can_work(self, serve, user, clean):
        """The tables are somebody else's."""
        serve(clean).broker.setup()
        where = user(
            "clerk",
            "GRANT USAGE ON SCHEMA umbel TO clerk",
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA umbel TO clerk",
            "GRANT USAGE ON ALL SEQUENCES IN SCHEMA umbel TO clerk",
        )
        server = serve(where, migrate=False)
        server.broker.publish([post("task")])
        worker = Worker(server.broker)
        assert server.broker.settle([ended(worker.take_one())]) == [True]
        assert server.backend.fetch(["task"])

    def test_a_server_without_connections_left_is_away(self, serve, user):
        """It is a matter of waiting, or of a larger server."""
        where = user("crowd", "ALTER ROLE crowd CONNECTION LIMIT 0")
        with pytest.raises(OperationalError, match="max_connections"):
            serve(where).broker.stats()

    def test_a_server_that_takes_no_writes_is_away(self, serve, user, clean):
        """A standby after a failover, for example."""
        serve(clean).broker.setup()
        where = user(
            "reader",
            "ALTER ROLE reader SET default_transaction_read_only = on",
            "GRANT ALL ON SCHEMA umbel TO reader",
            "GRANT ALL ON ALL TABLES IN SCHEMA umbel TO reader",
            "GRANT ALL ON ALL SEQUENCES IN SCHEMA umbel TO reader",
        )
        with pytest.raises(OperationalError, match="takes no writes"):
            serve(where).broker.publish([post()])

    def test_transactions_that_must_not_overlap_are_tried_again(self, serve, user, clean):
        """Where the database is configured to be as strict as it can."""
        serve(clean).broker.setup()
        where = user(
            "strict",
            "ALTER ROLE strict SUPERUSER",
            "ALTER ROLE strict SET default_transaction_isolation = serializable",
        )
        broker = serve(where).broker
        batch = posts(80)
        workers = [Worker(broker, name=f"w{n}") for n in range(4)]

        def work(n):
            for message in batch[n::4]:
                broker.publish([message])
            found = []
            while taken := workers[n].take(7):
                found += ids(taken)
                assert all(broker.settle([ended(delivery) for delivery in taken]))
            return found

        with ThreadPoolExecutor(4) as pool:
            found = [one for part in pool.map(work, range(4)) for one in part]
        found += workers[0].drain()
        assert sorted(found) == sorted(ids(batch))


class TestTables:
    def test_tables_of_a_newer_version_are_refused(self, serve, url):
        """If they say that this version cannot work with them."""
        postgres_database.run(url, "UPDATE umbel.format SET version = 900, oldest = 1")
        try:
            serve().broker.setup()
            postgres_database.run(url, "UPDATE umbel.format SET oldest = 900")
            with pytest.raises(SchemaError, match="900"):
                serve().broker.setup()
        finally:
            postgres_database.run(url, "UPDATE umbel.format SET version = 1, oldest = 1")

    def test_tables_are_not_made_where_that_is_not_wanted(self, serve):
        """Somebody else does it, with another user."""
        with pytest.raises(SchemaError):
            serve(schema="other", migrate=False).broker.publish([post()])

    def test_a_schema_of_another_program_is_left_alone(self, serve, url):
        """With a sentence that names the option."""
        postgres_database.run(url, "CREATE SCHEMA other", "CREATE TABLE other.message (a int)")
        with pytest.raises(StoreError, match="option schema"):
            serve(schema="other").broker.setup()
        assert postgres_database.run(url, "SELECT count(*) FROM other.message") == [(0,)]

    def test_two_schemas_of_a_database_know_nothing_of_each_other(self, serve):
        """Queues, results and wake-ups."""
        mine, other = serve(), serve(schema="other")
        mine.broker.publish([post("mine")])
        other.broker.publish([post("others")])
        assert Worker(other.broker).drain() == ["others"]
        assert Worker(mine.broker).drain() == ["mine"]

    def test_tables_that_were_dropped_while_in_use_are_missed_once(self, serve, url):
        """The next call makes them anew."""
        server = serve(schema="other")
        server.broker.publish([post("gone")])
        postgres_database.run(url, "DROP SCHEMA other CASCADE")
        with pytest.raises(StoreError):
            server.broker.publish([post("gone")])
        server.broker.close()
        server.broker.publish([post("there")])
        assert Worker(server.broker).drain() == ["there"]


class TestConnections:
    def test_more_threads_than_connections_take_turns(self, serve, url):
        """None fails, and there are no more connections than were allowed."""
        server = serve(pool_size=2)
        most = []

        def publish(_):
            server.broker.publish([post()])
            most.append(len(activity(url)))

        with ThreadPoolExecutor(12) as pool:
            list(pool.map(publish, range(60)))
        assert len(Worker(server.broker).drain()) == 60
        assert max(most) <= 2 + 1

    def test_a_thread_that_gets_no_connection_in_time_hears_why(self, serve, url):
        """Rather than to wait for ever."""
        server = serve(pool_size=1)
        server.broker.setup()
        with psycopg.connect(url) as other, ThreadPoolExecutor(1) as pool:
            other.execute("LOCK TABLE umbel.message")
            first = pool.submit(server.broker.publish, [post()], timeout=DEADLINE)
            wait_until(lambda: activity(url, "wait_event_type = 'Lock'"))
            with pytest.raises(OperationalError, match="pool_size"):
                server.broker.publish([post()], timeout=0.1)
            other.rollback()
            first.result(DEADLINE)

    def test_closing_gives_every_connection_back(self, serve, url):
        """The one that listens as well."""
        server = serve()
        Worker(server.broker).take(1, wait=0.05)
        assert activity(url)
        server.broker.close()
        wait_until(lambda: not activity(url))
