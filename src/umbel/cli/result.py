"""``umbel result``: what became of a task."""

from __future__ import annotations

import click

from umbel.cli.answer import NO_RESULTS, keeps_results, show, state_of, wait_for
from umbel.cli.command import Command, option, session_of
from umbel.cli.ends import USAGE, Failure
from umbel.cli.words import SECONDS


@click.command(
    "result",
    cls=Command,
    help="Print what a task returned.\n\nExit code 1 if it failed, 75 if there is no result yet.",
    short_help="Show what a task returned.",
    examples="""
        umbel -A shop result 0198c5d1-3d5c-7f3a-9a53-6d2f8f1e2a10
        umbel -A shop result 0198c5d1-3d5c-7f3a-9a53-6d2f8f1e2a10 --wait --timeout 10
    """,
)
@click.argument("id")
@option("--traceback", is_flag=True, help="Show where a task that failed raised.")
@option("--wait", is_flag=True, help="Wait until it is done.")
@option("--timeout", type=SECONDS, metavar="SECONDS", help="With --wait: no longer than this.")
@option("-t", "--task", hidden=True, allow_from_autoenv=False)
@click.pass_context
def command(
    ctx: click.Context,
    id: str,  # noqa: A002 - the name of the argument
    *,
    traceback: bool,
    wait: bool,
    timeout: float | None,
    task: str | None,  # noqa: ARG001 - Celery needs the name, we do not
) -> int:
    """Show a result; returns the exit code."""
    session = session_of(ctx)
    if timeout and not wait:
        raise click.UsageError("--timeout needs --wait", ctx)
    app = session.load_or_bare()
    if not keeps_results(app):
        raise Failure(NO_RESULTS, USAGE)
    found = app.AsyncResult(id)
    meta = wait_for(session.console, found, timeout) if wait else state_of(found)
    return show(session.console, meta, traceback=traceback)
