"""Which file the embedded broker uses where nobody names one, and other broker URLs.

All processes of a project must find the same file, from whichever directory they start.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from umbel.exceptions import ImproperlyConfigured
from umbel.places import default_database

MODULE = "from umbel import Umbel\napp = Umbel(set_as_current=False)\n"
SHOW = "print(app.broker_url)\n"


@pytest.fixture
def project(tmp_path):
    """A project with a package, a subpackage and scripts; returns its root."""
    root = tmp_path / "project"
    for name, text in {
        "shop/__init__.py": "",
        "shop/app.py": MODULE,
        "shop/deep/__init__.py": MODULE,
        "shop/deep/jobs.py": MODULE,
        "shop/__main__.py": MODULE + SHOW,
        "shop/runs.py": MODULE + SHOW,
        "scripts/start.py": MODULE + SHOW,
        "top.py": MODULE,
        "docs/page.md": "",
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def run(*words, cwd, **options):
    """What a Python process prints that is started in ``cwd``."""
    environment = {**os.environ, "PYTHONPATH": "", **options.pop("env", {})}
    done = subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def show(module, root):
    return f"import sys; sys.path.insert(0, {str(root)!r}); from {module} import app; " + SHOW


MODULES = ["shop.app", "shop.deep", "shop.deep.jobs", "top"]
DIRECTORIES = [".", "shop/deep", "docs", ".."]


@pytest.mark.parametrize("directory", DIRECTORIES)
def test_the_file_stands_beside_pyproject_from_whichever_directory(project, directory):
    (project / "pyproject.toml").touch()
    expected = f"sqlite:///{project / 'umbel.db'}"
    code = ";".join(show(module, project).strip() for module in MODULES)
    assert run("-c", code, cwd=project / directory).split() == [expected] * len(MODULES)


def test_the_file_stands_beside_the_top_package_without_pyproject(project):
    expected = f"sqlite:///{project / 'umbel.db'}"
    code = ";".join(show(module, project).strip() for module in MODULES)
    assert run("-c", code, cwd=project / "docs").split() == [expected] * len(MODULES)


@pytest.mark.parametrize(
    "words", [("-m", "shop"), ("-m", "shop.runs"), ("shop/runs.py",), ("shop/__main__.py",)]
)
def test_a_module_that_runs_as_main_finds_the_file_of_its_package(project, words):
    assert run(*words, cwd=project) == f"sqlite:///{project / 'umbel.db'}"


@pytest.mark.parametrize("directory", DIRECTORIES)
def test_a_script_finds_the_file_of_its_project(project, directory):
    (project / "pyproject.toml").touch()
    script = str(project / "scripts/start.py")
    assert run(script, cwd=project / directory) == f"sqlite:///{project / 'umbel.db'}"


def test_a_script_of_no_project_has_the_file_beside_itself(project):
    script = str(project / "scripts/start.py")
    assert run(script, cwd=project) == f"sqlite:///{project / 'scripts/umbel.db'}"


@pytest.mark.parametrize("directory", [".", "shop/deep", "docs"])
def test_an_interactive_session_looks_from_the_current_directory_upwards(project, directory):
    (project / "pyproject.toml").touch()
    expected = f"sqlite:///{project / 'umbel.db'}"
    assert run("-c", MODULE + SHOW, cwd=project / directory) == expected
    assert run("-", cwd=project / directory, input=MODULE + SHOW) == expected
    assert run("-i", "-q", cwd=project / directory, input=MODULE + SHOW) == expected


def test_an_interactive_session_without_a_project_uses_the_current_directory(project):
    assert run("-c", MODULE + SHOW, cwd=project / "docs") == (
        f"sqlite:///{project / 'docs/umbel.db'}"
    )


def test_the_fallback_application_belongs_to_who_asks_for_it(project):
    (project / "pyproject.toml").touch()
    path = project / "shop/uses_current.py"
    path.write_text("from umbel import current_app\nprint(current_app.broker_url)\n")
    expected = f"sqlite:///{project / 'umbel.db'}"
    assert run("-m", "shop.uses_current", cwd=project) == expected
    assert run("-c", path.read_text(), cwd=project / "docs") == expected


def test_subclasses_and_libraries_in_between_do_not_count(project):
    """The application belongs to the code that asked for it, not to its base class."""
    library = project.parent / "venv/lib/site-packages/lib.py"
    library.parent.mkdir(parents=True)
    library.write_text(
        "from umbel import Umbel\n"
        "class Own(Umbel):\n"
        "    def __init__(self, *args, **kwargs):\n"
        "        super().__init__(*args, **kwargs)\n"
        "def make():\n"
        "    return Umbel(set_as_current=False)\n"
    )
    (project / "pyproject.toml").touch()
    (project / "shop/own.py").write_text("from lib import Own\napp = Own()\n" + SHOW)
    (project / "shop/made.py").write_text("from lib import make\napp = make()\n" + SHOW)
    expected = f"sqlite:///{project / 'umbel.db'}"
    env = {"PYTHONPATH": f"{library.parent}{os.pathsep}{project}"}
    assert run("-m", "shop.own", cwd=project.parent, env=env) == expected
    assert run("-m", "shop.made", cwd=project / "docs", env=env) == expected


def test_a_symbolic_link_leads_to_the_same_file(project, tmp_path):
    (project / "pyproject.toml").touch()
    link = tmp_path / "link"
    link.symlink_to(project)
    code = show("shop.app", link)
    assert run("-c", code, cwd=tmp_path) == f"sqlite:///{project / 'umbel.db'}"


def test_a_name_that_does_not_match_the_directories_does_not_lead_astray(tmp_path):
    """A module may be loaded under any name."""
    (tmp_path / "module.py").touch()
    found = default_database(str(tmp_path / "module.py"), "some.other.name.module")
    assert found == tmp_path / "umbel.db"


def test_a_place_that_is_no_directory_counts_as_none(tmp_path):
    """A module inside an archive has no directory of its own."""
    (tmp_path / "app.zip").touch()
    found = default_database(str(tmp_path / "app.zip" / "module.py"), "module")
    assert found == Path.cwd() / "umbel.db"


def test_publisher_and_reader_in_different_directories_meet(project):
    (project / "pyproject.toml").touch()
    head = f"import sys; sys.path.insert(0, {str(project)!r}); from shop.app import app; "
    run("-c", head + "app.send_task('a'); app.close()", cwd=project / "docs")
    read = "print(len(app.broker.browse('celery'))); app.close()"
    assert run("-c", head + read, cwd=project / "shop/deep") == "1"


# -- other URLs ----------------------------------------------------------------------------


def test_a_url_in_parts_is_put_together(make):
    app = make(
        broker=None,
        broker_transport="redis",
        broker_host="host",
        broker_port=6380,
        broker_user="me",
        broker_password="hush/hush",
        broker_vhost="2",
    )
    assert app.broker_url == "redis://me:hush%2Fhush@host:6380/2"


@pytest.mark.parametrize(
    "urls", [["redis://a", "redis://b"], "redis://a;redis://b", " redis://a ; redis://b; "]
)
def test_alternates_are_a_list_or_separated_by_semicolons(make, urls):
    assert make(broker=urls).broker_url == "redis://a;redis://b"


@pytest.mark.parametrize("urls", ["sqlite:///a.db;sqlite:///b.db", ["memory://a", "sqlite:///b"]])
def test_an_embedded_broker_takes_no_alternates(make, urls):
    """Messages that went to another file would not be found again."""
    with pytest.raises(ImproperlyConfigured, match="fail over"):
        make(broker=urls).send_task("a")


def test_an_unknown_transport_names_those_that_are_known(make):
    with pytest.raises(ImproperlyConfigured, match=r"no driver for gopher://.*sqlite://"):
        make(broker="gopher://x").send_task("a")


def test_a_url_without_password_is_shown_as_it_is_and_one_with_is_masked(make):
    app = make(backend="redis://me:hush@host/0")
    assert app.backend_shown == "redis://me:**@host/0"
    assert make().backend_shown.startswith("memory://")
    assert make(backend="disabled").backend_shown == "disabled"
