"""A message as the text that lies in Celery's lists, and back.

Ours begin with a key of ours, which Celery's readers pass over: what its envelope has no place
for.  They are written by orjson where it is installed, by the standard library where it is not or
where a header holds what orjson does not take as the library does (huge integers, lone
surrogates).  Only what orjson wrote is read by it, so that the same values come back whoever wrote
them.
"""

from __future__ import annotations

import binascii
import json
import os
from base64 import b64decode, b64encode
from itertools import count
from typing import TYPE_CHECKING, Any

from umbel.exceptions import EncodeError
from umbel.message import Malformed, Message
from umbel.moments import to_timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping

orjson: Any
try:
    import orjson
except ImportError:
    orjson = None

_PLAIN = orjson and orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
_dumps = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_OURS_BY_ORJSON = b'{"umbel":'
_TRANSPORT = frozenset({"delivery_info", "priority", "body_encoding", "delivery_tag"})


class _Tags:
    """Names for envelopes, none given twice."""

    def __init__(self) -> None:
        self._pid = 0

    def next(self) -> str:
        if self._pid != os.getpid():
            self._pid, self._start, self._count = os.getpid(), os.urandom(12).hex(), count()
        return f"{self._start}{next(self._count):08x}"


_tags = _Tags()


def encode(message: Message, at: float) -> bytes:
    """The envelope of a message that was put in at this moment.

    Raises:
        EncodeError: headers or properties hold what JSON does not know.
    """
    headers = message.headers
    ours: dict[str, Any] = {"at": at}
    if headers.get("id") != message.id:
        ours["id"] = message.id
    if message.priority is None:
        ours["priority"] = None
    if message.due_at is not None:
        ours["due_at"] = message.due_at
    if message.expires_at is not None:
        ours["expires_at"] = message.expires_at
    envelope = {
        "umbel": ours,
        "body": b64encode(message.body).decode("ascii"),
        "content-encoding": message.content_encoding,
        "content-type": message.content_type,
        "headers": headers,
        "properties": {
            **message.properties,
            "delivery_info": {"exchange": message.exchange, "routing_key": message.routing_key},
            "priority": message.priority or 0,
            "body_encoding": "base64",
            "delivery_tag": _tags.next(),
        },
    }
    if orjson is not None:
        try:
            encoded: bytes = orjson.dumps(envelope, option=_PLAIN)
        except TypeError:
            pass  # the standard library decides
        else:
            return encoded
    try:
        return b" " + _dumps({**envelope, "headers": dict(headers)}).encode()
    except (TypeError, ValueError, RecursionError) as error:
        where = f"the headers or properties of message {message.id}"
        raise EncodeError(str(error), where) from error


def decode(raw: bytes, queue: str) -> Message | Malformed:
    """The message in an envelope of ours or of Celery's, or the bytes if they are none."""
    envelope: Any = None
    try:
        envelope = _loads(raw)
        return _message(envelope, queue)
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        return Malformed(raw, f"no message of Celery's: {_said(error)}", _named(envelope), queue)


def _named(envelope: Any) -> str:
    """The task that something broken seems to be about."""
    properties = envelope.get("properties") if isinstance(envelope, dict) else None
    name = properties.get("correlation_id") if isinstance(properties, dict) else None
    return name if isinstance(name, str) else ""


def _loads(raw: bytes) -> Any:
    if orjson is not None and raw.startswith(_OURS_BY_ORJSON):
        return orjson.loads(raw)
    return json.loads(raw)


def _said(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"it has no {error.args[0]}"
    return str(error) or type(error).__name__


def _message(envelope: Any, queue: str) -> Message:
    if not isinstance(envelope, dict):
        raise TypeError(f"it is no mapping but {type(envelope).__name__}")
    headers, properties = envelope.get("headers") or {}, envelope["properties"]
    if not isinstance(headers, dict) or not isinstance(properties, dict):
        raise TypeError("its headers or properties are no mapping")
    ours = envelope.get("umbel")
    info = properties.get("delivery_info") or {}
    if not isinstance(ours, dict):
        ours = _found(headers, properties)
    task_id = ours.get("id", headers.get("id")) or str(properties.get("correlation_id") or "")
    if not task_id and "task" in headers:
        raise ValueError("its headers have no id")
    return Message(
        task_id,
        headers,
        _body(envelope["body"], properties),
        _text(envelope.get("content-type"), "application/data"),
        _text(envelope.get("content-encoding"), "utf-8"),
        {name: value for name, value in properties.items() if name not in _TRANSPORT},
        queue,
        _text(info.get("exchange"), ""),
        _text(info.get("routing_key"), ""),
        ours["priority"] if "priority" in ours else properties.get("priority"),
        ours.get("due_at"),
        ours.get("expires_at"),
    )


def _body(body: Any, properties: Mapping[str, Any]) -> bytes:
    if properties.get("body_encoding") == "base64":
        try:
            return b64decode(body, validate=True)
        except binascii.Error as error:
            raise ValueError(f"its body is no base64 ({error})") from error
    if not isinstance(body, str):
        raise TypeError("its body is no text")
    return body.encode()


def _text(value: Any, default: str) -> str:
    return value if isinstance(value, str) else default


def _found(headers: Mapping[str, Any], properties: Mapping[str, Any]) -> dict[str, Any]:
    """What our key would say about an envelope of Celery's, but for the id."""
    priority = properties.get("priority")
    return {
        "priority": priority if isinstance(priority, int) else None,
        "due_at": _moment(headers.get("eta")),
        "expires_at": _moment(headers.get("expires")),
    }


def _moment(text: Any) -> float | None:
    """A moment as Celery's headers tell it."""
    return to_timestamp(text) if text else None


def shown(raw: bytes, queue: str) -> Message:
    """The message in an envelope; bytes that are none become the body of one without a task."""
    found = decode(raw, queue)
    if isinstance(found, Message):
        return found
    return Message("", {}, raw, "application/data", "binary", queue=queue)


def put_in_at(raw: bytes) -> float | None:
    """When an envelope was put in, if it says so."""
    try:
        at = _loads(raw)["umbel"]["at"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return float(at) if isinstance(at, (int, float)) else None
