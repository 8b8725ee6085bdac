"""``umbel call``: one task, from a shell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from umbel.cli.answer import NO_RESULTS, keeps_results, show, wait_for
from umbel.cli.command import Command, option, session_of
from umbel.cli.ends import USAGE, Failure
from umbel.cli.words import ARRAY, OBJECT, SECONDS, Moment
from umbel.exceptions import NotRegistered

if TYPE_CHECKING:
    from umbel.app import Umbel
    from umbel.result import AsyncResult

SENDING = (
    "countdown",
    "eta",
    "expires",
    "queue",
    "exchange",
    "routing_key",
    "priority",
    "serializer",
)


@click.command(
    "call",
    cls=Command,
    help="Send a task to the workers, and print its id; or wait for its result and print that.\n\n"
    "NAME is the task's full name, as a worker lists it when it starts.",
    short_help="Send a task to the workers.",
    examples="""
        umbel -A shop call shop.charge --args '[7, 19.5]'
        umbel -A shop call shop.report --kwargs '{"month": 5}' --queue slow --wait
        umbel -A shop call shop.remind --countdown 3600 --expires 7200
    """,
)
@click.argument("name")
@option("-a", "--args", type=ARRAY, metavar="JSON", help="Positional arguments: a JSON array.")
@option("-k", "--kwargs", type=OBJECT, metavar="JSON", help="Keyword arguments: a JSON object.")
@option("--countdown", type=float, metavar="SECONDS", help="Start it after so many seconds.")
@option("--eta", type=Moment(), metavar="TIME", help="Start it at this time (ISO 8601).")
@option(
    "--expires",
    type=Moment(seconds=True),
    metavar="TIME",
    help="Do not start it after this time, or so many seconds from now.",
)
@option("--queue", metavar="NAME", help="Send it to this queue.")
@option("--exchange", metavar="NAME", help="Send it to this exchange.")
@option("--routing-key", metavar="KEY", help="Send it with this routing key.")
@option(
    "--priority",
    type=click.IntRange(0, 9),
    metavar="N",
    help="0 to 9; higher ones are started first.",
)
@option(
    "--serializer", metavar="NAME", help="How to encode the arguments: json, msgpack, yaml, ..."
)
@option("--wait", is_flag=True, help="Wait for the result; exit code 1 if the task fails.")
@option("--timeout", type=SECONDS, metavar="SECONDS", help="With --wait: no longer than this.")
@option("--traceback", is_flag=True, help="With --wait: show where a task that failed raised.")
@option(
    "--unchecked",
    "--force",
    is_flag=True,
    help="Send it although the application knows no task of this name.",
)
@click.pass_context
def command(ctx: click.Context, /, name: str, **given: Any) -> int:
    """Send a task; returns the exit code."""
    session = session_of(ctx)
    wait = given["wait"]
    if not wait and (given["timeout"] or given["traceback"]):
        raise click.UsageError("--timeout and --traceback need --wait", ctx)
    app = session.load_or_bare() if given["unchecked"] else session.load()
    if wait and not keeps_results(app):
        raise Failure(NO_RESULTS, USAGE)
    options = {key: given[key] for key in SENDING if given[key] is not None}
    if wait:
        options["ignore_result"] = False
    result = _send(app, name, given, options)
    if not wait:
        if session.json:
            session.console.emit({"id": result.id})
        else:
            session.console.line(result.id)
        return 0
    meta = wait_for(session.console, result, given["timeout"])
    return show(session.console, meta, traceback=given["traceback"])


def _send(
    app: Umbel, name: str, given: dict[str, Any], options: dict[str, Any]
) -> AsyncResult[Any]:
    """Publish the call.

    Raises:
        Failure: there is no such task, or it does not take these arguments.
    """
    args, kwargs = given["args"] or [], given["kwargs"] or {}
    task = app.tasks.get(name)
    if task is None and not given["unchecked"]:
        raise Failure(
            f"{NotRegistered(name, known=app.tasks)}; nothing was sent (--unchecked sends it)"
        )
    try:
        if task is None:
            return app.send_task(name, args, kwargs, **options)
        return task.apply_async(args, kwargs, **options)
    except (TypeError, ValueError) as error:
        raise Failure(f"{name}: {error}; nothing was sent") from None
