"""The table of settings against the real Celery's, and against itself."""

from __future__ import annotations

import json
import runpy
from datetime import timedelta
from math import inf
from pathlib import Path

import pytest

from umbel.exceptions import ImproperlyConfigured
from umbel.settings import SECTIONS, TABLE, Settings
from umbel.settings.names import OLD_TO_NEW, Namespace
from umbel.settings.setting import SAME

ROOT = Path(__file__).parents[2]
FACTS = json.loads((Path(__file__).parent / "celery_settings.json").read_text("utf-8"))
CELERY = FACTS["settings"]
REPRS = {"inf": inf, "datetime.timedelta(days=1)": timedelta(days=1)}

# Celery declares a few types that do not match what it takes.
OTHER_TYPES = {
    "beat_cron_starting_deadline": "int",
    "broker_heartbeat_checkrate": "float",
    "redis_backend_use_ssl": "bool",
    "result_compression": "string",
    "task_default_priority": "int",
}
OTHER_DEFAULTS = {
    "beat_scheduler",
    "task_acks_late",
    "task_reject_on_worker_lost",
    "worker_autoscaler",
    "worker_consumer",
    "worker_pool_start_method",
    "worker_prefetch_multiplier",
}
UNDECLARED = [
    *(
        f"{who}_{what}"
        for who in ("worker", "beat", "events")
        for what in ("logfile", "pidfile", "uid", "gid", "umask", "executable")
    ),
    "redis_client_name",
    "redis_backend_health_check_interval",
    "redis_backend_credential_provider",
    "result_backend_thread_safe",
    "override_backends",
    "cassandra_secure_bundle_path",
    "gcs_threadpool_maxsize",
    "dynamodb_endpoint_url",
    "CELERY_DB_REUSE_MAX",
    "TIME_ZONE",
]


def evaluated(text):
    return REPRS[text] if text in REPRS else __import__("ast").literal_eval(text)


def test_every_celery_setting_is_known():
    """All 207 names, no more and no less."""
    assert {name for name, row in TABLE.items() if row.origin == "celery"} == set(CELERY)
    assert len(CELERY) == 207


@pytest.mark.parametrize("name", UNDECLARED)
def test_keys_that_celery_reads_without_declaring_them_are_known(name):
    """A configuration with one of them is accepted, and the key can be read."""
    assert name in Settings(source={name: None}, mentioned=set(TABLE))


@pytest.mark.parametrize("name", sorted(CELERY))
def test_the_default_is_celerys_or_the_difference_is_written_down(name):
    """Where a default differs, the row knows Celery's."""
    row = TABLE[name]
    assert (row.celery_default is not SAME) == (name in OTHER_DEFAULTS)
    celerys = row.default if row.celery_default is SAME else row.celery_default
    assert celerys == evaluated(CELERY[name][1])


@pytest.mark.parametrize("name", sorted(CELERY))
def test_the_type_is_the_one_celery_declares(name):
    """The word for the type is what a command line casts to."""
    assert TABLE[name].type == OTHER_TYPES.get(name, CELERY[name][0])


@pytest.mark.parametrize("name", sorted(CELERY))
def test_the_old_name_is_celerys(name):
    """Both by the rule and by its thirty exceptions."""
    assert TABLE[name].old == CELERY[name][2]
    assert OLD_TO_NEW[CELERY[name][2]] == name


def test_defaults_suit_their_own_settings():
    """No default would be refused if a user wrote it."""
    for row in TABLE.values():
        assert row.checked(row.default) == row.default


def test_tasks_are_acknowledged_late_and_survive_a_crash_unless_told_otherwise():
    """The promise that differs from Celery's."""
    conf = Settings()
    assert conf.task_acks_late is True
    assert conf.task_reject_on_worker_lost is True
    assert conf.broker_url is None
    assert conf.result_backend is None


def test_every_meaning_is_a_sentence_and_every_reason_can_follow_a_colon():
    """Texts are shown as they are, on the page and in warnings."""
    for row in TABLE.values():
        assert row.meaning.endswith("."), row.name
        assert 10 < len(row.meaning) < 330, row.name
        if row.inert:
            assert not row.inert.endswith("."), row.name
            assert row.meaning.startswith("In Celery: "), row.name


def test_a_setting_stands_in_one_section_only():
    """The page lists each once."""
    names = [row.name for rows in SECTIONS.values() for row in rows]
    assert len(names) == len(set(names)) == len(TABLE)


def test_no_setting_hides_behind_a_method():
    """Every setting can be read as an attribute."""
    assert not [name for name in TABLE if hasattr(Settings, name)]


