"""From functions to tasks: decorators, names, the registry."""

from __future__ import annotations

import functools
import inspect
import pickle
import sys
import warnings
from types import ModuleType

import pytest

from umbel import Task, Umbel, shared_task
from umbel.exceptions import (
    DuplicateTaskNameWarning,
    InvalidTaskError,
    NotRegistered,
    TaskError,
    UmbelWarning,
)
from umbel.local import Pending
from umbel.registry import TaskRegistry


def plain(x, y=2):
    """Adds."""
    return x + y


def other(x):
    return x


def is_made(task):
    return not isinstance(task, Pending) or object.__getattribute__(task, "_made") is not None


# -- forms ---------------------------------------------------------------------------------


def test_task_is_used_bare_with_options_and_as_a_call(app):
    """``@app.task``, ``@app.task(…)`` and ``app.task(function)`` make the same kind of task."""
    bare = app.task(plain)
    called = app.task()(other)
    named = app.task(name="named")(plain)
    assert [task.name for task in (bare, called, named)] == [
        f"{__name__}.plain",
        f"{__name__}.other",
        "named",
    ]
    assert all(isinstance(task, Task) for task in (bare, called, named))


def test_task_of_no_callable_is_a_type_error(app):
    """What cannot be called cannot be a task."""
    with pytest.raises(TypeError, match=r"argument 1 to @task\(\) must be a callable"):
        app.task(1)


def test_task_takes_one_function(app):
    """More than one positional argument is a mistake."""
    with pytest.raises(TypeError, match="takes exactly 1 argument"):
        app.task(plain, other)


def test_a_task_of_a_task_is_a_type_error(app):
    """Decorating twice by mistake is told at once."""
    with pytest.raises(TypeError, match="is a task already"):
        app.task(app.task(plain))


def test_a_callable_without_a_name_is_a_type_error(app):
    """A partial has no name to call it by."""
    with pytest.raises(TypeError, match="a task is made of a function, not of partial"):
        app.task(functools.partial(plain, 1))


# -- lazy ----------------------------------------------------------------------------------


def test_a_decorated_function_is_a_stand_in_until_its_first_use(app):
    """Importing a module makes no task and reads no configuration."""
    task = app.task(plain)
    assert not is_made(task)
    assert not app.configured
    assert task.name == f"{__name__}.plain"
    assert is_made(task)


def test_finalize_makes_every_task(app):
    """Whatever has been decorated is registered when the application is finalized."""
    tasks = [app.task(plain), app.task(other)]
    app.finalize()
    assert all(map(is_made, tasks))
    assert {f"{__name__}.plain", f"{__name__}.other"} <= set(app.tasks)


def test_lazy_false_makes_the_task_at_once(app):
    """``lazy=False`` needs no finalizing."""
    task = app.task(lazy=False)(plain)
    assert type(task).__name__ == "plain"
    assert is_made(task)


def test_decorating_after_finalize_makes_the_task_at_once(app):
    """There is nothing to wait for any more."""
    app.finalize()
    task = app.task(plain)
    assert is_made(task)
    assert app.tasks[task.name] is task


def test_without_autofinalize_a_task_is_not_made_by_itself(site):
    """``autofinalize=False`` makes an early use an error."""
    app = site.app(autofinalize=False)
    task = app.task(plain)
    with pytest.raises(RuntimeError, match="app not finalized"):
        task.name  # noqa: B018 - it is the look that counts
    app.finalize()
    assert task.name


def test_filter_has_the_last_word(app):
    """What ``filter`` returns is what the decorator returns."""
    seen = []
    kept = app.task(filter=lambda task: (seen.append(task), "kept")[1], lazy=False)(plain)
    assert kept == "kept"
    assert seen[0].name == f"{__name__}.plain"


def test_a_task_keeps_its_functions_signature_and_documentation(app):
    """Tools see the function through the task."""
    task = app.task(plain)
    assert task.__doc__ == "Adds."
    assert task.__name__ == "plain"
    assert task.__module__ == __name__
    assert str(inspect.signature(task)) == "(x, y=2)"
    assert task.__wrapped__ is plain


