"""``umbel call`` and ``umbel result``: one task from a shell, and what became of it."""

from __future__ import annotations

import json
import signal

import pytest

from commands import SHOP, Running, at_terminal, end_of, program, umbel


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A shop with a worker that serves it, for all tests of this module."""
    directory = tmp_path_factory.mktemp("served")
    (directory / "shop.py").write_text(SHOP)
    with Running("-A", "shop", "worker", "-c", "1", cwd=directory) as worker:
        worker.expect("ready.")
        yield directory
        assert worker.stop() == 0


def waiting(shop):
    """The messages that wait in the shop's queues, as the broker has them."""
    script = (
        "import json\n"
        "found = [each for stats in app.broker.stats() for each in app.broker.browse(stats.name)]\n"
        "print(json.dumps([[m.message.queue, m.message.priority, m.state, m.message.headers,"
        " m.message.body.decode(), m.message.content_type] for m in found]))\n"
    )
    ended = umbel("-A", "shop", "shell", "-c", script, cwd=shop)
    return json.loads(ended.out)


def test_call_prints_the_id_and_sends_the_arguments(shop):
    """Standard output is the id alone."""
    ended = umbel("-A", "shop", "call", "shop.add", "-a", "[1]", "-k", '{"y": 2}')
    assert (ended.code, ended.err) == (0, "")
    ((_, _, state, headers, body, _),) = waiting(shop)
    assert headers["id"] == ended.out.strip()
    assert headers["task"] == "shop.add"
    assert json.loads(body)[:2] == [[1], {"y": 2}]
    assert state == "ready"


def test_call_takes_the_options_of_apply_async(shop):
    """Queue, priority, delay, expiry and serializer reach the message."""
    words = ["--queue", "mail", "--priority", "7", "--countdown", "60", "--expires", "90"]
    ended = umbel("-A", "shop", "call", "shop.add", "-a", "[1, 2]", *words, "--serializer", "yaml")
    assert ended.code == 0, ended.err
    ((queue, priority, state, headers, _, content_type),) = waiting(shop)
    assert (queue, priority, state) == ("mail", 7, "delayed")
    assert headers["eta"] < headers["expires"]
    assert content_type == "application/x-yaml"


def test_call_takes_moments(shop):
    """``--eta`` and ``--expires`` in ISO 8601, with a zone."""
    words = ["--eta", "2100-01-01T12:00:00+01:00", "--expires", "2100-01-02T00:00:00Z"]
    umbel("-A", "shop", "call", "shop.silent", *words)
    ((_, _, state, headers, _, _),) = waiting(shop)
    assert state == "delayed"
    assert headers["eta"].startswith("2100-01-01T11:00:00")
    assert headers["expires"].startswith("2100-01-02T00:00:00")


def test_an_unknown_name_is_not_sent(shop):
    """Exit code 1, the nearest name, and an empty queue."""
    ended = umbel("-A", "shop", "call", "shop.ad")
    assert ended.code == 1
    assert "no task named 'shop.ad' is registered here (did you mean 'shop.add'?)" in ended.err
    assert ended.out == ""
    assert waiting(shop) == []


@pytest.mark.parametrize("option", ["--unchecked", "--force"])
def test_an_unknown_name_is_sent_when_that_is_meant(shop, option):
    """For tasks that only the workers have."""
    ended = umbel("-A", "shop", "call", "elsewhere.add", option, "--queue", "elsewhere")
    assert ended.code == 0
    ((queue, _, _, headers, _, _),) = waiting(shop)
    assert (queue, headers["task"]) == ("elsewhere", "elsewhere.add")


