"""``umbel spool``: the calls that were kept while the broker was away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from umbel.cli.command import Group, need_command, session_of
from umbel.cli.console import count_of
from umbel.cli.ends import USAGE, Failure
from umbel.exceptions import OperationalError

if TYPE_CHECKING:
    from umbel.cli.session import Session
    from umbel.spool import Spool


@click.group(
    "spool",
    cls=Group,
    help="Look after the calls that were kept in a file because the broker did not take them in "
    "time (see the setting publish_spool).",
    short_help="Look after calls that were kept while the broker was away.",
    examples="""
        umbel -A shop spool status
        umbel -A shop spool relay
    """,
)
@click.pass_context
def command(ctx: click.Context, /) -> None:
    """The group."""
    need_command(ctx)


@command.command(
    "status",
    short_help="Show how many calls wait in the file.",
    help="Show how many calls wait in the file, and how many no broker would take.",
    examples="""
        umbel -A shop spool status
        umbel -A shop spool status --json
    """,
)
@click.pass_context
def status(ctx: click.Context) -> None:
    """Show what is in the file."""
    session = session_of(ctx)
    spool, console = _spool_of(session), session.console
    waiting, refused = spool.standing
    if console.json:
        console.emit({"path": spool.path, "waiting": waiting, "refused": refused})
        return
    console.line(f"{waiting}")
    console.say(f"{count_of(waiting, 'call')} in {spool.path}")
    if refused:
        console.say(f"{count_of(refused, 'call')} that the broker refused for good")


@command.command(
    "relay",
    short_help="Hand the calls in the file to the broker now.",
    help="Hand the calls in the file to the broker now, in their order. Exit code 69 if it is "
    "still away; what was not handed on stays in the file.",
    examples="""
        umbel -A shop spool relay
    """,
)
@click.pass_context
def relay(ctx: click.Context) -> None:
    """Empty the file."""
    session = session_of(ctx)
    spool, console = _spool_of(session), session.console
    try:
        count = spool.hand_on()
    except OperationalError as error:
        left = spool.standing.waiting
        raise OperationalError(
            f"{error}; {count_of(left, 'call')} still in {spool.path}"
        ) from error
    if console.json:
        console.emit({"path": spool.path, "relayed": count})
    else:
        console.line(f"{count}")


def _spool_of(session: Session) -> Spool:
    spool = session.load_or_bare().client.spool
    if spool is None:
        raise Failure("there is no spool: the setting publish_spool is not set", USAGE)
    return spool
