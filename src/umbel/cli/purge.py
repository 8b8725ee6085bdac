"""``umbel purge``: queues emptied, after a look at what that would delete."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from umbel.cli.command import Command, option, session_of
from umbel.cli.console import count_of
from umbel.cli.status import stats_of
from umbel.cli.words import NAMES, joined
from umbel.representation import one_line

if TYPE_CHECKING:
    from umbel.cli.console import Console
    from umbel.ports.broker import QueueStats


@click.command(
    "purge",
    cls=Command,
    help="Delete the messages that wait in queues, also those that are not due yet. What a "
    "worker has claimed stays.\n\nWithout -Q these are the queues from which a worker of this "
    "application would take tasks. How many messages there are is said before anything is asked.",
    short_help="Delete the messages that wait in queues.",
    examples="""
        umbel -A shop purge
        umbel -A shop purge -Q mail,slow --dry-run
        umbel -A shop purge --yes
    """,
)
@option("-Q", "--queues", type=NAMES, metavar="NAMES", multiple=True, help="Only these queues.")
@option(
    "-X", "--exclude-queues", type=NAMES, metavar="NAMES", multiple=True, help="Not these queues."
)
@option("-y", "--yes", "-f", "--force", is_flag=True, help="Do not ask.")
@option("--dry-run", is_flag=True, help="Count, and delete nothing.")
@click.pass_context
def command(
    ctx: click.Context,
    *,
    queues: tuple[tuple[str, ...], ...],
    exclude_queues: tuple[tuple[str, ...], ...],
    yes: bool,
    dry_run: bool,
) -> None:
    """Empty queues."""
    session = session_of(ctx)
    app = session.load_or_bare()
    console = session.console
    wanted, unwanted = joined(queues), set(joined(exclude_queues))
    if not wanted and session.has_app:
        wanted = tuple(app.queues.consume_from)
    found = [
        each
        for each in stats_of(app, wanted, known=session.has_app)
        if each.name not in unwanted and each.ready + each.delayed
    ]
    total = sum(each.ready + each.delayed for each in found)
    _say_what_waits(console, found)
    if dry_run or not total:
        deleted = {each.name: 0 for each in found}
    else:
        console.confirm(f"delete {count_of(total, 'message')}", yes=yes)
        deleted = {each.name: app.broker.purge(each.name) for each in found}
    _show(console, deleted, total if dry_run else None)


def _say_what_waits(console: Console, found: list[QueueStats]) -> None:
    for each in found:
        notes = [f"{each.delayed:,} of them delayed"] if each.delayed else []
        if each.claimed:
            notes.append(f"{each.claimed:,} more claimed by workers stay")
        note = f" ({', '.join(notes)})" if notes else ""
        console.say(
            f"{one_line(each.name)}: {count_of(each.ready + each.delayed, 'message')}{note}"
        )


def _show(console: Console, deleted: dict[str, int], would: int | None) -> None:
    total = sum(deleted.values())
    if console.json:
        document: dict[str, object] = {"deleted": total, "queues": deleted}
        if would is not None:
            document["would_delete"] = would
        console.emit(document)
    elif would is not None:
        console.line(f"would delete {count_of(would, 'message')}")
    else:
        console.line(f"deleted {count_of(total, 'message')}")
