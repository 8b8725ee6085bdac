"""Error callbacks: who is called on the spot, who gets a message, and with what."""

from __future__ import annotations

import pytest

from umbel import Task
from umbel.callbacks import takes_the_error


class Boom(Exception):  # noqa: N818 - as short as what it stands for
    pass


@pytest.fixture
def fail(app):
    """A task that fails."""

    @app.task(name="t.fail", shared=False)
    def fail():
        raise Boom("x")

    return fail


def three(request, exc, traceback): ...
def two(a, b): ...
def one(a): ...
def none(): ...
def starred(*args): ...
def defaulted(a, b=1): ...
def keyword_only(a, *, b=1): ...
def three_and_more(request, exc, traceback, extra): ...


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "taken"),
    [
        (three, (), {}, True),
        (two, (), {}, True),
        (defaulted, (), {}, True),
        (starred, (), {}, True),
        (starred, (1, 2), {}, True),
        (three_and_more, (1,), {}, True),
        (three_and_more, (), {"extra": 1}, True),
        (one, (), {}, False),
        (none, (), {}, False),
        (keyword_only, (), {}, False),
        (two, (1,), {}, False),
        (two, (), {"b": 1}, False),
    ],
)
def test_who_has_room_for_the_error_is_called_with_it(app, function, args, kwargs, taken):
    """More than one argument besides its own."""
    task = app.task(shared=False)(function)
    assert takes_the_error(task, task.s(*args, **kwargs)) is taken


def test_a_bound_or_class_based_task_gets_a_message(app):
    """So that it can retry, and has a request of its own."""
    bound = app.task(bind=True, shared=False)(lambda self, a, b, c: None)

    class Class(Task):
        name = "class"

        def run(self, a, b, c):
            pass

    assert not takes_the_error(bound, bound.s())
    assert not takes_the_error(app.register_task(Class()), app.tasks["class"].s())


def test_an_errback_on_the_spot_gets_request_exception_and_traceback(site, app, fail):
    """In the process that saw the failure, before the state can be read."""
    seen = []

    @app.task(name="errback", shared=False)
    def errback(request, exc, traceback, *more, **named):
        seen.append((request.id, request.task, repr(exc), traceback.splitlines()[-1], more, named))

    fail.apply_async(task_id="x", link_error=errback.s(1, k=2))
    assert len(site.drain(app)) == 1
    ((task_id, name, exc, last, more, named),) = seen
    assert (task_id, name, exc, more, named) == ("x", "t.fail", "Boom('x')", (1,), {"k": 2})
    assert last.endswith("Boom: x")


def test_an_errback_by_message_gets_the_id(site, app, fail):
    """As a task of its own, whose parent is the one that failed."""
    seen = []

    @app.task(bind=True, name="errback", shared=False)
    def errback(self, task_id):
        seen.append((task_id, self.request.parent_id, self.request.root_id))

    fail.apply_async(task_id="x", root_id="root", link_error=errback.s())
    site.drain(app)
    assert seen == [("x", "x", "root")]


def test_an_errback_nobody_knows_here_gets_a_message(site, app, fail):
    """For a worker that knows it."""
    fail.apply_async(task_id="x", link_error=app.signature("elsewhere", queue="other"))
    site.drain(app)
    (message,) = site.waiting("other")
    assert message.task == "elsewhere"
    assert message.headers["argsrepr"] == "('x',)"


def test_an_immutable_errback_gets_its_own_arguments(site, app, fail):
    """On the spot or by message."""
    seen = []
    many = app.task(name="many", shared=False)(lambda *args: seen.append(args))
    single = app.task(name="single", shared=False)(lambda a: seen.append(a) or 1)
    fail.apply_async(link_error=[many.si(1, 2), single.si(3)])
    site.drain(app)
    assert seen == [(1, 2), 3]


def test_an_asynchronous_errback_runs_to_its_end(site, app, fail):
    """On the spot, on a loop of its own."""
    seen = []

    @app.task(name="errback", shared=False)
    async def errback(request, exc, traceback):
        seen.append(request.id)

    @app.task(name="afail", shared=False)
    async def afail():
        raise Boom("x")

    fail.apply_async(task_id="x", link_error=errback.s())
    afail.apply_async(task_id="y", link_error=errback.s())
    site.drain(app)
    assert seen == ["x", "y"]


def test_an_errback_that_raises_is_logged_and_the_others_are_called(site, app, fail, caplog):
    """And the task has failed with its own error."""
    seen = []

    @app.task(name="broken", shared=False)
    def broken(request, exc, traceback):
        raise ValueError("errback")

    good = app.task(name="good", shared=False)(lambda r, e, t: seen.append(repr(e)))
    result = fail.apply_async(task_id="x", link_error=[broken.s(), {"no": "signature"}, good.s()])
    site.drain(app)
    assert seen == ["Boom('x')"]
    assert repr(result.result) == "Boom('x')"
    assert [record.exc_info[0] for record in caplog.records] == [ValueError, KeyError]


def test_an_errback_that_cannot_be_sent_is_logged(site, app, fail, caplog):
    """And the failure is stored all the same."""
    app.conf.task_create_missing_queues = False
    result = fail.apply_async(link_error=app.signature("elsewhere", queue="nowhere"))
    site.drain(app)
    assert result.state == "FAILURE"
    assert "cannot be sent" in caplog.text


def test_the_errbacks_own_children_have_the_failed_task_as_parent(site, app, fail):
    """It is called inside the request that failed."""
    child = app.task(name="child", shared=False)(lambda: None)
    errback = app.task(name="errback", shared=False)(lambda r, e, t: child.delay() and None)
    fail.apply_async(task_id="x", link_error=errback.s())
    attempts = site.drain(app)
    assert attempts[1].request.parent_id == "x"


def test_errbacks_of_an_unknown_task_are_told(site, app):
    """Nobody could run it, and whoever asked is told."""
    errback = app.task(name="errback", shared=False)(lambda task_id: None)
    app.send_task("unknown", task_id="x", link_error=errback.s())
    (one,) = site.drain(app)
    assert list(one.request.args) == ["x"]
    assert app.AsyncResult("x").state == "FAILURE"
    assert site.dead()[0].reason == "unknown-task"
