"""A Redis server that is full, read-only, slow, restarted or of another mind: nothing is lost."""

from __future__ import annotations

import pytest
import redis

import servers
from patience import Background, wait_until
from posts import Worker, ended, ids, post, posts, succeeded
from umbel.drivers import connect
from umbel.exceptions import BackendStoreError, ImproperlyConfigured, OperationalError, StoreError
from umbel.message import Settlement

LONG = 60.0


@pytest.fixture
def own(tmp_path):
    """A server that a test may break."""
    with servers.private("redis", tmp_path) as server:
        yield server


@pytest.fixture
def admin(own):
    """A client of the library's, for what only an administrator does."""
    client = redis.Redis.from_url(own.url)
    yield client
    client.close()


@pytest.fixture
def server(own):
    """The driver on it, with little patience."""
    server = connect(own.url, {"socket_timeout": 2, "poll_interval": 3600})
    yield server
    server.broker.close()
    server.backend.close()


@pytest.fixture
def broker(server):
    return server.broker


@pytest.fixture
def worker(broker):
    return Worker(broker)


def in_the_end(call):
    """What ``call`` returns once the server answers again."""

    def tried():
        try:
            return [call()]
        except OperationalError:
            return []

    return wait_until(tried)[0]


def fill(admin):
    """Take all of the server's memory."""
    admin.config_set("maxmemory", 1)


def test_a_full_server_takes_no_messages_and_lets_work_end(server, worker, admin):
    """Claims, renewals, results and acknowledgements go on; that is what makes room."""
    broker = server.broker
    broker.publish(posts(3))
    first = worker.take_one()
    fill(admin)
    with pytest.raises(OperationalError, match="its memory is full"):
        broker.publish([post()])
    with pytest.raises(OperationalError, match="its memory is full"):
        broker.publish([post(), post(priority=9)])
    assert broker.extend(["worker"], 1e6) == {"worker"}
    assert broker.begin(first)
    assert broker.settle([ended(first, follow=(post("next", queue="other"),))]) == [True]
    assert broker.release(worker.take(1)) == 1
    assert len(worker.drain()) == 2
    server.backend.store([succeeded("result")])
    broker.retire("worker")


def test_a_server_that_became_a_replica_is_left(broker, admin):
    """For its address may lead to the new master the next time."""
    broker.publish([post("before")])
    admin.replicaof("127.0.0.1", servers.free_port())
    with pytest.raises(OperationalError, match="the master has moved"):
        broker.publish([post()])
    admin.replicaof("NO", "ONE")
    broker.publish([post("after")])
    assert Worker(broker).drain() == ["before", "after"]


def test_a_server_without_its_replicas_is_tried_again(broker, admin):
    """It may find them again."""
    admin.config_set("min-replicas-to-write", 1)
    with pytest.raises(OperationalError, match="too few replicas"):
        broker.publish([post()])
    admin.config_set("min-replicas-to-write", 0)
    broker.publish([post()])


def test_scripts_that_the_server_forgot_are_sent_again(broker, worker, admin):
    """As after a restart."""
    broker.publish([post("t")])
    admin.script_flush()
    assert worker.drain() == ["t"]


def test_what_a_user_may_not_do_is_said(broker, admin):
    """There is no use in trying again."""
    admin.acl_setuser("default", enabled=True, commands=["-lpush"])
    with pytest.raises(ImproperlyConfigured, match="give this user the commands"):
        broker.publish([post()])


def test_keys_of_others_are_noticed(broker, worker, admin):
    """They stay as they are."""
    admin.set("tasks", "mine")
    with pytest.raises(StoreError, match="global_keyprefix"):
        broker.publish([post()])
    with pytest.raises(StoreError, match="global_keyprefix"):
        worker.take()
    assert admin.get("tasks") == b"mine"


def test_a_server_that_lets_nobody_else_in_is_tried_again(own, admin):
    """Its bound is named."""
    admin.ping()
    admin.config_set("maxclients", 1)
    with pytest.raises(OperationalError, match="raise maxclients"):
        connect(own.url).broker.publish([post()])


def test_a_waiting_reserve_without_tracking_looks_often(own, admin):
    """A proxy may not pass it on."""
    admin.acl_setuser("default", enabled=True, commands=["-client|tracking"])
    broker = connect(own.url).broker
    with Background(Worker(broker).take, 1, wait=LONG) as waiting:
        waiting.begins()
        broker.publish([post("news")])
        assert ids(waiting.result()) == ["news"]
    broker.close()


def test_a_call_to_a_server_that_stalls_ends_at_its_deadline(own, broker, worker):
    """What it did all the same, once it went on, is found and given back."""
    worker.take()  # the server knows the script
    broker.publish([post("t")])
    own.pause()
    with pytest.raises(OperationalError, match="no answer in time"):
        worker.take(1)
    own.resume()
    wait_until(lambda: broker.stats(["tasks"])[0].claimed)
    delivery = worker.take_one()
    assert (delivery.message.id, delivery.deliveries) == ("t", 1)
    assert broker.settle([Settlement(delivery)]) == [True]
    assert [(each.claimed) for each in broker.owners()] == [0]


def test_claims_of_a_takeover_whose_reply_was_lost_come_back(own, broker, worker):
    """Nobody would ever end them."""
    broker.takeover("nobody", "worker")  # the server knows the script
    broker.publish([post("t")])
    Worker(broker, name="dead").take_one()
    own.pause()
    with pytest.raises(OperationalError):
        broker.takeover("dead", "worker")
    own.resume()
    wait_until(lambda: [each.claimed for each in broker.owners() if each.name == "worker"] == [1])
    assert ids(worker.take()) == ["t"]


def test_a_pause_of_all_clients_ends_no_lease(server, admin):
    """Leases run on the server's clock, and renewals only come later."""
    broker = server.broker
    broker.enroll("worker", 60)
    admin.client_pause(100)
    assert broker.extend(["worker"], 60) == {"worker"}
    assert broker.reap() == 0


@pytest.mark.parametrize("way", ["kill", "stop"])
def test_messages_and_claims_survive_a_restart(own, server, worker, way):
    """Whoever waited is told, and the next call goes through."""
    broker = server.broker
    broker.publish(posts(3))
    held = worker.take(1)
    with (
        Background(worker.take, 1, "other", wait=LONG) as reserving,
        Background(server.backend.wait, ["late"], LONG) as waiting,
    ):
        reserving.blocks()
        waiting.blocks()
        getattr(own, way)()
        with pytest.raises(OperationalError):
            reserving.result()
        with pytest.raises(OperationalError):
            broker.publish([post()], timeout=1)
        own.start()
        assert in_the_end(lambda: broker.settle([ended(each) for each in held])) == [True]
        in_the_end(lambda: server.backend.store([succeeded("late")]))
        assert waiting.result().keys() == {"late"}
    assert len(worker.drain()) == 2


def test_results_that_cannot_be_stored_are_said(own, server):
    """In the words of the port."""
    own.kill()
    with pytest.raises(BackendStoreError):
        server.backend.store([succeeded("t")])


def test_an_interrupt_ends_a_wait_though_the_server_stalls(own, worker):
    """Stopping needs no server."""
    with Background(worker.take, 1, wait=LONG) as waiting:
        waiting.blocks()
        own.pause()
        worker.broker.interrupt()
        assert waiting.result() == []
        own.resume()