def test_a_name_with_prefix_never_means_something_else_than_the_old_name():
    """CELERY_... under the namespace CELERY is one setting, whichever way it is read."""
    names = Namespace.named("CELERY")
    for name in TABLE:
        assert names.meaning(names.prefixed(name)) == name


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("worker_concurrency", "4", 4),
        ("worker_concurrency", "auto", "auto"),
        ("worker_concurrency", 4.0, 4),
        ("task_time_limit", timedelta(minutes=2), 120.0),
        ("task_time_limit", "1.5", 1.5),
        ("result_expires", timedelta(hours=2), timedelta(hours=2)),
        ("result_expires", "60", 60.0),
        ("task_acks_late", "no", False),
        ("task_acks_late", "False", False),
        ("task_acks_late", "ON", True),
        ("task_acks_late", 1, True),
        ("imports", "shop.tasks", ("shop.tasks",)),
        ("accept_content", ["json"], ["json"]),
        ("accept_content", "json", ("json",)),
        ("broker_url", ["amqp://a", "amqp://b"], ["amqp://a", "amqp://b"]),
        ("broker_use_ssl", {"cert_reqs": 0}, {"cert_reqs": 0}),
        ("broker_use_ssl", "yes", True),
        ("security_key_password", "secret", b"secret"),
        ("security_key_password", bytearray(b"secret"), b"secret"),
        ("imports", {"shop.tasks": 1}.keys(), ("shop.tasks",)),
        ("worker_state_db", Path("state"), "state"),
        ("task_default_rate_limit", "100/m", "100/m"),
        ("task_default_delivery_mode", "transient", "transient"),
        ("task_default_delivery_mode", "1", 1),
        ("result_backend", Settings, Settings),
        ("worker_pool", "threads", "threads"),
        ("task_queues", {"mail": {}}, {"mail": {}}),
        ("task_queues", ["a", "b"], ["a", "b"]),
        ("worker_redirect_stdouts_level", 30, 30),
        ("task_protocol", "1", 1),
        ("redis_backend_use_ssl", None, None),
        ("cassandra_port", object, object),
    ],
)
def test_what_can_be_understood_is_accepted(name, value, kept):
    """Text becomes a number or a flag, a timedelta becomes seconds, the rest stays as it is."""
    assert TABLE[name].checked(value) == kept


@pytest.mark.parametrize(
    ("name", "value", "takes"),
    [
        ("worker_concurrency", "four", "a whole number or 'auto', 1 or more"),
        ("worker_concurrency", 0, "1 or more"),
        ("worker_concurrency", 2.5, "a whole number"),
        ("task_time_limit", -1, "a number of seconds (not negative) or a timedelta"),
        ("task_time_limit", float("nan"), "a number of seconds"),
        ("task_time_limit", [3], "a number of seconds"),
        ("task_acks_late", "maybe", "True or False"),
        ("task_acks_late", 2, "True or False"),
        ("imports", 3, "a list or tuple"),
        ("imports", {"a": 1}, "a list or tuple"),
        ("broker_url", 5672, "a URL or a list of URLs"),
        ("broker_url", ["amqp://", None], "a URL or a list of URLs"),
        ("result_backend", 3, "a URL, an alias or a class"),
        ("beat_schedule", ["x"], "a mapping"),
        ("broker_transport_options", "x=1", "a mapping"),
        ("task_serializer", b"json", "a string"),
        ("task_protocol", 3, "1 or 2"),
        ("task_default_queue_type", "quorom", "'classic' or 'quorum'"),
        ("timezone", 2, "the name of a time zone or a tzinfo"),
        ("worker_pool", 4, "a name, a path"),
        ("worker_state_db", 4, "a path"),
        ("task_default_rate_limit", [1], "a number per second"),
        ("message_max_depth", 0, "1 or more"),
    ],
)
def test_what_is_obviously_wrong_is_refused(name, value, takes):
    """The error names the setting, the value and what it takes."""
    with pytest.raises(ImproperlyConfigured) as caught:
        TABLE[name].checked(value)
    assert str(caught.value).startswith(f"{name} is ")
    assert takes in str(caught.value)
    assert repr(value) in str(caught.value)


def test_an_error_does_not_show_secrets():
    """Neither the value of a secret nor a password in a URL."""
    with pytest.raises(ImproperlyConfigured) as caught:
        TABLE["redis_password"].checked(b"canary")
    assert str(caught.value) == "redis_password is ********; it takes a string"
    with pytest.raises(ImproperlyConfigured, match=r"is \*{8}; it takes bytes or a string"):
        TABLE["security_key_password"].checked(7)
    with pytest.raises(ImproperlyConfigured) as caught:
        TABLE["broker_url"].checked({"url": "redis://u:canary@h"})
    assert "canary" not in str(caught.value)


def test_the_reference_page_is_made_from_the_table():
    """The page in docs/reference is what its script would write now."""
    script = runpy.run_path(str(ROOT / "scripts" / "settings_reference.py"))
    page = (ROOT / "docs" / "reference" / "settings.md").read_text("utf-8")
    assert page == script["page"](), "run python scripts/settings_reference.py"
    for name in TABLE:
        assert f"| `{name}` |" in page
