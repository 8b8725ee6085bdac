"""Decorating, naming and finalizing: when tasks come into being, and what they are called."""

from __future__ import annotations

import threading

import pytest

from patience import DEADLINE
from umbel import Umbel, current, shared_task
from umbel.exceptions import DuplicateTaskNameWarning, ImproperlyConfigured
from umbel.local import Pending, Proxy
from umbel.task import Task


def test_a_task_is_made_by_the_bare_decorator(app):
    @app.task
    def add(x, y):
        """Add."""
        return x + y

    assert add.name == f"{__name__}.add"
    assert add(2, 3) == 5
    assert add.__doc__ == "Add."
    assert add.__wrapped__(2, 3) == 5


def test_a_task_is_made_by_the_decorator_with_options(app):
    @app.task(name="sum", max_retries=9, colour="red")
    def add(x, y):
        return x + y

    assert (add.name, add.max_retries, add.colour) == ("sum", 9, "red")


def test_a_task_is_made_by_calling_the_decorator(app):
    assert app.task(len).name == "builtins.len"


@pytest.mark.parametrize("wrong", [1, None, "name"])
def test_the_decorator_takes_nothing_but_a_callable(app, wrong):
    with pytest.raises(TypeError, match=r"argument 1 to @task\(\) must be a callable"):
        app.task(wrong)


def test_the_decorator_takes_one_argument_by_position(app):
    with pytest.raises(TypeError, match=r"exactly 1 argument \(2 given\)"):
        app.task(len, "name")


def test_a_task_is_lazy_until_it_is_used(app):
    made = []

    class Own(Task):
        @classmethod
        def on_bound(cls, app):
            made.append(cls.name)

    @app.task(base=Own, name="a")
    def task():
        """Nothing."""

    assert isinstance(task, Pending) or type(task) is Pending
    assert made == []
    assert task.__name__ == "task"
    assert made == []
    assert task.max_retries == 3
    assert made == ["a"]


def test_a_task_that_is_not_lazy_is_there_at_once(app):
    task = app.task(lazy=False, name="a")(lambda: None)
    assert type(task) is not Pending
    assert app.registered["a"] is task
    assert not app.finalized


def test_a_task_decorated_after_finalizing_is_there_at_once(app):
    app.finalize()
    task = app.task(name="a")(lambda: None)
    assert type(task) is not Pending
    assert app.tasks["a"] is task


def test_filter_says_what_the_decorator_returns(app):
    assert app.task(filter=lambda task: (task.name,), lazy=False, name="a")(len) == ("a",)


def test_a_shared_task_is_in_every_application(make):
    first, second = make("first"), make("second")

    @first.task(name="shared")
    def task():
        return 1

    assert second.tasks["shared"].app is second
    assert first.tasks["shared"].app is first
    assert second.tasks["shared"]() == 1


def test_a_private_task_is_in_its_own_application_alone(make):
    first, second = make("first"), make("second")
    first.task(name="private", shared=False)(lambda: None)
    assert "private" in first.tasks
    assert "private" not in second.tasks


def test_the_first_of_two_functions_of_one_name_stays_and_one_warning_is_given(app):
    first = app.task(name="a")(lambda: 1)
    second = app.task(name="a")(lambda: 2)
    third = app.task(name="a")(lambda: 3)
    with pytest.warns(DuplicateTaskNameWarning, match="'a'") as warned:
        app.finalize()
    assert len(warned) == 1
    assert (first(), second(), third()) == (1, 1, 1)


def test_decorating_one_function_twice_is_silent(app):
    def function():
        return 1

    assert app.task(function).name == app.task(function).name


# -- names ---------------------------------------------------------------------------------


def test_a_name_is_module_and_function(app):
    assert app.gen_task_name("add", "proj.tasks") == "proj.tasks.add"


def test_main_is_replaced_by_the_name_of_the_application(make):
    assert make("proj").gen_task_name("add", "__main__") == "proj.add"
    assert make(None).gen_task_name("add", "__main__") == "__main__.add"


@pytest.mark.parametrize("module", [None, ""])
def test_no_module_counts_as_main(make, module):
    assert make("proj").gen_task_name("add", module) == "proj.add"


def test_a_module_is_called_what_it_calls_itself(app, monkeypatch):
    import sys
    from types import ModuleType

    monkeypatch.setitem(sys.modules, "alias_of_it", ModuleType("real_name"))
    assert app.gen_task_name("add", "alias_of_it") == "real_name.add"


def test_the_main_file_of_a_spawned_process_counts_as_main(app, monkeypatch):
    import sys
    from types import ModuleType

    module = ModuleType("script")
    module.__file__ = "/somewhere/script.py"
    monkeypatch.setitem(sys.modules, "script", module)
    assert app.gen_task_name("add", "script") == "script.add"
    monkeypatch.setenv("MP_MAIN_FILE", "/somewhere/script.py")
    assert app.gen_task_name("add", "script") == "proj.add"


def test_a_class_based_task_is_named_after_its_class(app):
    class Report(Task):
        def run(self):
            """Nothing."""

    assert app.register_task(Report).name == f"{__name__}.Report"


