"""Configuration sources: modules, classes, objects, mappings, and what names them."""

from __future__ import annotations

import logging
import sys
import threading
import types
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from umbel.exceptions import ImproperlyConfigured
from umbel.settings import Hooks, Settings

PATIENCE = 20


@pytest.fixture(autouse=True)
def forget_modules():
    """Modules that a test made are gone after it."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def write(tmp_path):
    """Write a module; the current directory of each test is searched for modules."""

    def write(name, text):
        path = tmp_path / f"{name.replace('.', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")

    return write


def settings(source=None, **options):
    return Settings(None, source, **{"environ": {}, **options})


class Plain:
    task_serializer = "yaml"
    OTHER = 1

    def method(self):
        """Not a setting."""


class Child(Plain):
    task_protocol = 1


@dataclass
class Data:
    task_serializer: str = "yaml"
    result_expires: timedelta = timedelta(hours=1)


@dataclass(slots=True)
class Slotted:
    task_serializer: str = "yaml"


class Answering:
    """Lists nothing and answers when asked."""

    def __getattr__(self, name):
        if name == "CELERY_TASK_SERIALIZER":
            return "yaml"
        raise AttributeError(name)


def module():
    made = types.ModuleType("made")
    made.task_serializer = "yaml"
    return made


@pytest.mark.parametrize(
    "source",
    [
        {"task_serializer": "yaml"},
        types.MappingProxyType({"task_serializer": "yaml"}),
        Plain,
        Plain(),
        Child,
        Child(),
        Data(),
        Slotted(),
        Answering(),
        types.SimpleNamespace(task_serializer="yaml"),
        module(),
    ],
    ids=lambda source: type(source).__name__,
)
def test_a_source_may_be_a_mapping_a_class_an_object_or_a_module(source):
    """Its keys are read by item or by attribute."""
    assert settings(source).task_serializer == "yaml"


@pytest.mark.parametrize("name", ["shop.conf", "shop.conf:Prod", "shop.conf.Prod", "shop.conf:P.C"])
def test_a_source_may_be_named(write, name):
    """package.module, package.module:attribute, package.module.attribute."""
    write("shop.__init__", "")
    text = "task_serializer = 'yaml'\nclass Prod: task_serializer = 'yaml'\nclass P: C = Prod\n"
    write("shop.conf", text)
    assert settings(name).task_serializer == "yaml"


def test_a_module_in_the_current_directory_is_found(write):
    """Whether or not the directory is on the path, which stays as it was."""
    write("here", "task_serializer = 'yaml'")
    path = list(sys.path)
    assert settings("here").task_serializer == "yaml"
    assert sys.path == path


def test_reading_is_lazy_so_an_import_error_appears_at_the_first_read():
    """Naming a source that does not exist is not an error yet."""
    conf = settings()
    assert conf.read_from("nowhere") is None
    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        conf.task_serializer  # noqa: B018


def test_force_reads_now():
    """And returns the settings, or raises."""
    conf = settings()
    assert conf.read_from({"task_serializer": "yaml"}, force=True) is conf
    assert conf.loaded
    with pytest.raises(ModuleNotFoundError):
        settings().read_from("nowhere", force=True)


def test_a_source_named_after_the_first_read_is_read_now():
    """What was assigned is kept, what the source before said is not."""
    conf = settings({"task_serializer": "yaml", "task_protocol": 1})
    conf.result_serializer = "yaml"
    assert conf.task_serializer == "yaml"
    assert conf.read_from({"task_protocol": 2}) is conf
    assert (conf.task_serializer, conf.task_protocol, conf.result_serializer) == ("json", 2, "yaml")


def test_a_source_that_fails_after_the_first_read_changes_nothing():
    """The old configuration stays in use."""
    conf = settings({"task_serializer": "yaml"}).finalize()
    with pytest.raises(ModuleNotFoundError):
        conf.read_from("nowhere", namespace="OTHER")
    with pytest.raises(ImproperlyConfigured):
        conf.read_from({"task_protocol": "x"})
    assert conf.task_serializer == "yaml"
    conf.clear()
    assert conf.portable()["source"] == {"task_serializer": "yaml"}
    assert conf.portable()["namespace"] is None


@pytest.mark.parametrize("text", ["import nowhere", "1 .foo", None])
def test_silent_ignores_import_and_attribute_errors(write, text):
    """The configuration goes without the source; forced, that is told by returning None."""
    if text:
        write("broken", text)
    conf = settings("broken", silent=True)
    assert conf.task_serializer == "json"
    assert settings().read_from("broken", silent=True, force=True) is None
    assert settings("json:nothing", silent=True).task_serializer == "json"


def test_an_error_inside_the_module_is_the_modules_own(write):
    """It is not reported as a module that does not exist."""
    write("broken", "import nowhere")
    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        settings("broken").finalize()
    write("wrong", "1 / 0")
    with pytest.raises(ZeroDivisionError):
        settings("wrong", silent=True).finalize()


@pytest.mark.parametrize("name", ["json:nothing", "json.nothing", "json:dumps.nothing"])
def test_an_attribute_that_does_not_exist_is_an_import_error(name):
    """It says which attribute of what."""
    with pytest.raises(ImportError, match="has no attribute 'nothing'"):
        settings(name).finalize()


@pytest.mark.parametrize("silent", [True, False])
@pytest.mark.parametrize(
    ("name", "suggested"), [("celeryconfig.py", "celeryconfig"), ("shop/conf.py", "shop.conf")]
)
def test_the_name_of_a_file_is_refused_with_the_name_of_the_module(name, suggested, silent):
    """Even silently: nobody who writes .py wants to go without the file."""
    with pytest.raises(ImproperlyConfigured, match=f"names a file; .*'{suggested}'"):
        settings(name, silent=silent).finalize()


@pytest.mark.parametrize("source", [3, True, b"x", ["a"], "json:__name__"])
def test_what_cannot_hold_settings_is_refused(source):
    """With what may be given instead."""
    with pytest.raises(ImproperlyConfigured, match="settings cannot be read from"):
        settings(source).finalize()


# ----------------------------------------------------------------------- names that are unknown


def test_a_module_may_hold_what_it_needs_besides_settings(write):
    """Imports, functions, classes, other objects, capitals and underscores are left alone."""
    write(
        "conf",
        "import os\nimport logging\nfrom pathlib import Path\nfrom datetime import timedelta\n"
        "logger = logging.getLogger()\nhere = Path()\n_hidden = 3\nDEBUG = True\nBROKER = 'x'\n"
        "def helper(): ...\nclass Kind: ...\nresult_expires = timedelta(hours=1)\n",
    )
    assert settings("conf").without_defaults() == {"result_expires": timedelta(hours=1)}


@pytest.mark.parametrize("line", ["task_serialiser = 'json'", "hostname = 'h'", "entries = [1]"])
def test_a_plain_lower_case_value_in_a_module_must_be_a_setting(write, line):
    """A typing error there must not go unnoticed."""
    write("conf", line)
    with pytest.raises(ImproperlyConfigured, match=f"no setting is named '{line.split()[0]}'"):
        settings("conf").finalize()


def test_an_unknown_name_in_a_class_or_object_is_found_too():
    """In a class also among what it inherits, in an object among its own data."""

    class Wrong(Plain):
        task_serialiser = "json"

    class Below(Wrong):
        pass

    for source in (Wrong, Below, Wrong(), types.SimpleNamespace(task_serialiser=1)):
        with pytest.raises(ImproperlyConfigured, match="task_serialiser"):
            settings(source).finalize()


def test_what_a_base_class_brings_along_is_not_looked_at_in_objects_with_data():
    """The bases of settings classes have options of their own."""

    class Base:
        model_config = {"frozen": True}  # noqa: RUF012

        def __init__(self, **data):
            self.__dict__.update(data)

    assert settings(Base(task_serializer="yaml")).task_serializer == "yaml"


def test_in_a_mapping_every_lower_case_key_must_be_a_setting():
    """Whatever its value; keys that are no text are passed over."""
    assert settings({"OTHER": 1, 3: 4, "_x": 5}).without_defaults() == {}
    with pytest.raises(ImproperlyConfigured, match="helper"):
        settings({"helper": lambda: None}).finalize()


def test_in_a_namespace_every_key_with_the_prefix_must_be_a_setting():
    """Other keys are somebody else's, in lower case too."""
    assert settings({"other": 1, "OTHER": 1}, namespace="CELERY").without_defaults() == {}
    for key in ("CELERY_FOO", "CELERY_task_serializer", "CELERY_"):
        with pytest.raises(ImproperlyConfigured, match=f"'{key}'"):
            settings({key: 1}, namespace="CELERY").finalize()


