"""Which application a command is about, and what is said when there is none."""

from __future__ import annotations

import pytest

from commands import program, umbel
from umbel.cli.ends import Failure
from umbel.cli.target import find_target

APP = "from umbel import Umbel\n{name} = Umbel({text!r})\n"


def module(path, text, name="app"):
    """Write a module that holds an application."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(APP.format(name=name, text=text))


def main_of(*words, **env):
    """The name of the application that a command line leads to."""
    ended = umbel(*words, "shell", "--code", "print(app.main)", **env)
    assert ended.code == 0, ended.err
    return ended.out.strip()


@pytest.mark.parametrize(
    "words",
    [
        ["-A", "shop", "shell", "-c", "print(app.main)"],
        ["shell", "-A", "shop", "-c", "print(app.main)"],
        ["shell", "-c", "print(app.main)", "--app=shop"],
        ["-A", "nope", "shell", "-c", "print(app.main)", "-A", "shop"],
    ],
    ids=" ".join,
)
def test_app_goes_before_or_after_the_command(shop, words):
    """``-A`` may stand anywhere; what is said last counts."""
    assert umbel(*words).out == "shop\n"


def test_app_is_taken_by_commands_of_a_command(shop):
    """The same two levels deep, and between the levels."""
    for words in (["-A", "shop", "dead", "list"], ["dead", "-A", "shop", "list"]):
        assert umbel(*words, "--json").data == []
    assert umbel("dead", "list", "--json", "-A", "shop").data == []


@pytest.mark.parametrize("variable", ["UMBEL_APP", "CELERY_APP"])
def test_app_is_found_in_the_environment(shop, variable):
    """Both variables name it."""
    assert main_of(**{variable: "shop"}) == "shop"


def test_our_variable_wins_over_celerys(shop):
    """Where both are set, ours counts."""
    assert main_of(UMBEL_APP="shop", CELERY_APP="nope") == "shop"


def test_option_wins_over_the_environment(shop):
    """What is typed counts more than what is set."""
    assert main_of("-A", "shop", UMBEL_APP="nope") == "shop"


def test_app_is_found_in_pyproject_from_a_directory_below(own_directory, monkeypatch):
    """``[tool.umbel] app`` holds for the whole project; modules are found beside the file."""
    (own_directory / "pyproject.toml").write_text('[tool.umbel]\napp = "store.main:queue"\n')
    module(own_directory / "store" / "main.py", "from the project", name="queue")
    below = own_directory / "store" / "deep"
    below.mkdir()
    monkeypatch.chdir(below)
    assert main_of() == "from the project"


def test_pyproject_counts_more_than_the_names_of_files(own_directory):
    """A project that names its application means it."""
    (own_directory / "pyproject.toml").write_text('[tool.umbel]\napp = "store"\n')
    module(own_directory / "store.py", "store")
    module(own_directory / "tasks.py", "tasks")
    assert main_of() == "store"


def test_files_of_usual_names_are_found_in_their_order(own_directory):
    """celery.py, then tasks.py, then app.py in the current directory."""
    for name in ("app", "tasks", "celery"):
        module(own_directory / f"{name}.py", name)
        assert main_of() == name


@pytest.mark.parametrize("name", ["umbel", "celery"])
def test_a_package_keeps_its_application_in_a_module_of_that_name(own_directory, name):
    """``-A pkg`` finds ``pkg/umbel.py`` and ``pkg/celery.py``."""
    (own_directory / "pkg").mkdir()
    (own_directory / "pkg" / "__init__.py").touch()
    module(own_directory / "pkg" / f"{name}.py", "inside")
    assert main_of("-A", "pkg") == "inside"


def test_an_attribute_and_a_file_name_are_understood(own_directory):
    """``-A mod:name`` is exact, and ``-A mod.py`` is what a shell completes."""
    module(own_directory / "mod.py", "exact", name="work")
    assert main_of("-A", "mod:work") == "exact"
    assert main_of("-A", "mod.py") == "exact"


def test_no_application_is_one_sentence_that_says_how_to_name_one(own_directory):
    """Nothing named and nothing found: exit code 2."""
    ended = program("call", "add")
    assert ended.code == 2
    assert ended.err.startswith("Error: which application? Name its module with -A MODULE")
    assert len(ended.err.splitlines()) == 1
    assert ended.out == ""


WRONG = {
    "nope": "no module named 'nope'",
    "shop.nope": "no module named 'shop.nope'",
    "shop:nope": "'nope' in module 'shop' is no application: there is none",
    "shop:add": "'add' in module 'shop' is no application",
    "json": "module 'json' has no application in it",
}


@pytest.mark.parametrize("spec", WRONG)
def test_a_wrong_module_is_one_sentence(shop, spec):
    """No traceback of ours; exit code 2."""
    ended = umbel("status", "-A", spec)
    assert ended.code == 2, ended.err
    assert WRONG[spec] in ended.err
    assert len(ended.err.splitlines()) == 1


@pytest.mark.parametrize("spec", ["nope", "shop:nope"])
@pytest.mark.parametrize("words", [["worker"], ["worker", "-P", "solo"]], ids=" ".join)
def test_a_wrong_module_is_one_sentence_of_a_worker_too(shop, spec, words):
    """Although other processes import it."""
    ended = program(*words, "-A", spec)
    assert ended.code == 2, ended.err
    assert WRONG[spec] in ended.err
    assert len(ended.err.splitlines()) == 1


def test_the_sentence_says_where_a_wrong_name_comes_from(own_directory):
    """A name that nobody has typed is traced to its file."""
    (own_directory / "pyproject.toml").write_text('[tool.umbel]\napp = "nope"\n')
    assert f"(named in {own_directory / 'pyproject.toml'})" in umbel("status").err


@pytest.mark.parametrize(
    "command", [["status"], ["worker"], ["worker", "-P", "solo"]], ids=" ".join
)
def test_an_exception_in_the_module_is_the_users_own_traceback(own_directory, command):
    """Their frames, none of ours; exit code 1."""
    (own_directory / "broken.py").write_text("def load():\n    raise KeyError('price')\n\nload()\n")
    ended = program(*command, "-A", "broken")
    assert ended.code == 1
    assert ended.err.startswith("Traceback (most recent call last):\n")
    assert ended.err.rstrip().endswith("KeyError: 'price'")
    files = [line for line in ended.err.splitlines() if line.strip().startswith("File ")]
    assert len(files) == 2
    assert all(str(own_directory / "broken.py") in line for line in files)


def test_a_module_that_imports_what_is_not_there_shows_who_did(own_directory):
    """The missing module is somebody else's than the one that was named."""
    (own_directory / "broken.py").write_text("import not_installed\n")
    ended = program("status", "-A", "broken")
    assert ended.code == 1
    assert "broken.py" in ended.err
    assert ended.err.rstrip().endswith("ModuleNotFoundError: No module named 'not_installed'")


