"""Wake-ups can be lost, forged or impossible; messages and results arrive all the same."""

from __future__ import annotations

import socket
import sys

import pytest

from files import File
from patience import Background, wait_until
from posts import Worker, ids, post, succeeded
from umbel.clock import SystemClock
from umbel.drivers.sqlite import hub, results
from umbel.drivers.sqlite.bell import Bell, Bells, ring

LONG = 60.0


def ports(file, table):
    return [port for (port,) in file.ask(f"SELECT port FROM {table}")]


@pytest.fixture
def polling(tmp_path):
    """A server that looks around often."""
    file = File(tmp_path / "queue.db", clock=SystemClock(), poll_interval=0.02)
    file.broker.setup()
    yield file
    file.close()


@pytest.fixture
def silent(monkeypatch):
    """No datagram arrives anywhere."""
    monkeypatch.setattr(socket.socket, "sendto", lambda *_: 0)


@pytest.fixture
def deaf(monkeypatch):
    """There is no loopback interface."""

    def refuse(*_):
        raise OSError("no such device")

    monkeypatch.setattr(socket.socket, "bind", refuse)


@pytest.mark.usefixtures("silent")
def test_a_message_arrives_though_its_wake_up_is_lost(polling):
    """At the next look."""
    worker = Worker(polling.broker)
    with Background(worker.take, 1, wait=LONG) as waiting:
        waiting.begins()
        wait_until(lambda: ports(polling, "listener"))
        polling.broker.publish([post("news")])
        assert ids(waiting.result()) == ["news"]


@pytest.mark.usefixtures("silent")
def test_a_result_arrives_though_its_wake_up_is_lost(polling):
    """At the next look."""
    with Background(polling.backend.wait, ["id"], LONG) as waiting:
        wait_until(lambda: ports(polling, "waiter"))
        polling.backend.store([succeeded("id")])
        assert waiting.result()


@pytest.mark.usefixtures("silent")
def test_a_broadcast_arrives_though_its_wake_up_is_lost(polling):
    """At the next look."""
    mark, _ = polling.broker.listen("control", after=None, wait=0)
    with Background(polling.broker.listen, "control", after=mark, wait=LONG) as waiting:
        wait_until(lambda: ports(polling, "listener"))
        polling.broker.broadcast("control", b"news")
        assert waiting.result()[1] == [b"news"]


def test_who_was_taken_from_the_list_in_vain_enters_it_again(polling):
    """The wake-up after a lost one works."""
    worker = Worker(polling.broker)
    with Background(worker.take, 1, wait=LONG) as waiting:
        wait_until(lambda: ports(polling, "listener"))
        with polling.opened() as db:
            db.execute("DELETE FROM listener")
        wait_until(lambda: ports(polling, "listener"))
        polling.broker.interrupt()
        assert waiting.result() == []


@pytest.mark.usefixtures("deaf")
def test_without_a_loopback_interface_everything_works_by_looking(file):
    """And nobody enters a list that could not be used."""
    worker = Worker(file.broker)
    mark, _ = file.broker.listen("control", after=None, wait=0)
    with (
        Background(worker.take, 1, wait=LONG) as reserving,
        Background(file.backend.wait, ["id"], LONG) as waiting,
        Background(file.broker.listen, "control", after=mark, wait=LONG) as listening,
    ):
        reserving.begins()
        waiting.begins()
        file.broker.publish([post("news")])
        file.backend.store([succeeded("id")])
        file.broker.broadcast("control", b"hello")
        assert ids(reserving.result()) == ["news"]
        assert waiting.result()
        assert listening.result()[1] == [b"hello"]
    assert ports(file, "listener") == ports(file, "waiter") == []


@pytest.mark.usefixtures("deaf")
def test_without_a_loopback_interface_a_wait_can_be_interrupted(file):
    """Within this process there is another way."""
    with Background(Worker(file.broker).take, 1, wait=LONG) as waiting:
        waiting.begins()
        file.broker.interrupt()
        assert waiting.result() == []


def test_forged_datagrams_change_nothing(file):
    """Whatever they hold, they say no more than 'look'."""
    worker = Worker(file.broker)
    with (
        Background(worker.take, 1, wait=LONG) as reserving,
        Background(file.backend.wait, ["id"], LONG) as waiting,
    ):
        reserving.blocks()
        waiting.blocks()
        wait_until(lambda: len(ports(file, "listener") + ports(file, "waiter")) == 2)
        nonsense = [
            b"",
            b"\xff" * 1000,
            b"[" * 60_000,
            b'{"a": 1}',
            b'["other", 1, null]',
            b'["id"]',
        ]
        for port in ports(file, "listener") + ports(file, "waiter"):
            for content in nonsense:
                ring([(port, content)])
        file.broker.publish([post("news")])
        file.backend.store([succeeded("id")])
        assert ids(reserving.result()) == ["news"]
        assert waiting.result().keys() == {"id"}


