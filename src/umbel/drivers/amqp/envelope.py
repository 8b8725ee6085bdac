"""A message as AMQP carries it, and back.

What Celery knows travels as Celery sends it: headers as headers, transport properties as basic
properties, the body untouched.  What AMQP or Celery's protocol has no place for (counters, a
route that was taken by way of a delay, values that fit no field of a table) travels in one more
header, a table named ``umbel``, and only where it is needed.
"""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from umbel.drivers.amqp.errors import FrameError
from umbel.drivers.amqp.messages import Outgoing
from umbel.exceptions import EncodeError
from umbel.message import Malformed, Message
from umbel.moments import to_timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from umbel.drivers.amqp.messages import Incoming

OURS = "umbel"
"""The header that holds what is ours."""

RETURNED = "returned"
"""Among what is ours: how often a quorum queue has got the message back."""

_TEXTS = frozenset({"correlation_id", "reply_to", "message_id", "type", "app_id"})
_PERSISTENT = 2
_LONGEST_SHORT = 255
# The headers of protocol 2.
_USUAL = frozenset(
    {
        *("lang", "task", "id", "shadow", "eta", "expires", "group", "group_index", "retries"),
        *("timelimit", "root_id", "parent_id", "argsrepr", "kwargsrepr", "origin", "stamps"),
        *("ignore_result", "replaced_task_nesting", "stamped_headers", "compression"),
    }
)
_SCALARS = frozenset({str, int, float, bool, type(None)})
_MOST = 2**63
# What RabbitMQ adds on the way; sent again, it would take a delayed retry for a loop.
_COUNT = "x-delivery-count"
_TRACES = (
    *("x-death", "x-first-death-exchange", "x-first-death-queue", "x-first-death-reason"),
    *("x-last-death-exchange", "x-last-death-queue", "x-last-death-reason"),
)
_DELAYED = ("celery_delayed", "umbel_delayed")


# ----------------------------------------------------------------------------------- sending


