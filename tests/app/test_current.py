"""The current application and the current task: per thread, per process, or made on demand."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

import umbel
from umbel import Umbel, current
from umbel.current import app_or_default, current_app, current_task
from umbel.loading import DefaultLoader
from umbel.local import Proxy


def test_current_app_and_current_task_are_proxies(app):
    app.set_current()
    assert type(current_app) is Proxy
    assert type(current_task) is Proxy
    assert umbel.current_app is current_app
    assert umbel.current_task is current_task
    assert current_app.main == "proj"
    assert isinstance(current_app, Umbel)


def test_current_task_is_none_where_nothing_runs():
    assert not current_task
    assert current_task == None  # noqa: E711 - a proxy is not None, it only equals it
    assert current.get_current_task() is None


def test_the_application_of_this_thread_goes_before_the_default(make):
    own, default = make("own"), make("default-one")
    default.set_default()
    assert current.get_current_app() is default
    own.set_current()
    assert current.get_current_app() is own


def test_another_thread_has_another_current_application(make):
    here, there = make("here"), make("there")
    here.set_current()
    here.set_default()
    seen = []

    def other():
        seen.append(current.get_current_app())
        there.set_current()
        seen.append(current.get_current_app())

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert seen == [here, there]
    assert current.get_current_app() is here


def test_a_fallback_is_made_where_there_is_none(monkeypatch):
    app = current.get_current_app()
    assert app.main == "default"
    assert type(app.loader) is DefaultLoader
    assert app.fixups == []
    assert current.get_current_app() is app
    app.close()


@pytest.mark.parametrize("variable", ["UMBEL_LOADER", "CELERY_LOADER"])
def test_the_loader_of_the_fallback_comes_from_the_environment(monkeypatch, variable):
    monkeypatch.setenv(variable, "app")
    app = current.get_current_app()
    assert app.loader_cls == "app"
    app.close()


def test_threads_that_need_the_fallback_at_once_share_it():
    start, seen = threading.Barrier(8), []

    def ask():
        start.wait()
        seen.append(current.get_current_app())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(app) for app in seen}) == 1
    seen[0].close()


def test_app_or_default(make):
    given, usual = make("given"), make("usual")
    usual.set_default()
    assert app_or_default(given) is given
    assert app_or_default() is usual
    assert app_or_default(None) is usual


def test_finalizers_are_called_for_every_application(make):
    seen = []
    current.connect_on_app_finalize(seen.append)
    first, second = make(), make()
    first.finalize()
    second.finalize()
    assert seen == [first, second]


def test_an_application_that_nobody_holds_is_forgotten():
    import gc
    import weakref

    app = Umbel("x", broker="memory://", set_as_current=False)
    app.send_task("a")
    app.control.purge()
    gone = weakref.ref(app)
    del app
    gc.collect()
    assert gone() is None


def run(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


USE = "from umbel import Umbel, current_app; app = Umbel('x'); print(current_app.main)"


def test_strict_makes_every_use_of_the_current_application_an_error():
    done = run(USE, C_STRICT_APP="1")
    assert done.returncode == 1
    assert "RuntimeError" in done.stderr
    assert "C_STRICT_APP" in done.stderr


def test_strict_does_not_disturb_who_passes_the_application():
    code = (
        "from umbel import Umbel\n"
        "app = Umbel('x', broker='memory://')\n"
        "@app.task\n"
        "def add(x, y): return x + y\n"
        "print(add.delay(2, 3).state, add.s(1, 2), add.apply((1, 2)).get())\n"
    )
    done = run(code, C_STRICT_APP="1")
    assert done.stderr == ""
    assert done.stdout == "PENDING x.add(1, 2) 3\n"


def test_warn_prints_where_the_current_application_is_used():
    done = run(USE, C_WARN_APP="1")
    assert done.stdout == "x\n"
    assert "the current application is used" in done.stderr
    assert 'File "<string>", line 1' in done.stderr


def test_neither_says_anything_by_default():
    done = run(USE)
    assert (done.stdout, done.stderr) == ("x\n", "")
