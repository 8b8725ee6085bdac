"""``umbel status``: how the queues stand, and who works on them."""

from __future__ import annotations

import math
from dataclasses import dataclass
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
    from umbel.cli.console import Console
    from umbel.ports.broker import OwnerStats, QueueStats

NO_WORKERS = "workers: not listed, because the broker does not tell who takes messages from it"


@click.command(
    "status",
    cls=Command,
    help="Show how the queues stand: messages that are ready, that are delayed, that a worker "
    "has claimed, and how long the oldest has been ready; and which workers there are: their "
    "processes, the messages they hold, and for how long their leases last still.\n\nThe "
    "application's own queues are shown, and every other queue of the broker that holds "
    "something. Exit code 69 if the broker cannot be used.",
    short_help="Show how the queues stand, and the workers.",
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
    workers = workers_of(app.broker.owners()) if app.broker.capabilities.leases else None
    letters, more = count_letters(app.broker)
    shown_broker = mask_url(app.broker_url)
    if console.json:
        rows = [_document(each) for each in found]
        dead = {"count": letters, "counted_up_to": LETTERS_COUNTED if more else None}
        listed = None if workers is None else [_described(each) for each in workers]
        console.emit(
            {"broker": shown_broker, "queues": rows, "workers": listed, "dead_letters": dead}
        )
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
    _show_workers(console, workers)


def _show_workers(console: Console, workers: list[Seen] | None) -> None:
    if workers is None:
        console.say(NO_WORKERS)
    elif not workers:
        console.say("workers: none")
    for worker in workers or ():
        processes = f"{worker.processes} process{'' if worker.processes == 1 else 'es'}"
        lease = f"lease {span(worker.lease_left)}" if worker.lease_left > 0 else "lease ended"
        holds = count_of(worker.holds, "message")
        console.say(f"worker {one_line(worker.name)}: {processes}, {holds} held, {lease}")


@dataclass(slots=True)
class Seen:
    """A worker as its broker sees it.

    Attributes:
        name: its node name.
        processes: how many of its processes take messages.
        holds: how many messages they have claimed.
        lease_left: seconds until the first of its leases ends; negative if one has.
    """

    name: str
    processes: int
    holds: int
    lease_left: float


def workers_of(owners: Sequence[OwnerStats]) -> list[Seen]:
    """The owners of claims by worker, as the first part of their names tells it."""
    workers: dict[str, Seen] = {}
    for owner in owners:
        name, _, rest = owner.name.partition("/")
        seen = workers.setdefault(name, Seen(name, 0, 0, owner.lease_left))
        seen.processes += not rest.startswith("supervisor/")
        seen.holds += owner.claimed
        seen.lease_left = min(seen.lease_left, owner.lease_left)
    return list(workers.values())


def _described(worker: Seen) -> dict[str, Any]:
    return {
        "name": worker.name,
        "processes": worker.processes,
        "holds": worker.holds,
        "lease_left": round(worker.lease_left, 3),
    }


def stats_of(app: Umbel, wanted: Sequence[str], *, known: bool) -> list[QueueStats]:
    """How the wanted queues stand; without any, the application's and all that hold something."""
    broker = app.broker
    if wanted:
        return broker.stats(wanted)
    consumed = app.queues.consume_from.values() if known else ()
    own = [queue.name for queue in consumed if not queue.temporary]
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
