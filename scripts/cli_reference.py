"""Writes docs/reference/cli.md from the commands themselves.

python scripts/cli_reference.py           write the page
python scripts/cli_reference.py --check   exit 1 when the page is not what it would write
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from umbel.cli.command import Group
from umbel.cli.ends import MEANINGS
from umbel.cli.root import root
from umbel.cli.worker_options import CELERY_OPTIONS, REFUSED, WITHOUT_EFFECT

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "cli.md"

INTRODUCTION = """\
# Command line

<!-- Written by scripts/cli_reference.py from the commands in src/umbel/cli: edit those. -->

```console
$ umbel --help
...
```

Results go to standard output, everything that is said about them to standard error. Tables are
aligned at a terminal and separated by tabs in a pipe; with `--json` standard output is one JSON
document and nothing else.

## Which application

The first of these that names one decides:

1. `-A`, before or after the command: a module (`shop`), a module and a name (`shop:queue`), a
   package, in which the modules `umbel` and `celery` are looked at, or a file (`shop.py`);
2. the environment variables %(app_variables)s;
3. `pyproject.toml`, in this directory or the nearest one above:

   ```toml
   [tool.umbel]
   app = "shop.main:app"
   ```

4. the files `celery.py`, `tasks.py` and `app.py` in this directory.

What concerns the broker alone (`status`, `purge`, `dead`, `result`, `call --unchecked`) also works
without an application when `-b` or `UMBEL_BROKER_URL` names the broker.

A wrong name is one sentence, with exit code 2. An exception in the module is shown as Python would
show it, with exit code 1.

## Exit codes

| Code | Meaning |
|---|---|
%(codes)s

A worker that is asked to stop, by Ctrl-C or SIGTERM, finishes what runs and exits with 0. Asked
twice, or by SIGQUIT, it gives back what runs and exits with 1.

## Environment

Every option has a variable: `UMBEL_`, the command, and the long name, in capitals. So
`UMBEL_WORKER_CONCURRENCY=4` is `umbel worker --concurrency 4`, and `UMBEL_DEAD_LIST_LIMIT=10` is
`umbel dead list --limit 10`. What is typed wins. `NO_COLOR`, `FORCE_COLOR`, `CLICOLOR` and
`TERM=dumb` decide about colours where `--no-color` does not.

## Options of every command

They go before or after the command.

"""

CELERY = """\

### Options of `celery worker`

They are accepted, so that start-up scripts go on working, and noted in the log at level DEBUG:

| Option | Why it changes nothing |
|---|---|
%(inert)s
| `--autoscale` | its maximum is the concurrency for good, with a warning |

These are refused, because ignoring them would do harm:

| Option | Reason |
|---|---|
%(refused)s
"""


def page() -> str:
    """The whole page."""
    variables = " and ".join(f"`{name}`" for name in root.shared[0].envvar or ())
    codes = "\n".join(f"| {code} | {meaning} |" for code, meaning in MEANINGS.items())
    introduction = INTRODUCTION % {"app_variables": variables, "codes": codes}
    everywhere = "\n".join(table(root, [*root.shared, *root.params]))
    sections = "\n".join("\n".join(section(words, each)) for words, each in commands())
    return f"{introduction}{everywhere}\n\n{sections}".rstrip() + "\n"


def commands(
    group: Group = root, before: tuple[str, ...] = ()
) -> Iterator[tuple[str, click.Command]]:
    """Every command with its name, groups before what is in them."""
    ctx = click.Context(root)
    for name in group.list_commands(ctx):
        found = group.get_command(ctx, name)
        if found is None:
            continue
        yield " ".join((*before, name)), found
        if isinstance(found, Group):
            yield from commands(found, (*before, name))


def section(words: str, command: click.Command) -> Iterator[str]:
    """A heading, what the command does, its options and its examples."""
    ctx = click.Context(command, info_name=f"umbel {words}")
    yield f"## `umbel {words}`"
    yield ""
    yield f"`{command.get_usage(ctx).removeprefix('Usage: ')}`"
    yield ""
    yield (command.help or "").strip()
    if any(isinstance(param, click.Option) and not param.hidden for param in command.params):
        yield ""
        yield from table(command, command.params)
    yield ""
    yield "```text"
    yield from (line.strip() for line in command.examples.strip().splitlines())  # type: ignore[attr-defined]
    yield "```"
    if words == "worker":
        yield celery()
    yield ""


def table(command: click.Command, params: list[click.Parameter]) -> Iterator[str]:
    """The options of a command that its help shows."""
    ctx = click.Context(command)
    yield "| Option | Meaning |"
    yield "|---|---|"
    for param in params:
        record = param.get_help_record(ctx)
        if record is not None and isinstance(param, click.Option):
            names, meaning = record
            yield f"| `{names}` | {meaning} |"


def celery() -> str:
    """What becomes of the options that only Celery's worker has."""
    names = {
        option.name: ", ".join(f"`{each}`" for each in option.opts) for option in CELERY_OPTIONS
    }
    rows = {
        "inert": "\n".join(f"| {names[name]} | {why} |" for name, why in WITHOUT_EFFECT.items()),
        "refused": "\n".join(f"| {names[name]} | {why} |" for name, why in REFUSED.items()),
    }
    return CELERY.rstrip() % rows


def main() -> int:
    """Write or check the page; returns the exit code."""
    wanted = page()
    if "--check" not in sys.argv[1:]:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(wanted, encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == wanted:
        return 0
    print(f"{PAGE.name} is not up to date: run python scripts/cli_reference.py")
    return 1


if __name__ == "__main__":
    sys.exit(main())
