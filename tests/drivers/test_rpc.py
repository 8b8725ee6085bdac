"""Results as messages: to the caller and to nobody else, through losses, and with nothing left."""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from contextlib import suppress

import pytest

import sites  # noqa: F401 - before site_amqp, which it imports
from patience import Background, wait_until
from proxy import Proxy
from site_amqp import session_url
from umbel import Umbel, drivers
from umbel.current import joins_forbidden
from umbel.drivers.amqp.connection import Connection
from umbel.drivers.amqp.errors import NotFound
from umbel.drivers.amqp.replies import READ_KEPT
from umbel.drivers.amqp.urls import parse_many
from umbel.exceptions import BackendGetMetaError, BackendStoreError, ImproperlyConfigured
from umbel.message import StoredResult
from workers import Worker

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")


@pytest.fixture
def channel():
    """The server, asked without the driver of results."""
    connection = Connection(parse_many(session_url()))
    yield connection.channel()
    connection.close()


@pytest.fixture
def queue(channel):
    """Where tasks of this test wait."""
    name = f"tasks-{uuid.uuid4()}"
    yield name
    channel.delete_queue(name)


@pytest.fixture
def make(queue):
    """Applications on RabbitMQ that are closed when the test ends."""
    apps = []

    def make(broker=None, **conf):
        app = Umbel("app", broker=broker or session_url(), set_as_current=False)
        app.conf.update(result_backend="rpc://", task_default_queue=queue)
        app.conf.update(conf)
        apps.append(app)
        return app

    yield make
    for app in apps:
        app.close()


@pytest.fixture
def app(make):
    """The caller."""
    return make()


@pytest.fixture
def worker():
    """The side that sends results."""
    backend = drivers.connect("rpc://" + session_url().partition("://")[2]).backend
    yield backend
    backend.close()


def ended(app, task_id, value=5, status="SUCCESS"):
    """What a worker stores when a call of this thread has ended."""
    payload = json.dumps({"status": status, "result": value, "task_id": task_id}).encode()
    final = status in ("SUCCESS", "FAILURE")
    return StoredResult(task_id, status, payload, final, 60.0, reply_to=app.thread_oid)


def exists(name):
    """Whether there is such a queue."""
    connection = Connection(parse_many(session_url()))
    try:
        connection.channel().declare_queue(name, passive=True)
    except NotFound:
        return False
    else:
        return True
    finally:
        connection.close()


def listens_again(app):
    """Whether the application consumes on its second connection; before, results are lost."""
    replies = app.backend.store._replies
    epochs = {epoch for epoch, _ in replies._queues.values()}
    return epochs == {2} and replies._failing_since is None


def test_a_result_comes_to_the_caller(app, worker):
    """Also one that was sent before anybody asked for it."""
    early, late = app.send_task("t"), app.send_task("t")
    worker.store([ended(app, early.id, 1)])
    assert early.get(timeout=20) == 1
    with Background(late.get, 60) as waiting:
        waiting.blocks()
        worker.store([ended(app, late.id, 2)])
        assert waiting.result() == 2


def test_states_before_the_end_come_as_well(app, worker):
    """They end no wait."""
    result = app.send_task("t")
    with Background(result.get, 60) as waiting:
        waiting.blocks()
        worker.store([ended(app, result.id, {"half": 1}, "PROGRESS")])
        wait_until(lambda: app.AsyncResult(result.id).state == "PROGRESS")
        waiting.blocks()
        worker.store([ended(app, result.id)])
        assert waiting.result() == 5
    worker.store([ended(app, result.id, "late", "FAILURE"), ended(app, "next")])
    wait_until(lambda: app.AsyncResult("next").state == "SUCCESS")
    assert app.AsyncResult(result.id).state == "SUCCESS"


def test_the_message_is_celerys(app, worker, channel):
    """Queue, properties and body."""
    result = app.send_task("t")
    worker.store([ended(app, result.id)])
    found = wait_until(lambda: channel.get(app.thread_oid, no_ack=True))
    assert (found.exchange, found.routing_key) == ("", app.thread_oid)
    assert {key: found.properties[key] for key in ("content_type", "content_encoding")} == {
        "content_type": "application/json",
        "content_encoding": "utf-8",
    }
    assert found.properties["correlation_id"] == result.id
    assert found.properties["delivery_mode"] == 1
    assert json.loads(found.body)["result"] == 5
    same = {"x-expires": 86_400_000}
    channel.declare_queue(app.thread_oid, durable=True, auto_delete=True, arguments=same)


