"""What a result tells: states, values, fields, and its place in a workflow."""

from __future__ import annotations

import pickle
from copy import copy
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from umbel.context import Context
from umbel.exceptions import IncompleteStream, TaskRevokedError
from umbel.result import AsyncResult, EagerResult, ResultBase, result_from_tuple

FINAL = {"SUCCESS", "FAILURE", "REVOKED"}


def test_an_unknown_id_is_pending(kept):
    result = kept.AsyncResult("id")
    assert (result.state, result.status, result.result, result.info) == (
        "PENDING",
        "PENDING",
        None,
        None,
    )
    assert (result.traceback, result.children, result.date_done) == (None, None, None)
    told = result.ready(), result.successful(), result.failed(), result.exists()
    assert told == (False, False, False, False)


@pytest.mark.parametrize(
    "state", ["RECEIVED", "STARTED", "RETRY", "REJECTED", "IGNORED", "PROGRESS", *sorted(FINAL)]
)
def test_ready_successful_and_failed_follow_from_the_state(kept, state):
    kept.backend.put("id", KeyError("k") if state in {"FAILURE", "REVOKED", "RETRY"} else 1, state)
    result = kept.AsyncResult("id")
    assert result.state == state
    assert result.ready() is (state in FINAL)
    assert result.successful() is (state == "SUCCESS")
    assert result.failed() is (state == "FAILURE")
    assert result.exists()


def test_a_custom_state_tells_its_data(kept):
    kept.backend.put("id", {"done": 3, "of": 10}, "PROGRESS")
    assert kept.AsyncResult("id").info == {"done": 3, "of": 10}


@pytest.mark.parametrize("state", ["FAILURE", "REVOKED", "RETRY"])
def test_the_result_of_an_exception_state_is_the_exception(kept, state):
    kept.backend.put("id", KeyError("k"), state)
    found = kept.AsyncResult("id").result
    assert (type(found), found.args) == (KeyError, ("k",))


def test_a_result_follows_its_task_until_it_is_final(kept):
    result = kept.AsyncResult("id")
    for state in ("PENDING", "STARTED", "PROGRESS"):
        if state != "PENDING":
            kept.backend.put("id", None, state)
        assert result.state == state
    kept.backend.put("id", 5, "SUCCESS")
    assert (result.state, result.result) == ("SUCCESS", 5)
    kept.backend.forget(["id"])
    assert (result.state, result.result) == ("SUCCESS", 5)
    assert kept.AsyncResult("id").state == "PENDING"


def test_a_stored_success_is_never_replaced(kept):
    kept.backend.put("id", 5, "SUCCESS")
    for state in ("FAILURE", "REVOKED", "STARTED", "PROGRESS", "SUCCESS"):
        kept.backend.put("id", KeyError("k") if state == "FAILURE" else 6, state)
    assert kept.AsyncResult("id").result == 5


def test_other_states_are_replaced(kept):
    kept.backend.put("id", KeyError("k"), "FAILURE")
    kept.backend.put("id", 5, "SUCCESS")
    assert kept.AsyncResult("id").result == 5


def test_the_traceback_is_text(kept):
    kept.backend.put("id", KeyError("k"), "FAILURE", traceback="Traceback: there")
    assert kept.AsyncResult("id").traceback == "Traceback: there"


def test_date_done_is_aware_and_in_the_zone_of_the_application(make):
    app = make(timezone="Asia/Tokyo")
    before = datetime.now(UTC)
    app.backend.put("id", 5, "SUCCESS")
    done = app.AsyncResult("id").date_done
    assert before - timedelta(seconds=1) <= done <= datetime.now(UTC)
    assert done.utcoffset() == ZoneInfo("Asia/Tokyo").utcoffset(datetime.now())  # noqa: DTZ005
    app.backend.put("other", None, "STARTED")
    assert app.AsyncResult("other").date_done is None


REQUEST = Context(
    id="id",
    task="add",
    args=[1, 2],
    kwargs={"z": 3},
    hostname="w@host",
    retries=2,
    delivery_info={"routing_key": "q"},
    group="g",
    parent_id="p",
    stamped_headers=["colour"],
    stamps={"colour": "red"},
)


