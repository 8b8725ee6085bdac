"""Queues in memory: one process, by name, and an error elsewhere."""

from __future__ import annotations

import os

import pytest

from posts import Worker, post, succeeded
from umbel.drivers import connect, memory
from umbel.exceptions import ImproperlyConfigured, OperationalError
from umbel.message import Settlement
from umbel.testing.clock import FakeClock


def test_a_name_is_one_server_for_the_whole_process():
    """Whoever says it, and however often."""
    server = connect("memory://shared-name")
    assert connect("memory://shared-name", {"visibility_timeout": 5}) is server
    assert connect("memory://other-name") is not server
    server.broker.publish([post("task")])
    assert Worker(connect("memory://shared-name").broker).drain() == ["task"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"synchronous": "full"}, "memory does not know the option 'synchronous'"),
        ({"visibility_timeout": 0}, "visibility_timeout must be a number of seconds above 0"),
        ({"visibility_timeout": True}, "visibility_timeout must be a number"),
    ],
)
def test_a_wrong_option_is_refused(options, said):
    """By its name, with what it may be."""
    with pytest.raises(ImproperlyConfigured, match=said):
        connect("memory://", options)


def test_a_forked_process_is_told_that_it_cannot_reach_the_queues():
    """Its copy would be worked on by nobody, or twice."""
    server = memory.serve("parent", FakeClock())
    server.broker.publish([post()])
    calls = [
        lambda: server.broker.publish([post()]),
        lambda: server.broker.reserve("me", ["tasks"], limit=1, wait=0),
        lambda: server.backend.fetch(["id"]),
        lambda: server.coordinator.acquire("leader", "me", 1.0),
    ]
    pid = os.fork()
    if pid == 0:
        refused = 0
        for call in calls:
            try:
                call()
            except OperationalError as error:
                refused += "use sqlite:/// to share queues" in str(error)
        os._exit(0 if refused == len(calls) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_callback_may_use_the_server():
    """It is called after the settlement, without its lock."""
    server = memory.serve("callbacks", FakeClock())
    worker = Worker(server.broker)
    server.broker.publish([post("task")])
    delivery = worker.take_one()
    seen = []
    server.backend.watch(["task"], lambda r: seen.append(server.backend.fetch([r.id])))
    server.broker.settle([Settlement(delivery, succeeded("task"))])
    assert seen == [{"task": succeeded("task")}]