def test_properties_that_are_no_settings_are_not_touched():
    """Reading them might do something."""

    class Careful:
        task_serializer = "yaml"

        @property
        def connection(self):
            raise AssertionError

        @property
        def task_protocol(self):
            return 1

    conf = settings(Careful())
    assert (conf.task_serializer, conf.task_protocol) == ("yaml", 1)


# ------------------------------------------------------------------------------------- Django


class LazySettings:
    """Shaped as Django's: reads itself on the first attribute and keeps the result inside."""

    def __init__(self, **values):
        self._wrapped = None
        self.__dict__["_values"] = values

    def _setup(self):
        self._wrapped = types.SimpleNamespace(SETTINGS_MODULE="shop", **self._values)

    def __getattr__(self, name):
        if self._wrapped is None:
            self._setup()
        return getattr(self._wrapped, name)


def test_django_lazy_settings_are_unwrapped():
    """The prefix supplies settings, TIME_ZONE the zone, and the rest is Django's own."""
    lazy = LazySettings(
        CELERY_TASK_SERIALIZER="yaml", TIME_ZONE="Europe/Paris", DEBUG=True, USE_TZ=1
    )
    conf = settings(lazy, namespace="CELERY")
    assert (conf.task_serializer, conf.timezone) == ("yaml", "Europe/Paris")
    assert conf.without_defaults() == {
        "CELERY_TASK_SERIALIZER": "yaml",
        "TIME_ZONE": "Europe/Paris",
    }


