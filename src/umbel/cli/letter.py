"""A dead letter, as text and as data."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from umbel.cli.answer import text_of
from umbel.cli.graves import task_of
from umbel.message import Malformed
from umbel.representation import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from umbel.ports.broker import Buried

RAW_SHOWN = 1000


def document_of(buried: Buried, *, whole: bool = False) -> dict[str, Any]:
    """A dead letter as plain data; ``whole`` adds headers, body and evidence."""
    letter = buried.letter
    message = letter.message
    document: dict[str, Any] = {
        "number": buried.number,
        "reason": letter.reason,
        "detail": letter.detail,
        "at": _moment(letter.at),
        "queue": letter.queue,
        "id": message.id,
        "task": task_of(buried) or None,
    }
    if not whole:
        return document
    document["evidence"] = dict(letter.evidence)
    if isinstance(message, Malformed):
        document["raw"] = message.raw
    else:
        document |= {
            "headers": dict(message.headers),
            "properties": dict(message.properties),
            "content_type": message.content_type,
            "body": message.body,
        }
    return document


def lines_of(buried: Buried) -> Iterator[str]:
    """A dead letter for people: what is known of it, line by line."""
    letter, message = buried.letter, buried.letter.message
    rows: list[tuple[str, Any]] = [
        ("number", buried.number),
        ("reason", letter.reason),
        ("detail", letter.detail),
        ("buried", _moment(letter.at)),
        ("queue", letter.queue),
        ("id", message.id),
    ]
    if isinstance(message, Malformed):
        rows.append(("raw", repr(message.raw[:RAW_SHOWN])))
    else:
        get = message.headers.get
        rows += [
            ("task", message.task),
            ("args", get("argsrepr")),
            ("kwargs", get("kwargsrepr")),
            ("retries", get("retries")),
            ("origin", get("origin")),
        ]
    for name, value in rows:
        if value is not None:
            yield f"{name:<10} {one_line(str(value))}"
    for name, value in letter.evidence.items():
        text = one_line(text_of(value), keep="\n\t")
        yield f"{one_line(str(name)):<10} " + text.rstrip().replace("\n", f"\n{' ' * 11}")


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