# -- shared and private --------------------------------------------------------------------


def test_tasks_are_shared_with_every_application(site):
    """A task of one application is known to all that are finalized later."""
    first, second = site.app("one"), site.app("two")
    first.task(name="everywhere")(plain)
    assert second.tasks["everywhere"].app is second
    assert first.tasks["everywhere"].app is first


def test_shared_false_keeps_a_task_private(site):
    """``shared=False`` stays with its application."""
    first, second = site.app("one"), site.app("two")
    first.task(name="private", shared=False)(plain)
    assert "private" in first.tasks
    assert "private" not in second.tasks


def test_shared_task_joins_applications_past_and_future(site):
    """``@shared_task`` needs no application, and every one gets it."""
    before = site.app("before")
    before.finalize()
    shared_task(name="shared")(plain)
    after = site.app("after")
    assert before.tasks["shared"].app is before
    assert after.tasks["shared"].app is after


def test_shared_task_follows_the_current_application(site):
    """What ``@shared_task`` returns is the current application's task at each use."""
    first, second = site.app("one"), site.app("two")
    task = shared_task(plain)
    first.set_current()
    assert task.app is first
    second.set_current()
    assert task.app is second
    assert task(1) == 3


def test_shared_task_takes_options(site):
    """``@shared_task(…)`` passes options on."""
    app = site.app()
    task = shared_task(bind=True, name="with.options", max_retries=7)(lambda self: self.max_retries)
    app.set_current()
    assert task() == 7
    assert task.name == "with.options"


def test_shared_task_of_a_task_is_a_type_error(site):
    """Applied twice, or to a task."""
    app = site.app()
    with pytest.raises(TypeError, match="is a task already"):
        shared_task(shared_task(plain))
    with pytest.raises(TypeError, match="is a task already"):
        shared_task(app.task(other))


def test_shared_task_takes_a_function_or_options():
    """Anything else by position is a mistake."""
    with pytest.raises(TypeError, match="takes a function"):
        shared_task(1)
    with pytest.raises(TypeError, match="takes a function"):
        shared_task(plain, name="x")


# -- names ---------------------------------------------------------------------------------


def test_a_name_is_module_and_function(app):
    """Nothing else goes into it."""
    assert app.task(plain).name == f"{__name__}.plain"
    assert app.gen_task_name("f", "pkg.mod") == "pkg.mod.f"


def test_main_is_replaced_by_the_applications_name(site):
    """A script run as ``__main__`` and imported by a worker has the same names."""
    assert site.app("proj").gen_task_name("f", "__main__") == "proj.f"
    assert site.app("proj").gen_task_name("f", "__mp_main__") == "proj.f"
    assert site.app("proj").gen_task_name("f", None) == "proj.f"
    assert site.app(None).gen_task_name("f", "__main__") == "__main__.f"


def test_the_file_a_spawned_child_runs_counts_as_main(site, monkeypatch, tmp_path):
    """``MP_MAIN_FILE`` names the file that was ``__main__`` in the parent."""
    module = ModuleType("spawned_main")
    module.__file__ = str(tmp_path / "spawned_main.py")
    monkeypatch.setitem(sys.modules, "spawned_main", module)
    monkeypatch.setenv("MP_MAIN_FILE", module.__file__)
    assert site.app("proj").gen_task_name("f", "spawned_main") == "proj.f"


def test_a_module_is_called_what_it_calls_itself(site, monkeypatch):
    """The module's own name counts, whatever it was imported as."""
    module = ModuleType("its.real.name")
    monkeypatch.setitem(sys.modules, "alias", module)
    assert site.app().gen_task_name("f", "alias") == "its.real.name.f"


def test_gen_task_name_may_be_overridden(site):
    """A subclass decides about names."""

    class Short(Umbel):
        def gen_task_name(self, name, module):
            return name

    app = Short("t", set_as_current=False, broker=f"memory://{site.name}")
    site.apps.append(app)
    assert app.task(plain).name == "plain"


# -- duplicates ----------------------------------------------------------------------------


