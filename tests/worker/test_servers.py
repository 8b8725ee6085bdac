"""Workers on brokers that are servers: what holds on the embedded one holds there."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from fleet import is_alive

import servers
from proxy import Proxy
from umbel.exceptions import OperationalError, TimeLimitExceeded, WorkerLostError
from workers import kill, wait_until

KINDS = ("redis", "postgres", "amqp")
PATIENT = 60.0


@pytest.fixture(scope="module", params=KINDS)
def server(request, tmp_path_factory):
    """A server of this module's own, that can be killed."""
    with servers.private(request.param, tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def proxy(server):
    """What stands between the server and its clients."""
    with Proxy(server.url) as proxy:
        yield proxy


@pytest.fixture
def broker_url(proxy):
    return proxy.url


@pytest.fixture
def settings(own_directory, request):
    """A queue and results that no other test uses."""
    return {
        "broker_transport_options": {"visibility_timeout": 5},
        "result_backend": f"sqlite:///{own_directory / 'results.db'}",
        "task_default_queue": request.node.name,
        "publish_timeout": 10,
    }


@pytest.mark.parametrize("name", ["sleeps", "hogs", "astubborn"])
def test_a_hard_limit_ends_the_task_once(errands, start, name):
    """Also where the message is on its way to somebody else before anybody knows of the kill."""
    start("-c", "2")
    with pytest.raises(TimeLimitExceeded):
        getattr(errands, name).delay().get(timeout=PATIENT)
    assert errands.add.delay(1, 1).get(timeout=PATIENT) == 2


def test_a_task_that_kills_its_process_ends_in_the_dead_letters(errands, start, notes):
    """After as many starts as task_max_crashes says at most."""
    start("-c", "2")
    poison = errands.killed.delay()
    good = [errands.add.delay(number, 0) for number in range(50)]
    with pytest.raises(WorkerLostError):
        poison.get(timeout=PATIENT)
    assert [result.get(timeout=PATIENT) for result in good] == list(range(50))
    assert 1 <= notes().count("killed") <= 3
    letters = wait_until(errands.app.broker.dead, "a dead letter")
    assert {each.letter.reason for each in letters} == {"crashed"}
    errands.app.broker.purge_dead()


def test_a_task_that_must_not_be_started_again_fails_with_its_process(errands, start, notes):
    """reject_on_worker_lost=False, though the message comes back."""
    start("-c", "2")
    with pytest.raises(WorkerLostError):
        errands.once.delay().get(timeout=PATIENT)
    assert notes().count("once") == 1


def test_a_task_whose_process_is_killed_starts_again(errands, start, holding, let_go):
    """Killed once, it runs elsewhere and ends."""
    start("-c", "2")
    result = errands.held.delay(5)
    kill(holding(1)[0])
    holding(2)
    let_go()
    assert result.get(timeout=PATIENT) == 5


def test_a_stopped_worker_leaves_nothing_held(errands, start, holding, let_go):
    """What it had not started is there for the next."""
    first = start("-c", "1", "--prefetch-multiplier", "20")
    results = [errands.held.delay(number) for number in range(5)]
    holding(1)
    first.send(15)
    let_go()
    assert first.wait() == 0
    start("-c", "1")
    assert [result.get(timeout=PATIENT) for result in results] == list(range(5))


def test_limits_hold_while_the_server_stalls(server, errands, start, holding):
    """Nobody who watches over tasks waits for the broker."""
    worker = start("-c", "1", "--time-limit", "1")
    result = errands.held.delay(1)
    (pid,) = holding(1)
    server.pause()
    try:
        wait_until(lambda: not is_alive(pid), "the end of the child", PATIENT)
    finally:
        server.resume()
    with pytest.raises(TimeLimitExceeded):
        result.get(timeout=PATIENT)
    assert errands.add.delay(1, 1).get(timeout=PATIENT) == 2
    assert worker.stop() == 0


# -- the server is gone for a while --------------------------------------------------------


def test_cut_connections_are_made_anew(proxy, errands, start, holding, let_go):
    """In the middle of a task too: it ends once, or again elsewhere, but it ends."""
    worker = start("-c", "2")
    result = errands.held.delay(7)
    holding(1)
    proxy.cut()
    let_go()
    assert result.get(timeout=PATIENT) == 7
    assert errands.add.delay(1, 1).get(timeout=PATIENT) == 2
    assert worker.stop() == 0


def test_a_network_that_swallows_everything_is_survived(proxy, errands, start):
    """Connections stay open and silent; when the network is back, so is the worker."""
    worker = start("-c", "2")
    assert errands.add.delay(1, 1).get(timeout=PATIENT) == 2
    proxy.swallow()
    with pytest.raises(OperationalError):
        errands.add.apply_async((1, 1), timeout=1)
    proxy.pass_on()
    assert errands.add.delay(2, 2).get(timeout=PATIENT) == 4
    assert worker.process.poll() is None
    assert worker.stop() == 0


# -- the server is not there ---------------------------------------------------------------


def test_a_worker_waits_for_a_broker_that_comes_later(proxy, errands, start):
    """It says what it waits for, without a traceback."""
    proxy.refuse()
    worker = start(ready=False)
    assert "Traceback" not in worker.wait_for("the broker is away")
    proxy.pass_on()
    worker.wait_ready()
    assert errands.add.delay(1, 1).get(timeout=PATIENT) == 2
    assert worker.stop() == 0


def test_a_worker_can_be_stopped_while_it_waits(proxy, errands, start):
    """At once, with exit code 0."""
    proxy.refuse()
    worker = start(ready=False)
    worker.wait_for("the broker is away")
    assert worker.stop() == 0


@pytest.fixture
def start_with(start, settings):
    """Starts workers with further settings."""

    def start_with(*args, **more):
        return start(*args, ready=False, ERRANDS_SETTINGS=json.dumps({**settings, **more}))

    return start_with


@pytest.mark.parametrize(
    "more", [{"broker_connection_max_retries": 2}, {"broker_connection_retry_on_startup": False}]
)
def test_a_worker_that_never_finds_its_broker_gives_up(proxy, errands, start_with, more):
    """With the exit code for what is unavailable, and a sentence."""
    proxy.refuse()
    worker = start_with(**more)
    assert worker.wait() == 69
    assert "Traceback" not in worker.text


def test_a_worker_whose_broker_stays_away_finishes_and_gives_up(
    proxy, errands, start_with, holding, let_go
):
    """What runs is finished; somebody has to start it again, so it must not seem to be well."""
    worker = start_with(broker_connection_max_retries=2).wait_ready()
    errands.held.delay(1)
    holding(1)
    proxy.refuse()
    worker.wait_for("giving up")
    let_go()
    wait_until(lambda: worker.process.poll() is not None, "the end of the worker", PATIENT * 2)
    assert worker.process.returncode == 69
    proxy.pass_on()
    with suppress(OperationalError):
        errands.app.broker.purge(errands.app.conf.task_default_queue)
