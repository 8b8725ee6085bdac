"""``umbel report``: what a bug report needs."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any

import click

from umbel import __version__
from umbel.cli.command import Command, session_of
from umbel.settings import mask_url

if TYPE_CHECKING:
    from umbel.app import Umbel


@click.command(
    "report",
    cls=Command,
    help="Print versions, platform and the settings that were changed. Whatever is named like "
    "a secret is masked, and so are the passwords of URLs.\n\nWithout an application the "
    "settings are those of the environment.",
    short_help="Show versions and settings, for a bug report.",
    examples="""
        umbel -A shop report
        umbel -A shop report --json
    """,
)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Print the report."""
    session = session_of(ctx)
    app = session.load() if session.has_app else session.bare()
    if session.json:
        session.console.emit(document_of(app))
    else:
        session.console.line(app.bugreport())


def document_of(app: Umbel) -> dict[str, Any]:
    """The same as the text, as plain data."""
    return {
        "umbel": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "broker": mask_url(app.broker_url),
        "results": app.backend_shown,
        "settings": app.conf.table(),
    }
