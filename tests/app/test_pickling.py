"""What an application and its parts look like, as text and as pickles."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
from copy import copy, deepcopy

import pytest

from umbel import Umbel
from umbel.result import EagerResult
from umbel.task import Task


class Own(Umbel):
    """A subclass with a configuration of its own."""

    def on_configure(self):
        self.conf.task_default_queue = "own"


class OwnKeys(Umbel):
    """A subclass that carries more than the configuration."""

    def __init__(self, *args, colour="red", **options):
        super().__init__(*args, **options)
        self.colour = colour

    def __reduce_keys__(self):
        return {**super().__reduce_keys__(), "colour": self.colour}


def test_the_representation_names_main_and_address(make):
    app = make("proj")
    assert repr(app) == f"<Umbel proj at {id(app):#x}>"
    assert re.fullmatch(r"<Umbel __main__ at 0x[0-9a-f]+>", repr(make(None)))
    assert repr(make("proj", cls=Own)).startswith("<Own proj at 0x")


def test_the_representation_of_a_task_names_its_application(app):
    task = app.task(name="a")(lambda: None)
    assert repr(task) == f"<@task: a of proj at {id(app):#x}>"


def test_the_representation_of_results(app):
    assert repr(app.AsyncResult("id")) == "<AsyncResult: id>"
    assert repr(EagerResult("id", 1, "SUCCESS")) == "<EagerResult: id>"


def test_an_application_pickles_by_its_configuration(make):
    app = make(
        "proj",
        cls=Own,
        backend="memory://kept",
        include=["a"],
        namespace="CELERY",
        config_source={"CELERY_TASK_SERIALIZER": "yaml"},
        strict_typing=False,
        autofinalize=False,
        task_track_started=True,
    )
    again = pickle.loads(pickle.dumps(app))
    assert type(again) is Own
    assert again is not app
    assert (again.main, again.namespace) == ("proj", "CELERY")
    assert (again.strict_typing, again.autofinalize) == (False, False)
    for setting in ("broker_url", "result_backend", "include", "task_serializer"):
        assert again.conf[setting] == app.conf[setting]
    assert again.conf.task_track_started is True
    assert again.conf.task_default_queue == "own"
    again.close()


def test_a_pickled_application_does_not_become_current(make):
    from umbel import current

    app = make()
    app.set_current()
    again = pickle.loads(pickle.dumps(app))
    assert current.get_current_app() is app
    again.close()


def test_settings_that_were_assigned_travel_and_defaults_that_were_added_do_not(app):
    app.conf.task_serializer = "yaml"
    app.add_defaults({"task_default_queue": "added"})
    assert app.conf.task_default_queue == "added"
    again = pickle.loads(pickle.dumps(app))
    assert again.conf.task_serializer == "yaml"
    assert again.conf.task_default_queue == "celery"
    again.close()


def test_connections_do_not_travel(app):
    app.send_task("a")
    again = pickle.loads(pickle.dumps(app))
    assert "client" not in vars(again)
    assert "broker" not in vars(again.connections)
    again.close()
    app.control.purge()


def test_a_source_travels_by_name_or_by_content(make, write):
    write("travelling.py", "task_serializer = 'yaml'")
    named = make(config_source="travelling")
    assert pickle.loads(pickle.dumps(named)).conf.task_serializer == "yaml"

    class Local:
        task_serializer = "msgpack"

    assert pickle.loads(pickle.dumps(make(config_source=Local))).conf.task_serializer == "msgpack"


def test_a_subclass_may_carry_more(make):
    app = make(cls=OwnKeys, colour="blue")
    assert pickle.loads(pickle.dumps(app)).colour == "blue"


def test_the_default_database_of_a_pickled_application_is_that_of_the_original(write, tmp_path):
    """Wherever it is unpickled, it belongs to the project it was made in."""
    write("deep/pyproject.toml")
    write("deep/pkg/__init__.py")
    write("deep/pkg/made.py", "from umbel import Umbel\napp = Umbel(set_as_current=False)\n")
    import sys

    sys.path.insert(0, str(tmp_path / "deep"))
    try:
        import pkg.made as module
    finally:
        sys.path.remove(str(tmp_path / "deep"))
    again = pickle.loads(pickle.dumps(module.app))
    expected = f"sqlite:///{tmp_path / 'deep' / 'umbel.db'}"
    assert (module.app.broker_url, again.broker_url) == (expected, expected)
    module.app.close()
    again.close()


def test_a_task_pickles_by_name(app):
    app.set_current()

    @app.task(name="a")
    def task():
        """Nothing."""

    assert pickle.loads(pickle.dumps(task)) is app.tasks["a"]
    assert pickle.loads(pickle.dumps(app.tasks["a"])) is app.tasks["a"]


def test_a_task_that_is_missing_is_imported_from_its_module(write):
    """A process that never imported the module unpickles a task of it."""
    write(
        "holds_task.py",
        "from umbel import shared_task\n@shared_task(name='held')\ndef held(): return 1\n",
    )
    write(
        "dumps_task.py", "import pickle, holds_task\nprint(pickle.dumps(holds_task.held).hex())\n"
    )
    write(
        "loads_task.py",
        "import pickle, sys\n"
        "from umbel import current_app\n"
        "assert 'held' not in current_app.tasks\n"
        "task = pickle.loads(bytes.fromhex(sys.argv[1]))\n"
        "assert task is current_app.tasks['held']\n"
        "print(task())\n",
    )

    def run(*command):
        return subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, check=True, timeout=60
        ).stdout.strip()

    assert run("loads_task.py", run("dumps_task.py")) == "1"


@pytest.mark.parametrize("duplicate", [copy, deepcopy])
def test_a_copied_task_is_the_task(app, duplicate):
    app.set_current()
    task = app.task(name="a")(lambda: None)
    assert duplicate(task) is app.tasks["a"]


def test_results_pickle_and_ask_the_current_application(app):
    app.set_current()
    app.backend.put("id", 5, "SUCCESS")
    again = pickle.loads(pickle.dumps(app.AsyncResult("id")))
    assert again == "id"
    assert again.app is app
    assert again.get(timeout=5) == 5


def test_the_parent_of_a_result_travels_with_it(app):
    app.set_current()
    result = app.AsyncResult("child", parent=app.AsyncResult("parent"))
    assert pickle.loads(pickle.dumps(result)).parent == "parent"


def test_eager_results_travel_whole():
    again = pickle.loads(pickle.dumps(EagerResult("id", [1], "SUCCESS", name="a")))
    assert (again.id, again.get(), again.state, again.name) == ("id", [1], "SUCCESS", "a")
    assert copy(again).get() == [1]


def test_a_class_based_task_pickles_by_name(app):
    app.set_current()

    class Report(Task):
        name = "report"

        def run(self):
            """Nothing."""

    task = app.register_task(Report())
    assert pickle.loads(pickle.dumps(task)) is task
