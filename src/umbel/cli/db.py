"""``umbel db``: the tables that an application keeps in a database server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import click

from umbel import drivers
from umbel.cli.command import Group, need_command, option, session_of
from umbel.cli.ends import FAILED, Failure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from umbel.app import Umbel
    from umbel.cli.console import Console
    from umbel.ports.migrating import Migrating


@click.group(
    "db",
    cls=Group,
    help="Look after the tables that broker and result backend have in a database server.\n\n"
    "Tables are created and migrated when they are first used, unless the option migrate in "
    "broker_transport_options is False. These commands are for the user who may create tables, "
    "where that is another one than the application's.",
    short_help="Look after the tables in a database server.",
    examples="""
        umbel -A shop db status
        umbel -b postgresql://owner@db/shop db migrate
    """,
)
@click.pass_context
def command(ctx: click.Context, /) -> None:
    """The group."""
    need_command(ctx)


@command.command(
    "status",
    short_help="Show which version the tables have.",
    help="Show which version the tables have, and which one this version of umbel works with. "
    "Exits with 1 where they differ.",
    examples="""
        umbel -A shop db status
        umbel -A shop db status --json
    """,
)
@click.pass_context
def status(ctx: click.Context, /) -> None:
    """Versions there and here."""
    session = session_of(ctx)
    found = [(each, *each.versions()) for each in _tables(session.load_or_bare())]
    documents = [
        {"place": each.place, "version": there, "supported": here, "current": there == here}
        for each, there, here in found
    ]
    _show(session.console, documents, _standing)
    if any(there < here for _, there, here in found):
        raise Failure("tables are to be created or migrated: umbel db migrate", FAILED)


@command.command(
    "migrate",
    short_help="Create the tables, or bring them to this version.",
    help="Create the tables, or bring them to this version. Safe to repeat, also while others do, "
    "and while workers of the version before are running.",
    examples="""
        umbel -A shop db migrate
        umbel -A shop db migrate --dry-run
    """,
)
@option("--dry-run", is_flag=True, help="Say what would be done, and change nothing.")
@click.pass_context
def migrate(ctx: click.Context, /, *, dry_run: bool) -> None:
    """Bring tables to this version."""
    session = session_of(ctx)
    documents = []
    for each in _tables(session.load_or_bare()):
        there, here = each.versions()
        before = there if dry_run else each.migrate()
        documents.append({"place": each.place, "from": before, "to": max(before, here)})
    _show(session.console, documents, _planned if dry_run else _done)


def _tables(app: Umbel) -> list[Migrating]:
    """The sets of tables, each once."""
    found = {each.place: each for each in _roles(app) if hasattr(each, "versions")}
    if not found:
        raise Failure("neither broker nor result backend has tables that are migrated by hand")
    return [cast("Migrating", each) for each in found.values()]


def _roles(app: Umbel) -> Iterator[Any]:
    connections = app.connections
    yield connections.broker
    yield connections.write_broker
    wanted = connections.wanted_backend
    if isinstance(wanted, str) and "://" in wanted:
        options = app.conf.result_backend_transport_options
        yield drivers.connect(wanted, options, app.conf).backend


def _show(console: Console, documents: list[dict[str, Any]], said: Any) -> None:
    if console.json:
        console.emit({"tables": documents})
        return
    for document in documents:
        console.line(f"{document['place']}: {said(document)}")


def _standing(document: dict[str, Any]) -> str:
    there, here = document["version"], document["supported"]
    if not there:
        return f"no tables yet; this umbel would make version {here}"
    if there == here:
        return f"version {there}, up to date"
    return f"version {there}; this umbel works with {here}"


def _done(document: dict[str, Any]) -> str:
    before, after = document["from"], document["to"]
    if before == after:
        return f"version {after} already"
    return f"version {after}" + (f", was {before}" if before else ", new")


def _planned(document: dict[str, Any]) -> str:
    before, after = document["from"], document["to"]
    if before == after:
        return f"version {after} already, nothing to do"
    return f"would be made version {after}" + (f" from {before}" if before else "")
