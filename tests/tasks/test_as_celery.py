"""What happens around a task, call by call, as in the real Celery.

``celery_tasks.json`` holds what Celery did with the same definitions and calls: which handlers and
signals there were, in which order and with what, and how it ended.  Where Umbel does better on
purpose, the difference is stated below.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

import task_scenarios as scenarios
from umbel import Task, signals
from umbel.exceptions import Ignore, Reject, Retry

CELERY = json.loads((Path(__file__).parent / "celery_tasks.json").read_text())
LIBRARY = SimpleNamespace(Task=Task, signals=signals, Ignore=Ignore, Reject=Reject, Retry=Retry)

FAILED = ["task_failure exception=Boom(1)", "after_return FAILURE Boom(1) True"]
POSTRUN = "task_postrun state='FAILURE' retval=Boom(1)"
BEGUN = ["task_prerun", "before_start [1] {}", "body 1"]

INSTEAD = {
    # A handler that raises changes nothing about the end of the task.
    "on_failure breaks": {
        "story": [
            "task_prerun",
            "before_start [1] {'break_in': 'on_failure'}",
            "body 1",
            "on_failure Boom(1) True",
            *FAILED,
            POSTRUN,
        ],
        "state": "FAILURE",
        "result": "Boom(1)",
    },
    "on_retry breaks": {
        "story": [
            "task_prerun",
            "before_start ['a'] {'succeed_at': 1, 'break_in': 'on_retry'}",
            "body ['a'] retries 0",
            "on_retry Retry() True",
            "task_retry reason=Retry()",
            "task_postrun state='RETRY' retval=Retry()",
            "task_prerun",
            "before_start ['a'] {'succeed_at': 1, 'break_in': 'on_retry'}",
            "body ['a'] retries 1",
            "on_success 'done'",
            "task_success result='done'",
            "after_return SUCCESS 'done' True",
            "task_postrun state='SUCCESS' retval='done'",
        ],
        "state": "SUCCESS",
        "result": "'done'",
    },
    # A callback that does not fit is that callback's failure, not the task's.
    "link that cannot be called": {
        "story": [
            "task_prerun",
            "before_start [1, 2] {}",
            "body 1 2",
            "on_success 3",
            "task_success result=3",
            "after_return SUCCESS 3 True",
            "task_postrun state='SUCCESS' retval=3",
            *(
                MISFIT := [
                    "task_prerun",
                    "before_start [{}] {{}}",
                    "on_failure TypeError({}) True",
                    "task_failure exception=TypeError({})",
                    "after_return FAILURE TypeError({}) True",
                    "task_postrun state='FAILURE' retval=TypeError({})",
                ]
            ),
        ],
        "state": "SUCCESS",
        "result": "3",
    },
    "link_error errback_none": {
        "story": [*BEGUN, "on_failure Boom(1) True", *FAILED, POSTRUN, *MISFIT],
        "state": "FAILURE",
        "result": "Boom(1)",
    },
    # There is always an exception to show.
    "retry raised by hand": {
        "story": [
            "task_prerun",
            "before_start [] {}",
            "on_retry Retry() True",
            "task_retry reason=Retry()",
            "task_postrun state='RETRY' retval=Retry()",
        ],
        "state": "RETRY",
        "result": "Retry()",
    },
    # Reject says how the task is to end; it is no reason to try again.
    "autoretry meets Reject": {
        "story": [
            "task_prerun",
            "before_start ['reject'] {}",
            "body reject",
            "task_postrun state='REJECTED' retval=Reject('no', False)",
            "task_failure exception=Reject('no', False)",
        ],
        "state": "FAILURE",
        "result": "Reject('no', False)",
    },
}

EAGERLY_INSTEAD = {
    "autoretry meets Reject": {
        "story": INSTEAD["autoretry meets Reject"]["story"][:-1],
        "state": "REJECTED",
        "result": "Reject('no', False)",
    },
    "link that cannot be called": {
        **INSTEAD["link that cannot be called"],
        "story": [
            *("task_prerun", "before_start [1, 2] {}", "body 1 2"),
            *MISFIT,
            *("on_success 3", "task_success result=3", "after_return SUCCESS 3 True"),
            "task_postrun state='SUCCESS' retval=3",
        ],
    },
}

# Handlers are called with ``throw`` too, and what they raise is heard first.
THROWING = [
    call for call in scenarios.CALLS if "break" not in call[0] and call[0] not in EAGERLY_INSTEAD
]


def in_our_words(story):
    """Celery's story where only words differ."""
    for line in story:
        # The handler is given the Retry itself where Celery has no exception to give.
        ours = line.replace("on_retry None", "on_retry Retry()")
        if line == "task_postrun state=None retval=None":
            ours = "task_postrun state={}"  # we know how it ended
        # What a handler raises eagerly goes to the caller and to nobody else.
        if not line.startswith("task_internal_error"):
            yield ours


