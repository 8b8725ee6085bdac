"""What the arguments of an application do."""

from __future__ import annotations

import pytest

from umbel import Umbel, current
from umbel.amqp import AMQP
from umbel.app import App
from umbel.control import Control
from umbel.exceptions import ImproperlyConfigured
from umbel.loading import DefaultLoader, Loader
from umbel.registry import TaskRegistry
from umbel.signals import Signal
from umbel.task import Task


class Part:
    """Stands in for a part of an application."""

    def __init__(self, app):
        self.app = app


class OwnAMQP(AMQP):
    pass


class OwnLoader(Loader):
    pass


class OwnRegistry(TaskRegistry):
    pass


class OwnTask(Task):
    colour = "red"


def note_fixup(app):
    """A fixup that says which application it was called with."""
    app.fixed_up = True


def kept_fixup(app):
    return Part(app)


HERE = __name__


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """This module can be named by path, whatever the name it was loaded under."""
    import sys

    monkeypatch.setitem(sys.modules, "own_parts", sys.modules[HERE])


def test_main_is_the_first_argument_and_names_tasks_of_main(make):
    app = make("proj")
    assert app.main == "proj"
    assert app.gen_task_name("add", "__main__") == "proj.add"


@pytest.mark.parametrize("loader", [OwnLoader, "own_parts:OwnLoader", "own_parts.OwnLoader"])
def test_loader_is_a_class_or_a_path(make, loader):
    assert type(make(loader=loader).loader) is OwnLoader


def test_loader_has_two_aliases(make):
    assert type(make(loader="app").loader) is Loader
    assert type(make(loader="default").loader) is DefaultLoader


@pytest.mark.parametrize("variable", ["UMBEL_LOADER", "CELERY_LOADER"])
def test_loader_comes_from_the_environment_where_none_is_given(make, monkeypatch, variable):
    monkeypatch.setenv(variable, "own_parts:OwnLoader")
    assert type(make().loader) is OwnLoader
    assert type(make(loader="app").loader) is Loader


def test_our_variable_for_the_loader_goes_before_that_of_celery(make, monkeypatch):
    monkeypatch.setenv("UMBEL_LOADER", "default")
    monkeypatch.setenv("CELERY_LOADER", "app")
    assert type(make().loader) is DefaultLoader


def test_backend_and_broker_are_settings(make):
    app = make(backend="memory://kept", broker="memory://sent")
    assert app.conf.result_backend == "memory://kept"
    assert app.conf.broker_url == "memory://sent"


def test_the_settings_themselves_are_keywords_as_well():
    """``result_backend=`` is the same as ``backend=``, ``broker_url=`` as ``broker=``."""
    app = Umbel("x", result_backend="memory://kept", broker_url="memory://sent")
    assert app.conf.result_backend == "memory://kept"
    assert app.conf.broker_url == "memory://sent"
    app.close()


def test_the_positional_argument_wins_over_the_setting_of_the_same_meaning():
    app = Umbel("x", backend="memory://a", result_backend="memory://b")
    assert app.conf.result_backend == "memory://a"
    app.close()


def test_include_is_a_setting(make):
    assert make(include=["a", "b"]).conf.include == ["a", "b"]


def test_arguments_do_not_count_as_old_or_new_names(make):
    """What the constructor sets by itself may stand beside a configuration with old names."""
    app = make(include=["a"], config_source={"CELERY_TASK_SERIALIZER": "yaml"})
    assert app.conf.task_serializer == "yaml"


def test_any_setting_is_a_keyword_and_none_is_not_given(make):
    app = make(task_serializer="yaml", task_default_queue=None)
    assert app.conf.task_serializer == "yaml"
    assert app.conf.task_default_queue == "celery"


def test_a_keyword_that_is_no_setting_is_refused_with_a_suggestion():
    with pytest.raises(ImproperlyConfigured, match="task_serializer"):
        Umbel("x", task_serialiser="json", set_as_current=False)


@pytest.mark.parametrize("name", ["amqp", "events", "log", "control"])
@pytest.mark.parametrize("given", [Part, "own_parts:Part"])
def test_amqp_events_log_and_control_take_a_class_or_a_path(make, name, given):
    app = make(**{name: given})
    part = getattr(app, name)
    assert type(part) is Part
    assert part.app is app
    assert getattr(app, name) is part


def test_amqp_and_control_have_parts_of_our_own(app):
    assert type(app.amqp) is AMQP
    assert type(app.control) is Control


@pytest.mark.parametrize("name", ["events", "log"])
def test_a_part_without_a_class_is_not_there(app, name):
    assert not hasattr(app, name)
    with pytest.raises(AttributeError, match=name):
        getattr(app, name)


def test_set_as_current_is_the_default(make):
    app = make(set_as_current=True)
    assert current.get_current_app() is app
    make(set_as_current=False)
    assert current.get_current_app() is app


@pytest.mark.parametrize("given", [OwnRegistry, OwnRegistry(), "own_parts:OwnRegistry"])
def test_tasks_is_a_registry_or_its_class(make, given):
    assert type(make(tasks=given).tasks) is OwnRegistry


def test_a_registry_that_is_given_is_used_itself(make):
    registry = TaskRegistry()
    app = make(tasks=registry)
    app.task(name="a")(lambda: None)
    assert app.tasks is registry
    assert list(registry) == ["a"]


