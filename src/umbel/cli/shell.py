"""``umbel shell``: an interpreter with the application and its tasks at hand."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import click

from umbel import __version__
from umbel.cli.command import Command, option, session_of
from umbel.cli.console import count_of
from umbel.cli.ends import USAGE, Failure

if TYPE_CHECKING:
    from umbel.app import Umbel

INSTALLABLE = {"ipython": "IPython", "bpython": "bpython"}


@click.command(
    "shell",
    cls=Command,
    help="Start Python with `app`, every task under the last part of its name, `tasks` (all of "
    "them by full name), AsyncResult and signature.\n\nIPython or bpython is used if it is "
    "installed. Without a terminal the program on standard input is run.",
    short_help="Start Python with the application and its tasks at hand.",
    examples="""
        umbel -A shop shell
        umbel -A shop shell --code 'print(charge.delay(7, 19.5).get(timeout=10))'
    """,
)
@option("-c", "--code", metavar="CODE", help="Run this instead of asking for input.")
@option("-I", "--ipython", "shell", flag_value="ipython", help="Use IPython.")
@option("-B", "--bpython", "shell", flag_value="bpython", help="Use bpython.")
@option("-P", "--python", "shell", flag_value="python", help="Use Python's own shell.")
@option("-T", "--without-tasks", is_flag=True, help="Leave the tasks out.")
@click.pass_context
def command(
    ctx: click.Context, /, *, code: str | None, shell: str | None, without_tasks: bool
) -> None:
    """Start a shell."""
    session = session_of(ctx)
    module = INSTALLABLE.get(shell or "")
    if module and find_spec(module) is None:
        raise Failure(f"{module} is not installed here", USAGE)
    app = session.load()
    names = names_of(app, with_tasks=not without_tasks)
    if code is not None:
        _run(code, "<code>", names)
    elif not sys.stdin.isatty():
        _run(sys.stdin.read(), "<stdin>", names)
    else:
        _start(shell or _best(), names, _greeting(app))


def _run(source: str, file: str, names: dict[str, Any]) -> None:
    from umbel.worker.blame import blame

    try:
        exec(compile(source, file, "exec"), names)  # noqa: S102 - what was asked for
    except Exception as error:  # noqa: BLE001 - it is the user's
        raise Failure(blame(error).text) from None


def names_of(app: Umbel, *, with_tasks: bool) -> dict[str, Any]:
    """The names that the shell starts with."""
    from umbel import signature

    names: dict[str, Any] = {"__name__": "__main__", "__doc__": None}
    if with_tasks:
        for name, task in sorted(app.tasks.items()):
            short = name.rpartition(".")[2]
            if not name.startswith("celery.") and short.isidentifier():
                names.setdefault(short, task)
    names |= {"app": app, "tasks": app.tasks, "signature": signature}
    names["AsyncResult"] = app.AsyncResult
    return names


def _best() -> str:
    return next((name for name, module in INSTALLABLE.items() if find_spec(module)), "python")


def _greeting(app: Umbel) -> str:
    own = sum(not name.startswith("celery.") for name in app.tasks)
    return f"umbel {__version__}, Python {sys.version.split()[0]}: {app!r}, {count_of(own, 'task')}"


def _start(shell: str, names: dict[str, Any], greeting: str) -> None:
    if shell == "ipython":
        from IPython import start_ipython

        click.echo(greeting)
        start_ipython(argv=["--no-banner"], user_ns=names)
    elif shell == "bpython":
        import bpython

        bpython.embed(locals_=names, banner=greeting)
    else:
        _start_python(names, greeting)


def _start_python(names: dict[str, Any], greeting: str) -> None:
    import code

    try:
        import readline
        import rlcompleter
    except ImportError:
        pass
    else:
        readline.set_completer(rlcompleter.Completer(names).complete)
        readline.parse_and_bind("tab: complete")
    code.interact(banner=greeting, local=names, exitmsg="")
