"""Settings given on a command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from umbel.exceptions import ImproperlyConfigured
from umbel.settings import Settings
from umbel.settings.command_line import parse

FACTS = json.loads((Path(__file__).parent / "celery_settings.json").read_text("utf-8"))


@pytest.mark.parametrize(("words", "namespace", "expected"), FACTS["words"])
def test_words_are_read_as_in_celery(words, namespace, expected):
    """Names with dot or underscore, the default namespace, and casts."""
    assert parse(words, namespace) == expected


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("timezone=UTC", {"timezone": "UTC"}),
        (".timezone=UTC", {"timezone": "UTC"}),
        ('imports=["a", "b"]', {"imports": ("a", "b")}),
        ('accept_content=["json"]', {"accept_content": ["json"]}),
        ('broker.transport_options={"visibility_timeout": 5}',
         {"broker_transport_options": {"visibility_timeout": 5}}),
        ("task.time_limit=(json)null", {"task_time_limit": None}),
        ("result.compression=gzip", {"result_compression": "gzip"}),
        ("beat.cron_starting_deadline=5", {"beat_cron_starting_deadline": 5}),
        ("security.key_password=x", {"security_key_password": b"x"}),
        ("CELERY_TASK_SERIALIZER=yaml", {"task_serializer": "yaml"}),
        ("task_max_crashes=5", {"task_max_crashes": 5}),
        ("broker_url=amqp://h?a=(x)", {"broker_url": "amqp://h?a=(x)"}),
    ],
)  # fmt: skip
def test_words_are_read_that_celery_cannot(word, expected):
    """Full names without a family, and types Celery has no cast for."""
    assert parse([word]) == expected


@pytest.mark.parametrize(
    "word", ["false", "no", "0", "off", "False", "true", "yes", "1", "on", "ON"]
)
def test_bool_words(word):
    """false no 0 off, true yes 1 on, in any case."""
    expected = word.lower() in ("true", "yes", "1", "on")
    assert parse([f"task.acks_late={word}"]) == {"task_acks_late": expected}


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("task.acks_late=maybe", "task_acks_late: 'maybe' cannot be read as True or False"),
        ("task.time_limit=x", "task_time_limit: 'x' cannot be read as a number of seconds"),
        ("task.time_limit=", "task_time_limit: '' cannot be read"),
        ("task.time_limit=(what)3", "there is no type 'what'"),
        ("broker.transport_options=(dict)[1]", r"'\[1\]' cannot be read as dict"),
        ("accept_content=json", "'json' cannot be read as a list"),
        ("worker.nope=1", "no setting is named 'worker_nope'"),
        ("task.serialiser=1", "did you mean 'task_serializer'"),
        ("broken", "'broken' is no setting: write name=value"),
    ],
)
def test_what_cannot_be_read_is_an_error_that_says_why(word, message):
    """One sentence for the command line to print."""
    with pytest.raises(ImproperlyConfigured, match=message):
        parse([word])


def test_an_error_does_not_show_a_secret():
    """The words of a command line may end up in a log."""
    with pytest.raises(ImproperlyConfigured) as caught:
        parse(["broker.password=(int)canary"])
    assert "canary" not in str(caught.value)


def test_the_words_are_assigned_and_checked():
    """They come before the source, and have to fit their settings."""
    conf = Settings(source={"worker_concurrency": 2}, environ={})
    conf.read_from_words(["worker.concurrency=4", ".pool=solo"], namespace="worker")
    assert not conf.loaded
    assert (conf.worker_concurrency, conf.worker_pool) == (4, "solo")
    with pytest.raises(ImproperlyConfigured, match="worker_concurrency is '0'"):
        conf.read_from_words(["worker.concurrency=0"])
