"""Loaders and autodiscovery: which modules are imported, when, and what their errors do."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from umbel import signals
from umbel.loading import Loader, find_related_module


@pytest.fixture
def package(write):
    """A package ``shop`` with tasks, a package without, and one whose tasks are broken."""
    write("shop/__init__.py", "class Config: pass\n")
    write("shop/tasks.py", "loaded = True\n")
    write("shop/jobs.py", "loaded = True\n")
    write("shop/apps.py", "class ShopConfig: pass\n")
    write("bare/__init__.py")
    write("broken/__init__.py")
    write("broken/tasks.py", "import module_that_is_not_there\n")
    write("broken_package/__init__.py", "import module_that_is_not_there\n")
    write("outer/__init__.py")
    write("outer/tasks.py", "loaded = True\n")
    write("outer/inner/__init__.py", "import module_that_is_not_there\n")


def test_tasks_of_every_package_are_imported_when_a_worker_asks(app, package):
    app.autodiscover_tasks(["shop", "bare"])
    assert "shop.tasks" not in sys.modules
    app.loader.import_default_modules()
    assert "shop.tasks" in sys.modules
    assert app.loader.task_modules == {"shop.tasks"}


def test_autodiscovery_concerns_its_application_alone(make, package):
    first, second = make(), make()
    first.autodiscover_tasks(["shop"])
    second.loader.import_default_modules()
    assert "shop.tasks" not in sys.modules


def test_autodiscovery_can_be_forced(app, package):
    app.autodiscover_tasks(["shop"], force=True)
    assert "shop.tasks" in sys.modules


def test_packages_may_be_a_function_that_is_called_late(app, package):
    names = []
    app.autodiscover_tasks(lambda: names)
    names.append("shop")
    app.loader.import_default_modules()
    assert "shop.tasks" in sys.modules


@pytest.mark.parametrize("nothing", [None, (), list])
def test_without_packages_the_fixups_are_asked(make, package, nothing):
    fixup = SimpleNamespace(autodiscover_tasks=lambda: ["shop"])
    app = make(fixups=[lambda _: fixup, lambda _: object()])
    app.autodiscover_tasks(nothing, force=True)
    assert "shop.tasks" in sys.modules


def test_related_name_is_the_module_to_look_for(app, package):
    app.autodiscover_tasks(["shop"], related_name="jobs", force=True)
    assert "shop.jobs" in sys.modules
    assert "shop.tasks" not in sys.modules


def test_without_related_name_the_packages_themselves_are_imported(app, package):
    app.autodiscover_tasks(["shop.jobs"], related_name=None, force=True)
    assert "shop.jobs" in sys.modules
    assert "shop.tasks" not in sys.modules


@pytest.mark.parametrize("path", ["shop.Config", "shop.apps.ShopConfig"])
def test_a_package_may_be_named_by_something_inside_it(app, package, path):
    """As the applications of a Django project are."""
    app.autodiscover_tasks([path], force=True)
    assert "shop.tasks" in sys.modules


def test_a_missing_related_module_is_passed_over(package):
    assert find_related_module("bare", "tasks") is None


def test_a_missing_package_is_an_error(package):
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        find_related_module("no_such_package", "tasks")
    with pytest.raises(ModuleNotFoundError, match=r"shop\.no_such_thing"):
        find_related_module("shop.no_such_thing", "tasks")


def test_an_import_error_inside_a_module_propagates(app, package):
    app.autodiscover_tasks(["broken"])
    with pytest.raises(ModuleNotFoundError, match="module_that_is_not_there"):
        app.loader.import_default_modules()


@pytest.mark.parametrize("path", ["broken_package", "outer.inner"])
def test_an_import_error_inside_a_package_propagates(package, path):
    """And does not count as a package that is missing, nor lead to the tasks of another."""
    with pytest.raises(ModuleNotFoundError, match="module_that_is_not_there"):
        find_related_module(path, "tasks")
    assert "outer.tasks" not in sys.modules


def test_default_modules_are_those_of_the_loader_the_imports_and_the_includes(make, write):
    for name in ("built_in", "imported", "included"):
        write(f"{name}.py")

    class Own(Loader):
        builtin_modules = frozenset({"built_in"})

    app = make(loader=Own, include=["included"], imports=("imported",))
    modules = app.loader.import_default_modules()
    assert [module.__name__ for module in modules] == ["built_in", "imported", "included"]
    assert app.loader.task_modules == {"built_in", "imported", "included"}


def test_modules_are_found_in_the_current_directory(app, tmp_path, monkeypatch):
    (tmp_path / "only_here.py").write_text("found = True")
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(tmp_path)])
    try:
        assert app.loader.import_from_cwd("only_here").found
        assert str(tmp_path) not in sys.path
    finally:
        sys.modules.pop("only_here", None)


def test_the_first_error_of_a_receiver_of_import_modules_is_raised(app):
    def fails(**_):
        raise LookupError("first")

    signals.import_modules.connect(fails, sender=app)
    with pytest.raises(LookupError, match="first"):
        app.loader.import_default_modules()


def test_a_worker_is_initialized_once(make):
    calls = []

    class Own(Loader):
        def import_default_modules(self):
            calls.append("import")
            return []

        def on_worker_init(self):
            calls.append("init")

        def on_worker_process_init(self):
            calls.append("process")

        def on_worker_shutdown(self):
            calls.append("shutdown")

    loader = make(loader=Own).loader
    assert not loader.worker_initialized
    loader.init_worker()
    loader.init_worker()
    loader.init_worker_process()
    loader.shutdown_worker()
    assert loader.worker_initialized
    assert calls == ["import", "init", "process", "shutdown"]


def test_a_loader_knows_settings_and_time(app):
    loader = app.loader
    assert not loader.configured
    assert loader.conf is app.conf
    assert loader.conf.task_serializer == "json"
    assert loader.configured
    naive_now = datetime.now(UTC).replace(tzinfo=None)
    assert abs(loader.now() - naive_now) < timedelta(seconds=30)
    assert loader.now(utc=False).tzinfo is None


def test_a_loader_that_watches_tasks_is_noticed(make):
    class Own(Loader):
        def on_task_init(self, task_id, task):
            """Nothing."""

    assert make(loader=Own).watches_tasks
    assert not make().watches_tasks


def test_backends_of_a_loader_have_names(make):
    class Kept:
        def __init__(self, app, url):
            self.app, self.url = app, url

        def setup(self):
            """Nothing."""

        def close(self):
            """Nothing."""

    class Own(Loader):
        override_backends = {"kept": Kept}  # noqa: RUF012 - as users write it

    app = make(loader=Own, backend="kept://somewhere")
    assert type(app.backend.store) is Kept
    assert (app.backend.store.app, app.backend.store.url) == (app, "kept://somewhere")


def test_backends_of_the_settings_have_names_too(make):
    app = make(backend="mine", override_backends={"mine": "umbel.drivers.memory:nothing"})
    with pytest.raises(AttributeError, match="nothing"):
        app.backend  # noqa: B018 - touching is the point
