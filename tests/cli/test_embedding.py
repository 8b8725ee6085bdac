"""``app.start`` and ``app.worker_main``: programs that are their own command line."""

from __future__ import annotations

import subprocess
import sys

import pytest

from commands import SHOP, environment


def run(*words, code):
    """Run a Python program to its end."""
    done = subprocess.run(
        [sys.executable, *words],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == code, done.stderr
    return done


MAIN = """
import sys

if __name__ == "__main__":
    app.{method}(sys.argv[1:])
    print("after")
"""


@pytest.fixture
def till(own_directory):
    """A program that starts its own command line."""
    (own_directory / "till.py").write_text(SHOP + MAIN.format(method="start"))
    return own_directory


def test_a_program_runs_commands_for_its_own_application(till):
    """Without ``-A``; the program goes on after the command."""
    done = run("till.py", "call", "shop.add", "-a", "[1, 2]", code=0)
    assert done.stdout.endswith("after\n")
    done = run("till.py", "status", "--json", code=0)
    assert '"ready": 1' in done.stdout


def test_a_program_runs_a_worker_of_its_own_application(till):
    """Children import the module by its name and do not start the program again."""
    task_id = run("till.py", "call", "till.add", "-a", "[1, 2]", "--unchecked", code=0)
    run("till.py", "worker", "-c", "2", "--until-empty", code=0)
    done = run("till.py", "result", task_id.stdout.split()[0], code=0)
    assert done.stdout.startswith("3\n")


def test_a_module_of_a_package_does_the_same(own_directory):
    """``python -m pkg.till worker``."""
    (own_directory / "pkg").mkdir()
    (own_directory / "pkg" / "__init__.py").touch()
    (own_directory / "pkg" / "till.py").write_text(SHOP + MAIN.format(method="worker_main"))
    done = run("-m", "pkg.till", "worker", "-c", "1", "--until-empty", code=0)
    assert "pkg.till.add" in done.stderr
    assert done.stdout == "after\n"


def test_worker_main_refuses_other_commands(own_directory):
    """As in Celery."""
    (own_directory / "till.py").write_text(SHOP + MAIN.format(method="worker_main"))
    done = run("till.py", "status", code=1)
    assert "ValueError" in done.stderr


def test_a_command_that_fails_ends_the_program_with_its_code(till):
    """``SystemExit`` with the exit code."""
    done = run("till.py", "call", "nope", code=1)
    assert "no task named 'nope'" in done.stderr
    assert "after" not in done.stdout


def test_an_application_that_no_module_holds_cannot_have_worker_processes(own_directory):
    """Said in one sentence that tells what to do."""
    (own_directory / "till.py").write_text(
        "from umbel import Umbel\n"
        "def main():\n    app = Umbel('x')\n    app.start(['worker'])\n"
        "if __name__ == '__main__':\n    main()\n"
    )
    done = run("till.py", code=2)
    assert "in no module's global names" in done.stderr
