"""Celery's older message forms, put into the one that everything here works with.

In protocol 2 the headers name the task and the body is ``[args, kwargs, embed]``.  In protocol 1
there are no headers: the body is a mapping with all that is said of the call, so that only who may
decode it knows what it is.  A driver therefore hands such a message on as it found it; the worker
that claims it decodes it and, with `translate`, puts the same call in protocol 2 in its place.
From there on it waits, retries, expires and is counted as any other.

There are also mixed ones, with the headers of protocol 2 and the body of protocol 1; `parts_of`
reads the body of those.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC
from typing import TYPE_CHECKING, Any

from umbel import serialization
from umbel.exceptions import InvalidTaskError
from umbel.moments import isoformat, maybe_iso8601
from umbel.representation import saferepr

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import tzinfo

    from umbel.message import Message
    from umbel.serialization import Limits

_EMBEDDED = ("callbacks", "errbacks", "chain", "chord")


def is_old(message: Message) -> bool:
    """Whether a message does not say in its headers which task it is for."""
    return "task" not in message.headers


def parts_of(body: Any) -> tuple[Any, Any, Any]:
    """``(args, kwargs, embed)`` of a decoded body, of either protocol.

    Raises:
        InvalidTaskError: the body is neither.
    """
    if isinstance(body, dict) and "args" in body:
        embed = {name: body.get(name) for name in _EMBEDDED}
        return body["args"], body.get("kwargs") or {}, embed
    try:
        args, kwargs, embed = body
    except (TypeError, ValueError):
        msg = f"the body is not [args, kwargs, embed] but {type(body).__name__}"
        raise InvalidTaskError(msg) from None
    return args, kwargs, embed


def translate(message: Message, body: Any, *, zone: tzinfo, limits: Limits) -> Message:
    """The call of a protocol 1 message as a protocol 2 message on the same queue.

    ``body`` is what its body decodes to, ``zone`` the one its moments are in where they are not in
    UTC.

    Raises:
        InvalidTaskError: it names no task, or a field of it makes no sense.
        EncodeError: its arguments cannot be encoded again.
    """
    if not isinstance(body, dict) or not _is_name(body.get("task")):
        raise InvalidTaskError("neither its headers nor its body name a task")
    if not _is_name(body.get("id")):
        raise InvalidTaskError("it has no id")
    args, kwargs, embed = parts_of({"args": (), **body})
    encoded = serialization.dumps(
        [args, kwargs, embed], message.content_type, limits=limits, exact=False
    )
    eta, expires = (_moment(body, name, zone) for name in ("eta", "expires"))
    headers = {
        "lang": "py",
        "task": body["task"],
        "id": body["id"],
        "shadow": None,
        "eta": None if eta is None else isoformat(eta),
        "expires": None if expires is None else isoformat(expires),
        "group": body.get("group") or body.get("taskset"),
        "group_index": body.get("group_index"),
        "retries": body.get("retries") or 0,
        "timelimit": body.get("timelimit") or (None, None),
        "root_id": None,
        "parent_id": None,
        "argsrepr": saferepr(args),
        "kwargsrepr": saferepr(kwargs),
    }
    return replace(
        message,
        id=body["id"],
        headers={**_without_compression(message.headers), **headers},
        body=encoded.body,
        content_type=encoded.content_type,
        content_encoding=encoded.content_encoding,
        properties={**message.properties, "correlation_id": body["id"]},
        exchange="",  # other queues bound to the exchange have got theirs
        routing_key=message.queue,
        due_at=eta,
        expires_at=expires,
    )


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _without_compression(headers: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in headers.items() if key != "compression"}


def _moment(body: Mapping[str, Any], name: str, zone: tzinfo) -> float | None:
    """Epoch seconds of ``eta`` or ``expires``; ``utc`` says where one without zone is meant."""
    try:
        moment = maybe_iso8601(body.get(name))
    except (TypeError, ValueError) as error:
        raise InvalidTaskError(f"its {name} is no moment: {error}") from None
    if moment is None:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC if body.get("utc", True) else zone)
    return moment.timestamp()