def test_the_first_function_of_a_name_wins_and_the_second_warns(app):
    """A decorator does not replace a task."""
    first = app.task(name="same", shared=False, lazy=False)(plain)
    with pytest.warns(DuplicateTaskNameWarning, match="'same'.*is kept.*is not"):
        second = app.task(name="same", shared=False, lazy=False)(other)
    assert second is first
    assert app.tasks["same"] is first


def test_a_duplicate_name_warns_once(app):
    """One warning for each name."""
    for function in (plain, other, lambda: None):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            app.task(name="same", shared=False, lazy=False)(function)
        assert len(caught) == (function is other)


def test_the_same_function_twice_is_silent(app):
    """Importing a module under two names is no mistake."""
    first = app.task(name="same", lazy=False)(plain)
    assert app.task(name="same", lazy=False)(plain) is first


def test_the_last_class_based_task_of_a_name_wins(app):
    """``register_task`` replaces, with a warning."""

    class One(Task):
        name = "same"

    class Two(Task):
        name = "same"

    app.register_task(One())
    with pytest.warns(DuplicateTaskNameWarning, match="is replaced"):
        app.register_task(Two())
    assert type(app.tasks["same"]) is Two


# -- the registry --------------------------------------------------------------------------


def test_an_unknown_name_is_not_registered_and_suggests(app):
    """The error is a KeyError that knows what was meant."""
    app.task(name="mail.send", shared=False)(plain)
    with pytest.raises(NotRegistered, match=r"'mail.snd'.*did you mean 'mail.send'\?") as caught:
        app.tasks["mail.snd"]
    assert isinstance(caught.value, KeyError)
    assert isinstance(caught.value, TaskError)


def test_a_registry_instantiates_classes_and_wants_names():
    """``register`` takes an instance or a class, which must have a name."""

    class Named(Task):
        name = "named"

    class Nameless(Task):
        pass

    registry = TaskRegistry()
    registry.register(Named)
    assert type(registry["named"]) is Named
    with pytest.raises(InvalidTaskError, match="Nameless"):
        registry.register(Nameless)


def test_a_registry_forgets_by_name_or_task():
    """``unregister`` takes either, and misses what is not there."""

    class Named(Task):
        name = "named"

    registry = TaskRegistry()
    registry.register(Named)
    registry.unregister(registry["named"])
    with pytest.raises(NotRegistered):
        registry.unregister("named")


def test_a_registry_filters_by_type():
    """Tasks are regular unless they say otherwise."""

    class Regular(Task):
        name = "regular"

    class Periodic(Task):
        name = "periodic"
        type = "periodic"

    registry = TaskRegistry()
    registry.register(Regular)
    registry.register(Periodic)
    assert list(registry.regular()) == ["regular"]
    assert list(registry.periodic()) == ["periodic"]
    assert list(registry.filter_types("other")) == []


# -- repr and pickling ---------------------------------------------------------------------


def test_the_repr_names_task_application_and_address(app):
    """``<@task: name of main at 0x…>``."""
    task = app.task(name="x.y", shared=False)(plain)
    assert repr(task) == f"<@task: x.y of t at {id(app):#x}>"


def test_a_task_is_pickled_by_name(site):
    """Unpickled it is the current application's task of that name."""
    first, second = site.app("one"), site.app("two")
    task = first.task(name="pickled")(plain)
    data = pickle.dumps(task)
    second.set_current()
    assert pickle.loads(data) is second.tasks["pickled"]


