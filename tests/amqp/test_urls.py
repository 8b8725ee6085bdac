"""URLs of RabbitMQ servers: what they mean, and what is wrong with those that mean nothing."""

from __future__ import annotations

import pytest

from umbel.drivers.amqp.urls import AMQPUrl, parse, parse_many
from umbel.exceptions import ImproperlyConfigured


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("amqp://", AMQPUrl()),
        ("amqp://localhost", AMQPUrl()),
        ("amqp://guest@localhost//", AMQPUrl()),
        ("pyamqp://guest:guest@localhost:5672//", AMQPUrl()),
        ("rpc://", AMQPUrl()),
        ("amqp://u:p@h:1/v", AMQPUrl("h", 1, "u", "p", "v")),
        ("amqp://h/%2Fsub", AMQPUrl("h", vhost="/sub")),
        ("amqp://h//sub", AMQPUrl("h", vhost="/sub")),
        ("amqp://u%40x:p%2F%3A@h/v%20w", AMQPUrl("h", user="u@x", password="p/:", vhost="v w")),
        ("amqp://u:@h", AMQPUrl("h", user="u", password="")),
        ("amqps://h", AMQPUrl("h", 5671, tls=True)),
        ("amqps://h:1", AMQPUrl("h", 1, tls=True)),
        ("amqp://[::1]:7/v", AMQPUrl("::1", 7, vhost="v")),
        ("amqp://h?heartbeat=30", AMQPUrl("h", heartbeat=30)),
        ("amqp://h/v?connection_timeout=1.5", AMQPUrl("h", vhost="v", connect_timeout=1.5)),
        ("  amqp://h  ", AMQPUrl("h")),
    ],
)
def test_a_url_means(url, expected):
    assert parse(url) == expected


def test_several_urls_are_read_in_order():
    assert parse_many("amqp://a;amqps://b/v; amqp://c;") == [
        AMQPUrl("a"),
        AMQPUrl("b", 5671, vhost="v", tls=True),
        AMQPUrl("c"),
    ]


def test_a_semicolon_in_a_password_does_not_cut_a_url():
    assert parse_many("amqp://u:a;b@h;amqp://k")[0].password == "a;b"


def test_no_password_is_shown():
    url = parse("amqp://me:secret@h/v")
    assert "secret" not in f"{url} {url!r}"
    assert str(url) == "amqp://me@h:5672/v"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "it is empty"),
        (";", "it is empty"),
        ("redis://h", "does not begin with amqp"),
        ("localhost", "does not begin with amqp"),
        ("amqp://h:port", "its port is no number"),
        ("amqp://h:99999", "its port is no number"),
        ("amqp://[::1", "its host is malformed"),
        ("amqp://h?heartbeat=often", "numbers of seconds"),
        ("amqp://h?heartbeat=-1", "numbers of seconds"),
        ("amqp://h?heartbeat", "name=value"),
        ("amqp://h?heartbeat=inf", "numbers of seconds"),
        ("amqp://h?hartbeat=1", r"no option 'hartbeat' \(did you mean 'heartbeat'"),
        ("amqp://u:p#q@h", "as %23"),
    ],
)
def test_a_wrong_url_is_explained(url, says):
    with pytest.raises(ImproperlyConfigured, match=says) as caught:
        parse_many(url)
    assert "amqp://user:password@host:5672/vhost" in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "amqp://me:secret@h:port",
        "amqp://me:secret#1@h",
        "amqp://me:secret/1@h",
        "amqp://me:secret@[h",
    ],
)
def test_a_wrong_url_does_not_show_its_password(url):
    with pytest.raises(ImproperlyConfigured) as caught:
        parse(url)
    assert "secret" not in str(caught.value)
