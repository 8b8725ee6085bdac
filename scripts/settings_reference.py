"""Writes docs/reference/settings.md from the table of settings.

python scripts/settings_reference.py           write the page
python scripts/settings_reference.py --check   exit 1 when the page is not what it would write
"""

from __future__ import annotations

import sys
from pathlib import Path

from umbel.settings import SECTIONS, TABLE, Setting
from umbel.settings.censor import is_hidden
from umbel.settings.setting import SAME
from umbel.settings.sources import CONFIG_MODULE, ENVIRONMENT

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "settings.md"

INTRODUCTION = """\
# Settings

<!-- Written by scripts/settings_reference.py from the table in src/umbel/settings: edit that. -->

Every setting of Umbel, and every setting of Celery: those that do something here, and those that
are accepted so that a configuration can be moved over, with the reason why they do nothing. A
warning names each of the latter once per process when it is given.

## How to give them

```python title="shop_settings.py"
task_track_started = True
task_time_limit = 30
```

```python
from umbel import Umbel

app = Umbel("shop", result_expires=7200)
app.config_from_object("shop_settings")  # a module, class, object or mapping
app.config_from_envvar("SHOP_SETTINGS", silent=True)  # the module this variable names, if set
app.conf.task_soft_time_limit = 25  # one by one
app.conf["worker_concurrency"] = 4
app.conf.update(timezone="Europe/Vienna", accept_content=["json"])
```

```pycon
>>> app.conf.task_time_limit, app.conf.result_expires
(30, 7200)
```

The first of these that has a setting decides:

1. the environment, for the settings [below](#environment);
2. what was assigned to `app.conf` or given to `Umbel(...)`;
3. `app.add_defaults({...})`, the latest first;
4. the configuration source: `config_from_object` or `config_from_envvar`, otherwise the module
   named by `%(module)s`;
5. the default in the tables below.

Nothing is read before a setting is first needed.

A name that is no setting is an error that suggests the one you probably meant, and so is a value
that the setting cannot use. In a module, class or object, names in capitals, names that begin
with an underscore, and everything that is no plain value (imported modules, functions, classes
and other objects) are left alone. Keys of your own begin with `x_`, or are declared once:

```python
app.conf.x_shop_currency = "EUR"
app.add_defaults({"shop_country": "AT"})
```

Spans of time are seconds or a `timedelta`. Numbers and flags may be text, as they come from
environment variables: `"4"`, `"yes"`, `"off"`.

## Namespace

With `app.config_from_object("django.conf:settings", namespace="CELERY")` the setting
`task_track_started` is read from `CELERY_TASK_TRACK_STARTED`, and so on. Keys without the prefix
count only if they are a setting's lower-case name or its [old name](#old-names); all others are
somebody else's.

## Environment

| Setting | Variables, the first that is set counts |
|---|---|
%(environment)s

## What is shown

`app.conf.table()`, `app.conf.humanize()` and everything that prints settings hide the values of
the settings marked *hidden*, of keys that look like a secret at any depth (`API`, `TOKEN`, `KEY`,
`SECRET`, `PASS`, `SIGNATURE`, `DATABASE`), and the passwords inside URLs.
"""

OLD_NAMES = """\
## Old names

The names that Celery gave its settings before version 4. They are accepted, with a warning when a
worker starts, but not mixed with new ones in one configuration. Settings that are not listed have
none.

| Old name | Setting |
|---|---|
"""


def page() -> str:
    """The whole page."""
    introduction = INTRODUCTION % {
        "module": "` or `".join(CONFIG_MODULE),
        "environment": "\n".join(
            f"| `{name}` | {', '.join(f'`{variable}`' for variable in variables)} |"
            for name, variables in ENVIRONMENT.items()
        ),
    }
    sections = "\n".join(section(title, rows) for title, rows in SECTIONS.items())
    old = sorted((setting.old, setting.name) for setting in TABLE.values() if setting.old)
    return (
        f"{introduction}\n{sections}\n{OLD_NAMES}"
        + "\n".join(f"| `{name}` | `{new}` |" for name, new in old)
        + "\n"
    )


def section(title: str, rows: tuple[Setting, ...]) -> str:
    """A heading and the table under it."""
    lines = [f"## {title}", "", "| Setting | Default | Type | Meaning |", "|---|---|---|---|"]
    return "\n".join([*lines, *map(row, rows), ""])


def row(setting: Setting) -> str:
    """One line of a table."""
    default = f"`{setting.default!r}`"
    if setting.celery_default is not SAME:
        default += f" (Celery: `{setting.celery_default!r}`)"
    meaning = setting.meaning
    if setting.inert:
        meaning += f" **No effect:** {setting.inert}."
    if is_hidden(setting.name):
        meaning += " *Hidden.*"
    cells = (f"`{setting.name}`", default, setting.takes, meaning)
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def main() -> int:
    """Write or check the page; returns the exit code."""
    wanted = page()
    if "--check" not in sys.argv[1:]:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(wanted, encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == wanted:
        return 0
    print(f"{PAGE.name} is not up to date: run python scripts/settings_reference.py")
    return 1


if __name__ == "__main__":
    sys.exit(main())
