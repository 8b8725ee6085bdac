"""``umbel status``: how the queues stand."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click

from umbel.cli.command import Command, option, session_of
from umbel.cli.console import count_of, span
from umbel.cli.graves import LETTERS_COUNTED, count_letters
from umbel.cli.words import NAMES, joined
from umbel.representation import one_line
from umbel.settings import mask_url

if TYPE_CHECKING:
    from collections.abc import Sequence

    from umbel.app import Umbel
    from umbel.ports.broker import QueueStats

NO_WORKERS = "workers: not listed, because the broker does not tell who takes messages from it"


@click.command(
    "status",
    cls=Command,
    help="Show how the queues stand: messages that are ready, that are delayed, that a worker "
    "has claimed, and how long the oldest has been ready.\n\nThe application's own queues are "
    "shown, and every other queue of the broker that holds something. Exit code 69 if the broker "
    "cannot be used.",
    short_help="Show how the queues stand.",
    examples="""
        umbel -A shop status
        umbel -A shop status --json
        umbel -b sqlite:///umbel.db status -Q mail
    """,
)
@option("-Q", "--queues", type=NAMES, metavar="NAMES", multiple=True, help="Only these queues.")
@click.pass_context
def command(ctx: click.Context, queues: tuple[tuple[str, ...], ...]) -> None:
    """Show the queues."""
    session = session_of(ctx)
    console = session.console
    app = session.load_or_bare()
    found = stats_of(app, joined(queues), known=session.has_app)
    letters, more = count_letters(app.broker)
    shown_broker = mask_url(app.broker_url)
    if console.json:
        rows = [_document(each) for each in found]
        dead = {"count": letters, "counted_up_to": LETTERS_COUNTED if more else None}
        console.emit({"broker": shown_broker, "queues": rows, "dead_letters": dead})
        return
    console.say(f"broker: {shown_broker}")
    console.table(
        ("QUEUE", "READY", "DELAYED", "CLAIMED", "OLDEST"),
        [(one_line(q.name), q.ready, q.delayed, q.claimed, span(q.oldest_age)) for q in found],
        right="READY DELAYED CLAIMED OLDEST",
    )
    if letters:
        least = "more than " if more else ""
        console.say(f"{least}{count_of(letters, 'dead letter')}: see umbel dead list")
    console.say(NO_WORKERS)


def stats_of(app: Umbel, wanted: Sequence[str], *, known: bool) -> list[QueueStats]:
    """How the wanted queues stand; without any, the application's and all that hold something."""
    broker = app.broker
    if wanted:
        return broker.stats(wanted)
    own = list(app.queues.consume_from) if known else []
    others = [each for each in broker.stats() if each.name not in own]
    return [*(broker.stats(own) if own else ()), *others]


def _document(stats: QueueStats) -> dict[str, Any]:
    age = stats.oldest_age
    return {
        "name": stats.name,
        "ready": stats.ready,
        "delayed": stats.delayed,
        "claimed": stats.claimed,
        "oldest_age": None if age is None or math.isnan(age) else round(age, 3),
    }
