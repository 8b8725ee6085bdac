"""The program starts at once, and its help is true."""

from __future__ import annotations

import shlex
import subprocess
import sys

import click
import pytest

from commands import program, umbel
from umbel.cli.command import Group
from umbel.cli.root import COMMANDS, root

HEAVY = (
    "umbel.app",
    "umbel.drivers",
    "umbel.worker",
    "umbel.settings",
    "umbel.cli.worker",
    "asyncio",
    "multiprocessing",
    "rich",
    "sqlite3",
)


def commands(group=root, before=()):
    """Every command with the words that lead to it."""
    with click.Context(root) as ctx:
        for name in group.list_commands(ctx):
            found = group.get_command(ctx, name)
            yield (*before, name), found
            if isinstance(found, Group):
                yield from commands(found, (*before, name))


ALL = dict(commands())


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_import_no_application_driver_or_command(option):
    """``umbel --help`` and ``umbel --version`` cost little more than click."""
    script = (
        "import sys\n"
        "from umbel.cli.root import execute\n"
        "from umbel.cli.session import Session\n"
        f"code = execute(Session(), [{option!r}])\n"
        "print(*sys.modules, file=sys.stderr)\n"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30
    )
    assert "umbel" in done.stdout
    assert not set(HEAVY) & set(done.stderr.split())


def test_help_names_every_command():
    """``umbel --help`` lists all commands, each with a line."""
    help_text = umbel("--help")
    assert help_text.code == 0
    for name, (_, line) in COMMANDS.items():
        assert f"  {name} " in help_text.out
        assert line.split(",")[0] in help_text.out


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_of_a_command_is_its_own(name):
    """What the group says of a command without importing it is what the command says."""
    assert ALL[(name,)].short_help == COMMANDS[name][1]


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_every_command_has_help_and_examples_that_parse(words):
    """The examples in the help are command lines that the program takes."""
    found = ALL[words]
    assert found.help
    lines = [line.strip() for line in found.examples.splitlines() if line.strip()]
    assert lines
    for line in lines:
        program, *rest = shlex.split(line)
        assert program == "umbel"
        parse(rest, rest.index(words[0]))


def parse(words, start):
    """Parse a command line without running it; the command's name is at ``start``."""
    ctx = root.make_context("umbel", [*words[:start], words[start]])
    command, rest = root, words[start:]
    while isinstance(command, Group):
        command, rest = command.get_command(ctx, rest[0]), rest[1:]
    if "../library" not in rest:  # a directory that must exist
        command.make_context("command", list(rest), parent=ctx).close()


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_every_option_is_explained(words):
    """No option that the help shows is without a sentence."""
    for param in ALL[words].params:
        if isinstance(param, click.Option) and not param.hidden:
            assert (param.help or "").rstrip().endswith((".", ")")), param.name


def test_without_a_command_the_help_is_shown():
    """``umbel`` alone says what there is; a script that forgot the command does not go on."""
    for words in ([], ["dead"], ["-A", "shop"]):
        ended = umbel(*words)
        assert (ended.code, ended.out) == (2, "")
        assert "Commands:" in ended.err


def test_an_unknown_command_is_met_with_the_nearest():
    """A slip of the finger costs one look."""
    ended = umbel("wroker")
    assert ended.code == 2
    assert "there is no command 'wroker' (did you mean 'worker'?)" in ended.err
    assert ended.out == ""


def test_an_unknown_command_of_a_group_is_met_with_the_nearest():
    """The same for commands of a command."""
    ended = umbel("dead", "lst")
    assert ended.code == 2
    assert "did you mean 'list'?" in ended.err


def test_version_is_one_line():
    """``umbel --version`` can be read by a script."""
    ended = program("--version")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.split()[0] == "umbel"
    assert len(ended.out.splitlines()) == 1


def test_options_of_a_command_come_from_the_environment_too(shop):
    """``UMBEL_CALL_QUEUE=mail`` is ``umbel call --queue mail``."""
    umbel("-A", "shop", "call", "shop.silent", UMBEL_CALL_QUEUE="mail")
    stats = umbel("-A", "shop", "status", "--json").data["queues"]
    assert [queue["name"] for queue in stats if queue["ready"]] == ["mail"]
