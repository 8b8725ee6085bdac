"""What every command takes: broker, directory, configuration, colours, JSON."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from commands import (
    PROGRAM,
    SHOP,
    at_terminal,
    bury,
    end_of,
    environment,
    garbage,
    program,
    umbel,
)
from umbel.cli.console import wants_color
from umbel.cli.root import execute
from umbel.cli.session import Session


def broker_of(*words, **env):
    """The broker that a command line leads to."""
    return umbel(*words, "report", "--json", **env).data["broker"]


def test_broker_option_wins_over_code_and_environment(own_directory):
    """``-b`` is for this one command, whatever else says."""
    (own_directory / "shop.py").write_text(
        "from umbel import Umbel\napp = Umbel('shop', broker='sqlite:///code.db')\n"
    )
    env = {"UMBEL_BROKER_URL": "sqlite:///environment.db"}
    assert broker_of("-A", "shop") == "sqlite:///code.db"
    assert broker_of("-A", "shop", **env) == "sqlite:///environment.db"
    assert broker_of("-A", "shop", "-b", "sqlite:///typed.db", **env) == "sqlite:///typed.db"


def test_result_backend_option_wins_over_code(shop):
    """The same for results."""
    ended = umbel("-A", "shop", "--result-backend", "sqlite:///r.db", "report", "--json")
    assert ended.data["results"] == "sqlite:///r.db"


def test_workdir_is_where_modules_and_files_are(shop, monkeypatch, tmp_path):
    """``--workdir`` acts before anything is looked for."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    ended = umbel(
        "--workdir", str(shop), "-A", "shop", "shell", "-c", "import os; print(os.getcwd())"
    )
    assert ended.out.strip() == str(shop)


def test_config_names_the_settings_of_an_application_without_any(shop):
    """``--config`` as in Celery."""
    (shop / "conf.py").write_text("task_default_queue = 'counter'\n")
    ended = umbel("--config", "conf", "-A", "shop", "status", "--json")
    assert [queue["name"] for queue in ended.data["queues"]] == ["counter"]


def test_quiet_leaves_out_remarks(shop):
    """``-q``: data alone."""
    assert umbel("-A", "shop", "status").err
    ended = umbel("-A", "shop", "-q", "status")
    assert ended.err == ""
    assert ended.out.startswith("celery\t")


@pytest.mark.parametrize(
    ("environ", "terminal", "refused", "expected"),
    [
        ({}, True, False, True),
        ({}, False, False, False),
        ({}, True, True, False),
        ({"NO_COLOR": "1"}, True, False, False),
        ({"NO_COLOR": ""}, True, False, True),
        ({"FORCE_COLOR": "1"}, False, False, True),
        ({"FORCE_COLOR": "0"}, False, False, False),
        ({"CLICOLOR_FORCE": "1"}, False, False, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False, False),
        ({"TERM": "dumb"}, True, False, False),
        ({"CLICOLOR": "0"}, True, False, False),
    ],
)
def test_colours_follow_the_usual_variables(environ, terminal, refused, expected):
    """NO_COLOR, FORCE_COLOR, CLICOLOR, TERM=dumb, and whether somebody looks."""
    stream = io.StringIO()
    stream.isatty = lambda: terminal
    assert wants_color(stream, environ, refused=refused) is expected


@pytest.mark.parametrize(("words", "coloured"), [([], True), (["-C"], False)])
def test_no_color_takes_the_colours_away(shop, words, coloured):
    """``-C`` at a terminal."""
    with at_terminal("-A", "shop", *words, "status") as child:
        text = child.read()
    assert "QUEUE" in text
    assert ("\x1b[" in text) is coloured


@pytest.mark.parametrize(
    "words",
    [
        ["status"],
        ["purge", "--dry-run"],
        ["purge", "--yes"],
        ["dead", "list"],
        ["dead", "purge", "--yes"],
        ["dead", "replay", "--all", "--yes"],
        ["report"],
        ["call", "shop.add", "-a", "[1, 2]"],
    ],
    ids=" ".join,
)
def test_json_is_pure(shop, words):
    """With ``--json`` standard output is one JSON document, whatever is said beside it."""
    ended = umbel("-A", "shop", "--json", *words)
    assert ended.code == 0, ended.err
    assert isinstance(ended.data, (dict, list))


def test_warnings_are_one_line_on_standard_error(own_directory):
    """A setting without effect does not disturb what a script reads."""
    (own_directory / "shop.py").write_text(
        SHOP.replace('Umbel("shop")', 'Umbel("shop", worker_pool_putlocks=True)')
    )
    done = subprocess.run(
        [sys.executable, "-m", "umbel", "-A", "shop", "--json", "status"],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stderr.startswith("Warning: worker_pool_putlocks has no effect")
    assert len(done.stderr.splitlines()) == 1


def test_an_unusable_broker_is_exit_code_69(shop):
    """One sentence that names the file."""
    ended = program("-A", "shop", "-b", "sqlite:////nowhere/at/all.db", "status")
    assert ended.code == 69
    assert "/nowhere/at/all.db" in ended.err
    assert "Traceback" not in ended.err


def test_a_damaged_database_is_exit_code_69(shop):
    """The same for a file of something else."""
    (shop / "umbel.db").write_bytes(b"not a database" * 100)
    ended = program("-A", "shop", "status")
    assert ended.code == 69
    assert "umbel.db" in ended.err
    assert "Traceback" not in ended.err


def test_an_unknown_scheme_is_exit_code_2(shop):
    """A broker that cannot be meant is a mistake in the command line."""
    ended = umbel("-A", "shop", "-b", "carrier-pigeon://roof", "status")
    assert ended.code == 2
    assert "no driver for carrier-pigeon://" in ended.err


def test_a_reader_that_has_seen_enough_is_no_failure(shop):
    """``umbel dead list | head -1`` ends quietly."""
    bury(shop, *map(garbage, range(3000)))
    command = " ".join([*PROGRAM, "-A", "shop", "dead", "list", "-n", "3000"])
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -1; echo ${{PIPESTATUS[0]}}"],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.splitlines()[-1] == "0"
    assert done.stderr == ""


def test_a_command_leaves_its_process_as_it_was(own_directory, monkeypatch, capsys):
    """An application that runs the command line keeps its directory, path and environment."""
    below = own_directory / "below"
    below.mkdir()
    before = (Path.cwd(), list(sys.path), dict(os.environ))
    words = ["--workdir", "below", "-b", "sqlite:///x.db", "--json", "status"]
    assert execute(Session(), words) == 0
    assert (below / "x.db").exists()
    assert (Path.cwd(), list(sys.path), dict(os.environ)) == before


def test_interrupting_a_question_is_exit_code_130(shop):
    """Ctrl-C is not an answer."""
    umbel("-A", "shop", "call", "shop.silent")
    with at_terminal("-A", "shop", "purge") as child:
        child.expect("Delete 1 message")
        # Python misses a signal between its last look and its wait for input; people press again.
        while child.isalive():
            child.sendintr()
            if child.expect([pexpect.EOF, pexpect.TIMEOUT], timeout=1) == 0:
                break
        assert end_of(child) == 130
    assert umbel("-A", "shop", "status", "--json").data["queues"][0]["ready"] == 1
