"""What a forked process does with an application it has inherited."""

from __future__ import annotations

import os
import threading
import traceback

import pytest

from patience import DEADLINE
from umbel import Umbel

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")


def in_child(call):
    """What ``call`` returns in a forked process: a text, or the traceback of its error."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.write(writer, str(call()).encode())
            status = 0
        except BaseException:  # noqa: BLE001 - reported to the parent
            os.write(writer, traceback.format_exc().encode())
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    assert status == 0, said
    return said


def test_on_after_fork_is_sent_in_the_child_alone(app):
    told = []

    @app.on_after_fork.connect
    def after(sender, **_):
        told.append((sender is app, os.getpid()))

    child = in_child(lambda: told == [(True, os.getpid())])
    assert child == "True"
    assert told == []


def test_the_child_has_connections_of_its_own(make):
    app = make(broker="sqlite:///forked.db")
    app.send_task("parent")
    app.backend.put("a", 1, "SUCCESS")
    before = app.broker

    def child():
        app.send_task("child")
        return app.broker is not before and app.backend.get("a")["result"]

    assert in_child(child) == "1"
    app.send_task("parent again")
    assert app.broker is before
    assert [each.message.task for each in app.broker.browse("celery")] == [
        "parent",
        "child",
        "parent again",
    ]


def test_the_child_says_who_it_is(app):
    ids = app.oid, app.thread_oid
    app.send_task("a")
    child = in_child(lambda: not {app.oid, app.thread_oid} & set(ids))
    assert child == "True"
    assert (app.oid, app.thread_oid) == ids
    app.control.purge()


def test_messages_of_the_child_name_the_child_as_their_origin(make):
    app = make(broker="sqlite:///forked.db")
    app.send_task("a")
    child = in_child(lambda: app.send_task("a") and os.getpid())
    origins = [each.message.headers["origin"] for each in app.broker.browse("celery")]
    assert origins[0].startswith(f"gen{os.getpid()}@")
    assert origins[1].startswith(f"gen{child}@")


def test_a_lock_that_another_thread_held_is_free_in_the_child(make):
    """A fork in the middle of finalizing must not leave the child waiting for ever."""
    from umbel.task import Task

    app = make(broker="sqlite:///forked.db")
    inside, go_on = threading.Event(), threading.Event()

    class Slow(Task):
        @classmethod
        def on_bound(cls, app):
            inside.set()
            if threading.current_thread() is not threading.main_thread():
                assert go_on.wait(DEADLINE)

    slow = app.task(name="slow", base=Slow, shared=False)(lambda: None)
    app.task(name="quick", shared=False)(lambda: None)
    thread = threading.Thread(target=lambda: slow.max_retries)
    thread.start()
    assert inside.wait(DEADLINE)
    try:
        said = in_child(lambda: (app.broker is not None, sorted(app.tasks)))
    finally:
        go_on.set()
        thread.join()
    assert said == "(True, ['quick', 'slow'])"


def test_asynchronous_callers_of_the_child_have_a_publisher_of_their_own(make):
    import asyncio

    app = make(broker="sqlite:///forked.db")
    asyncio.run(app.asend_task("parent"))
    in_child(lambda: asyncio.run(app.asend_task("child")))
    assert [each.message.task for each in app.broker.browse("celery")] == ["parent", "child"]


def test_an_application_that_is_closed_survives_a_fork_too():
    app = Umbel("x", broker="sqlite:///closed.db", set_as_current=False)
    app.send_task("parent")
    app.close()
    in_child(lambda: app.send_task("child"))
    assert [each.message.task for each in app.broker.browse("celery")] == ["parent", "child"]
    app.close()
