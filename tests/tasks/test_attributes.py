"""Attributes of tasks: their defaults, the settings behind them, annotations."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from umbel import Task
from umbel.attributes import FROM_CONFIG, PUBLISH_DEFAULTS
from umbel.exceptions import MaxRetriesExceededError, OperationalError

# Recorded from celery.Task of Celery 5.7, but for what is named differently on purpose.
DEFAULTS = {
    "name": None,
    "typing": None,
    "max_retries": 3,
    "default_retry_delay": 180,
    "rate_limit": None,
    "time_limit": None,
    "soft_time_limit": None,
    "ignore_result": None,
    "trail": True,
    "send_events": True,
    "store_errors_even_if_ignored": None,
    "store_eager_result": None,
    "serializer": None,
    "track_started": None,
    "acks_late": None,
    "acks_on_failure_or_timeout": None,
    "acks_on_failure": None,
    "acks_on_timeout": None,
    "reject_on_worker_lost": None,
    "retry_on_worker_lost": None,
    "throws": (),
    "expires": None,
    "priority": None,
    "resultrepr_maxsize": 1024,
    "abstract": True,
    "autoretry_for": (),
    "dont_autoretry_for": (),
    "retry_kwargs": {},
    "retry_backoff": False,
    "retry_backoff_max": 600,
    "retry_jitter": True,
    "MaxRetriesExceededError": MaxRetriesExceededError,
    "OperationalError": OperationalError,
}

GIVEN = {
    "serializer": "pickle",
    "rate_limit": "7/s",
    "priority": 4,
    "track_started": True,
    "acks_late": False,
    "acks_on_failure_or_timeout": False,
    "acks_on_failure": False,
    "acks_on_timeout": False,
    "reject_on_worker_lost": True,
    "retry_on_worker_lost": True,
    "ignore_result": True,
    "store_eager_result": True,
    "store_errors_even_if_ignored": True,
    "time_limit": 30,
    "soft_time_limit": 20,
}


def body():
    pass


@pytest.mark.parametrize(("name", "value"), DEFAULTS.items())
def test_a_task_class_has_the_default(name, value):
    """Every attribute of Celery's is there, with Celery's default."""
    assert getattr(Task, name) == value


@pytest.mark.parametrize(
    ("name", "setting"), [pair for pair in FROM_CONFIG if pair[0] != "retry_on_worker_lost"]
)
def test_a_setting_fills_in_what_the_task_leaves_open(site, name, setting):
    """None stands for the setting, and a value of the task's own wins over it."""
    app = site.app(**{setting: GIVEN[name]})
    assert getattr(app.task(shared=False)(body), name) == GIVEN[name]
    own = app.task(shared=False, name="own", **{name: 1})(body)
    assert getattr(own, name) == 1


def test_typing_comes_from_the_application(site):
    """``strict_typing`` of the application is the default of ``typing``."""
    assert site.app().task(shared=False)(body).typing is True
    assert site.app(strict_typing=False).task(shared=False)(body).typing is False


def test_at_least_once_is_the_default(app):
    """A message is acknowledged when its task has ended, and kept while its worker is lost."""
    task = app.task(shared=False)(body)
    assert task.acks_late is True
    assert task.reject_on_worker_lost is not False


@pytest.mark.parametrize("name", PUBLISH_DEFAULTS)
def test_attributes_are_publish_defaults(app, name):
    """These attributes are options of every call; what the call says wins."""
    task = app.task(shared=False, **{name: "own"})(body)
    assert task.publish_options[name] == "own"


def test_a_call_says_otherwise(site, app):
    """Options of the call win over attributes of the task."""
    task = app.task(shared=False, queue="slow", priority=2, expires=60)(body)
    task.delay()
    task.apply_async(queue="fast", priority=8)
    (slow,), (fast,) = site.waiting("slow"), site.waiting("fast")
    assert (slow.priority, fast.priority) == (2, 8)
    assert slow.expires_at is not None


def test_setting_a_publish_default_later_counts_at_once(site, app):
    """An attribute set on the task is an option of the next call."""
    task = app.task(shared=False)(body)
    task.delay()
    task.queue = "later"
    task.delay()
    assert len(site.waiting("celery")) == len(site.waiting("later")) == 1


def test_any_attribute_may_be_given(app):
    """What the decorator does not know becomes an attribute of the user's own."""
    assert app.task(shared=False, colour="red")(body).colour == "red"


