"""``umbel worker``: the options put into words that the supervisor understands, and its banner."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from umbel.cli.banner import Banner
from umbel.cli.command import Command, session_of
from umbel.cli.session import load_failure
from umbel.cli.worker_options import (
    CELERY_OPTIONS,
    LIFE_OPTIONS,
    REFUSED,
    WITHOUT_EFFECT,
    WORK_OPTIONS,
    adding,
    options_from,
)

if TYPE_CHECKING:
    from umbel.cli.session import Session
    from umbel.cli.target import Target
    from umbel.worker.options import WorkerOptions

logger = logging.getLogger("umbel.worker")

HELP = """Run tasks.

Ctrl-C or SIGTERM: finish what runs and end, with exit code 0. Once more, or SIGQUIT: give back
what runs, so that another worker starts it, and end with exit code 1. A message is never lost.

Settings of the application can be changed for this worker after two dashes, as in
`-- task_time_limit=30`.

The options of `celery worker` that need nothing done here (-E, -O, --without-gossip,
--without-mingle, ...) are accepted.
"""


@click.command(
    "worker",
    cls=Command,
    help=HELP,
    short_help="Run tasks.",
    examples="""
        umbel -A shop worker
        umbel -A shop worker -c 4 -Q mail,celery --loglevel INFO
        umbel -A shop worker --pool threads -c 20 -n mail@%h
        umbel -A shop worker --until-empty -- task_time_limit=30
    """,
)
@adding(WORK_OPTIONS, LIFE_OPTIONS, CELERY_OPTIONS)
@click.argument("settings", nargs=-1, metavar="[-- SETTING=VALUE ...]")
@click.pass_context
def command(ctx: click.Context, /, **given: Any) -> int:
    """Run tasks until told to stop; returns the exit code."""
    session = session_of(ctx)
    for name, reason in REFUSED.items():
        if given[name]:
            raise click.UsageError(reason, ctx)
    target = session.target()
    options = options_from(given, app=target.spec)
    if session.json and options.log_format is None:
        options = replace(options, log_format="json")
    if options.loglevel is None:
        options = replace(options, loglevel=_usual_level(options.logfile))
    options = replace(options, color=session.console.color_err)
    if given["umask"]:
        os.umask(_octal(given["umask"]))
    with _pidfile(given["pidfile"], options):
        _set_up_logging(options, given)
        leash = _leash(given["leash"])
        banner = Banner(session.console, options, on_ready=leash.ready if leash else None)
        if options.pool == "solo":
            return _run_here(options, banner, target)
        return _run_supervisor(session, options, banner, target)


def _set_up_logging(options: WorkerOptions, given: dict[str, Any]) -> None:
    from umbel.telemetry import setup_logging

    setup_logging(
        level=options.loglevel,
        logfile=options.log_path(),
        style=options.log_format,
        color=options.color,
    )
    for name, reason in WITHOUT_EFFECT.items():
        if given[name]:
            logger.debug("--%s has no effect: %s", name.replace("_", "-"), reason)
    if given["autoscale"]:
        logger.warning(
            "the number of slots does not change by itself; --autoscale gives %s for good",
            options.concurrency,
        )


def _run_supervisor(
    session: Session, options: WorkerOptions, banner: Banner, target: Target
) -> int:
    from umbel.worker.blame import Blame
    from umbel.worker.supervisor import StartFailure, Supervisor

    if session.given is not None:
        _keep_main_out()
    try:
        return Supervisor(options, on_open=banner.open, on_ready=banner.ready).run()
    except StartFailure as failure:
        raise load_failure(Blame(str(failure), usage=failure.usage), target) from None


def _run_here(options: WorkerOptions, banner: Banner, target: Target) -> int:
    from umbel.worker import solo
    from umbel.worker.blame import blame

    opened = False

    def on_open(*facts: Any) -> None:
        nonlocal opened
        opened = True
        banner.open(*facts)

    try:
        return solo.run(options, on_open=on_open, on_ready=banner.ready)
    except (Exception, SystemExit) as error:
        if opened:
            raise
        raise load_failure(blame(error), target) from None


def _keep_main_out() -> None:
    """Keep children from running the program that started its own command line.

    They import the application by the name of its module, where the program's own start is
    behind ``if __name__ == "__main__"``.
    """
    from importlib.machinery import ModuleSpec

    sys.modules["__main__"].__spec__ = ModuleSpec("umbel.__main__", None)


def _usual_level(logfile: str | None) -> str:
    return "INFO" if logfile is None and sys.stderr.isatty() else "WARNING"


def _octal(text: str) -> int:
    try:
        return int(text, 8)
    except ValueError:
        raise click.UsageError(f"--umask: {text!r} is not an octal number such as 022") from None


def _pidfile(name: str | None, options: WorkerOptions) -> Any:
    if name is None:
        return nullcontext()
    from umbel.cli.pidfile import pidfile

    return pidfile(name, options.hostname or "")


def _leash(descriptor: int | None) -> Any:
    if descriptor is None:
        return None
    from umbel.cli.leash import Leash

    return Leash(descriptor)
