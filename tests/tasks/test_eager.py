"""``apply`` and ``task_always_eager``: tasks run in place, with all that is around them.

That an eager run has Celery's handlers, signals and ends is in test_as_celery.
"""

from __future__ import annotations

import asyncio
import threading

import pytest

from umbel import current
from umbel.exceptions import AlwaysEagerIgnored, EncodeError, Reject, Retry
from umbel.result import EagerResult, allow_join_result


class Boom(Exception):  # noqa: N818 - as short as what it stands for
    pass


@pytest.fixture
def eager(site):
    """An application whose calls run in place."""
    return site.app(task_always_eager=True)


def test_apply_gives_a_result_that_is_ready(app):
    """An `EagerResult` with value, state and name."""
    result = app.task(name="t.add", shared=False)(lambda x, y: x + y).apply((1,), {"y": 2})
    assert isinstance(result, EagerResult)
    assert (result.get(), result.state, result.ready(), result.name) == (
        3,
        "SUCCESS",
        True,
        "t.add",
    )
    assert repr(result) == f"<EagerResult: {result.id}>"


def test_apply_keeps_the_id_and_checks_nothing(app):
    """As in Celery, wrong arguments fail the task."""
    task = app.task(shared=False)(lambda x: x)
    assert task.apply((1,), task_id="x").id == "x"
    assert task.apply().failed()


def test_a_failure_is_kept_in_the_result(app):
    """With its traceback; ``get`` raises it, or returns it."""

    @app.task(shared=False)
    def body():
        raise Boom("x")

    result = body.apply()
    assert (result.state, "in body" in result.traceback) == ("FAILURE", True)
    with pytest.raises(Boom):
        result.get()
    assert isinstance(result.get(propagate=False), Boom)


@pytest.mark.parametrize("how", ["argument", "setting"])
def test_throw_raises_at_the_call(site, how):
    """``throw=True`` or ``task_eager_propagates``; the traceback is the body's own."""
    app = site.app(task_eager_propagates=how == "setting")

    @app.task(shared=False)
    def body():
        raise Boom("x")

    with pytest.raises(Boom) as caught:
        body.apply(**({"throw": True} if how == "argument" else {}))
    assert caught.traceback[-1].name == "body"


def test_throw_false_wins_over_the_setting(site):
    """What the call says counts."""
    app = site.app(task_eager_propagates=True)

    @app.task(shared=False)
    def body():
        raise Boom("x")

    assert body.apply(throw=False).failed()


def test_throw_raises_a_retry_too(app):
    """As in Celery."""

    @app.task(bind=True, shared=False)
    def body(self):
        raise self.retry()

    with pytest.raises(Retry):
        body.apply(throw=True)


def test_a_retry_runs_at_once(app):
    """Its countdown is not waited for; ``is_eager`` is known to the Retry."""
    seen = []

    @app.task(bind=True, shared=False, default_retry_delay=10_000)
    def body(self, x):
        seen.append((x, self.request.retries, self.request.is_eager))
        if self.request.retries < 2:
            raise self.retry((x + 1,))
        return x

    assert body.apply((0,), task_id="x").get() == 2
    assert seen == [(0, 0, True), (1, 1, True), (2, 2, True)]


@pytest.mark.parametrize(("error", "state"), [(Reject("x"), "REJECTED"), (Retry("x"), "RETRY")])
def test_other_ends_have_their_states_and_no_value(app, error, state):
    """``get`` returns None for what is neither success nor failure."""

    @app.task(shared=False)
    def body():
        raise error

    result = body.apply()
    assert (result.state, result.get()) == (state, None)


def test_the_request_is_eager(app):
    """With the options of the call."""
    seen = []

    @app.task(bind=True, shared=False, name="t.see")
    def see(self, *args, **kwargs):
        seen.append(self.request)

    see.apply(
        (1,),
        {"k": 2},
        task_id="x",
        retries=3,
        headers={"own": 1},
        logfile="f",
        loglevel=10,
        time_limit=9,
        soft_time_limit=8,
        priority=4,
        queue="q",
        shadow="s",
        stamped_headers=["tier"],
        tier="gold",
    )
    (request,) = seen
    assert (request.id, request.root_id, request.parent_id) == ("x", "x", None)
    assert (request.args, request.kwargs, request.task) == ((1,), {"k": 2}, "t.see")
    assert (request.is_eager, request.called_directly, request.retries) == (True, False, 3)
    assert (request.headers, request.own) == ({"own": 1}, 1)
    assert (request.logfile, request.loglevel) == ("f", 10)
    assert (request.time_limit, request.soft_time_limit) == (9, 8)
    assert request.delivery_info["is_eager"] is True
    assert request.delivery_info["priority"] == 4
    assert (request.stamped_headers, request.stamps) == (["tier"], {"tier": "gold"})
    assert request.hostname


