"""How a task ends"""

from __future__ import annotations

import pytest


def failed(lane, *args, **options):
    ended = lane.end(lane.send("fail", *args, **options))
    assert (ended["state"], ended["failed"], ended["successful"]) == ("FAILURE", True, False)
    return ended


@pytest.mark.case("success")
def test_a_result_is_read_by_the_other_side(lane):
    ended = lane.end(lane.send("add", 2, 3))
    assert (ended["state"], ended["value"], ended["successful"]) == ("SUCCESS", 5, True)
    assert ended["date_done"] is not None
    assert ended["traceback"] is None


@pytest.mark.case("failure with a built-in exception, its arguments and its traceback")
def test_a_built_in_exception_is_raised_by_the_other_side(lane):
    ended = failed(lane, "builtin")
    error = ended["error"]
    assert (error["type"], error["module"]) == ("ValueError", "builtins")
    assert error["args"] == ["no such tray", 7]
    assert "in fail" in ended["traceback"]
    assert "ValueError: ('no such tray', 7)" in ended["traceback"]


@pytest.mark.case("failure with an exception of the user's own, known to both sides")
def test_a_custom_exception_is_built_again(lane):
    error = failed(lane, "custom")["error"]
    assert (error["type"], error["module"], error["args"]) == (
        "OutOfPaperError",
        "parcels",
        ["A4", 3],
    )


@pytest.mark.case("failure with an exception in a class of the user's own")
def test_a_nested_exception_is_built_again(lane):
    error = failed(lane, "nested")["error"]
    assert (error["type"], error["args"]) == ("NestedError", ["inside"])


@pytest.mark.case("failure with an exception whose constructor wants more")
def test_an_exception_that_cannot_be_built_is_told(lane):
    error = failed(lane, "picky")["error"]
    assert "PickyError" in error["type"] + error["text"]
    assert "one" in error["text"]


@pytest.mark.case("failure with an exception nobody can import")
def test_an_unknown_exception_is_told(lane):
    error = failed(lane, "unknown")["error"]
    assert "Jam" in error["type"] + error["text"]
    assert "sheet" in error["text"]


@pytest.mark.case("failure with arguments that cannot be encoded")
def test_arguments_that_cannot_be_encoded_are_represented(lane):
    error = failed(lane, "unencodable")["error"]
    assert error["type"] == "RuntimeError"
    assert error["args"][0] == "cannot"
    assert "<object object" in error["args"][1]


@pytest.mark.case("failure with a cause")
def test_the_cause_is_in_the_traceback(lane):
    ended = failed(lane, "caused")
    assert (ended["error"]["type"], ended["error"]["args"]) == ("KeyError", ["tray"])
    assert "invalid literal for int()" in ended["traceback"]


@pytest.mark.case("failure with a text that UTF-8 does not know", flows=["to_umbel"])
def test_odd_texts_of_exceptions_are_escaped(lane):
    assert failed(lane, "unprintable")["error"]["args"] == ["\\udce4 \0 \n"]


@pytest.mark.case("failure with an exception that has no text")
def test_an_exception_without_text_is_told(lane):
    ended = failed(lane, "lying")
    assert (ended["error"]["type"], ended["error"]["args"]) == ("LyingError", ["text"])


@pytest.mark.case("a result that cannot be encoded is a failure")
def test_a_result_that_cannot_be_encoded_is_a_failure(lane):
    ended = lane.end(lane.send("unencodable"))
    assert (ended["state"], ended["error"]["type"]) == ("FAILURE", "EncodeError")


@pytest.mark.case("throws: an expected failure is a failure")
def test_an_expected_failure_is_a_failure(lane):
    ended = lane.end(lane.send("expected"))
    assert (ended["state"], ended["error"]["type"]) == ("FAILURE", "KeyError")


@pytest.mark.case("Ignore stores nothing")
def test_an_ignored_task_stores_nothing(lane):
    task_id = lane.send("skip")
    lane.settled()
    assert lane.sender.desk.state(task_id) == ("PENDING", None)


@pytest.mark.case("Reject without requeue is a failure")
def test_a_rejected_task_is_a_failure(lane):
    ended = lane.end(lane.send("refuse", lane.key))
    assert (ended["state"], ended["error"]["type"]) == ("FAILURE", "Reject")
    assert len(lane.page()) == 1