def test_the_backend_of_a_task_may_be_its_own(site, app):
    """States of such a task are stored and read there, and nowhere else."""
    elsewhere = site.app(broker=f"memory://{site.name}-other")
    task = app.task(shared=False, backend=elsewhere.backend)(lambda: 5)
    result = task.delay()
    site.drain(app)
    assert task.backend is elsewhere.backend
    assert result.get(timeout=5) == 5
    assert app.AsyncResult(result.id).state == "PENDING"
    task.backend = app.backend
    assert task.AsyncResult(result.id).state == "PENDING"


# -- annotations ---------------------------------------------------------------------------


def test_annotations_set_attributes_of_one_task(site):
    """``task_annotations`` names a task and its attributes."""
    app = site.app(task_annotations={"one": {"rate_limit": "1/s", "tag": 1}})
    assert app.task(name="one", shared=False)(body).rate_limit == "1/s"
    assert app.task(name="one", shared=False)(body).tag == 1
    assert app.task(name="two", shared=False)(body).rate_limit is None


def test_annotations_for_all_come_before_the_tasks_own(site):
    """``*`` applies to any task, and what names the task wins over it."""
    app = site.app(
        task_annotations={"one": {"rate_limit": "1/s"}, "*": {"rate_limit": "9/s", "tag": "any"}}
    )
    one, two = (app.task(name=name, shared=False)(body) for name in ("one", "two"))
    assert (one.rate_limit, one.tag) == ("1/s", "any")
    assert (two.rate_limit, two.tag) == ("9/s", "any")


def test_annotations_win_over_the_decorator(site):
    """They are for operators, who have the last word."""
    app = site.app(task_annotations={"*": {"rate_limit": "9/s"}})
    assert app.task(shared=False, rate_limit="1/s")(body).rate_limit == "9/s"


class Annotating:
    """An annotation class as users write them."""

    def annotate(self, task):
        return (
            {"tag": task.name, "was_late": task.acks_late} if task.name.startswith("a.") else None
        )

    def annotate_any(self):
        return {"seen": True}


@pytest.mark.parametrize(
    "declared",
    [
        Annotating,
        [Annotating()],
        [{"other": {"x": 1}}, Annotating],
        f"{__name__}.Annotating",
        f"{__name__}:Annotating",
    ],
    ids=["class", "list of objects", "list of several", "dotted path", "path with colon"],
)
def test_annotations_take_many_forms(site, declared, monkeypatch):
    """A mapping, an object with ``annotate``, a list of these, or the path of one."""
    if isinstance(declared, str):
        module = ModuleType(__name__)
        module.Annotating = Annotating
        monkeypatch.setitem(sys.modules, __name__, module)
        for index in range(__name__.count(".")):
            parent = ".".join(__name__.split(".")[: index + 1])
            monkeypatch.setitem(sys.modules, parent, ModuleType(parent))
    app = site.app(task_annotations=declared)
    a, b = (app.task(name=name, shared=False)(body) for name in ("a.x", "b.x"))
    assert (a.tag, a.was_late, a.seen) == ("a.x", True, True)
    assert not hasattr(b, "tag")
    assert b.seen


def test_an_annotated_method_is_wrapped(site):
    """``@method`` puts a decorator around a method, once."""
    calls = []

    def around(method):
        def inside(self, *args, **kwargs):
            calls.append(args)
            return method(self, *args, **kwargs)

        return inside

    app = site.app(task_annotations={"*": {"@on_success": around}})
    task = app.task(shared=False)(lambda: 3)
    task.apply().get()
    app.finalize()
    assert calls[0][0] == 3
    assert len(calls) == 1
    assert type(task._get_current_object()).on_success.__wrapped__ is Task.on_success


def test_the_body_itself_may_be_wrapped(site):
    """``@run`` wraps the function, also of a task that retries by itself."""

    def around(run):
        return lambda *args: [*args, run(*args)]

    app = site.app(task_annotations={"*": {"@run": around}})
    plain = app.task(name="plain", shared=False)(lambda x: x + 1)
    retrying = app.task(name="retrying", shared=False, autoretry_for=(KeyError,))(lambda x: x + 1)
    bound = app.task(name="bound", shared=False, bind=True)(lambda self, x: x + 1)
    assert plain(1) == [1, 2]
    assert retrying(1) == [1, 2]
    assert bound(1)[1:] == [1, 2]


def test_annotations_can_make_a_task_retry_by_itself(site):
    """``autoretry_for`` is an attribute like others."""
    app = site.app(
        task_annotations={"*": {"autoretry_for": (ValueError,), "retry_kwargs": {"countdown": 0}}}
    )

    @app.task(shared=False, max_retries=1)
    def fails():
        raise ValueError("x")

    fails.delay()
    assert len(site.drain(app)) == 2