def test_old_names_in_django_settings_give_no_warning():
    """Another package may be the one that needs them."""
    conf = settings(LazySettings(BROKER_URL="redis://h"), namespace="CELERY")
    assert conf.broker_url == "redis://h"
    assert conf.maybe_warn_deprecated_settings() is False
    assert conf.table()["deprecated_settings"] is None


def test_the_django_key_for_connection_reuse_is_known():
    """Under its only name, with and without the namespace."""
    assert settings({"CELERY_DB_REUSE_MAX": 5}).db_reuse_max == 5
    assert settings({"CELERY_DB_REUSE_MAX": 5}, namespace="CELERY")["CELERY_DB_REUSE_MAX"] == 5


# ------------------------------------------------------------------------------- environment


@pytest.mark.parametrize("variable", ["UMBEL_CONFIG_MODULE", "CELERY_CONFIG_MODULE"])
def test_the_environment_may_name_the_module(write, variable):
    """It is read when no source was named, and has to exist."""
    write("conf", "task_serializer = 'yaml'")
    assert settings(environ={variable: "conf"}).task_serializer == "yaml"
    assert settings({"task_protocol": 1}, environ={variable: "conf"}).task_serializer == "json"
    with pytest.raises(ModuleNotFoundError):
        settings(environ={variable: "nowhere"}).finalize()


def test_umbels_variable_for_the_module_comes_before_celerys(write):
    """As for the URLs."""
    write("one", "task_serializer = 'yaml'")
    environ = {"UMBEL_CONFIG_MODULE": "one", "CELERY_CONFIG_MODULE": "nowhere"}
    assert settings(environ=environ).task_serializer == "yaml"


def test_an_app_may_have_a_module_to_read_when_nothing_is_named(write):
    """It may be missing."""
    assert settings(hooks=Hooks(module="celeryconfig")).task_serializer == "json"
    write("celeryconfig", "task_serializer = 'yaml'")
    assert settings(hooks=Hooks(module="celeryconfig")).task_serializer == "yaml"