def test_names_may_be_made_by_a_subclass(make):
    class Own(Umbel):
        def gen_task_name(self, name, module):
            return f"{self.main}/{name}"

    app = make("own", cls=Own)

    class Report(Task):
        def run(self):
            """Nothing."""

    @app.task
    def add():
        """Nothing."""

    assert add.name == "own/add"
    assert app.register_task(Report).name == "own/Report"


# -- finalizing ----------------------------------------------------------------------------


def test_finalizing_runs_shared_then_pending_then_binds_then_tells(app):
    steps = []

    class Own(Task):
        @classmethod
        def on_bound(cls, app):
            steps.append(("bound", cls.name, app.finalized))

    current.connect_on_app_finalize(lambda each: steps.append(("shared", each.finalized)))
    app.task(name="a", base=Own, shared=False)(lambda: None)

    @app.on_after_finalize.connect
    def after(sender, **_):
        steps.append(("after", sender is app, sorted(sender.tasks)))

    app.finalize()
    assert steps == [("shared", True), ("bound", "a", True), ("after", True, ["a"])]


def test_finalizing_twice_does_nothing(app):
    told = []
    app.on_after_finalize.connect(lambda **_: told.append(1), weak=False)
    app.finalize()
    app.finalize()
    app.tasks  # noqa: B018 - touching is the point
    assert told == [1]


def test_reading_tasks_finalizes(app):
    app.task(name="a")(lambda: None)
    assert not app.finalized
    assert list(app.tasks) == ["a"]
    assert app.finalized


def test_finalizing_by_itself_is_refused_with_autofinalize_off(make):
    with pytest.raises(RuntimeError, match="Contract breach"):
        make(autofinalize=False).finalize(auto=True)


def test_a_task_that_cannot_be_made_is_told_each_time_and_costs_no_other(app):
    """Finalizing is all or nothing: half a registry would look like lost tasks."""
    broken = []

    class Own(Task):
        @classmethod
        def on_bound(cls, app):
            if broken:
                raise ImproperlyConfigured("not like this")

    app.task(name="a", shared=False)(lambda: None)
    app.task(name="b", shared=False, base=Own)(lambda: None)
    app.task(name="c", shared=False)(lambda: None)
    broken.append(1)
    for _ in range(2):
        with pytest.raises(ImproperlyConfigured, match="not like this"):
            app.tasks  # noqa: B018 - touching is the point
        assert not app.finalized
    broken.clear()
    assert sorted(app.tasks) == ["a", "b", "c"]


def test_threads_that_come_while_it_finalizes_see_all_tasks(app):
    """Nobody sees a registry that is half full."""
    started, go_on = threading.Event(), threading.Event()

    class Slow(Task):
        @classmethod
        def on_bound(cls, app):
            if not started.is_set():
                started.set()
                assert go_on.wait(DEADLINE)

    for number in range(5):
        app.task(name=f"task-{number}", base=Slow, shared=False)(lambda: None)
    first = threading.Thread(target=app.finalize)
    first.start()
    assert started.wait(DEADLINE)
    seen = []
    others = [threading.Thread(target=lambda: seen.append(len(app.tasks))) for _ in range(4)]
    for thread in others:
        thread.start()
    assert seen == []
    go_on.set()
    for thread in [first, *others]:
        thread.join()
    assert seen == [5, 5, 5, 5]


def test_using_a_task_while_another_thread_finalizes_does_not_block_for_ever(app):
    """One lock guards both ways in which a task comes into being."""
    inside, go_on = threading.Event(), threading.Event()

    class Own(Task):
        @classmethod
        def on_bound(cls, app):
            if cls.name == "a":
                inside.set()
                assert go_on.wait(DEADLINE)
                assert app.broker is not None

    first = app.task(name="a", base=Own, shared=False)(lambda: None)
    app.task(name="b", base=Own, shared=False)(lambda: None)
    evaluating = threading.Thread(target=lambda: first.max_retries)
    evaluating.start()
    assert inside.wait(DEADLINE)
    finalizing = threading.Thread(target=app.finalize)
    finalizing.start()
    go_on.set()
    for thread in (evaluating, finalizing):
        thread.join(DEADLINE)
        assert not thread.is_alive()
    assert sorted(app.tasks) == ["a", "b"]


# -- shared tasks --------------------------------------------------------------------------


def test_shared_task_needs_no_application_and_follows_the_current_one(make):
    @shared_task
    def add(x, y):
        return x + y

    first, second = make("first"), make("second")
    first.set_current()
    assert add.app is first
    second.set_current()
    assert add.app is second
    assert type(add) is Proxy
    assert add(2, 3) == 5


def test_shared_task_takes_options(make):
    @shared_task(name="sum", max_retries=9)
    def add(x, y):
        return x + y

    make().set_current()
    assert (add.name, add.max_retries) == ("sum", 9)


def test_shared_task_reaches_applications_that_are_finalized_already(make):
    app = make()
    app.finalize()
    shared_task(name="late")(lambda: None)
    assert "late" in app.tasks


def test_shared_task_applied_to_a_task_is_an_error(app):
    task = app.task(name="a")(lambda: None)
    with pytest.raises(TypeError):
        shared_task(task)
