"""One server, several connections: threads, processes, forks, and instances that were closed."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from patience import Background, wait_until
from posts import Worker, ended, ids, post, posts, succeeded

LONG = 60.0
CONSUMER = Path(__file__).parent.parent / "support" / "consumer.py"


def in_child(work):
    """Run ``work`` in a forked process; whether it went well."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001 - a forked process must not go on as pytest
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_setting_up_twice_changes_nothing(site, worker):
    """Every process does it when it starts."""
    site.broker.publish([post("kept")])
    site.broker.setup()
    site.backend.setup()
    assert worker.drain() == ["kept"]


@pytest.mark.needs("shared")
def test_many_connections_can_set_up_at_once(site):
    """The first ones of a fresh server, too."""
    servers = [site.connect() for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda server: server.broker.setup(), servers))
    for server in servers:
        server.broker.close()


def test_a_closed_broker_can_be_used_again(site, worker):
    """Closing gives back connections, not the role."""
    site.broker.publish([post("before")])
    site.broker.close()
    site.broker.close()
    assert worker.drain() == ["before"]
    site.broker.close()
    site.broker.publish([post("after")])
    assert worker.drain() == ["after"]


def test_a_closed_backend_can_be_used_again(site):
    """Also for waiting."""
    site.backend.store([succeeded("a")])
    site.backend.close()
    assert site.backend.fetch(["a"])
    for name in ("b", "c"):
        with Background(site.backend.wait, [name], LONG) as waiting:
            waiting.blocks()
            site.backend.store([succeeded(name)])
            assert waiting.result()
        site.backend.close()


def test_a_closed_coordinator_can_be_used_again(coordinator):
    """What is held stays held."""
    lease = coordinator.acquire("leader", "a", 1e6)
    coordinator.close()
    assert coordinator.acquire("leader", "b", 1e6) is None
    assert coordinator.release_lease(lease)


def test_two_connections_see_the_same_server(site):
    """Queues, results and locks."""
    other = site.another()
    site.broker.publish([post("task")])
    worker = Worker(other.broker)
    assert other.broker.settle([ended(worker.take_one())]) == [True]
    assert site.backend.fetch(["task"]).keys() == {"task"}
    assert site.coordinator.acquire("leader", "a", 1e6)
    assert other.coordinator.acquire("leader", "b", 1e6) is None


@pytest.mark.needs("shared")
def test_a_waiting_reserve_is_woken_by_another_process(site, worker):
    """Not by its polling interval, which is longer than this test."""
    with Background(worker.take, 1, wait=LONG) as waiting:
        waiting.blocks()
        subprocess.run([sys.executable, CONSUMER, site.url], check=True, timeout=30)
        assert ids(waiting.result()) == ["from-a-process"]


@pytest.mark.needs("shared", "atomic_results")
def test_processes_share_the_messages_and_lose_none(site):
    """Two of them drain a queue while a third side publishes; each result is there once."""
    site.broker.publish(first := posts(500))
    consumers = [
        subprocess.Popen(
            [sys.executable, str(CONSUMER), site.url, f"c{n}"], stdout=subprocess.PIPE, text=True
        )
        for n in range(2)
    ]
    second = posts(500)
    for message in second:
        site.broker.publish([message])
    wanted = ids(first + second)
    found = site.backend.wait(wanted, LONG)
    site.broker.publish(posts(2, queue="stop"))
    printed = [consumer.communicate(timeout=30)[0].split() for consumer in consumers]
    assert sorted(found) == sorted(wanted)
    assert sorted(one for out in printed for one in out) == sorted(wanted)


@pytest.mark.needs("shared")
def test_a_forked_child_can_use_what_its_parent_used(site, worker):
    """Connections, sockets and threads of the parent are not the child's, and both go on."""
    site.broker.publish([post("parents"), post("childs")])
    held = worker.take_one()

    def child():
        taken = Worker(site.broker, name="child").take_one()
        assert site.broker.settle([ended(taken)]) == [True]
        site.broker.publish([post("news")])

    assert in_child(child)
    assert site.broker.settle([ended(held)]) == [True]
    assert site.backend.fetch(["parents", "childs"]).keys() == {"parents", "childs"}
    assert worker.drain() == ["news"]


@pytest.mark.needs("shared")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_during_a_wait_disturbs_nobody(site, worker):
    """Threads of the parent wait on; the child can wait for results of its own."""
    with (
        Background(worker.take, 1, wait=LONG) as reserving,
        Background(site.backend.wait, ["result"], LONG) as waiting,
    ):
        reserving.blocks()
        waiting.blocks()

        def child():
            site.backend.store([succeeded("result")])
            assert site.backend.wait(["result"], LONG)
            with Background(site.backend.wait, ["own"], LONG) as own:
                own.blocks()
                site.backend.store([succeeded("own")])
                assert own.result()
            site.broker.publish([post("message")])

        assert in_child(child)
        assert waiting.result().keys() == {"result"}
        assert ids(reserving.result()) == ["message"]


@pytest.mark.needs("shared")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_amid_busy_threads_loses_nothing(site, worker):
    """Children that end at once do not hurt the connections of their parent."""
    stop = []
    published = []

    def publish():
        while not stop:
            message = post()
            site.broker.publish([message])
            published.append(message.id)

    with Background(publish) as publishing:
        for _ in range(10):
            assert in_child(lambda: site.broker.publish([post(queue="child")]))
        wait_until(lambda: len(published) > 50)
        stop.append(True)
        publishing.result()
    assert worker.drain() == published
    assert len(worker.drain("child")) == 10
