"""The command line: ``umbel``.

`main` is the program, `run` the same for an application that starts its own command line.  Each
command is a module of this package, imported when it is used; ``umbel --help`` imports none of
them, no driver and no application.

Standard output carries data and nothing else; everything said to people goes to standard error.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from umbel.app import Umbel

__all__ = ["main", "run"]


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code; `umbel.cli.ends` lists the codes."""
    from umbel.cli.root import execute
    from umbel.cli.session import Session

    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal cannot show must not end the program.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.exit(execute(Session(), sys.argv[1:] if argv is None else argv))


def run(app: Umbel, argv: Sequence[str]) -> None:
    """Run the command line for ``app``; returns when the command is done.

    Raises:
        SystemExit: the command failed; with its exit code.
    """
    from umbel.cli.root import execute
    from umbel.cli.session import Session

    code = execute(Session(given=app), argv)
    if code:
        raise SystemExit(code)
