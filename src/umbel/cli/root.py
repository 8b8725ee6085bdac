"""The program itself: its commands, and how every one of them ends."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from umbel import __version__
from umbel.cli.command import LazyGroup
from umbel.cli.ends import INTERRUPTED, OK, failure_of
from umbel.exceptions import UmbelError, UmbelWarning

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from umbel.cli.session import Session

COMMANDS = {
    "worker": ("umbel.cli.worker", "Run tasks."),
    "dev": ("umbel.cli.dev", "Run tasks, and load the code again whenever it changes."),
    "call": ("umbel.cli.call", "Send a task to the workers."),
    "result": ("umbel.cli.result", "Show what a task returned."),
    "status": ("umbel.cli.status", "Show how the queues stand, and the workers."),
    "purge": ("umbel.cli.purge", "Delete the messages that wait in queues."),
    "dead": ("umbel.cli.dead", "Look after the messages that could not be worked on."),
    "spool": ("umbel.cli.spool", "Look after calls that were kept while the broker was away."),
    "db": ("umbel.cli.db", "Look after the tables in a database server."),
    "shell": ("umbel.cli.shell", "Start Python with the application and its tasks at hand."),
    "report": ("umbel.cli.report", "Show versions and settings, for a bug report."),
}


def _show_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's signature
    if value and not ctx.resilient_parsing:
        click.echo(f"umbel {__version__}")
        ctx.exit()


root = LazyGroup(
    name="umbel",
    lazy=COMMANDS,
    help="A distributed task queue.\n\nThe application is found with -A, in the environment "
    "variable UMBEL_APP, under [tool.umbel] in pyproject.toml, or as celery.py, tasks.py or "
    "app.py in the current directory. Every option of a command can be given by an environment "
    "variable too: UMBEL_WORKER_CONCURRENCY=4 is `umbel worker --concurrency 4`.",
    context_settings={"auto_envvar_prefix": "UMBEL"},
    examples="""
        umbel -A shop worker
        umbel -A shop call shop.charge --args '[7, 19.5]' --wait
        umbel worker --help
    """,
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            allow_from_autoenv=False,
            callback=_show_version,
            help="Show the version and exit.",
        )
    ],
)


def execute(session: Session, argv: Sequence[str]) -> int:
    """Run one command line in ``session``; returns the exit code."""
    with _brief_warnings():
        try:
            code = root.main(list(argv), prog_name="umbel", standalone_mode=False, obj=session)
        except click.ClickException as failure:
            failure.show()
            return failure.exit_code
        except UmbelError as error:
            failure_of(error).show()
            return failure_of(error).exit_code
        except click.Abort:
            return INTERRUPTED
        finally:
            session.restore()
    return code if isinstance(code, int) else OK


@contextmanager
def _brief_warnings() -> Iterator[None]:
    """Within the block, warnings of Umbel are one line each."""
    usual = warnings.showwarning

    def show(message: Any, category: type[Warning], *rest: Any, **named: Any) -> None:
        if issubclass(category, UmbelWarning):
            click.echo(f"Warning: {message}", err=True)
        else:
            usual(message, category, *rest, **named)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