def properties_of(message: Message, ours: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The basic properties of a message; ``ours`` is added to what travels for us alone.

    Raises:
        EncodeError: headers or properties hold what is no plain data.
    """
    extra = dict(ours or {})
    properties: dict[str, Any] = {
        "content_type": message.content_type,
        "content_encoding": message.content_encoding,
        "headers": None,
        "delivery_mode": _PERSISTENT,
        "priority": message.priority,
    }
    headers = _headers(message, extra)
    _add_properties(message, properties, extra)
    _add_facts(message, extra)
    if extra:
        headers[OURS] = extra
    properties["headers"] = headers
    return properties


def _headers(message: Message, extra: dict[str, Any]) -> dict[str, Any]:
    headers = message.headers
    try:
        fit = _all_fit(headers)
    except RecursionError as error:
        raise EncodeError("nested too deeply", _where(message)) from error
    if fit:
        return dict(headers)
    extra["headers"] = _json(message, headers)
    return {}


def _all_fit(headers: Mapping[str, Any]) -> bool:
    """Whether every header has a form in AMQP that comes back as the same value."""
    for key, value in headers.items():
        if key not in _USUAL and not _is_key(key):
            return False
        kind = type(value)
        if value is None or kind is bool or (kind is str and value.isascii()):
            continue
        if (kind is dict or kind is list) and not value:
            continue
        if not _fits(value):
            return False
    return OURS not in headers


def _is_small(value: int) -> bool:
    return -_MOST <= value < _MOST


def _is_text(value: str) -> bool:
    """Whether it can be UTF-8; file names that are not come as bytes and go as JSON."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_key(key: Any) -> bool:
    return type(key) is str and _is_text(key) and len(key.encode()) <= _LONGEST_SHORT


def _fits(value: Any) -> bool:
    kind = type(value)
    if kind is str:
        return _is_text(value)
    if kind is int:
        return _is_small(value)
    if kind is dict:
        return all(_is_key(key) and _fits(inner) for key, inner in value.items())
    if kind is list:
        return all(map(_fits, value))
    return kind in _SCALARS


def _json(message: Message, value: Any) -> str:
    try:
        return json.dumps(dict(value), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise EncodeError(str(error), _where(message)) from error


def _where(message: Message) -> str:
    return f"the headers or properties of message {message.id}"


def _add_properties(message: Message, properties: dict[str, Any], extra: dict[str, Any]) -> None:
    """Those that AMQP knows as its own; if there is another one, all of them among ours."""
    own: dict[str, Any] = {}
    if "delivery_mode" not in message.properties:
        extra["properties"] = _json(message, message.properties)
    for name, value in message.properties.items():
        if _is_own(name, value):
            own[name] = value
        else:
            extra["properties"] = _json(message, message.properties)
    properties.update(own)


def _is_own(name: str, value: Any) -> bool:
    """Whether AMQP has this property, and takes this value for it."""
    if name in _TEXTS:
        return _is_key(value)
    if name == "delivery_mode":
        return type(value) is int and value in {1, 2}
    # Anything but digits would cost us the channel.
    return name == "expiration" and _is_key(value) and value.isascii() and value.isdigit()


def _add_facts(message: Message, extra: dict[str, Any]) -> None:
    """What a receiver could not tell from the rest."""
    headers = message.headers
    if headers.get("id") != message.id or type(headers.get("task")) is not str:
        extra["id"] = message.id
    if message.exchange == "" and message.routing_key != message.queue:
        extra["route"] = ["", message.routing_key]
    if message.due_at is not None and not headers.get("eta"):
        extra["due_at"] = message.due_at
    if message.expires_at is not None and not headers.get("expires"):
        extra["expires_at"] = message.expires_at


def outgoing(message: Message, ours: Mapping[str, Any] | None = None) -> Outgoing:
    """The message as it is published now: to its exchange, or straight to its queue.

    Raises:
        EncodeError: headers or properties hold what is no plain data.
    """
    exchange = message.exchange
    key = message.routing_key if exchange else message.queue
    return Outgoing(exchange, key, properties_of(message, ours), message.body, mandatory=True)


def again(found: Incoming, queue: str, ours: Mapping[str, Any]) -> Outgoing:
    """A copy of what was received, for its own queue, with ``ours`` in place of what it brought.

    The time after which the server would drop it is left out: it waits for nobody but us.
    """
    try:
        properties = dict(found.properties)
    except FrameError:
        properties = {}
    mine = {key: value for key, value in ours.items() if key != RETURNED}
    if found.exchange and "route" not in mine and not found.exchange.startswith(_DELAYED):
        mine["route"] = [found.exchange, found.routing_key]
    properties["headers"] = {**(properties.get("headers") or {}), OURS: mine}
    properties.pop("expiration", None)
    properties.pop("user_id", None)
    return Outgoing("", queue, properties, found.body, mandatory=True)


# --------------------------------------------------------------------------------- receiving


def message_of(found: Incoming, queue: str) -> tuple[Message | Malformed, dict[str, Any]]:
    """The message that was received on ``queue``, and what travelled for us alone."""
    try:
        properties = found.properties
    except FrameError as error:
        return Malformed(found.body, f"its properties cannot be read: {error}", "", queue), {}
    headers = properties.get("headers") or {}
    ours = headers.pop(OURS, None)
    if type(ours) is not dict:
        ours = {}
    if "x-death" in headers:
        for name in _TRACES:
            headers.pop(name, None)
    if _COUNT in headers:
        ours[RETURNED] = headers.pop(_COUNT)
    for value in headers.values():
        if type(value) not in _SCALARS and value and not _fits(value):
            headers = _plain(headers)
            break
    try:
        message = _message(found, queue, properties, headers, ours)
    except (TypeError, ValueError, LookupError, OverflowError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        return Malformed(found.body, reason, _named(properties), queue), ours
    return message, ours


def _named(properties: Mapping[str, Any]) -> str:
    name = properties.get("correlation_id")
    return name if isinstance(name, str) else ""


def _message(
    found: Incoming,
    queue: str,
    properties: dict[str, Any],
    headers: dict[str, Any],
    ours: dict[str, Any],
) -> Message | Malformed:
    if "headers" in ours:
        headers = json.loads(ours["headers"])
    task_id = ours["id"] if "id" in ours else headers.get("id")
    if type(task_id) is not str:
        # One of protocol 1 says nothing in its headers: who can read its body knows what it is.
        task_id = _named(properties)
        if not task_id and "task" in headers:
            return Malformed(found.body, "its headers have no id", "", queue)
    exchange, key = _route(found, queue, ours)
    eta, expires = headers.get("eta"), headers.get("expires")
    return Message(
        task_id,
        headers,
        found.body,
        properties.get("content_type", "application/data"),
        properties.get("content_encoding", "binary"),
        json.loads(ours["properties"]) if "properties" in ours else _transport(properties),
        queue,
        exchange,
        key,
        properties.get("priority"),
        to_timestamp(eta) if eta else ours.get("due_at"),
        to_timestamp(expires) if expires else ours.get("expires_at"),
    )


def _route(found: Incoming, queue: str, ours: Mapping[str, Any]) -> tuple[str, str]:
    """Where it was sent, before any delay."""
    route = ours.get("route")
    if route is not None:
        return str(route[0]), str(route[1])
    if found.exchange.startswith(_DELAYED):
        return "", queue
    return found.exchange, found.routing_key


def _transport(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in properties.items()
        if name in _TEXTS or name in {"delivery_mode", "expiration"}
    }


def _plain(value: Any) -> Any:
    """Values as JSON knows them: other programs send bytes, moments and decimals too."""
    match value:
        case dict():
            return {key: _plain(inner) for key, inner in value.items()}
        case list():
            return [_plain(inner) for inner in value]
        case bytes():
            return value.decode("utf-8", "surrogateescape")
        case datetime():
            return value.isoformat()
        case Decimal():
            return float(value)
        case _:
            return value