def test_a_task_applied_in_a_task_is_its_child(app):
    """Root and parent come from the one around it."""
    seen = []

    @app.task(bind=True, shared=False, name="inner")
    def inner(self):
        seen.append((self.request.root_id, self.request.parent_id))

    outer = app.task(shared=False, name="outer")(lambda: inner.apply() and None)
    outer.apply(task_id="x")
    assert seen == [("x", "x")]


def test_what_a_handler_raises_is_raised_to_the_caller(app):
    """There is nobody else to tell."""
    from umbel import Task

    class Broken(Task):
        def on_success(self, *args):
            raise Boom("handler")

    with pytest.raises(Boom, match="handler"):
        app.task(base=Broken, shared=False)(lambda: 1).apply()


def test_callbacks_and_chains_run_in_place(site, app):
    """Nothing reaches the broker."""
    seen = []
    add = app.task(name="add", shared=False)(lambda x, y: seen.append(x + y) or x + y)
    add.apply((1, 2), link=add.s(10), chain=[add.s(1000), add.s(100)])
    assert seen == [3, 13, 103, 1103]
    assert site.waiting() == []


def test_error_callbacks_run_in_place(site, app):
    """Those that take the error and those that take an id."""
    seen = []

    @app.task(name="fail", shared=False)
    def fail():
        raise Boom("x")

    error = app.task(name="error", shared=False)(lambda r, e, t: seen.append((r.id, repr(e))))
    by_id = app.task(name="by.id", shared=False)(lambda task_id: seen.append(task_id) or 1)
    fail.apply(task_id="x", link_error=[error.s(), by_id.s()])
    assert seen == [("x", "Boom('x')"), "x"]
    assert site.waiting() == []


# -- always eager --------------------------------------------------------------------------


def test_every_call_runs_in_place(site, eager):
    """``delay``, ``apply_async`` and signatures."""
    task = eager.task(shared=False)(lambda x: x)
    assert task.delay(1).get() == 1
    assert task.apply_async((2,), countdown=100).get() == 2
    assert task.s(3).delay().get() == 3
    assert (~task.s(4)) == 4
    assert site.waiting() == []


def test_arguments_make_the_journey_all_the_same(eager):
    """Tuples become lists, and what cannot be encoded is an error at the call."""
    task = eager.task(shared=False)(lambda x: x)
    assert task.delay((1, (2,))).get() == [1, [2]]
    with pytest.raises(EncodeError) as caught:
        task.delay({1})
    assert caught.value.path == "args[0]"


def test_the_tasks_serializer_is_used(site):
    """With pickle tuples stay tuples."""
    app = site.app(task_always_eager=True, task_serializer="pickle")
    assert app.task(shared=False)(lambda x: x).delay((1, 2)).get() == (1, 2)
    json = app.task(shared=False, serializer="json", name="json")(lambda x: x)
    assert json.delay((1, 2)).get() == [1, 2]


def test_arguments_are_checked(eager):
    """As for a call that is sent."""
    with pytest.raises(TypeError, match="missing a required argument"):
        eager.task(shared=False)(lambda x: x).delay()


def test_joining_inside_an_eager_task_is_refused(eager):
    """It would block in a worker; ``allow_join_result`` lifts it."""
    child = eager.task(name="child", shared=False)(lambda: 5)

    @eager.task(name="parent", shared=False)
    def parent(allowed):
        if allowed:
            with allow_join_result():
                return child.delay().get()
        return child.delay().get()

    assert parent.delay(True).get() == 5
    assert isinstance(parent.delay(False).result, RuntimeError)


def test_send_task_is_not_eager(site, eager):
    """It warns, and sends."""
    with pytest.warns(AlwaysEagerIgnored):
        eager.send_task("somewhere")
    assert len(site.waiting()) == 1


@pytest.mark.parametrize(("store", "ignore", "stored"), [(1, 0, 1), (0, 0, 0), (1, 1, 0)])
def test_results_are_stored_where_asked(site, store, ignore, stored):
    """``task_store_eager_result``, unless the result is ignored."""
    app = site.app(task_always_eager=True, task_store_eager_result=bool(store))

    @app.task(shared=False, ignore_result=bool(ignore))
    def body(fail):
        if fail:
            raise Boom("x")
        return 1

    good, bad = body.delay(False), body.delay(True)
    states = [app.AsyncResult(one.id).state for one in (good, bad)]
    assert states == (["SUCCESS", "FAILURE"] if stored else ["PENDING", "PENDING"])


def test_an_asynchronous_task_runs_to_its_end(eager):
    """With a loop of its own, also where one is running already."""

    @eager.task(bind=True, shared=False)
    async def double(self, x):
        await asyncio.sleep(0)
        assert current.get_current_app() is eager
        return 2 * x, self.request.is_eager

    eager.set_current()
    assert double.delay(2).get() == (4, True)

    async def outer():
        assert double.delay(3).get() == (6, True)
        return await (await double.adelay(4))

    assert asyncio.run(outer()) == (8, True)
    assert [one for one in threading.enumerate() if one.name.startswith("umbel-eager")] == []