def test_messages_can_be_persistent(app, channel):
    """With result_persistent."""
    url = "rpc://" + session_url().partition("://")[2]
    backend = drivers.connect(url, {}, {"result_persistent": True}).backend
    result = app.send_task("t")
    backend.store([ended(app, result.id)])
    found = wait_until(lambda: channel.get(app.thread_oid, no_ack=True))
    assert found.properties["delivery_mode"] == 2
    backend.close()


def test_nothing_is_sent_where_nobody_listens(worker):
    """No address, or one that is gone: neither is an error."""
    worker.store([])
    worker.store([StoredResult("id", "SUCCESS", b"{}", final=True)])
    worker.store([StoredResult("id", "SUCCESS", b"{}", final=True, reply_to="gone")])
    assert worker.fetch(["id"]) == {}


def test_each_thread_has_its_queue_and_one_thread_listens_to_all(app, worker):
    """Whichever thread asks."""

    def call():
        result = app.send_task("t")
        return result, app.thread_oid, ended(app, result.id, result.id)

    calls = [Background(call).start().result() for _ in range(5)]
    assert len({address for _, address, _ in calls}) == 5
    worker.store([stored for _, _, stored in calls])
    assert [result.get(timeout=20) for result, _, _ in calls] == [r.id for r, _, _ in calls]


def test_coroutines_wait_as_well(app, worker):
    """Calls made in an event loop have their queue, too."""

    async def main():
        result = await app.asend_task("t")
        await asyncio.to_thread(worker.store, [ended(app, result.id)])
        return await result

    assert asyncio.run(asyncio.wait_for(main(), 60)) == 5


def test_a_call_whose_result_is_ignored_needs_no_queue(app):
    """Nor does one that is made inside a task, where nobody may wait."""
    app.send_task("t", ignore_result=True)
    token = joins_forbidden.set(True)
    try:
        app.send_task("t")
    finally:
        joins_forbidden.reset(token)
    assert not exists(app.thread_oid)


def test_who_made_no_call_is_told_that_there_is_nothing_to_wait_for(make, worker):
    """With what to use instead. The state of any other task is unknown, as in Celery."""
    app = make()
    with pytest.raises(NotImplementedError, match="go to the process that made the call"):
        app.AsyncResult("id").get(timeout=20)
    with pytest.raises(NotImplementedError, match="result_backend = 'redis"):
        worker.wait(["id"], 20)
    assert app.AsyncResult("id").state == "PENDING"


def test_closing_leaves_nothing_on_the_server(make, worker):
    """Whether or not somebody has listened."""
    app, other = make(), make()
    oid = app.thread_oid
    app.send_task("t")
    other_oid = other.thread_oid
    result = other.send_task("t")
    worker.store([ended(other, result.id)])
    result.get(timeout=20)
    app.close()
    other.close()
    assert not exists(oid)
    assert not exists(other_oid)


def test_results_survive_a_lost_connection_while_nobody_listened(make, worker):
    """The queue stays until somebody has used it."""
    with Proxy(session_url()) as proxy:
        app = make(broker=proxy.url)
        result = app.send_task("t")
        proxy.cut()
        worker.store([ended(app, result.id)])
        assert result.get(timeout=20) == 5
        app.close()


def test_a_wait_goes_on_after_a_lost_connection(make, worker):
    """With a new queue of the same name; calls made after it are heard of, too."""
    with Proxy(session_url()) as proxy:
        app = make(broker=proxy.url, publish_timeout=20)
        first = app.send_task("t")
        with Background(first.get, 60) as waiting:
            waiting.blocks()
            proxy.cut()
            wait_until(lambda: listens_again(app), deadline=60)
            second = app.send_task("t")
            worker.store([ended(app, second.id, 2)])
            assert second.get(timeout=20) == 2
            worker.store([ended(app, first.id, 1)])
            assert waiting.result() == 1
        app.close()