@pytest.mark.case("Reject with requeue brings the message back")
def test_a_requeued_task_runs_again(lane):
    assert lane.run("refuse", lane.key, kwargs={"requeue": True}) == "again"
    assert len(lane.page()) == 1


@pytest.mark.case("acks_late")
def test_a_task_that_acknowledges_late_ends_as_others_do(lane):
    assert lane.run("late", 7) == 7


@pytest.mark.case("ignore_result of the task")
def test_a_task_that_keeps_no_result_stores_none(lane):
    task_id = lane.send("note", lane.key, 1)
    assert lane.wait_lines(1)[0]["args"] == [1]
    lane.settled()
    assert lane.sender.desk.state(task_id) == ("PENDING", None)


@pytest.mark.case("STARTED, with process and host")
def test_a_started_task_is_seen(lane):
    task_id = lane.send("hold", lane.key)
    pid = lane.wait_lines(1)[0]["pid"]
    info = lane.sender.desk.wait_state(task_id, "STARTED")
    lane.go()
    assert (info["pid"], "@" in info["hostname"]) == (pid, True)
    assert lane.end(task_id)["value"] == lane.worker.name


@pytest.mark.case("a state of the user's own, with its information")
def test_a_custom_state_is_seen(lane):
    task_id = lane.send("progress", lane.key)
    lane.wait_lines(1)
    info = lane.sender.desk.wait_state(task_id, "PROGRESS")
    lane.go()
    assert info == {"done": 3, "of": 4}
    assert lane.end(task_id)["value"] == "finished"


@pytest.mark.case("result_extended: name, arguments, worker, retries and queue")
def test_extended_results_are_read(lane):
    ended = lane.end(lane.send("describe", 1, kwargs={"a": 2}))
    assert (ended["name"], list(ended["args"])) == ("parcels.describe", [1])
    assert (ended["kwargs"], ended["retries"], ended["queue"]) == ({"a": 2}, 0, lane.worker.queue)
    assert "@" in ended["worker"]


@pytest.mark.case("a result is forgotten by the other side")
def test_a_result_is_forgotten(lane):
    task_id = lane.send("echo", 1)
    lane.end(task_id)
    lane.sender.desk.forget(task_id)
    assert lane.worker.desk.state(task_id) == ("PENDING", None)


@pytest.mark.case("the hard time limit of a message")
def test_a_hard_limit_ends_the_task(lane):
    ended = lane.end(lane.send("linger", time_limit=0.5))
    assert (ended["state"], ended["error"]["type"]) == ("FAILURE", "TimeLimitExceeded")


@pytest.mark.case("the soft time limit of a message")
def test_a_soft_limit_reaches_the_task(lane):
    assert lane.run("linger", soft_time_limit=0.5, time_limit=60) == "soft"


# -- retries -------------------------------------------------------------------------------


@pytest.mark.case("self.retry keeps id, root, parent and headers")
def test_a_retry_is_the_same_task(lane):
    task_id = lane.send("again", 2, headers={"tenant": "acme"})
    ended = lane.end(task_id)
    assert ended["value"][:3] == [2, lane.worker.name, task_id]
    assert ended["value"][4] == {"tenant": "acme"}
    assert ended["retries"] == 2


@pytest.mark.case("a retry under way is a RETRY with its exception")
def test_a_retry_is_seen(lane):
    task_id = lane.send("later")
    info = lane.sender.desk.wait_state(task_id, "RETRY")
    assert (info["type"], info["args"]) == ("OutOfPaperError", ["A4", 3])
    assert lane.end(task_id)["value"] == 1


@pytest.mark.case("autoretry_for, and then the exception itself")
def test_an_automatic_retry_ends_with_the_exception(lane):
    ended = lane.end(lane.send("stubborn", lane.key))
    assert (ended["state"], ended["error"]["type"]) == ("FAILURE", "OSError")
    assert (len(lane.page()), ended["retries"]) == (3, 2)


@pytest.mark.case("MaxRetriesExceededError")
def test_too_many_retries_are_told(lane):
    ended = lane.end(lane.send("hopeless"))
    assert (ended["state"], ended["error"]["type"]) == ("FAILURE", "MaxRetriesExceededError")


@pytest.mark.case("a task that is a coroutine", flows=["to_umbel"])
def test_a_coroutine_is_a_task(lane):
    assert lane.run("wait_async", 7) == 7
