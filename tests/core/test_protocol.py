"""Messages of protocol 1 in the form of protocol 2."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from umbel import protocol
from umbel.exceptions import InvalidTaskError
from umbel.message import Message
from umbel.serialization import Limits

EAST = timezone(timedelta(hours=2))
NOON = datetime(2030, 1, 31, 12, tzinfo=UTC)


def old(**headers):
    return Message("found", headers, b"the body", queue="letters", exchange="all", routing_key="#")


def translate(message, **body):
    call = {"task": "mail.send", "id": "one", **body}
    return protocol.translate(message, call, zone=EAST, limits=Limits())


def test_the_call_is_the_same():
    """Name, id, arguments and what follows."""
    callbacks = [{"task": "mail.sent", "args": []}]
    new = translate(old(), args=[1], kwargs={"a": 2}, callbacks=callbacks, retries=3)
    args, kwargs, embed = json.loads(new.body)
    assert (new.id, new.task, args, kwargs) == ("one", "mail.send", [1], {"a": 2})
    assert (embed["callbacks"], new.headers["retries"]) == (callbacks, 3)
    assert new.properties["correlation_id"] == "one"
    assert not protocol.is_old(new)


def test_it_goes_to_the_queue_it_was_found_on():
    """Not through the exchange again, which would give it to other queues a second time."""
    new = translate(old())
    assert (new.queue, new.exchange, new.routing_key) == ("letters", "", "letters")


def test_headers_of_the_users_own_are_kept():
    """But not what was said of the body that was replaced."""
    new = translate(old(tenant="acme", compression="application/x-gzip"))
    assert new.headers["tenant"] == "acme"
    assert "compression" not in new.headers


@pytest.mark.parametrize(
    ("said", "utc", "meant"),
    [
        ("2030-01-31T12:00:00", True, NOON),
        ("2030-01-31T14:00:00", False, NOON),
        ("2030-01-31T13:00:00+01:00", False, NOON),
    ],
)
@pytest.mark.parametrize("name", ["eta", "expires"])
def test_moments_are_in_utc_or_in_the_zone_of_the_application(name, said, utc, meant):
    """As ``utc`` says, where the text itself does not."""
    new = translate(old(), **{name: said, "utc": utc})
    lifted = new.due_at if name == "eta" else new.expires_at
    assert lifted == meant.timestamp()
    assert datetime.fromisoformat(new.headers[name]) == meant


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "text",
        {},
        {"task": "mail.send"},
        {"task": 7, "id": "one"},
        {"task": "mail.send", "id": ""},
        {"task": "mail.send", "id": "one", "eta": "tomorrow"},
        {"task": "mail.send", "id": "one", "expires": 7},
    ],
)
def test_what_is_no_call_is_refused(body):
    """With an error that says what is missing."""
    with pytest.raises(InvalidTaskError):
        protocol.translate(old(), body, zone=UTC, limits=Limits())


def test_a_body_of_either_protocol_has_three_parts():
    """Headers of protocol 2 may come with the body of protocol 1."""
    assert protocol.parts_of([[1], {"a": 2}, None]) == ([1], {"a": 2}, None)
    args, kwargs, embed = protocol.parts_of({"args": [1], "callbacks": ["c"]})
    assert (args, kwargs, embed["callbacks"]) == ([1], {}, ["c"])
    with pytest.raises(InvalidTaskError):
        protocol.parts_of({"no": "arguments"})