def test_extended_fields_are_there_if_so_set(make):
    app = make(result_extended=True)
    app.backend.put("id", 5, "SUCCESS", request=REQUEST)
    result = app.AsyncResult("id")
    assert (result.name, result.args, result.kwargs) == ("add", [1, 2], {"z": 3})
    assert (result.worker, result.retries, result.queue) == ("w@host", 2, "q")
    meta = app.backend.get("id")
    assert (meta["stamped_headers"], meta["colour"]) == (["colour"], "red")


def test_extended_fields_are_none_otherwise(app):
    app.backend.put("id", 5, "SUCCESS", request=REQUEST)
    result = app.AsyncResult("id")
    fields = (result.name, result.args, result.kwargs, result.worker, result.retries, result.queue)
    assert fields == (None,) * 6


def test_arguments_that_cannot_be_stored_are_shown_instead(make):
    """They came in with a type of the user's own; they need not go out again."""
    app = make(result_extended=True)
    app.backend.put("id", 5, "SUCCESS", request=Context(id="id", args=[object()], kwargs={"a": 1}))
    result = app.AsyncResult("id")
    assert result.args.startswith("[<object object at")
    assert (result.kwargs, result.get()) == ({"a": 1}, 5)


# -- identity ------------------------------------------------------------------------------


def test_a_result_needs_an_id(app):
    with pytest.raises(ValueError, match="task id"):
        AsyncResult(None, app=app)


def test_a_result_is_its_id(app):
    result = app.AsyncResult("id")
    assert (str(result), result.id, result.task_id) == ("id", "id", "id")
    assert result == "id"
    assert result == app.AsyncResult("id")
    assert result != app.AsyncResult("other")
    assert result != 5
    assert {result: 1}["id"] == 1
    assert hash(result) == hash("id")


def test_a_result_takes_celerys_arguments(make):
    first, second = make(), make()
    first.backend.put("id", 5, "SUCCESS")
    parent = AsyncResult("parent", app=second)
    result = AsyncResult("id", first.backend, "name", second, parent)
    assert result.get() == 5
    assert (result.app, result.parent, result.backend) == (second, parent, first.backend)
    assert AsyncResult("id", backend=first.backend).app is first


def test_a_result_of_nobody_asks_the_current_application(app):
    app.set_current()
    app.backend.put("id", 5, "SUCCESS")
    assert AsyncResult("id").get() == 5


def test_a_copy_is_equal_and_asks_anew(kept):
    result = kept.AsyncResult("id")
    twin = copy(result)
    assert twin == result
    assert twin is not result
    assert twin.app is kept


# -- deleting ------------------------------------------------------------------------------


def test_forget_deletes_the_state_and_those_of_the_parents(kept):
    parent = kept.AsyncResult("parent")
    child = kept.AsyncResult("child", parent=parent)
    for name in ("parent", "child", "other"):
        kept.backend.put(name, 1, "SUCCESS")
    assert child.get() == 1
    child.forget()
    assert (child.state, parent.state) == ("PENDING", "PENDING")
    assert kept.AsyncResult("other").state == "SUCCESS"
    child.forget()


def test_a_forgotten_task_may_have_another_result(kept):
    kept.backend.put("id", 5, "SUCCESS")
    kept.AsyncResult("id").forget()
    kept.backend.put("id", 6, "SUCCESS")
    assert kept.AsyncResult("id").get() == 6


# -- workflow ------------------------------------------------------------------------------


@pytest.fixture
def tree(kept):
    """``top`` has started ``left`` and ``right``, and ``right`` has started ``leaf``."""

    def put(name, value, *children):
        forms = [kept.AsyncResult(child).as_tuple() for child in children]
        kept.backend.put(name, value, "SUCCESS", children=forms)

    put("top", 1, "left", "right")
    put("left", 2)
    put("right", 3, "leaf")
    put("leaf", 4)
    return kept.AsyncResult("top")


def test_children_are_results(tree):
    assert tree.children == ["left", "right"]
    assert all(isinstance(child, AsyncResult) for child in tree.children)
    assert tree.children[0].children == []


def test_iterdeps_walks_the_tree_with_parents(tree):
    walked = [(parent and parent.id, node.id) for parent, node in tree.iterdeps()]
    assert walked == [(None, "top"), ("top", "left"), ("top", "right"), ("right", "leaf")]


def test_collect_gives_results_with_their_values(tree):
    found = [(result.id, value) for result, value in tree.collect()]
    assert found == [("top", 1), ("left", 2), ("right", 3), ("leaf", 4)]


