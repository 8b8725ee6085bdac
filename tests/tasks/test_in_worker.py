"""What tasks promise, kept by a real worker in processes of its own."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from umbel import current
from umbel.exceptions import TimeLimitExceeded
from workers import wait_until

SUPPORT = Path(__file__).parents[1] / "support"


@pytest.fixture
def chores(served):
    """The application; what it has opened is closed after each test."""
    yield served
    served.app.disconnect()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The application as a client, and a worker that runs until the module's tests are done."""
    folder = tmp_path_factory.mktemp("chores")
    patch = pytest.MonkeyPatch()
    patch.setenv("CHORES_BROKER", f"sqlite:///{folder / 'chores.db'}")
    patch.setenv("CHORES_NOTES", str(folder / "notes"))
    patch.setattr(current, "_on_finalize", [])
    log = folder / "log"
    command = [sys.executable, "-m", "umbel", "-A", "chores", "worker", "-c", "1", "-l", "INFO"]
    with log.open("wb") as file:
        worker = subprocess.Popen(
            command,
            stdout=file,
            stderr=file,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(SUPPORT)},
        )
    module = importlib.import_module("chores")
    module.app.finalize()
    wait_until(lambda: " ready." in log.read_text() or worker.poll() is not None, "a ready worker")
    module.log = log
    module.notes = folder / "notes"
    yield module
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 0, log.read_text()
    module.app.close()
    sys.modules.pop("chores", None)
    patch.undo()


def test_a_retry_waits_in_the_broker_and_comes_back(chores):
    """Each attempt is one delivery of one message."""
    assert chores.flaky.delay(3).get(timeout=20) == [3, 1]


def test_a_task_retries_by_itself_until_it_gives_up(chores):
    """And its last error is the result."""
    with pytest.raises(KeyError, match="k"):
        chores.always.delay("k").get(timeout=20)


def test_a_custom_state_is_seen_while_the_task_runs(chores, tmp_path):
    """From another process."""
    result = chores.slow_step.delay(str(tmp_path / "gate"))
    wait_until(lambda: result.state == "PROGRESS", "the state")
    assert result.info == {"step": 1}
    (tmp_path / "gate").touch()
    assert result.get(timeout=20) == "done"
    assert result.state == "SUCCESS"


def test_a_soft_limit_gives_the_task_time_to_clean_up(chores):
    """It is raised inside the body, which may end as it likes."""
    assert chores.interrupted.delay().get(timeout=20) == "cleaned up after 0.3"


def test_a_hard_limit_ends_the_task_and_tells_its_errback(chores):
    """The worker goes on with another process."""
    result = chores.stuck.apply_async(link_error=chores.errback.s())
    with pytest.raises(TimeLimitExceeded):
        result.get(timeout=20)
    line = f"errback {result.id} TimeLimitExceeded"
    wait_until(lambda: chores.notes.exists() and line in chores.notes.read_text(), "the errback")
    assert chores.add.delay(1, 2).get(timeout=20) == 3


def test_types_of_arguments_arrive(chores):
    """An enum, a dataclass and a model."""
    result = chores.typed.delay(chores.Colour.RED, chores.Size(1), user=chores.User(name="x"))
    assert result.get(timeout=20) == ["Colour", "Size", "User"]


def test_callbacks_and_chains_are_sent_on(chores):
    """By the worker."""
    last = chores.add.si(1000, 1)
    end = last.freeze()
    middle = chores.add.s(10)
    middle.link(last)
    chores.add.apply_async((1, 2), link=middle)
    assert end.get(timeout=20) == 1001


def test_coroutines_run_at_once_in_one_process(chores, tmp_path):
    """Two that wait for each other both end."""
    folder = str(tmp_path)
    results = [chores.meet.delay(a, b, folder) for a, b in (("a", "b"), ("b", "a"))]
    assert [one.get(timeout=20) for one in results] == ["a", "b"]


def test_a_rejected_message_is_a_dead_letter(chores):
    """With its reason."""
    result = chores.refuse.delay()
    wait_until(result.ready, "the end")
    letters = [buried.letter for buried in chores.app.broker.dead()]
    (mine,) = [letter for letter in letters if letter.message.id == result.id]
    assert (mine.reason, "not for me" in mine.detail) == ("rejected", True)
    assert result.state == "FAILURE"


def test_handlers_run_in_the_worker(chores):
    """Within the request."""
    assert chores.told.delay().get(timeout=20) == 5
    wait_until(lambda: "on_success 5 True" in chores.notes.read_text(), "the handler")
