"""What follows a task"""

from __future__ import annotations

import pytest


def sides(lines):
    return [line["side"] for line in lines]


@pytest.mark.case("link: a callback on the other side gets the result, and its lineage")
def test_a_callback_gets_the_result(lane):
    link = lane.follower("sign", 7, kwargs={"key": lane.key}, task_id=f"{lane.key}-callback")
    task_id = lane.send("add", 2, 3, link=[link])
    (line,) = lane.wait_lines(1)
    assert (line["side"], line["args"]) == (lane.sender.name, [5, 7])
    assert (line["root"], line["parent"]) == (task_id, task_id)


@pytest.mark.case("link: several callbacks, one of them immutable, one of them on either side")
def test_several_callbacks_follow(lane):
    links = [
        lane.follower("sign", kwargs={"key": lane.key}),
        lane.follower("sign", "own", kwargs={"key": lane.key}, immutable=True),
        lane.follower("sign", kwargs={"key": lane.key}, queue=lane.worker.queue),
    ]
    assert lane.run("add", 2, 3, link=links) == 5
    lines = lane.wait_lines(3)
    found = sorted((line["side"], str(line["args"])) for line in lines)
    here, there = lane.sender.name, lane.worker.name
    assert found == sorted([(here, "[5]"), (here, "['own']"), (there, "[5]")])


@pytest.mark.case("link: callbacks of callbacks, to and fro")
def test_callbacks_of_callbacks_follow(lane):
    third = lane.follower("sign", kwargs={"key": lane.key}, queue=lane.worker.queue)
    task, args, kwargs, options, immutable = lane.follower("double")
    second = task, args, kwargs, {**options, "link": [third]}, immutable
    lane.send("add", 2, 3, link=[second])
    (line,) = lane.wait_lines(1)
    assert (line["side"], line["args"]) == (lane.worker.name, [10])


@pytest.mark.case("link: nothing follows a failure, a retry or an Ignore")
@pytest.mark.parametrize("name", ["fail", "skip"])
def test_no_callback_follows_what_is_no_success(lane, name):
    link = lane.follower("sign", kwargs={"key": lane.key}, queue=lane.worker.queue)
    lane.send(name, *(("builtin",) if name == "fail" else ()), link=[link])
    lane.settled()
    lane.settled()
    assert lane.page() == []


@pytest.mark.case("link: callbacks follow the last attempt only")
def test_callbacks_follow_the_last_attempt(lane):
    link = lane.follower("sign", kwargs={"key": lane.key})
    task_id = lane.send("again", 2, link=[link])
    assert lane.end(task_id)["value"][0] == 2
    (line,) = lane.wait_lines(1)
    assert line["args"][0][0] == 2
    assert line["parent"] == task_id


@pytest.mark.case("link_error: an error callback is sent with the id of the task")
def test_an_error_callback_gets_the_id(lane):
    # A name the worker does not know: what is known there, and takes more, is called on the spot.
    errback = lane.follower("sign", kwargs={"key": lane.key})
    task_id = lane.send("fail", "builtin", link_error=[errback])
    (line,) = lane.wait_lines(1)
    assert (line["side"], line["args"]) == (lane.sender.name, [task_id])


@pytest.mark.case("link_error: one that takes request, exception and traceback is called at once")
def test_an_error_callback_is_called_where_the_task_failed(lane):
    errback = lane.follower("errback", lane.key)
    task_id = lane.send("fail", "custom", link_error=[errback])
    (line,) = lane.wait_lines(1)
    assert (line["side"], line["id"]) == (lane.worker.name, task_id)
    assert line["error"] == "OutOfPaperError('A4', 3)"
    assert "in fail" in line["traceback"]


@pytest.mark.case("link_error: nothing follows a success or a retry that succeeds")
def test_no_error_callback_follows_a_success(lane):
    errback = lane.follower("sign", kwargs={"key": lane.key}, queue=lane.worker.queue)
    assert lane.run("again", 1, link_error=[errback])[0] == 1
    lane.settled()
    assert lane.page() == []


@pytest.mark.case("a chain goes to and fro between the sides", flows=["to_umbel"])
def test_a_chain_crosses_sides(lane):
    here, there = lane.sender.queue, lane.worker.queue
    steps = [
        lane.follower("add", 1, 2, queue=there),
        lane.follower("double", queue=here),
        lane.follower("add", 10, queue=there),
        lane.follower("double", queue=there),
        lane.follower("replaced_id", queue=here, immutable=True),
    ]
    last, *_, first = ids = lane.sender.desk.chain(steps, {})
    assert lane.end(last)["value"] == [last, first, ids[1]]
    assert lane.end(ids[1])["value"] == 32


@pytest.mark.case("a chain begun by a message goes on")
def test_the_rest_of_a_chain_in_a_message_is_run(lane):
    here, there = lane.sender.queue, lane.worker.queue
    # The step that comes next stands last.
    chain = [
        lane.follower("sign", kwargs={"key": lane.key}, queue=here),
        lane.follower("double", queue=there),
        lane.follower("add", 10, queue=here),
    ]
    task_id = lane.send("add", 1, 2, chain=chain)
    (line,) = lane.wait_lines(1)
    assert (line["side"], line["args"], line["root"]) == (lane.sender.name, [26], task_id)


@pytest.mark.case("a chain ends with the step that fails, and error callbacks of later steps")
def test_a_chain_ends_with_the_step_that_fails(lane):
    chain = [
        lane.follower("sign", kwargs={"key": lane.key}, queue=lane.worker.queue),
        lane.follower("fail", immutable=True, queue=lane.worker.queue),
    ]
    chain[1] = (chain[1][0], ("builtin",), *chain[1][2:])
    lane.send("add", 1, 2, chain=chain)
    lane.settled()
    lane.settled()
    assert lane.page() == []


@pytest.mark.case("a retry keeps callbacks and the rest of its chain")
def test_a_retry_keeps_what_follows(lane):
    chain = [lane.follower("sign", kwargs={"key": lane.key})]
    link = lane.follower("sign", "linked", kwargs={"key": lane.key}, immutable=True)
    lane.send("again", 2, chain=chain, link=[link])
    lines = lane.wait_lines(2)
    assert sides(lines) == [lane.sender.name] * 2
    assert sorted(str(line["args"])[:8] for line in lines) == [
        "['linked",
        "[[2, '" + lane.worker.name[:2],
    ]