def test_changes_are_the_topmost_layer(make):
    app = make(changes={"task_serializer": "yaml"}, config_source={"task_serializer": "msgpack"})
    assert app.conf.task_serializer == "yaml"


def test_config_source_is_read_when_a_setting_is(make):
    app = make(config_source="module_that_is_not_there")
    assert not app.configured
    with pytest.raises(ModuleNotFoundError):
        app.conf.task_serializer  # noqa: B018 - reading is the point


def test_config_source_silent_does_without_it(make):
    app = make(config_source="module_that_is_not_there", config_source_silent=True)
    assert app.conf.task_serializer == "json"


def test_fixups_are_called_with_the_application(make):
    app = make(fixups=["own_parts:note_fixup", kept_fixup])
    assert app.fixed_up
    [fixup] = app.fixups
    assert fixup.app is app


def test_a_fixup_may_return_nothing(make):
    assert make(fixups=[note_fixup]).fixups == []


@pytest.mark.parametrize("given", [OwnTask, "own_parts:OwnTask"])
def test_task_cls_is_the_base_of_all_tasks(make, given):
    app = make(task_cls=given)
    task = app.task(name="a")(lambda: None)
    assert task.colour == "red"
    assert isinstance(task, OwnTask)
    assert issubclass(app.Task, OwnTask)


def test_autofinalize_off_makes_touching_tasks_an_error(make):
    app = make(autofinalize=False)
    with pytest.raises(RuntimeError, match="Contract breach: app not finalized"):
        app.tasks  # noqa: B018 - touching is the point
    app.finalize()
    assert app.tasks == {}


def test_autofinalize_off_makes_using_a_task_an_error_too(make):
    app = make(autofinalize=False)
    task = app.task(name="a")(lambda: None)
    with pytest.raises(RuntimeError, match="Contract breach: app not finalized"):
        task.name  # noqa: B018 - touching is the point
    app.finalize()
    assert task.name == "a"


def test_namespace_is_the_prefix_in_the_configuration(make):
    app = make(namespace="CELERY", config_source={"CELERY_TASK_SERIALIZER": "yaml"})
    assert app.namespace == "CELERY"
    assert app.conf.task_serializer == "yaml"


def test_strict_typing_is_the_default_of_typing(make):
    assert make().task(name="a")(lambda: None).typing is True
    assert make(strict_typing=False).task(name="a")(lambda: None).typing is False


def test_app_is_an_alias():
    assert App is Umbel


def test_classes_can_be_subscripted_for_type_hints():
    from umbel.canvas import Signature
    from umbel.result import AsyncResult

    assert Umbel[int] is Umbel
    assert Task[..., int]
    assert Signature[int]
    assert AsyncResult[int]


def test_class_attributes_may_be_overridden(make):
    class Own(Umbel):
        main = "own"
        amqp_cls = OwnAMQP
        control_cls = Part
        events_cls = Part
        log_cls = "own_parts:Part"
        loader_cls = OwnLoader
        registry_cls = OwnRegistry
        task_cls = OwnTask
        builtin_fixups = frozenset({"own_parts:kept_fixup"})
        backend_cls = "memory://from-the-class"

    app = make(None, cls=Own)
    assert app.main == "own"
    assert type(app.amqp) is OwnAMQP
    assert [type(part) for part in (app.control, app.events, app.log)] == [Part] * 3
    assert type(app.loader) is OwnLoader
    assert type(app.tasks) is OwnRegistry
    assert issubclass(app.Task, OwnTask)
    assert app.fixups[0].app is app
    assert app.backend_shown == "memory://from-the-class"
    assert app.backend.store is Umbel("x", backend="memory://from-the-class").backend.store


def test_arguments_win_over_class_attributes(make):
    class Own(Umbel):
        loader_cls = OwnLoader
        registry_cls = OwnRegistry

    app = make(cls=Own, loader=Loader, tasks=TaskRegistry)
    assert type(app.loader) is Loader
    assert type(app.tasks) is TaskRegistry


def test_the_system_is_told_by_class_attributes():
    import platform

    assert platform.system() == Umbel.SYSTEM
    assert (platform.system() == "Darwin") is Umbel.IS_macOS
    assert (platform.system() == "Windows") is Umbel.IS_WINDOWS


def test_user_options_are_sets_by_kind(app):
    app.user_options["worker"].add("an option")
    assert app.user_options["preload"] == set()


def test_there_are_signals_of_each_application(make):
    first, second = make(), make()
    names = ("on_configure", "on_after_configure", "on_after_finalize", "on_after_fork")
    for name in names:
        assert isinstance(getattr(first, name), Signal)
        assert getattr(first, name) is not getattr(second, name)


def test_on_init_comes_last_and_before_others_can_see_the_application():
    seen = []

    class Own(Umbel):
        def on_init(self):
            seen.append((self.main, self.on_configure, current.get_current_app() is self))
            seen.append(self in current.all_apps())

    app = Own("x", broker="memory://")
    assert seen == [("x", app.on_configure, True), False]
    assert app in current.all_apps()
    app.close()
    assert app not in current.all_apps()


def test_making_an_application_reads_nothing_and_connects_to_nothing(make, tmp_path):
    app = make(broker="sqlite:///never.db", config_source="module_that_is_not_there")
    assert not app.configured
    assert not app.finalized
    assert list(tmp_path.iterdir()) == []


def test_a_context_manager_closes_the_application():
    with Umbel("x", broker="memory://", set_as_current=False) as app:
        assert app in current.all_apps()
    assert app not in current.all_apps()
