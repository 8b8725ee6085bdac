"""``umbel dead``: the messages that nobody could or was allowed to work on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from umbel.cli.command import Group, need_command, option, session_of
from umbel.cli.console import count_of
from umbel.cli.ends import FAILED, Failure
from umbel.cli.graves import Wanted, find_letters, task_of
from umbel.cli.letter import document_of, lines_of
from umbel.representation import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from umbel.cli.console import Console
    from umbel.ports.broker import Broker, Buried

BATCH = 500

FILTERS = (
    option("--task", metavar="NAME", help="Only those of this task."),
    option("--reason", metavar="REASON", help="Only those with this reason, as in unknown-task."),
    option("--queue", metavar="NAME", help="Only those from this queue."),
)
CAUTION = (
    option("-y", "--yes", "-f", "--force", is_flag=True, help="Do not ask."),
    option("--dry-run", is_flag=True, help="Count, and change nothing."),
)


def _with(*decorators: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def decorate(function: Any) -> Any:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


@click.group(
    "dead",
    cls=Group,
    help="Look after dead letters: the messages that could not be worked on, kept with the reason "
    "(unknown-task, undecodable, refused-content, rejected, crashed or malformed).",
    short_help="Look after the messages that could not be worked on.",
    examples="""
        umbel -A shop dead list
        umbel -A shop dead show 7
        umbel -A shop dead replay --task shop.charge
        umbel -A shop dead purge --reason malformed
    """,
)
@click.pass_context
def command(ctx: click.Context, /) -> None:
    """The group."""
    need_command(ctx)


@command.command(
    "list",
    short_help="List dead letters, newest first.",
    help="List dead letters, newest first.",
    examples="""
        umbel -A shop dead list
        umbel -A shop dead list --reason crashed --limit 10 --json
    """,
)
@_with(*FILTERS)
@option(
    "-n",
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    default=50,
    show_default=True,
    help="How many at most.",
)
@click.pass_context
def list_letters(
    ctx: click.Context, /, *, task: str | None, reason: str | None, queue: str | None, limit: int
) -> None:
    """List dead letters."""
    session = session_of(ctx)
    wanted = Wanted(task=task, reason=_reason(reason), queue=queue)
    letters = find_letters(session.load_or_bare().broker, wanted)
    found = list(islice(letters, limit))
    more = next(letters, None) is not None
    console = session.console
    if console.json:
        console.emit([document_of(each) for each in found])
    elif found:
        console.table(
            ("NUMBER", "BURIED", "REASON", "QUEUE", "TASK", "DETAIL"),
            [_row(each) for each in found],
            right="NUMBER",
        )
    else:
        console.say("no dead letters")
    if more:
        console.say(f"there are more than these {limit}: raise --limit")


def _row(buried: Buried) -> tuple[Any, ...]:
    letter = buried.letter
    at = datetime.fromtimestamp(letter.at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    cells = (letter.reason, letter.queue, task_of(buried), letter.detail)
    return buried.number, at, *map(one_line, cells)


@command.command(
    "show",
    short_help="Show everything that is known of a dead letter.",
    help="Show everything that is known of a dead letter: the message, why it is here, and the "
    "evidence.",
    examples="umbel -A shop dead show 7",
)
@click.argument("number", type=int)
@click.pass_context
def show_letter(ctx: click.Context, /, *, number: int) -> None:
    """Show one dead letter."""
    session = session_of(ctx)
    found = session.load_or_bare().broker.dead(numbers=[number])
    if not found:
        raise Failure(_missing([number]))
    if session.json:
        session.console.emit(document_of(found[0], whole=True))
        return
    for line in lines_of(found[0]):
        session.console.line(line)


@dataclass(frozen=True, slots=True)
class Deed:
    """What is done to dead letters: the words for it, and the doing."""

    verb: str
    done: str
    act: Callable[[Broker, list[int]], int]


REPLAY = Deed("put back", "put back", lambda broker, numbers: broker.replay(numbers))
PURGE = Deed("delete", "deleted", lambda broker, numbers: broker.purge_dead(numbers))


@command.command(
    "replay",
    short_help="Put dead letters back to their queues.",
    help="Put dead letters back to their queues, with fresh counters: those with the given "
    "NUMBERS, those that fit the filters, or --all. Several at once are counted before anything "
    "is asked.",
    examples="""
        umbel -A shop dead replay 7 8
        umbel -A shop dead replay --task shop.charge --yes
        umbel -A shop dead replay --all --dry-run
    """,
)
@click.argument("numbers", type=int, nargs=-1)
@option("--all", "everything", is_flag=True, help="All of them.")
@_with(*FILTERS, *CAUTION)
@click.pass_context
def replay_letters(ctx: click.Context, /, *, everything: bool, **given: Any) -> int:
    """Put dead letters back; returns the exit code."""
    wanted = _wanted(given)
    if everything != wanted.is_all:
        raise click.UsageError("give NUMBERS, filters, or --all", ctx)
    return _carry_out(ctx, REPLAY, wanted, given)


@command.command(
    "purge",
    short_help="Delete dead letters.",
    help="Delete dead letters: those with the given NUMBERS, those that fit the filters, or all. "
    "They are counted before anything is asked.",
    examples="""
        umbel -A shop dead purge 7
        umbel -A shop dead purge --reason malformed --dry-run
        umbel -A shop dead purge --yes
    """,
)
@click.argument("numbers", type=int, nargs=-1)
@_with(*FILTERS, *CAUTION)
@click.pass_context
def purge_letters(ctx: click.Context, /, **given: Any) -> int:
    """Delete dead letters; returns the exit code."""
    return _carry_out(ctx, PURGE, _wanted(given), given)


def _wanted(given: dict[str, Any]) -> Wanted:
    return Wanted(
        numbers=tuple(dict.fromkeys(given["numbers"])),
        task=given["task"],
        reason=_reason(given["reason"]),
        queue=given["queue"],
    )


def _reason(text: str | None) -> str | None:
    """A reason as it is stored, from the way people write it."""
    return None if text is None else text.strip().lower().replace(" ", "-")


def _carry_out(ctx: click.Context, deed: Deed, wanted: Wanted, given: dict[str, Any]) -> int:
    """Find, count, ask and act; returns the exit code."""
    session = session_of(ctx)
    console, broker = session.console, session.load_or_bare().broker
    numbers = [buried.number for buried in find_letters(broker, wanted)]
    lost = [number for number in wanted.numbers if number not in numbers]
    if lost:
        console.say(_missing(lost))
    count, code = 0, FAILED if lost else 0
    if numbers and not given["dry_run"]:
        # Putting back what was named one by one takes nothing away from anybody.
        named = deed is REPLAY and bool(wanted.numbers)
        what = f"{deed.verb} {count_of(len(numbers), 'dead letter')}"
        console.confirm(what, yes=given["yes"] or named)
        count = _in_batches(broker, deed, numbers)
    if count < len(numbers) and not given["dry_run"]:
        console.say(f"{count_of(len(numbers) - count, 'dead letter')} could not be {deed.done}")
        code = FAILED
    _show(console, deed, count, len(numbers) if given["dry_run"] else None)
    return code


def _in_batches(broker: Broker, deed: Deed, numbers: list[int]) -> int:
    """Oldest first, so that what is put back keeps its order."""
    ordered = sorted(numbers)
    return sum(deed.act(broker, ordered[at : at + BATCH]) for at in range(0, len(ordered), BATCH))


def _show(console: Console, deed: Deed, count: int, would: int | None) -> None:
    if console.json:
        document = {deed.done.replace(" ", "_"): count}
        if would is not None:
            document[f"would_{deed.verb.replace(' ', '_')}"] = would
        console.emit(document)
    elif would is not None:
        console.line(f"would {deed.verb} {count_of(would, 'dead letter')}")
    else:
        console.line(f"{deed.done} {count_of(count, 'dead letter')}")


def _missing(numbers: list[int]) -> str:
    many = len(numbers) > 1
    shown = ", ".join(map(str, numbers))
    return f"there {'are' if many else 'is'} no dead letter{'s' if many else ''} {shown}"