@pytest.mark.parametrize(
    ("datagram", "ids"),
    [
        (b'["a", "b"]', {"a", "b"}),
        (b'["a", 1, null]', {"a"}),
        (b"", None),
        (b"\xff", None),
        (b"[" * 60_000, None),
        (b'{"a": 1}', None),
    ],
)
def test_a_hint_is_a_list_of_ids_or_nothing(datagram, ids):
    """Anything else means: look at everything."""
    assert results.hinted(datagram) == ids


def test_hints_of_many_results_fit_into_datagrams():
    """However many end at once, none is left out."""
    names = [f"{n:036}" for n in range(3_000)]
    hints = results.hints([(1, name) for name in names] + [(2, "other")])
    assert max(len(hint) for _, hint in hints) < 60_000
    heard = [results.hinted(hint) for port, hint in hints if port == 1]
    assert set().union(*heard) == set(names)


def test_ringing_nobody_is_no_error():
    """A process may have died, and ports may be anything."""
    bell = Bell()
    bell.close()
    ring([(bell.port, b""), (0, b""), (70_000, b""), (bell.port, b"x" * 100_000)])


def test_bells_are_used_again(file):
    """Waiting a thousand times takes one socket."""
    worker = Worker(file.broker)
    used = set()
    for _ in range(30):
        worker.take(1, wait=0.001)
        used |= {bell.port for bell in file.broker._reserving._bells._idle}
    assert len(used) == 1


def test_only_waits_of_this_process_are_interrupted():
    """Each set of bells is its own."""
    here, there = Bells(), Bells()
    bell, other = here.take(), there.take()
    here.interrupt()
    assert here.interrupted(bell)
    assert bell.wait(LONG) == [b""]
    assert not there.interrupted(other)
    for bells, one in ((here, bell), (there, other)):
        bells.give_back(one)
        bells.close()


def test_the_thread_that_waits_ends_when_nobody_does(polling, monkeypatch):
    """So a server that nobody closed can be forgotten; the next wait starts another."""
    monkeypatch.setattr(hub, "_IDLE", 0.0)
    for name in ("a", "b"):
        with Background(polling.backend.wait, [name], LONG) as waiting:
            wait_until(lambda: polling.backend._hub._thread)
            polling.backend.store([succeeded(name)])
            assert waiting.result()
        wait_until(lambda: polling.backend._hub._thread is None)


def test_a_callback_is_called_once_however_often_the_thread_looks(polling):
    """Others that wait keep it looking."""
    called = []
    polling.backend.watch(["id"], lambda result: called.append(result.id))
    cancel = polling.backend.watch(["id", "never"], lambda result: called.append(result.id))
    polling.backend.store([succeeded("id")])
    looks = []
    polling.backend._line.run(lambda db: db.set_trace_callback(looks.append))
    wait_until(lambda: len(looks) > 8)
    cancel()
    assert called == ["id", "id"]


def test_a_callback_that_raises_stops_nobody(polling, monkeypatch):
    """What it raised is shown, and the others are called."""
    shown = []
    monkeypatch.setattr(sys, "excepthook", lambda *error: shown.append(error[0]))
    called = []
    polling.backend.watch(["id"], lambda _: {}["missing"])
    polling.backend.watch(["id"], lambda result: called.append(result.id))
    polling.backend.store([succeeded("id")])
    wait_until(lambda: called)
    assert shown == [KeyError]


def test_the_list_forgets_an_owner_that_died_waiting(file):
    """Its name would swallow the wake-up of one that lives."""
    Worker(file.broker, name="survivor")
    for n, end in enumerate(
        (
            lambda name: file.broker.takeover(name, "survivor"),
            file.broker.retire,
            lambda _: (file.clock.advance(100), file.broker.reap()),
        )
    ):
        name = f"dead-{n}"
        file.broker.enroll(name, 10.0)
        with file.opened() as db:
            db.execute("INSERT INTO listener VALUES ('tasks', ?, ?, 0)", (n + 1, name))
        end(name)
        assert ports(file, "listener") == []


def test_the_list_forgets_who_waits_no_longer_for_a_result(file):
    """A cancelled wait is struck off, one of a dead process is pruned."""
    file.backend.wait(["never"], 0.01)
    assert ports(file, "waiter") == []
    with file.opened() as db:
        db.execute("INSERT INTO waiter VALUES ('never', 1, ?)", (file.clock.monotonic(),))
    file.backend.prune()
    assert ports(file, "waiter") == [1]
    file.clock.advance(7_200)
    file.backend.prune()
    assert ports(file, "waiter") == []