def test_config_from_envvar_reads_the_module_that_the_variable_names(write):
    """Lazily, or now with force."""
    write("conf", "task_serializer = 'yaml'")
    conf = settings(environ={"SHOP": "conf"})
    assert conf.read_from_variable("SHOP") is None
    assert not conf.loaded
    assert conf.task_serializer == "yaml"
    conf = settings(environ={"SHOP": "conf"})
    assert conf.read_from_variable("SHOP", force=True) is conf


@pytest.mark.parametrize("environ", [{}, {"SHOP": ""}])
def test_config_from_envvar_with_a_missing_or_empty_variable(environ):
    """ImproperlyConfigured with the name of the variable, or False if silent."""
    with pytest.raises(ImproperlyConfigured, match="variable SHOP is not set"):
        settings(environ=environ).read_from_variable("SHOP")
    assert settings(environ=environ).read_from_variable("SHOP", silent=True) is False


def test_the_environment_of_the_process_is_used_unless_another_is_given(monkeypatch):
    """And looked at anew every time."""
    conf = Settings()
    assert conf.broker_url is None
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://h")
    assert conf.broker_url == "redis://h"


# ----------------------------------------------------------------------------------- threads


def test_several_threads_that_read_first_at_the_same_time_load_once(write):
    """All get the same, and the hooks are called once."""
    write("conf", "task_serializer = 'yaml'")
    threads, calls = 8, []
    barrier = threading.Barrier(threads)
    hooks = Hooks(before=lambda: calls.append("before"), after=lambda: calls.append("after"))
    conf = settings("conf", hooks=hooks)

    def read():
        barrier.wait(PATIENCE)
        return conf.task_serializer

    with ThreadPoolExecutor(threads) as pool:
        read_by_all = [pool.submit(read) for _ in range(threads)]
        assert {future.result(PATIENCE) for future in read_by_all} == {"yaml"}
    assert calls == ["before", "after"]


def test_a_reader_never_sees_a_value_that_was_changed_before_it_asked():
    """While one thread writes, another never reads a number smaller than one it knows of."""
    conf = settings().finalize()
    conf.x_count = written = 0
    done = threading.Event()

    def write():
        nonlocal written
        for number in range(1, 2000):
            conf.x_count = number
            written = number
        done.set()

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        while not done.is_set():
            known = written
            assert conf.x_count >= known
        writing.result(PATIENCE)
    assert conf.x_count == 1999


def test_reading_settings_does_not_deadlock_with_an_import_that_does_so(write, monkeypatch):
    """One thread imports a module that reads a setting, another reads that module's settings."""
    monkeypatch.syspath_prepend(Path.cwd())
    meeting = types.ModuleType("meeting")
    meeting.importing, meeting.go = threading.Event(), threading.Event()
    sys.modules["meeting"] = meeting
    write(
        "conf",
        "import meeting\nmeeting.importing.set()\nmeeting.go.wait(20)\n"
        "meeting.seen = meeting.conf.task_protocol\ntask_serializer = 'yaml'\n",
    )
    meeting.conf = conf = settings("conf")
    with ThreadPoolExecutor(2) as pool:
        importing = pool.submit(__import__, "conf")
        assert meeting.importing.wait(PATIENCE)
        reading = pool.submit(lambda: conf.task_serializer)
        meeting.go.set()
        importing.result(PATIENCE)
        assert reading.result(PATIENCE) == "yaml"
    assert meeting.seen == 2


def test_a_module_that_reads_settings_before_it_has_come_to_its_end_does_not_fix_them(write):
    """What it has said by then is used, and the rest counts once it is there."""
    write(
        "conf",
        "import sys\ntask_serializer = 'yaml'\nholder = sys.modules['holder']\n"
        "conf = holder.conf\nholder.early = conf.task_serializer, conf.task_protocol\n"
        "del holder, conf\ntask_protocol = 1\n",
    )
    holder = sys.modules["holder"] = types.ModuleType("holder")
    holder.conf = conf = settings("conf")
    assert conf.task_protocol == 1
    assert holder.early == ("yaml", 2)


def test_no_logger_is_touched():
    """Reading a configuration logs nothing and configures nothing."""
    handlers = list(logging.getLogger().handlers)
    settings({"worker_hijack_root_logger": True}).finalize()
    assert logging.getLogger().handlers == handlers
    assert not list(Path().iterdir())
