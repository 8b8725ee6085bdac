"""What importing the package brings along: next to nothing until something is used."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import umbel

SHOW = "; import sys, json; print(json.dumps(sorted(sys.modules)))"
HEAVY = {
    "asyncio",
    "click",
    "concurrent.futures",
    "http",
    "logging",
    "multiprocessing",
    "pathlib",
    "pickle",
    "sqlite3",
    "socket",
    "ssl",
    "subprocess",
    "urllib.parse",
}


def modules_after(code):
    """The modules that a fresh interpreter has loaded after ``code``."""
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}{SHOW}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return set(json.loads(done.stdout))


def test_importing_the_package_loads_nothing_else_of_it():
    loaded = modules_after("import umbel")
    assert {name for name in loaded if name.startswith("umbel")} == {"umbel"}
    assert not HEAVY & loaded
    assert "typing" not in loaded


def test_importing_the_application_loads_nothing_before_it_is_used():
    assert not HEAVY & modules_after("from umbel import Umbel")


def test_making_an_application_and_tasks_loads_nothing_more():
    code = "from umbel import Umbel; app = Umbel('x', broker='memory://'); app.task(len)"
    loaded = modules_after(code)
    assert not HEAVY & loaded
    assert not {name for name in loaded if name.startswith("umbel.drivers")}


def test_a_call_in_a_thread_needs_no_event_loop():
    code = "from umbel import Umbel; Umbel('x', broker='memory://').send_task('a')"
    assert not {"asyncio", "concurrent.futures", "sqlite3", "click"} & modules_after(code)


@pytest.mark.parametrize("name", umbel.__all__)
def test_every_public_name_is_there(name):
    assert getattr(umbel, name) is not None
    assert name in dir(umbel)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        umbel.nothing  # noqa: B018 - touching is the point
