"""What the methods and properties of an application do."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

import umbel
from umbel import Umbel, current
from umbel.canvas import Signature
from umbel.exceptions import AlwaysEagerIgnored, ImproperlyConfigured, QueueNotFound
from umbel.moments import LocalZone
from umbel.result import AsyncResult
from umbel.task import Task


def test_set_current_and_set_default(make):
    first, second = make(), make()
    first.set_default()
    assert current.get_current_app() is first
    second.set_current()
    assert current.get_current_app() is second


def test_close_leaves_the_set_of_applications_and_may_be_called_twice(app):
    app.backend.put("a", 1, "SUCCESS")
    app.close()
    app.close()
    assert app not in current.all_apps()


def test_a_closed_application_connects_anew_when_it_is_used(make):
    app = make(broker="sqlite:///a.db")
    app.send_task("a")
    app.close()
    app.send_task("b")
    assert [each.ready for each in app.broker.stats()] == [2]


def test_worker_main_wants_the_word_worker(app):
    with pytest.raises(ValueError, match="worker"):
        app.worker_main(["status"])
    with pytest.raises(ValueError, match="worker"):
        app.worker_main([])


def test_start_runs_the_command_line_with_this_application(app, capsys):
    app.start(["--version"])
    assert umbel.__version__ in capsys.readouterr().out


def test_start_takes_the_arguments_of_the_program_by_default(app, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["prog", "--version"])
    app.start()
    assert umbel.__version__ in capsys.readouterr().out


def test_register_task_takes_a_class_or_an_instance(app):
    class First(Task):
        name = "first"

        def run(self):
            return 1

    class Second(First):
        name = "second"

    second = Second()
    assert type(app.register_task(First)) is First
    assert app.register_task(second) is second
    assert set(app.tasks) == {"first", "second"}


def test_either_is_the_first_that_is_given_else_the_setting(app):
    app.conf.task_default_queue = "q"
    assert app.either("task_default_queue", None, 0, 1) == 0
    assert app.either("task_default_queue", None) == "q"
    assert app.either("task_default_queue") == "q"
    assert app.either("no_such_setting", None) is None


def test_now_is_aware_and_in_the_zone_of_the_application(make):
    app = make(timezone="America/New_York")
    before = datetime.now(UTC)
    now = app.now()
    assert before <= now <= datetime.now(UTC)
    assert now.tzinfo == ZoneInfo("America/New_York")


def test_timezone_is_the_setting_else_utc_else_the_local_zone(make):
    assert make(timezone="Europe/Paris").timezone == ZoneInfo("Europe/Paris")
    fixed = timezone(timedelta(hours=3))
    assert make(timezone=fixed).timezone is fixed
    assert make().timezone == UTC
    assert make(enable_utc=False).timezone == LocalZone()


def test_timezone_falls_back_to_the_key_of_django(make):
    assert make(config_source={"TIME_ZONE": "Asia/Tokyo"}).timezone == ZoneInfo("Asia/Tokyo")


def test_timezone_follows_the_setting(make):
    app = make(timezone="Europe/Paris")
    assert app.timezone == ZoneInfo("Europe/Paris")
    app.conf.timezone = "UTC"
    assert app.timezone == UTC


def test_an_unknown_timezone_is_an_error_that_names_it(make):
    with pytest.raises(ImproperlyConfigured, match="Mars/Olympus"):
        make(timezone="Mars/Olympus").now()


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        ("UTC", True),
        ("Etc/UTC", True),
        (UTC, True),
        (ZoneInfo("UTC"), True),
        ("Europe/London", False),
        ("Africa/Abidjan", False),
        ("America/New_York", False),
    ],
)
def test_uses_utc_timezone_means_utc_itself(make, zone, expected):
    """A zone that happens to agree with UTC, all the year or in winter, is not UTC."""
    assert make(timezone=zone).uses_utc_timezone() is expected


def test_select_queues_restricts_what_is_consumed(make):
    app = make(task_queues=["a", "b", "c"])
    assert list(app.amqp.queues.consume_from) == ["a", "b", "c"]
    app.select_queues(["b"])
    assert list(app.amqp.queues.consume_from) == ["b"]
    app.select_queues()
    assert list(app.amqp.queues.consume_from) == ["b"]


def test_select_queues_refuses_unknown_ones_if_none_are_to_be_made(make):
    app = make(task_queues=["a"], task_create_missing_queues=False)
    with pytest.raises(QueueNotFound):
        app.select_queues(["z"])


def test_signature_belongs_to_the_application(app):
    made = app.signature("a", args=(1,), kwargs={"b": 2}, countdown=3)
    assert isinstance(made, Signature)
    assert made.app is app
    assert (made.task, made.args, made.kwargs) == ("a", (1,), {"b": 2})
    assert made.options == {"countdown": 3}


def test_create_task_cls_makes_a_task_class_of_the_application(app):
    made = app.create_task_cls()
    assert made.__name__ == "Task"
    assert issubclass(made, Task)
    assert made._app is app
    assert app.Task is app.Task
    assert app.Task._app is app


def test_subclass_with_self_binds_a_class(app):
    class Thing:
        """What it is."""

        def __init__(self, *args):
            self.args = args

    made = app.subclass_with_self(Thing, name="Other", attribute="owner", extra=1)
    assert issubclass(made, Thing)
    assert (made.__name__, made.owner, made.extra) == ("Other", app, 1)
    assert (made.__module__, made.__doc__) == (Thing.__module__, Thing.__doc__)
    assert app.subclass_with_self(Thing).app is app


def test_subclass_with_self_pickles_through_the_current_application(app):
    class Thing:
        def __init__(self, *args):
            self.args = args

        def __reduce_args__(self):
            return self.args

    app.Thing = app.subclass_with_self(Thing)
    app.parts = {"inner": app}
    app.set_current()
    made, arguments = app.Thing(1, 2).__reduce__()
    again = made(*arguments)
    assert type(again) is app.Thing
    assert again.args == (1, 2)


def test_subclass_with_self_leaves_pickling_alone_if_asked(app):
    class Thing:
        def __reduce__(self):
            return (str, ("own",))

    assert app.subclass_with_self(Thing, keep_reduce=True)().__reduce__() == (str, ("own",))
    _, (path, _) = app.subclass_with_self(Thing, reverse="a.b")().__reduce__()
    assert path == "a.b"


def test_subclass_with_self_takes_a_path(app):
    assert issubclass(app.subclass_with_self("umbel.result:AsyncResult"), AsyncResult)


def test_async_result_is_bound_to_the_application(make):
    first, second = make(), make()
    second.set_current()
    result = first.AsyncResult("id")
    assert isinstance(result, AsyncResult)
    assert result.app is first
    assert first.AsyncResult is first.AsyncResult
    assert repr(result) == "<AsyncResult: id>"


def test_oid_is_of_the_process_and_thread_oid_of_the_thread(app):
    seen = []
    thread = threading.Thread(target=lambda: seen.append((app.oid, app.thread_oid)))
    thread.start()
    thread.join()
    [(oid, thread_oid)] = seen
    assert oid == app.oid
    assert thread_oid != app.thread_oid
    assert app.thread_oid == app.thread_oid


def test_thread_oid_is_the_address_for_replies(app, waiting):
    app.send_task("a")
    app.send_task("b", reply_to="me")
    assert [each.properties["reply_to"] for each in waiting()] == [app.thread_oid, "me"]


def test_current_task_is_what_runs_here(app):
    seen = []

    @app.task(name="a")
    def task():
        seen.append((app.current_task.name, app.current_worker_task))

    assert app.current_task is None
    task()
    assert seen == [("a", None)]


def test_current_worker_task_skips_tasks_called_directly(app):
    seen = []

    @app.task(name="inner")
    def inner():
        seen.append((app.current_task.name, app.current_worker_task.name))

    @app.task(name="outer")
    def outer():
        inner()

    outer.apply()
    assert seen == [("inner", "outer")]


def test_annotations_are_what_the_setting_declares(make):
    app = make(task_annotations={"*": {"rate_limit": "1/s"}, "a": {"max_retries": 7}})
    task = app.task(name="a")(lambda: None)
    other = app.task(name="b")(lambda: None)
    assert (task.rate_limit, task.max_retries) == ("1/s", 7)
    assert (other.rate_limit, other.max_retries) == ("1/s", 3)


def test_annotations_may_be_objects_that_are_asked_for_each_task(make):
    class Own:
        def annotate_any(self):
            return {"queue": "any"}

        def annotate(self, task):
            return {"max_retries": 9} if task.name == "a" else None

    app = make(task_annotations=[Own(), {"a": {"queue": "own"}}])
    task = app.task(name="a")(lambda: None)
    assert (task.queue, task.max_retries) == ("own", 9)


def test_send_task_warns_that_eager_does_not_concern_it(make, waiting):
    app = make(task_always_eager=True)
    with pytest.warns(AlwaysEagerIgnored):
        app.send_task("a")
    assert [each.task for each in waiting(of=app)] == ["a"]


def test_what_does_not_exist_yet_raises_attribute_error(app):
    """Better no attribute than one that only pretends."""
    for name in ("Worker", "Beat", "GroupResult", "add_periodic_task", "setup_security", "pool"):
        assert not hasattr(app, name)


def test_bugreport_names_versions_platform_loader_and_settings(make):
    app = make(broker="redis://me:hush@host:1/0", result_backend="memory://r", security_key="hush")
    lines = app.bugreport().splitlines()
    assert lines[0].startswith(f"software -> umbel:{umbel.__version__} py:3.")
    assert "sqlite:" in lines[1]
    assert lines[2].startswith("platform -> system:")
    assert "arch:" in lines[2]
    assert "kernel version:" in lines[2]
    assert "imp:" in lines[2]
    assert lines[3] == "loader   -> umbel.loading.Loader"
    assert lines[4] == "settings -> transport:redis results:memory://r"
    assert lines[5] == ""
    assert "\n".join(lines[6:]) == app.conf.humanize()
    assert "hush" not in app.bugreport()


def test_bugreport_of_the_current_application(app):
    app.set_current()
    assert umbel.bugreport() == app.bugreport()


def test_control_purge_deletes_what_waits_in_consumed_queues(make):
    app = make(task_queues=["a", "b"])
    for queue in ("a", "a", "b", "elsewhere"):
        app.send_task("t", queue=queue)
    assert app.control.purge() == 3
    assert app.control.discard_all() == 0
    assert app.broker.purge("elsewhere") == 1


def test_amqp_knows_queues_and_routes(make):
    app = make(task_routes={"a": "first"}, task_default_queue="usual")
    assert app.amqp.default_queue.name == "usual"
    assert app.amqp.default_exchange.name == "usual"
    assert list(app.amqp.queues) == ["usual"]
    assert len(app.amqp.routes) == 1
    assert app.amqp.router is app.router
    assert app.amqp.queues is app.queues
    assert app.amqp.router.route({}, "a")["queue"].name == "first"


def test_queues_added_by_hand_stay_when_routes_change(app):
    app.amqp.queues.add("mine", routing_key="k")
    app.amqp.queues.select(["mine"])
    app.conf.task_routes = {"a": "elsewhere"}
    assert app.amqp.queues["mine"].routing_key == "k"
    assert list(app.amqp.queues.consume_from) == ["mine"]
    assert app.amqp.router.route({}, "a")["queue"].name == "elsewhere"


def test_the_length_of_representations_is_set_on_amqp(app, waiting):
    app.amqp.argsrepr_maxsize = 20
    app.amqp.kwargsrepr_maxsize = 30
    app.send_task("a", ("x" * 500,), {"b": "y" * 500})
    [message] = waiting()
    assert len(message.headers["argsrepr"]) <= 20
    assert len(message.headers["kwargsrepr"]) <= 30


def test_an_application_is_its_own_type_for_subclasses(make):
    class Own(Umbel):
        def gen_task_name(self, name, module):
            return f"own-{name}"

    app = make(cls=Own)

    @app.task
    def add():
        """Nothing."""

    assert add.name == "own-add"