def test_a_syntax_error_shows_the_line(own_directory):
    """As Python itself would."""
    (own_directory / "broken.py").write_text("app = = 1\n")
    ended = program("status", "-A", "broken")
    assert ended.code == 1
    assert "app = = 1" in ended.err
    assert "SyntaxError" in ended.err
    assert "/cli/" not in ended.err


def test_a_module_that_exits_does_not_pass_for_success(own_directory):
    """``sys.exit(0)`` while importing is a failure to load."""
    (own_directory / "broken.py").write_text("import sys\nsys.exit(0)\n")
    assert program("status", "-A", "broken").code == 1


@pytest.mark.parametrize("command", [["status"], ["worker"]], ids=" ".join)
def test_a_misspelt_setting_is_one_sentence_with_its_place(own_directory, command):
    """What is wrong, what was meant, and the line of the user's file."""
    (own_directory / "wrong.py").write_text(
        "from umbel import Umbel\napp = Umbel('x', task_time_limits=3)\n"
    )
    ended = program(*command, "-A", "wrong")
    assert ended.code == 2
    assert "task_time_limit" in ended.err
    assert f"({own_directory / 'wrong.py'}, line 2)" in ended.err
    assert len(ended.err.splitlines()) == 1


@pytest.mark.parametrize("text", ["[tool.umbel\n", "[tool.umbel]\napp = 3\n"])
def test_a_pyproject_that_cannot_be_read_is_named(own_directory, text):
    """It is not passed over."""
    (own_directory / "pyproject.toml").write_text(text)
    with pytest.raises(Failure, match=r"pyproject\.toml"):
        find_target(None, own_directory)


@pytest.mark.parametrize("text", ["", "[tool.other]\napp = 'x'\n", "tool = 1\n"])
def test_a_pyproject_without_our_table_names_nothing(own_directory, text):
    """Other programs' files are left alone."""
    (own_directory / "pyproject.toml").write_text(text)
    assert find_target(None, own_directory) is None


def test_a_broker_is_enough_where_no_task_is_needed(shop):
    """``-b`` alone serves what concerns the broker; a task's name cannot be checked then."""
    umbel("-A", "shop", "call", "shop.add", "-a", "[1, 2]")
    (shop / "shop.py").unlink()
    ended = umbel("-b", "sqlite:///umbel.db", "status", "--json")
    assert ended.data["queues"][0]["ready"] == 1
    assert umbel("-b", "sqlite:///umbel.db", "call", "shop.add").code == 2
    unchecked = umbel("-b", "sqlite:///umbel.db", "call", "shop.add", "--unchecked")
    assert unchecked.code == 0
