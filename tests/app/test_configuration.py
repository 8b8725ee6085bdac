"""How an application gets its settings, and what happens when they change.

What single settings take, how layers win over each other and how secrets are hidden is proved in
``tests/core/test_settings_*.py``; here the application is what is looked at.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from umbel import Umbel
from umbel.exceptions import ImproperlyConfigured, NotConfigured
from umbel.loading import Loader
from umbel.settings import Settings


def test_conf_is_written_and_read_by_attribute(app):
    app.conf.task_serializer = "yaml"
    assert app.conf.task_serializer == "yaml"


def test_conf_is_written_and_read_by_item(app):
    app.conf["task_serializer"] = "yaml"
    assert app.conf["task_serializer"] == "yaml"


def test_conf_is_updated_by_mapping_and_keyword(app):
    app.conf.update({"task_serializer": "yaml"}, task_default_queue="q")
    assert (app.conf.task_serializer, app.conf.task_default_queue) == ("yaml", "q")


def test_conf_comes_from_keywords_of_the_constructor(make):
    assert make(task_serializer="yaml").conf.task_serializer == "yaml"


def test_a_missing_setting_is_an_attribute_error_or_a_key_error(app):
    with pytest.raises(AttributeError):
        app.conf.no_such_setting  # noqa: B018 - reading is the point
    with pytest.raises(KeyError):
        app.conf["no_such_setting"]


def test_nothing_is_read_before_the_first_setting_is(make, write):
    write("settings_read.py", "raise RuntimeError('read too early')")
    app = make(config_source="settings_read")
    app.conf.task_default_queue = "q"
    app.task(name="a")(lambda: None)
    assert not app.configured
    with pytest.raises(RuntimeError, match="read too early"):
        app.conf.task_serializer  # noqa: B018 - reading is the point


def test_configured_tells_whether_the_configuration_was_read(app):
    assert not app.configured
    assert app.conf.task_serializer == "json"
    assert app.configured


def test_config_from_object_takes_the_name_of_a_module(app, write):
    write("by_name.py", "task_serializer = 'yaml'")
    app.config_from_object("by_name")
    assert app.conf.task_serializer == "yaml"


@pytest.mark.parametrize("name", ["holder:Inner", "holder.Inner", "holder:Inner.deeper"])
def test_config_from_object_takes_the_path_of_an_attribute(app, write, name):
    write("holder.py", "class Inner:\n    task_serializer = 'yaml'\nInner.deeper = Inner\n")
    app.config_from_object(name)
    assert app.conf.task_serializer == "yaml"


def test_config_from_object_takes_a_module(app, write):
    write("as_module.py", "task_serializer = 'yaml'")
    import as_module

    app.config_from_object(as_module)
    assert app.conf.task_serializer == "yaml"


def test_config_from_object_takes_a_class(app):
    class Config:
        task_serializer = "yaml"

    app.config_from_object(Config)
    assert app.conf.task_serializer == "yaml"


def test_config_from_object_takes_an_instance(app):
    app.config_from_object(SimpleNamespace(task_serializer="yaml"))
    assert app.conf.task_serializer == "yaml"


def test_config_from_object_takes_a_mapping(app):
    app.config_from_object({"task_serializer": "yaml"})
    assert app.conf.task_serializer == "yaml"


def test_config_from_object_replaces_the_source_before_it(app):
    app.config_from_object({"task_serializer": "yaml"})
    app.config_from_object({"task_default_queue": "q"})
    assert (app.conf.task_serializer, app.conf.task_default_queue) == ("json", "q")


def test_config_from_object_does_not_take_back_what_was_assigned(app):
    app.conf.task_serializer = "yaml"
    app.config_from_object({"task_serializer": "msgpack"})
    assert app.conf.task_serializer == "yaml"


def test_config_from_object_is_lazy_unless_forced(app):
    app.config_from_object("module_that_is_not_there")
    with pytest.raises(ModuleNotFoundError):
        app.config_from_object("module_that_is_not_there", force=True)


def test_config_from_object_returns_the_settings_when_forced(app):
    assert app.config_from_object({"task_serializer": "yaml"}) is None
    assert app.config_from_object({"task_serializer": "yaml"}, force=True) is app.conf


def test_config_from_object_reads_at_once_where_settings_were_read_before(app):
    assert app.conf.task_serializer == "json"
    app.config_from_object({"task_serializer": "yaml"})
    assert app.conf.task_serializer == "yaml"
    with pytest.raises(ModuleNotFoundError):
        app.config_from_object("module_that_is_not_there")
    assert app.conf.task_serializer == "yaml"


def test_config_from_object_may_be_silent(app):
    app.config_from_object("module_that_is_not_there", silent=True, force=True)
    assert app.conf.task_serializer == "json"


def test_config_from_object_takes_a_namespace(app):
    app.config_from_object({"CELERY_TASK_SERIALIZER": "yaml"}, namespace="CELERY")
    assert app.namespace == "CELERY"
    assert app.conf.task_serializer == "yaml"


def test_under_a_namespace_old_names_without_prefix_count_and_others_do_not(app):
    app.config_from_object(
        {"BROKER_URL": "memory://old", "TASK_DEFAULT_QUEUE": "passed-over"}, namespace="CELERY"
    )
    del app.conf["broker_url"]
    assert app.conf.broker_url == "memory://old"
    assert app.conf.task_default_queue == "celery"


def test_config_from_envvar_names_the_module(app, write, monkeypatch):
    write("from_env.py", "task_serializer = 'yaml'")
    monkeypatch.setenv("OWN_CONFIG", "from_env")
    app.config_from_envvar("OWN_CONFIG")
    assert app.conf.task_serializer == "yaml"


@pytest.mark.parametrize("value", [None, ""])
def test_config_from_envvar_without_the_variable_is_an_error_or_false(app, monkeypatch, value):
    if value is not None:
        monkeypatch.setenv("OWN_CONFIG", value)
    with pytest.raises(ImproperlyConfigured, match="OWN_CONFIG"):
        app.config_from_envvar("OWN_CONFIG")
    assert app.config_from_envvar("OWN_CONFIG", silent=True) is False


def test_config_from_envvar_forced_reads_at_once(app, monkeypatch):
    monkeypatch.setenv("OWN_CONFIG", "module_that_is_not_there")
    app.config_from_envvar("OWN_CONFIG")
    with pytest.raises(ModuleNotFoundError):
        app.config_from_envvar("OWN_CONFIG", force=True)


def test_config_from_cmdline_assigns_words(app):
    app.config_from_cmdline(
        ["worker.concurrency=3", ".prefetch_multiplier=(int)2", "task_serializer=yaml"], "worker"
    )
    conf = app.conf
    assert (conf.worker_concurrency, conf.worker_prefetch_multiplier) == (3, 2)
    assert conf.task_serializer == "yaml"


def test_the_environment_names_a_module_where_no_source_was_given(make, write, monkeypatch):
    write("from_celery.py", "task_serializer = 'yaml'")
    monkeypatch.setenv("CELERY_CONFIG_MODULE", "from_celery")
    assert make().conf.task_serializer == "yaml"
    assert make(config_source={"task_serializer": "msgpack"}).conf.task_serializer == "msgpack"


def test_add_defaults_is_a_layer_below_assigned_settings_and_above_the_source(make):
    app = make(config_source={"task_serializer": "yaml", "task_default_queue": "source"})
    app.conf.task_default_queue = "assigned"
    app.add_defaults({"task_serializer": "msgpack", "task_default_queue": "default"})
    assert (app.conf.task_serializer, app.conf.task_default_queue) == ("msgpack", "assigned")


def test_add_defaults_takes_a_function_that_is_called_late(app):
    called = []

    def defaults():
        called.append(1)
        return {"task_serializer": "yaml"}

    app.add_defaults(defaults)
    assert called == []
    assert app.conf.task_serializer == "yaml"
    assert app.conf.task_default_queue == "celery"
    assert called == [1]


def test_on_configure_is_sent_while_the_configuration_is_read(app):
    @app.on_configure.connect
    def configure(sender, **_):
        assert not sender.configured
        sender.conf.task_serializer = "yaml"

    assert app.conf.task_serializer == "yaml"


def test_on_configure_may_be_a_method_instead():
    class Own(Umbel):
        def on_configure(self):
            self.conf.task_serializer = "yaml"

    app = Own("x", broker="memory://", set_as_current=False)
    assert app.conf.task_serializer == "yaml"
    app.close()


def test_on_configure_may_name_the_source(app):
    @app.on_configure.connect
    def configure(sender, **_):
        sender.config_from_object({"task_serializer": "yaml"})

    assert app.conf.task_serializer == "yaml"


def test_on_after_configure_is_sent_once_with_the_settings(app):
    seen = []

    @app.on_after_configure.connect
    def configured(sender, source, **_):
        seen.append((sender, source, sender.configured, source.task_serializer))

    assert app.conf.task_serializer == "json"
    assert app.conf.task_default_queue == "celery"
    assert seen == [(app, app.conf, True, "json")]


def test_a_handler_of_on_after_configure_may_use_tasks(app):
    @app.on_after_configure.connect
    def configured(sender, **_):
        sender.found = dict(sender.tasks)

    app.task(name="a")(lambda: None)
    assert app.conf.task_serializer == "json"
    assert list(app.found) == ["a"]


def test_prepare_config_is_given_the_source_and_returns_what_is_used():
    class Own(Umbel):
        def prepare_config(self, c):
            return {**c, "task_default_queue": c["task_default_queue"].upper()}

    app = Own("x", broker="memory://", config_source={"task_default_queue": "q"})
    assert app.conf.task_default_queue == "Q"
    app.close()


def test_a_loader_may_bring_the_configuration(make):
    class Own(Loader):
        def read_configuration(self):
            return {"task_serializer": "yaml"}

    assert make(loader=Own).conf.task_serializer == "yaml"
    source = {"task_default_queue": "q"}
    assert make(loader=Own, config_source=source).conf.task_serializer == "json"


def test_the_default_loader_reads_celeryconfig_if_it_is_there(make, write):
    assert make(loader="default").conf.task_serializer == "json"
    write("celeryconfig.py", "task_serializer = 'yaml'")
    assert make(loader="default").conf.task_serializer == "yaml"
    assert make().conf.task_serializer == "json"


def test_the_default_loader_says_that_there_is_no_configuration_if_asked(make, write, monkeypatch):
    monkeypatch.setenv("C_WNOCONF", "yes")
    with pytest.warns(NotConfigured, match="celeryconfig"):
        assert make(loader="default").conf.task_serializer == "json"
    assert make().conf.task_serializer == "json"
    assert make(loader="default", config_source={}).conf.task_serializer == "json"
    write("celeryconfig.py")
    assert make(loader="default").conf.task_serializer == "json"


def test_a_configuration_whose_name_is_that_of_a_file_is_refused(app):
    app.config_from_object("settings.py")
    with pytest.raises(ImproperlyConfigured, match="'settings'"):
        app.conf.task_serializer  # noqa: B018 - reading is the point


def test_old_and_new_names_in_one_source_are_refused_with_the_renames(app):
    app.config_from_object({"task_serializer": "json", "CELERY_DEFAULT_QUEUE": "q"})
    app.config_from_object({"task_serializer": "json", "CELERY_TASK_SERIALIZER": "json"})
    app.config_from_object({"task_serializer": "json", "CELERYD_CONCURRENCY": 3})
    with pytest.raises(ImproperlyConfigured, match="CELERYD_CONCURRENCY -> worker_concurrency"):
        app.conf.task_serializer  # noqa: B018 - reading is the point


@pytest.mark.parametrize("prefix", ["UMBEL", "CELERY"])
def test_the_environment_wins_over_code_for_the_servers(make, monkeypatch, prefix):
    monkeypatch.setenv(f"{prefix}_BROKER_URL", "memory://env-broker")
    monkeypatch.setenv(f"{prefix}_RESULT_BACKEND", "memory://env-backend")
    app = make(broker="memory://code", backend="memory://code")
    assert app.broker_url == "memory://env-broker"
    assert app.conf.result_backend == "memory://env-backend"
    assert app.backend_shown == "memory://env-backend"


def test_our_variables_win_over_those_of_celery(make, monkeypatch):
    monkeypatch.setenv("UMBEL_BROKER_URL", "memory://umbel")
    monkeypatch.setenv("CELERY_BROKER_URL", "memory://celery")
    assert make().broker_url == "memory://umbel"


@pytest.mark.parametrize("prefix", ["UMBEL", "CELERY"])
def test_reading_and_writing_may_go_to_two_brokers(make, monkeypatch, prefix):
    monkeypatch.setenv(f"{prefix}_BROKER_READ_URL", "memory://read-side")
    monkeypatch.setenv(f"{prefix}_BROKER_WRITE_URL", "memory://write-side")
    app = make(broker="memory://neither")
    app.send_task("a")
    assert app.broker_url == "memory://read-side"
    assert app.broker.purge("celery") == 0
    assert make(broker="memory://neither").connections.write_broker.purge("celery") == 1


def test_conf_can_be_replaced(app):
    app.conf = Settings({"task_serializer": "yaml", "timezone": "Europe/Paris"})
    assert app.conf.task_serializer == "yaml"
    assert str(app.timezone) == "Europe/Paris"
    app.conf = {"task_serializer": "msgpack"}
    assert app.conf.task_serializer == "msgpack"
    assert str(app.timezone) == "UTC"


def test_humanize_and_table_hide_secrets(make):
    app = make(broker="redis://me:hush@host:1/0", security_key="hush")
    table = app.conf.table()
    assert table["broker_url"] == "redis://me:********@host:1/0"
    assert table["security_key"] == "********"
    assert "hush" not in app.conf.humanize()
    assert "hush" in app.conf.humanize(censored=False)


def test_a_new_broker_url_counts_from_the_next_use(app, waiting):
    app.send_task("a")
    before = app.broker
    app.conf.broker_url = "memory://another-one"
    app.send_task("b")
    assert app.broker is not before
    assert [each.task for each in waiting()] == ["b"]
    app.control.purge()


def test_the_same_broker_url_again_changes_nothing(make):
    app = make(broker="memory://stays")
    before = app.broker
    app.conf.update(broker_url="memory://stays", task_serializer="yaml")
    assert app.broker is before


def test_a_new_result_backend_counts_from_the_next_use(app):
    before = app.backend
    app.conf.result_backend = "memory://another-backend"
    assert app.backend is not before


def test_new_routes_and_queues_count_from_the_next_use(app, waiting):
    app.send_task("a")
    app.conf.task_routes = {"a": "first"}
    app.send_task("a")
    app.conf.task_default_queue = "second"
    app.send_task("b")
    assert [len(waiting(name)) for name in ("celery", "first", "second")] == [1, 1, 1]


def test_settings_that_calls_depend_on_count_from_the_next_call(app, waiting):
    app.send_task("a", (1,))
    app.conf.update(task_compression="gzip", task_default_priority=7, task_default_delivery_mode=1)
    app.send_task("a", (1,))
    first, second = waiting()[::-1]
    assert (first.priority, second.priority) == (None, 7)
    assert second.headers["compression"] == "application/x-gzip"
    assert second.properties["delivery_mode"] == 1


def test_threads_that_read_at_once_see_one_configuration(make, write):
    """The source is read once, and nobody sees half of it."""
    write(
        "slow_settings.py",
        "import threading, builtins\n"
        "builtins.read_count = getattr(builtins, 'read_count', 0) + 1\n"
        "threading.Event().wait(0.05)\n"
        "task_serializer = 'yaml'\n",
    )
    app = make(config_source="slow_settings")
    configured = []

    @app.on_after_configure.connect
    def after(**_):
        configured.append(1)

    seen = []
    start = threading.Barrier(8)

    def read():
        start.wait()
        seen.append(app.conf.task_serializer)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    import builtins

    assert seen == ["yaml"] * 8
    assert configured == [1]
    assert builtins.read_count == 1
    del builtins.read_count


def test_every_setting_of_celery_is_known(app):
    """Honoured, or accepted with a warning; never unknown."""
    recorded = Path(__file__).parent.parent / "core" / "celery_settings.json"
    for setting in json.loads(recorded.read_text())["settings"]:
        name = setting if isinstance(setting, str) else setting["name"]
        assert name in app.conf