def test_arguments_that_do_not_fit_are_not_sent(shop):
    """The task's signature is checked here, in one sentence."""
    ended = umbel("-A", "shop", "call", "shop.add", "-a", "[1]")
    assert ended.code == 1
    assert "missing a required argument: 'y'" in ended.err
    assert len(ended.err.splitlines()) == 1
    assert waiting(shop) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-a", "[1"], "is not JSON"),
        (["-a", '{"x": 1}'], "is not a JSON array; write it as '[2, \"three\"]'"),
        (["-k", "[1]"], "is not a JSON object"),
        (["--eta", "tomorrow"], "is not a time in ISO 8601"),
        (["--expires", "soon"], "is not a number of seconds, or a time in ISO 8601"),
        (["--countdown", "x"], "is not a valid float"),
        (["--priority", "10"], "0<=x<=9"),
        (["--timeout", "3"], "need --wait"),
        (["--wait", "--timeout", "0"], "x>0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_malformed_options_are_explained(shop, words, said):
    """Exit code 2, what is wrong and how it is written."""
    ended = umbel("-A", "shop", "call", "shop.add", *words)
    assert ended.code == 2
    assert said in ended.err


def test_wait_prints_what_the_task_returned(served):
    """And nothing else, not even the id."""
    ended = program("-A", "shop", "call", "shop.add", "-a", "[20, 22]", "--wait", cwd=served)
    assert (ended.code, ended.out, ended.err) == (0, "42\n", "")


@pytest.mark.parametrize(
    ("x", "y", "printed"),
    [
        ('"größ"', '"er"', "größer\n"),
        ("[1]", '[{"a": null}]', '[1, {"a": null}]\n'),
        ("0.5", "0.25", "0.75\n"),
    ],
)
def test_values_are_text_or_json(served, x, y, printed):
    """Text comes out as it is, everything else as JSON."""
    ended = umbel("-A", "shop", "call", "shop.add", "-a", f"[{x}, {y}]", "--wait", cwd=served)
    assert ended.out == printed


def test_wait_keeps_the_result_of_a_task_that_ignores_it(served):
    """Whoever waits wants to see it."""
    ended = umbel("-A", "shop", "call", "shop.silent", "--wait", cwd=served)
    assert (ended.code, ended.out) == (0, "heard\n")


def test_wait_fails_with_the_task(served):
    """Exit code 1 and the exception on standard error."""
    ended = umbel("-A", "shop", "call", "shop.boom", "--wait", cwd=served)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "Error: the task ended as FAILURE: ValueError: out of paper\n"


def test_traceback_is_shown_on_request(served):
    """Where in the worker it was raised."""
    ended = umbel("-A", "shop", "call", "shop.boom", "--wait", "--traceback", cwd=served)
    assert ended.code == 1
    assert ended.err.startswith("Traceback (most recent call last):")
    assert ended.err.rstrip().endswith("ValueError: out of paper")


def test_failure_as_json(served):
    """The state and the error as data, exit code 1 all the same."""
    ended = umbel("-A", "shop", "call", "shop.boom", "--wait", "--json", cwd=served)
    assert ended.code == 1
    assert ended.data["state"] == "FAILURE"
    assert ended.data["error"] == {"type": "ValueError", "message": "out of paper"}


def test_success_as_json(served):
    """Id, state and value."""
    words = ["call", "shop.add", "-a", "[1, 2]", "--wait", "--json"]
    data = umbel("-A", "shop", *words, cwd=served).data
    assert (data["state"], data["result"]) == ("SUCCESS", 3)
    again = umbel("-A", "shop", "result", data["id"], "--json", cwd=served).data
    assert again == data


def test_result_prints_the_value_of_an_earlier_call(served):
    """``umbel result`` waits if asked to, and may be asked again."""
    task_id = umbel("-A", "shop", "call", "shop.add", "-a", "[3, 4]", cwd=served).out.strip()
    waited = umbel("-A", "shop", "result", task_id, "--wait", "--timeout", "20", cwd=served)
    assert (waited.code, waited.out) == (0, "7\n")
    at_once = umbel("-A", "shop", "result", "-t", "shop.add", task_id, cwd=served)
    assert (at_once.code, at_once.out) == (0, "7\n")


def test_time_that_is_up_is_exit_code_75(shop):
    """No worker, no result; the task goes on, and the sentence says how to ask again."""
    words = ["call", "shop.add", "-a", "[1, 2]", "--wait", "--timeout", "0.05"]
    ended = umbel("-A", "shop", *words)
    assert (ended.code, ended.out) == (75, "")
    assert "the task goes on, and `umbel result" in ended.err
    assert len(waiting(shop)) == 1


def test_a_result_that_is_not_there_is_exit_code_75(shop):
    """Unknown, waiting and forgotten cannot be told apart, and the sentence says so."""
    ended = umbel("-A", "shop", "result", "no-such-id")
    assert (ended.code, ended.out) == (75, "")
    assert ended.err.startswith("Error: nothing is known of no-such-id")
    document = umbel("-A", "shop", "result", "no-such-id", "--json")
    assert document.code == 75
    assert document.data == {"id": "no-such-id", "state": "PENDING", "result": None}


def test_giving_up_on_a_result_is_exit_code_130(shop):
    """Ctrl-C ends the waiting, not the task."""
    with at_terminal("-A", "shop", "call", "shop.add", "-a", "[1, 2]", "--wait") as child:
        child.expect(r"waiting for \S+")
        child.kill(signal.SIGINT)
        child.expect("not waiting any more; the task goes on")
        assert end_of(child) == 130
    assert len(waiting(shop)) == 1


@pytest.mark.parametrize("words", [["call", "shop.silent", "--wait"], ["result", "x"]])
def test_without_a_result_backend_there_is_nothing_to_wait_for(shop, words):
    """Said before anything is sent; exit code 2."""
    ended = umbel("-A", "shop", "--result-backend", "disabled", *words)
    assert ended.code == 2
    assert "there is no result backend" in ended.err
    assert waiting(shop) == []