# Applications of other tests that are still alive get the module's second copy as well.
@pytest.mark.filterwarnings("ignore::umbel.exceptions.DuplicateTaskNameWarning")
def test_unpickling_imports_the_tasks_module(site, tmp_path, monkeypatch):
    """A worker that has not imported the module does so then."""
    (tmp_path / "late_tasks.py").write_text(
        "from umbel import shared_task\n\n\n@shared_task\ndef late():\n    return 1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    app = site.app()
    app.set_current()
    import late_tasks

    data = pickle.dumps(late_tasks.late)
    monkeypatch.delitem(sys.modules, "late_tasks")
    app.tasks.unregister("late_tasks.late")
    assert pickle.loads(data).name == "late_tasks.late"
    sys.modules.pop("late_tasks", None)


# -- binding, bases, classes ---------------------------------------------------------------


def test_bind_gives_the_task_as_first_argument(app):
    """``bind=True``: the function is a method of its task."""
    task = app.task(bind=True, shared=False)(lambda self, x: (self, x))
    found, x = task(5)
    assert found is task._get_current_object()
    assert x == 5
    assert task.is_bound


def test_base_is_the_class_of_the_task(app):
    """``base`` brings attributes and methods."""

    class Base(Task):
        rate_limit = "3/s"

        def helper(self):
            return "helped"

    task = app.task(base=Base, bind=True, shared=False)(lambda self: self.helper())
    assert isinstance(task, Base)
    assert task() == "helped"
    assert task.rate_limit == "3/s"


def test_a_task_may_be_the_base_of_another(app):
    """A decorated task's class is a class like others."""

    class Base(Task):
        tag = "x"

    first = app.task(base=Base, shared=False)(plain)
    second = app.task(base=type(first._get_current_object()), name="second", shared=False)(other)
    assert second.tag == "x"
    assert second(4) == 4


def test_a_base_class_is_not_registered_by_itself(app):
    """Only ``register_task`` and decorators register."""

    class Base(Task):
        name = "a.base"

    app.task(base=Base, shared=False)(plain)
    assert "a.base" not in app.tasks


def test_a_class_based_task_has_a_run_method(app):
    """A subclass with ``run``, registered as instance or class, is a task."""

    class Add(Task):
        def run(self, x, y):
            return x + y

    task = app.register_task(Add())
    assert task.name == f"{__name__}.Add"
    assert task(1, 2) == 3
    assert app.tasks[task.name] is task

    class Named(Task):
        name = "by.class"

        def run(self):
            return "ran"

    assert app.register_task(Named)() == "ran"
    assert type(app.tasks["by.class"]) is Named


def test_a_task_without_run_says_so(app):
    """``run`` is the one thing a class has to define."""

    class Empty(Task):
        name = "empty"

    task = app.register_task(Empty())
    with pytest.raises(NotImplementedError, match="Empty has to define run"):
        task()


def test_register_task_sets_options_first(app):
    """Options of ``register_task`` are attributes, the name too."""

    class Some(Task):
        def run(self):
            return self.max_retries

    task = app.register_task(Some(), name="given", max_retries=9)
    assert app.tasks["given"] is task
    assert task() == 9


def test_one_instance_serves_all_calls_of_a_process(site, app):
    """Attributes persist between executions."""

    class Counting(Task):
        name = "counting"
        count = 0

        def run(self):
            self.count += 1
            return self.count

    task = app.register_task(Counting())
    results = [task.delay() for _ in range(3)]
    site.drain(app)
    assert [result.get() for result in results] == [1, 2, 3]


def test_inherited_attributes_of_a_registered_base_are_annotated_anew(site):
    """A subclass of a task that is bound already is bound for itself."""
    app = site.app(task_annotations={"sub": {"rate_limit": "1/s"}, "sup": {"rate_limit": "2/s"}})

    class Super(Task):
        name = "sup"

    app.register_task(Super())

    class Sub(Super):
        name = "sub"

    app.register_task(Sub())
    assert app.tasks["sup"].rate_limit == "2/s"
    assert app.tasks["sub"].rate_limit == "1/s"


@pytest.mark.parametrize("name", ["Strategy", "Request", "retry_on_worker_lost"])
def test_an_attribute_without_effect_is_mentioned(app, name):
    """What Celery has and Umbel does not need is accepted, and said to do nothing."""
    with pytest.warns(UmbelWarning, match=f"{name} of the task 'x' has no effect"):
        app.task(name="x", shared=False, lazy=False, **{name: "other"})(plain)
    with pytest.warns(UmbelWarning, match=f"{name} of the task 'y' has no effect"):
        app.register_task(type("Y", (Task,), {"name": "y", name: "other"}))
