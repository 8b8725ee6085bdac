"""``umbel shell`` and ``umbel report``."""

from __future__ import annotations

import pytest

from commands import at_terminal, end_of, umbel


def test_code_runs_with_the_application_and_its_tasks(shop):
    """``app``, every task by its last name, and ``tasks``."""
    script = "print(app.main, add(1, 2), tasks['shop.add'] is add, AsyncResult('x').id)"
    ended = umbel("-A", "shop", "shell", "--code", script)
    assert (ended.code, ended.out, ended.err) == (0, "shop 3 True x\n", "")


def test_a_program_on_standard_input_is_run(shop):
    """As Python does without a terminal."""
    ended = umbel("-A", "shop", "shell", stdin="for x in range(2):\n    print(add(x, x))\n")
    assert (ended.code, ended.out) == (0, "0\n2\n")


def test_an_exception_is_the_users_own(shop):
    """Exit code 1 and their traceback."""
    ended = umbel("-A", "shop", "shell", "-c", "1 / 0")
    assert ended.code == 1
    assert ended.err.rstrip().endswith("ZeroDivisionError: division by zero")
    assert "/cli/" not in ended.err


def test_tasks_can_be_left_out(shop):
    """``-T``."""
    assert umbel("-A", "shop", "shell", "-T", "-c", "add").code == 1


def test_an_interactive_session_greets_and_answers(shop):
    """Python's own shell at a terminal; Ctrl-D ends it."""
    with at_terminal("-A", "shop", "shell", "--python") as child:
        child.expect(r"umbel \d.*Python 3.*Umbel shop.*4 tasks")
        child.expect(">>> ")
        child.sendline("add(20, 22)")
        child.expect("\n42\r")
        child.sendeof()
        assert end_of(child) == 0


def test_report_shows_versions_and_settings_but_no_secret(own_directory):
    """It can be pasted into an issue."""
    (own_directory / "shop.py").write_text(
        "from umbel import Umbel\n"
        "app = Umbel('shop', task_time_limit=7, x_shop_api_key='hunter2')\n"
    )
    ended = umbel("-A", "shop", "report")
    assert ended.code == 0
    assert "software -> umbel:" in ended.out
    assert "platform -> system:" in ended.out
    assert "task_time_limit: 7" in ended.out
    assert "hunter2" not in ended.out
    data = umbel("-A", "shop", "report", "--json").data
    assert data["settings"]["task_time_limit"] == 7
    assert "hunter2" not in str(data)


def test_report_needs_no_application(own_directory):
    """Somebody whose application does not load needs a report most."""
    ended = umbel("report")
    assert ended.code == 0
    assert "software -> umbel:" in ended.out


@pytest.mark.parametrize("words", [["-A", "nope", "report"]])
def test_report_of_an_application_that_is_named_wrongly_fails(own_directory, words):
    """It does not report on something else."""
    assert umbel(*words).code == 2