def test_get_leaf_is_the_value_of_the_last(tree):
    assert tree.get_leaf() == 4


def test_a_node_that_is_not_ready_ends_the_walk(kept, tree):
    kept.backend.forget(["right"])
    with pytest.raises(IncompleteStream):
        list(tree.iterdeps())
    nodes = [node.id for _, node in tree.iterdeps(intermediate=True)]
    assert nodes == ["top", "left", "right"]


def test_collect_passes_arguments_to_get(kept, tree):
    kept.backend.forget(["leaf"])
    kept.backend.put("leaf", KeyError("k"), "FAILURE")
    assert type(dict(tree.collect(propagate=False))["leaf"]) is KeyError


def test_as_tuple_and_back(app):
    result = app.AsyncResult("c", parent=app.AsyncResult("b", parent=app.AsyncResult("a")))
    form = (("c", (("b", (("a", None), None)), None)), None)
    assert result.as_tuple() == form
    again = result_from_tuple(form, app)
    assert (again, again.parent, again.parent.parent) == ("c", "b", "a")
    assert again.app is app
    assert result_from_tuple([["c", None], None], app) == "c"
    assert result_from_tuple(("c", None), app) == "c"


def test_results_and_none_pass_through_result_from_tuple(app):
    result = app.AsyncResult("c")
    assert result_from_tuple(result) is result
    assert result_from_tuple(None) is None


def test_as_list_is_the_id_and_those_before_it(app):
    result = app.AsyncResult("c", parent=app.AsyncResult("b", parent=app.AsyncResult("a")))
    assert result.as_list() == ["c", "b", "a"]


def test_maybe_throw_looks_and_does_not_wait(kept):
    result = kept.AsyncResult("id")
    assert result.maybe_throw() is None
    kept.backend.put("id", KeyError("k"), "FAILURE")
    with pytest.raises(KeyError):
        result.maybe_throw()
    with pytest.raises(KeyError):
        result.maybe_reraise()
    seen = []
    assert type(result.maybe_throw(propagate=False, callback=lambda *a: seen.append(a))) is KeyError
    assert seen[0][0] == "id"


# -- eager results -------------------------------------------------------------------------


def test_an_eager_result_is_ready():
    result = EagerResult("id", 5, "SUCCESS", name="add")
    assert isinstance(result, AsyncResult)
    assert isinstance(result, ResultBase)
    assert (result.id, result.get(), result.wait(), result.result) == ("id", 5, 5, 5)
    assert (result.state, result.status, result.name) == ("SUCCESS", "SUCCESS", "add")
    assert (result.ready(), result.successful(), result.failed(), result.exists()) == (
        True,
        True,
        False,
        True,
    )
    assert (result.children, result.date_done, result.traceback) == (None, None, None)


def test_an_eager_result_raises_or_returns_its_exception():
    for state in ("FAILURE", "REVOKED"):
        result = EagerResult("id", KeyError("k"), state, traceback="there")
        with pytest.raises(KeyError):
            result.get()
        assert type(result.get(propagate=False)) is KeyError
        assert result.traceback == "there"


@pytest.mark.parametrize("state", ["RETRY", "IGNORED", "REJECTED", "PROGRESS"])
def test_an_eager_result_in_another_state_gives_none(state):
    assert EagerResult("id", 5, state).get() is None


def test_an_eager_result_calls_back():
    seen = []
    result = EagerResult("id", 5, "SUCCESS")
    result.get(callback=lambda *args: seen.append(args))
    result.then(seen.append)
    assert seen == [("id", 5), result]


def test_an_eager_result_can_be_revoked_and_not_forgotten():
    result = EagerResult("id", 5, "SUCCESS")
    result.forget()
    assert result.get() == 5
    result.revoke(terminate=True)
    assert result.state == "REVOKED"
    with pytest.raises(TaskRevokedError, match="revoked"):
        result.get()


def test_an_eager_result_can_be_awaited():
    import asyncio

    async def main():
        return await EagerResult("id", 5, "SUCCESS")

    assert asyncio.run(main()) == 5


def test_an_eager_result_pickles_with_its_exception():
    again = pickle.loads(pickle.dumps(EagerResult("id", KeyError("k"), "FAILURE", "there", "a")))
    assert (again.id, again.state, again.traceback, again.name) == ("id", "FAILURE", "there", "a")
    assert again.result.args == ("k",)
