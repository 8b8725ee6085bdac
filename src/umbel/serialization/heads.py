"""A message as two columns: the head, one JSON text, and the body, untouched.

orjson does the work where it is installed, the standard library where it is not or where a head
holds what orjson does not take as the library does (huge integers, lone surrogates, keys that are
numbers).  A head written by the standard library starts with a blank and is read by it again, so
that the same values come back whoever wrote it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from umbel.exceptions import EncodeError
from umbel.message import Malformed, Message

if TYPE_CHECKING:
    from collections.abc import Sequence

orjson: Any
try:
    import orjson
except ImportError:
    orjson = None

# Nothing that JSON does not know: dates and dataclasses are for the caller to encode.
_PLAIN = orjson and orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
_dumps = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def head_of(message: Message) -> bytes:
    """All of a message but its id, queue and body.

    Raises:
        EncodeError: headers or properties hold what JSON does not know.
    """
    fields = (
        message.headers,
        message.properties,
        message.content_type,
        message.content_encoding,
        message.exchange,
        message.routing_key,
        message.priority,
        message.due_at,
        message.expires_at,
    )
    if orjson is not None:
        try:
            head: bytes = orjson.dumps(fields, option=_PLAIN)
        except TypeError:
            pass  # the standard library decides
        else:
            return head
    try:
        plain = (dict(message.headers), dict(message.properties), *fields[2:])
        return b" " + _dumps(plain).encode()
    except (TypeError, ValueError, RecursionError) as error:
        where = f"the headers or properties of message {message.id}"
        raise EncodeError(str(error), where) from error


def decode_heads(heads: Sequence[bytes]) -> list[Any]:
    """What each of ``heads`` holds, or None where it makes no sense."""
    if orjson is not None and not any(head[:1] != b"[" for head in heads):
        try:
            # One call for all of them: the keys they share are made once.
            decoded: list[Any] = orjson.loads(b"[" + b",".join(heads) + b"]")
        except ValueError:
            pass  # one of them is broken; find out which
        else:
            if len(decoded) == len(heads):
                return decoded
    return [_decode_head(head) for head in heads]


def _decode_head(head: Any) -> Any:
    try:
        if orjson is not None and head[:1] != b" ":
            return orjson.loads(head)
        return json.loads(head)
    except (TypeError, ValueError, RecursionError):
        return None


def message_from(
    task_id: str, queue: str, head: Any, *, raw: bytes, body: bytes
) -> Message | Malformed:
    """The message of a row whose head was decoded, or the row's bytes if it makes no sense."""
    try:
        (
            headers,
            properties,
            content_type,
            content_encoding,
            exchange,
            routing_key,
            priority,
            due_at,
            expires_at,
        ) = head
    except (TypeError, ValueError):
        return Malformed(b"\n".join((raw, body)), "its head cannot be read", task_id, queue)
    return Message(
        task_id,
        headers,
        body,
        content_type,
        content_encoding,
        properties,
        queue,
        exchange,
        routing_key,
        priority,
        due_at,
        expires_at,
    )