def test_a_call_that_waits_in_a_spool_gets_its_result(make, worker, tmp_path):
    """The queue is made by whoever waits, once the server is back."""
    with Proxy(session_url()) as proxy:
        conf = {"publish_spool": str(tmp_path / "spool.db"), "publish_timeout": 0.5}
        app = make(broker=proxy.url, **conf)
        proxy.refuse()
        result, oid = app.send_task("t"), app.thread_oid
        proxy.pass_on()
        with Background(result.get, 60) as waiting:
            waiting.begins()
            wait_until(lambda: exists(oid), deadline=60)
            worker.store([ended(app, result.id)])
            assert waiting.result() == 5
        app.close()


def test_a_queue_that_was_deleted_is_made_anew(app, worker, channel):
    """By an operator, say; what was in it is gone."""
    first = app.send_task("t")
    worker.store([ended(app, first.id)])
    first.get(timeout=20)
    channel.delete_queue(app.thread_oid)

    def arrives():
        result = app.send_task("t")
        worker.store([ended(app, result.id)])
        with suppress(TimeoutError):
            return result.get(timeout=0.5) == 5
        return False

    wait_until(arrives)


def test_a_server_out_of_reach_is_an_error_of_ours(worker):
    """For who stores; the text shows no password."""
    backend = drivers.connect("rpc://user:secret@127.0.0.1:1//").backend
    with pytest.raises(BackendStoreError) as caught:
        backend.store([StoredResult("id", "SUCCESS", b"{}", final=True, reply_to="x")])
    assert "secret" not in str(caught.value)
    backend.close()


def test_a_broken_message_is_an_error_for_who_waits(app, worker):
    """And not for anybody else."""
    bad, good = app.send_task("t"), app.send_task("t")
    broken = StoredResult(bad.id, "SUCCESS", b"\xff", final=True, reply_to=app.thread_oid)
    worker.store([broken, ended(app, good.id)])
    assert good.get(timeout=20) == 5
    with pytest.raises(BackendGetMetaError, match=bad.id):
        bad.get(timeout=20)


def test_results_can_be_read_again_but_do_not_pile_up(app):
    """The last ones that were read are kept."""
    replies = app.backend.store._replies
    ids = [f"{number}" for number in range(READ_KEPT + 100)]
    for task_id in ids:
        replies._arrived[task_id] = (ended(app, task_id), float("inf"))
    assert replies.find(ids).keys() == set(ids)
    assert len(replies._arrived) == READ_KEPT
    assert replies.find(ids[:100]) == {}
    assert app.backend.forget(ids[-2:]) == 2


def test_a_forked_process_has_queues_of_its_own(app, worker):
    """And leaves those of its parent alone."""
    mine = app.send_task("t")
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            result = app.send_task("t")
            worker.store([ended(app, result.id, 7)])
            status = 0 if result.get(timeout=20) == 7 else 2
            app.close()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    worker.store([ended(app, mine.id)])
    assert mine.get(timeout=20) == 5


@pytest.mark.parametrize(
    ("backend", "broker"),
    [
        ("rpc://", "redis://u:secret@h"),
        ("rpc", "memory://x"),
        ("rpc://", "sqlite:///x.db"),
        ("rpc:///", "postgresql://u:secret@h/d"),
    ],
)
def test_another_broker_cannot_carry_results(backend, broker):
    """The sentence names it, without its password."""
    app = Umbel("app", broker=broker, backend=backend, set_as_current=False)
    with pytest.raises(ImproperlyConfigured, match="must be RabbitMQ and is") as caught:
        _ = app.backend
    assert "secret" not in str(caught.value)
    app.close()


def test_a_worker_answers_its_callers(make, queue, tmp_path):
    """Success, failure, retries and progress, over a real broker."""
    settings = {"result_backend": "rpc://", "task_default_queue": queue}
    worker = Worker(tmp_path, ERRANDS_BROKER=session_url(), ERRANDS_SETTINGS=json.dumps(settings))
    try:
        worker.wait_ready()
        app = make()
        results = [app.send_task("errands.add", (n, n)) for n in range(50)]
        assert [result.get(timeout=60) for result in results] == [2 * n for n in range(50)]
        with pytest.raises(TypeError):
            app.send_task("errands.add", ("x", 1)).get(timeout=60)
        app.close()
        assert worker.stop() == 0
    finally:
        worker.end()
