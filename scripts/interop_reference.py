"""Writes docs/reference/interop.md from the tests in tests/interop.

python scripts/interop_reference.py           write the page
python scripts/interop_reference.py --check   exit 1 when the page is not what it would write
"""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reference" / "interop.md"
TESTS = ROOT / "tests" / "interop"
COLUMNS = {
    ("redis", "to_umbel"): "Redis: Celery → Umbel",
    ("redis", "to_celery"): "Redis: Umbel → Celery",
    ("amqp", "to_umbel"): "RabbitMQ: Celery → Umbel",
    ("amqp", "to_celery"): "RabbitMQ: Umbel → Celery",
}
INTRODUCTION = """\
# Side by side with Celery

<!-- Written by scripts/interop_reference.py from the tests in tests/interop: edit those. -->

Umbel and Celery can send to, work on and read from the same queues and results on Redis and
RabbitMQ. `make test` holds this with Celery %(celery)s: a real worker and a real producer of each
side, with one module of tasks in which only the import differs.

Each row is a test. A *yes* under *Celery → Umbel* says that it holds when Celery sends, an Umbel
worker runs the task, and Celery reads what it stored; under *Umbel → Celery* it is the other way
round. A dash says that the case has no meaning there.

## What to know

- **Priorities.** A message carries the same number, 0 to 9, whoever sends it. Umbel takes the
  higher number first on every broker. Celery does so on RabbitMQ; on Redis it takes the lower
  number first. Where both work on one queue of Redis, each keeps to its own rule.
- **`eta` and `countdown`.** A message of Celery's that is not due is put aside in the broker by the
  Umbel worker that finds it, and held by no worker. What Umbel sends with a delay waits in the
  broker too, and Celery sees it when it is due.
- **What an Umbel worker held when it was killed** goes back to its queue once the lease has ended,
  for workers of either side to run. On Redis this is done by any process of Umbel's that still
  serves the same server; on RabbitMQ the server does it at once.
- **Protocol 1** is understood: the worker that claims such a message puts the same call in
  protocol 2 in its place.
- **Groups and chords** are not among the cases; chains and callbacks are.
- **Exceptions** that both libraries have, such as `TaskRevokedError` or `TimeLimitExceeded`, are
  stored under the names they have in Celery, and each side raises its own.
- **Text** with half of a surrogate pair (from file names that are not UTF-8) is let through by
  Celery and refused by Umbel, which escapes it in what it stores about exceptions.
"""


class Collector:
    """Keeps what pytest collects."""

    def __init__(self) -> None:
        self.items: list[pytest.Item] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Called when all are found."""
        self.items = list(session.items)


def collect() -> list[pytest.Item]:
    """Every test of the folder, in the order of the files."""
    collector = Collector()
    said = io.StringIO()
    arguments = ["--collect-only", "-q", "-p", "no:randomly", "-p", "no:cacheprovider"]
    with contextlib.redirect_stdout(said):
        code = pytest.main([*arguments, f"--rootdir={ROOT}", str(TESTS)], plugins=[collector])
    if code:
        sys.exit(f"the tests cannot be collected:\n{said.getvalue()}")
    return collector.items


def rows_of(items: list[pytest.Item]) -> dict[str, dict[str, set[tuple[str, str]]]]:
    """By heading and case, where it holds."""
    found: dict[str, dict[str, set[tuple[str, str]]]] = {}
    for item in items:
        mark = item.get_closest_marker("case")
        parameters: dict[str, Any] = dict(getattr(getattr(item, "callspec", None), "params", {}))
        lane = parameters.pop("lane", None)
        if mark is None or lane is None:
            continue
        module = item.getparent(pytest.Module)
        heading = str(module and module.obj.__doc__).strip()
        case = mark.args[0].format(**parameters)
        found.setdefault(heading, {}).setdefault(case, set()).add(lane)
    return found


def version() -> str:
    """The version of Celery that the tests are run with."""
    lines = (TESTS / "requirements.txt").read_text().splitlines()
    return next(line.partition("==")[2] for line in lines if line.startswith("celery=="))


def page() -> str:
    """The page as it should be."""
    parts = [INTRODUCTION % {"celery": version()}]
    for heading, cases in rows_of(collect()).items():
        used = [lane for lane in COLUMNS if any(lane in lanes for lanes in cases.values())]
        lines = [
            f"| Case | {' | '.join(COLUMNS[lane] for lane in used)} |",
            f"|---|{'---|' * len(used)}",
        ]
        for case, lanes in cases.items():
            marks = " | ".join("yes" if lane in lanes else "-" for lane in used)
            lines.append(f"| {case.replace('|', chr(92) + '|')} | {marks} |")
        parts.append(f"\n## {heading}\n\n" + "\n".join(lines) + "\n")
    return "".join(parts)


def main() -> None:
    """Write the page, or say whether it is up to date."""
    text = page()
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(text)
    elif not PAGE.exists() or PAGE.read_text() != text:
        sys.exit(f"{PAGE} is out of date: run python scripts/interop_reference.py")


if __name__ == "__main__":
    main()