def expected_of(told):
    return {**told, "story": list(in_our_words(told["story"]))}


def fits(line, pattern):
    """Whether a line is the pattern, in which ``{}`` stands for anything."""
    parts = pattern.replace("{{", "{").replace("}}", "}").split("{}")
    return line.startswith(parts[0]) and all(part in line for part in parts)


@pytest.fixture
def story():
    story = scenarios.Story(LIBRARY)
    story.listen()
    yield story
    story.close()


@pytest.mark.parametrize("call", scenarios.CALLS, ids=lambda call: call[0])
def test_a_worker_does_what_celerys_does(site, story, call):
    """Handlers and signals come in Celery's order with Celery's values, and the end is the same."""
    label, name, args, kwargs, options = call
    app = site.app()
    tasks = scenarios.define(app, story)
    task, given = getattr(tasks, name), scenarios.options_of(tasks, options)
    task.typing = given.pop("typing", True)
    task.apply_async(args, kwargs, **given)
    site.drain(app)
    result = app.AsyncResult("fixed-id")
    told = {"story": story.lines, "state": result.state, "result": scenarios.shown(result.result)}
    compare(told, INSTEAD.get(label) or expected_of(CELERY["worker"][label]))


@pytest.mark.parametrize("call", scenarios.CALLS, ids=lambda call: call[0])
def test_an_eager_run_does_what_celerys_does(site, story, call):
    """Run in place, a task has the same handlers, signals and callbacks, and its end at once."""
    label, name, args, kwargs, options = call
    app = site.app()
    tasks = scenarios.define(app, story)
    given = scenarios.options_of(tasks, options)
    given.pop("typing", None)
    told = run_eagerly(getattr(tasks, name), args, kwargs, throw=False, **given)
    wanted = EAGERLY_INSTEAD.get(label) or expected_of(CELERY["eager"][f"{label}, throw=False"])
    compare({"story": story.lines, **told}, wanted)
    assert site.waiting() == []


@pytest.mark.parametrize("call", THROWING, ids=lambda call: call[0])
def test_an_eager_run_that_throws_ends_as_celerys_does(site, story, call):
    """With ``throw``, what the task raised arrives at the caller, a retry too."""
    label, name, args, kwargs, options = call
    app = site.app()
    tasks = scenarios.define(app, story)
    given = scenarios.options_of(tasks, options)
    given.pop("typing", None)
    told = run_eagerly(getattr(tasks, name), args, kwargs, throw=True, **given)
    wanted = dict(CELERY["eager"][f"{label}, throw=True"])
    del wanted["story"]
    assert told == wanted


def run_eagerly(task, args, kwargs, **options):
    try:
        result = task.apply(args, kwargs, **options)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is compared
        return {"raised": scenarios.shown(error)}
    return {"state": result.state, "result": scenarios.shown(result.result)}


def compare(told, wanted):
    assert len(told["story"]) == len(wanted["story"]), told["story"]
    for line, pattern in zip(told["story"], wanted["story"], strict=True):
        assert line == pattern or fits(line, pattern)
    assert {**told, "story": None} == {**wanted, "story": None}
