"""Applications that end with their test, and a process-wide state that is put back."""

from __future__ import annotations

import sys
from itertools import count

import pytest

from umbel import Umbel, current

_numbers = count()


@pytest.fixture(autouse=True)
def current_state_put_back():
    """Which applications there are, which one is current, and which tasks are shared."""
    before = current._apps.current, current._default, list(current._on_finalize)
    others = list(current._all)
    current._apps.current = current._default = None
    current._on_finalize.clear()
    current._all.clear()
    yield
    current._apps.current, current._default = before[:2]
    current._on_finalize[:] = before[2]
    current._all.update(others)


@pytest.fixture
def make():
    """Makes applications on a memory broker of their own, closed when the test ends."""
    made = []

    def make_app(main="proj", cls=Umbel, **options):
        options.setdefault("broker", f"memory://app-tests-{next(_numbers)}")
        options.setdefault("set_as_current", False)
        app = cls(main, **options)
        made.append(app)
        return app

    yield make_app
    for app in made:
        app.close()


@pytest.fixture
def app(make):
    """One application on a memory broker."""
    return make()


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes modules that can be imported, and forgets them when the test ends."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def write_file(name, text=""):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    yield write_file
    for name in set(sys.modules) - before:
        where = getattr(sys.modules[name], "__file__", None) or ""
        paths = [str(each) for each in getattr(sys.modules[name], "__path__", ())]
        if any(place.startswith(str(tmp_path)) for place in [where, *paths]):
            del sys.modules[name]


@pytest.fixture
def waiting(app):
    """The messages that wait in the default queue, oldest first."""

    def browse(queue="celery", of=app):
        return [each.message for each in of.broker.browse(queue)]

    return browse


@pytest.fixture(params=["memory", "sqlite"])
def kept(request, make):
    """One application for each embedded result backend."""
    url = "sqlite:///kept.db" if request.param == "sqlite" else f"memory://kept-{next(_numbers)}"
    return make(backend=url)
