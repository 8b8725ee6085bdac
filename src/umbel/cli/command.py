"""Commands that all take the same options, before or after their name, and come late.

``umbel -A shop worker`` and ``umbel worker -A shop`` are the same: every command has the shared
options beside its own, and what is said last counts.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from umbel.cli.ends import USAGE
from umbel.cli.session import Session
from umbel.exceptions import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from click import Context, HelpFormatter, Parameter

HELP_WIDTH = 100
SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": HELP_WIDTH}


class Option(click.Option):
    """An option; ``section`` is the heading under which the help shows it."""

    def __init__(self, *args: Any, section: str = "Options", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section


def option(*names: str, **attributes: Any) -> Callable[[Any], Any]:
    """Decorator that adds an `Option`."""
    return click.option(*names, cls=Option, **attributes)


def _remember(ctx: Context, param: Parameter, value: Any) -> None:
    if value and param.name:
        setattr(ctx.ensure_object(Session), param.name, value)


def shared_options(*, outermost: bool) -> list[Option]:
    """The options that every command takes; only the outermost reads them from the environment."""

    def shared(*names: str, env: list[str] | None = None, **attributes: Any) -> Option:
        attributes |= {"expose_value": False, "callback": _remember, "section": "Global options"}
        return Option(
            names,
            envvar=env if outermost else None,
            allow_from_autoenv=outermost,
            **attributes,
        )

    return [
        shared(
            "-A",
            "--app",
            metavar="MODULE",
            env=["UMBEL_APP", "CELERY_APP"],
            help="The application: a module, a package, or MODULE:NAME.",
        ),
        shared("-b", "--broker", metavar="URL", help="The broker to use instead of its own."),
        shared("--result-backend", metavar="URL", help="The same for the result backend."),
        shared(
            "--workdir",
            type=click.Path(exists=True, file_okay=False),
            metavar="DIRECTORY",
            help="Work in this directory.",
        ),
        shared(
            "--config",
            metavar="MODULE",
            help="The settings of an application that names no module for them.",
        ),
        shared("-q", "--quiet", is_flag=True, help="Say only what went wrong."),
        shared("-C", "--no-color", is_flag=True, help="No colours (also NO_COLOR=1)."),
        shared("--json", is_flag=True, help="Results as JSON, and nothing else, on stdout."),
    ]


class _Shared(click.Command):
    """What commands and groups have in common."""

    outermost = False

    def __init__(self, *args: Any, examples: str = "", **attributes: Any) -> None:
        attributes["context_settings"] = {**SETTINGS, **(attributes.get("context_settings") or {})}
        super().__init__(*args, **attributes)
        self.examples = examples
        self.shared = shared_options(outermost=self.outermost)

    def get_params(self, ctx: Context) -> list[Parameter]:
        """Its own parameters, then those that every command has."""
        return [*super().get_params(ctx), *self.shared]

    def format_options(self, ctx: Context, formatter: HelpFormatter) -> None:
        """The options under their headings."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in super().get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and isinstance(param, click.Option):
                sections.setdefault(getattr(param, "section", "Options"), []).append(record)
        if self.outermost:
            records = (param.get_help_record(ctx) for param in self.shared)
            sections["Options"] = [*filter(None, records), *sections["Options"]]
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows)

    def format_epilog(self, ctx: Context, formatter: HelpFormatter) -> None:  # noqa: ARG002 - click's
        """The examples, and where the other options are."""
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples.strip().splitlines():
                    formatter.write(f"  {line.strip()}\n")
        if not self.outermost:
            formatter.write_paragraph()
            formatter.write_text(
                "Global options (-A, -b, -q, --json, ...: see umbel --help) are taken here as well."
            )


class Command(_Shared):
    """A command."""

    def invoke(self, ctx: Context) -> Any:
        """Put the shared options into force and run it."""
        ctx.ensure_object(Session).prepare()
        return super().invoke(ctx)


def need_command(ctx: Context, /) -> None:
    """Show the help where no command was named; a script that forgot it does not go on."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(USAGE)


class Group(_Shared, click.Group):
    """A command of commands."""

    command_class = Command

    def __init__(self, *args: Any, **attributes: Any) -> None:
        attributes.setdefault("callback", click.pass_context(need_command))
        attributes.setdefault("subcommand_metavar", "COMMAND [ARGS]...")
        super().__init__(*args, no_args_is_help=False, invoke_without_command=True, **attributes)

    def format_options(self, ctx: Context, formatter: HelpFormatter) -> None:
        """The commands, then the options."""
        self.format_commands(ctx, formatter)
        super().format_options(ctx, formatter)

    def resolve_command(
        self, ctx: Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that ``args`` start with.

        Raises:
            UsageError: there is none; the text has the nearest name.
        """
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            meant = did_you_mean(name, self.list_commands(ctx))
            raise click.UsageError(f"there is no command {name!r}{meant}", ctx)
        return super().resolve_command(ctx, args)


class LazyGroup(Group):
    """A group whose commands are imported when they are used.

    Args:
        lazy: the module of each command and the line that describes it.
    """

    outermost = True

    def __init__(self, *args: Any, lazy: Mapping[str, tuple[str, str]], **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.lazy = lazy

    def invoke(self, ctx: Context) -> Any:
        """Run the command; that somebody has read enough of its output is no failure."""
        try:
            code = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            # The interpreter must not try to write the rest at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        return code

    def list_commands(self, ctx: Context) -> list[str]:  # noqa: ARG002 - click's
        """The names, in the order in which they were given."""
        return list(self.lazy)

    def get_command(self, ctx: Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        """The command of that name, or None."""
        if cmd_name not in self.lazy:
            return None
        command: click.Command = import_module(self.lazy[cmd_name][0]).command
        return command

    def format_commands(self, ctx: Context, formatter: HelpFormatter) -> None:  # noqa: ARG002 - click's
        """Each command with its line."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self.lazy.items()])


def session_of(ctx: Context) -> Session:
    """The session in which a command runs."""
    return ctx.ensure_object(Session)
