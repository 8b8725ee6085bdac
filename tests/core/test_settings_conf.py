"""The settings object: layers, names, laziness, and everything a mapping can do."""

from __future__ import annotations

import json
import pickle
import sys
import warnings
from pathlib import Path

import pytest

from umbel.exceptions import ImproperlyConfigured, UmbelDeprecationWarning, UmbelWarning
from umbel.settings import TABLE, Hooks, Settings

FACTS = json.loads((Path(__file__).parent / "celery_settings.json").read_text("utf-8"))


def settings(changes=None, source=None, **options):
    return Settings(changes, source, **{"environ": {}, **options})


# ------------------------------------------------------------------------------ the stack of maps


def test_layers_are_changes_then_added_defaults_then_source_then_builtin_defaults():
    """The first that has a setting wins, and of the added ones the latest."""
    conf = settings(source={"task_serializer": "source", "result_serializer": "source"})
    assert conf.task_serializer == "source"
    assert conf.event_serializer == "json"
    conf.add_defaults({"task_serializer": "first", "event_serializer": "first"})
    conf.add_defaults({"task_serializer": "second"})
    assert conf.task_serializer == "second"
    assert conf.event_serializer == "first"
    conf.task_serializer = "assigned"
    assert conf.task_serializer == "assigned"
    assert conf.result_serializer == "source"


def test_nothing_is_read_until_the_first_read_of_a_key():
    """Writing, taking back and printing do not read the configuration."""
    conf = settings(source="no_such_module")
    conf.task_serializer = "yaml"
    conf["result_serializer"] = "yaml"
    conf.update(event_serializer="yaml")
    conf.setdefault("task_protocol", 1)
    conf.add_defaults({"task_compression": "gzip"})
    conf.pop("event_serializer")
    repr(conf)
    assert not conf.loaded
    with pytest.raises(ModuleNotFoundError):
        conf.get("task_serializer")
    assert not conf.loaded


@pytest.mark.parametrize(
    "read",
    [
        lambda conf: conf.task_serializer,
        lambda conf: conf["task_serializer"],
        lambda conf: conf.get("task_serializer"),
        lambda conf: "task_serializer" in conf,
        len,
        list,
        lambda conf: conf.table(),
        lambda conf: conf.first("task_serializer"),
        lambda conf: conf.copy(),
        lambda conf: conf.value_set_for("task_serializer"),
        lambda conf: conf.without_defaults(),
        lambda conf: conf.maybe_warn_deprecated_settings(),
        lambda conf: conf.finalize(),
    ],
)
def test_any_read_reads_the_configuration(read):
    """And from then on ``loaded`` is true."""
    conf = settings()
    read(conf)
    assert conf.loaded


def test_writes_before_the_first_read_come_before_the_source():
    """What was assigned early is above what the source says."""
    conf = settings({"task_serializer": "early"}, {"task_serializer": "source"})
    assert conf.task_serializer == "early"


def test_the_changes_given_at_the_beginning_are_the_top_layer():
    """They are copied: writing to the settings does not write to them."""
    changes = {"task_serializer": "yaml"}
    conf = settings(changes, {"task_serializer": "json"})
    conf.task_protocol = 1
    assert conf.task_serializer == "yaml"
    assert changes == {"task_serializer": "yaml"}


def test_finalize_forces_the_read_and_returns_the_settings():
    """A second call does nothing."""
    conf = settings()
    assert conf.finalize() is conf
    assert conf.finalize().loaded


# ------------------------------------------------------------------------------------ the mapping


def test_a_missing_attribute_is_an_attribute_error_and_a_missing_item_a_key_error():
    """So that hasattr, getattr and get work."""
    conf = settings()
    with pytest.raises(AttributeError, match="no setting is named 'task_serialiser'"):
        conf.task_serialiser  # noqa: B018
    with pytest.raises(KeyError):
        conf["task_serialiser"]
    assert not hasattr(conf, "nope")
    assert getattr(conf, "nope", 3) == 3
    assert conf.get("nope") is None
    assert conf.get("nope", 4) == 4
    assert 3 not in conf
    with pytest.raises(KeyError):
        conf["_store"]


def test_settings_are_listed_for_completion():
    """An interpreter can complete the names, and Python suggests them in tracebacks."""
    assert {"task_serializer", "update"} <= set(dir(settings()))


def test_first_is_the_first_that_is_not_none():
    """Keys that do not exist count as None."""
    conf = settings()
    assert conf.first("nope", "task_compression", "task_serializer") == "json"
    assert conf.first("nope", "task_compression") is None


def test_keys_values_items_in_len_and_iteration_go_over_all_layers():
    """Every setting once, and what the user named differently as it was written."""
    conf = settings({"CELERY_TASK_PROTOCOL": 1}, {"x_own": 5})
    keys = list(conf)
    assert keys == list(conf.keys())
    assert len(keys) == len(set(keys)) == len(conf) == len(TABLE) + 2
    assert {"x_own", "CELERY_TASK_PROTOCOL", "task_protocol"} <= set(keys)
    assert dict(conf.items())["x_own"] == 5
    assert 5 in conf.values()
    assert "task_protocol" in conf
    assert "CELERY_TASK_SERIALIZER" in conf
    assert "nope" not in conf
    assert conf == dict(conf)


def test_copy_finalizes_and_is_independent():
    """Neither sees what is assigned to the other afterwards."""
    conf = settings({"task_protocol": 1}, {"task_serializer": "yaml"})
    twin = conf.copy()
    assert conf.loaded
    assert isinstance(twin, Settings)
    assert twin == conf
    twin.task_serializer = "msgpack"
    conf.task_protocol = 2
    assert conf.task_serializer == "yaml"
    assert twin.task_protocol == 1


def test_clear_drops_changes_and_keeps_defaults():
    """Added layers and the source stay as well."""
    conf = settings({"task_protocol": 1}, {"task_serializer": "yaml"})
    conf.add_defaults({"result_serializer": "yaml"})
    assert conf.task_protocol == 1
    conf.clear()
    assert conf.task_protocol == 2
    assert conf.task_serializer == conf.result_serializer == "yaml"


def test_clear_before_the_first_read_drops_what_was_assigned():
    """The constructor's arguments too."""
    conf = settings()
    conf.preset(broker_url="redis://h")
    conf.clear()
    assert conf.broker_url is None


def test_pop_takes_back_what_was_assigned():
    """Other layers show through; what was not assigned is a KeyError, or the default."""
    conf = settings({"task_serializer": "yaml"}, {"task_serializer": "msgpack"})
    assert conf.pop("task_serializer") == "yaml"
    assert conf.task_serializer == "msgpack"
    assert conf.pop("task_serializer", 9) == 9
    with pytest.raises(KeyError):
        conf.pop("task_serializer")
    with pytest.raises(KeyError):
        del conf["result_serializer"]
    with pytest.raises(AttributeError):
        del conf.result_serializer
    conf.task_protocol = 1
    del conf.task_protocol
    assert conf.task_protocol == 2


def test_setdefault_sets_if_missing_but_returns_none():
    """Before the first read every setting that was not assigned is missing, later none is."""
    conf = settings({"task_serializer": "yaml"})
    assert conf.setdefault("task_serializer", "json") is None
    assert conf.setdefault("task_protocol", 1) is None
    assert (conf.task_serializer, conf.task_protocol) == ("yaml", 1)
    assert conf.setdefault("result_serializer", "yaml") is None
    assert conf.result_serializer == "json"
    assert conf.setdefault("x_own", 3) is None
    assert conf.x_own == 3


def test_update_takes_a_mapping_pairs_and_keywords():
    """As a dict does."""
    conf = settings()
    conf.update({"task_protocol": 1}, task_serializer="yaml")
    conf.update([("result_serializer", "yaml")])
    assert (conf.task_protocol, conf.task_serializer, conf.result_serializer) == (1, "yaml", "yaml")


def test_update_assigns_all_or_nothing():
    """One wrong setting leaves the others as they were."""
    conf = settings()
    with pytest.raises(ImproperlyConfigured):
        conf.update(task_protocol=1, worker_concurrency="four")
    assert conf.task_protocol == 2


def test_update_notifies_observers_of_their_prefix():
    """Changing task_routes is how the routing table learns that it is out of date."""
    conf, heard = settings().finalize(), []
    conf.observe("task_routes", lambda names: heard.append((set(names), conf.task_routes)))
    conf.update(task_routes={"a": "b"}, task_protocol=1)
    conf.task_serializer = "yaml"
    conf.CELERY_ROUTES = {"c": "d"}
    conf.pop("task_routes")
    conf.clear()
    assert [value for _, value in heard] == [{"a": "b"}, {"a": "b"}, {"c": "d"}, None]
    assert all(names == {"task_routes"} for names, _ in heard)


def test_observers_hear_of_added_defaults_and_of_a_new_source():
    """Whatever changes a setting."""
    conf, heard = settings(), []
    conf.observe("worker_", heard.append)
    conf.finalize()
    heard.clear()
    conf.add_defaults({"worker_concurrency": 2})
    assert heard == [{"worker_concurrency"}]
    conf.read_from({"worker_concurrency": 3})
    assert "worker_concurrency" in heard[-1]


def test_without_defaults_is_the_user_layers_only():
    """Under the names that were written, with the values that count."""
    conf = settings({"task_protocol": 1}, {"CELERY_TASK_SERIALIZER": "yaml", "OTHER": 1})
    conf.add_defaults({"task_protocol": 2, "x_own": 3})
    assert conf.without_defaults() == {
        "CELERY_TASK_SERIALIZER": "yaml",
        "task_protocol": 1,
        "x_own": 3,
    }


def test_value_set_for_is_true_when_the_key_is_in_the_user_layers():
    """Under any of its names."""
    conf = settings({"task_protocol": 1}, {"CELERY_TASK_SERIALIZER": "yaml"})
    assert conf.value_set_for("task_protocol")
    assert conf.value_set_for("CELERY_TASK_PROTOCOL")
    assert conf.value_set_for("task_serializer")
    assert not conf.value_set_for("result_serializer")


def test_find_option_searches_the_table():
    """In the namespace first, then full names, then every family."""
    conf = settings()
    assert conf.find_option("concurrency", "worker") == (
        "worker",
        "concurrency",
        TABLE["worker_concurrency"],
    )
    assert conf.find_option("task_serializer")[:2] == (None, "task_serializer")
    assert conf.find_option("task_serializer", "worker")[:2] == (None, "task_serializer")
    assert conf.find_option("serializer")[:2] == ("event", "serializer")
    assert conf.find_option("concurrency", "worker").type.type == "any"
    with pytest.raises(KeyError):
        conf.find_option("nope")


def test_find_value_for_key_and_get_by_parts_join_with_underscores():
    """Parts that are empty are left out."""
    conf = settings({"task_serializer": "yaml", "timezone": "UTC"})
    assert conf.find_value_for_key("serializer", "task") == "yaml"
    assert conf.find_value_for_key("timezone") == "UTC"
    assert conf.get_by_parts("task", None, "serializer") == "yaml"


def test_table_includes_the_pseudo_key_deprecated_settings():
    """With the old names in use, or None."""
    assert settings({"task_protocol": 1}).table() == {
        "task_protocol": 1,
        "deprecated_settings": None,
    }
    conf = settings(source={"BROKER_URL": "redis://:p@h", "CELERY_TASK_PROTOCOL": 1})
    assert conf.table() == {
        "BROKER_URL": "redis://:********@h",
        "CELERY_TASK_PROTOCOL": 1,
        "deprecated_settings": ["BROKER_URL", "CELERY_TASK_PROTOCOL"],
    }
    assert set(conf.table(with_defaults=True)) >= set(TABLE)


def test_maybe_warn_deprecated_settings_warns_for_old_names_and_returns_bool():
    """One warning for each, naming the new name."""
    conf = settings(source={"CELERY_TASK_PROTOCOL": 1, "BROKER_URL": "redis://"})
    with pytest.warns(UmbelDeprecationWarning) as caught:
        assert conf.maybe_warn_deprecated_settings() is True
    assert [str(warning.message) for warning in caught] == [
        "BROKER_URL is the old name of the setting broker_url; use the new one",
        "CELERY_TASK_PROTOCOL is the old name of the setting task_protocol; use the new one",
    ]
    assert caught[0].filename == __file__
    assert settings(source={"task_protocol": 1}).maybe_warn_deprecated_settings() is False


def test_a_name_with_prefix_is_not_an_old_name():
    """CELERY_TASK_SERIALIZER under the namespace CELERY is how one writes it today."""
    conf = settings(source={"CELERY_TASK_SERIALIZER": "yaml"}, namespace="CELERY")
    assert conf.maybe_warn_deprecated_settings() is False


# ------------------------------------------------------------------------------- names and look-up


@pytest.mark.parametrize(("source", "namespace", "expected"), FACTS["look_ups"])
def test_look_up_finds_what_celery_finds(source, namespace, expected):
    """Prefix and key, the key itself, the old name, the new name; in namespaces of either case."""
    conf = settings(source=source, namespace=namespace)
    assert {key: conf[key] for key in expected} == expected
    assert {key: getattr(conf, key) for key in expected} == expected


def test_assignment_never_translates_names():
    """An old name does not override the new one in the same layer, but does in a lower one."""
    conf = settings({"task_serializer": "new"}, {"result_serializer": "source"})
    conf.CELERY_TASK_SERIALIZER = "old"
    assert conf.task_serializer == "new"
    assert conf.CELERY_TASK_SERIALIZER == "old"
    conf.CELERY_RESULT_SERIALIZER = "old"
    assert conf.result_serializer == conf.CELERY_RESULT_SERIALIZER == "old"


def test_the_bare_name_and_the_old_name_count_in_a_namespace_too():
    """Any other upper-case name without the prefix is somebody else's."""
    source = {"BROKER_URL": "redis://h", "result_serializer": "yaml", "TASK_ALWAYS_EAGER": True}
    conf = settings(source=source, namespace="CELERY")
    assert conf.broker_url == "redis://h"
    assert conf.result_serializer == "yaml"
    assert conf.task_always_eager is False


@pytest.mark.parametrize("namespace", ["CELERY", "CELERY_", "CELERY__"])
def test_a_trailing_underscore_of_the_namespace_makes_no_difference(namespace):
    """There is exactly one between prefix and name."""
    conf = settings(source={"CELERY_TASK_TRACK_STARTED": True}, namespace=namespace)
    assert conf.task_track_started is True


def test_env_beats_code_for_the_broker_urls_and_the_result_backend():
    """Umbel's variables before Celery's; empty ones do not count."""
    environ = {"CELERY_BROKER_URL": "redis://celery", "UMBEL_BROKER_URL": ""}
    conf = settings(
        {"broker_url": "redis://code", "result_backend": "redis://code"}, environ=environ
    )
    assert conf.broker_url == conf["broker_url"] == conf.BROKER_URL == "redis://celery"
    assert conf.broker_read_url == conf.broker_write_url == "redis://celery"
    environ["UMBEL_BROKER_URL"] = "redis://umbel"
    environ["UMBEL_BROKER_READ_URL"] = "redis://read"
    environ["CELERY_BROKER_WRITE_URL"] = "redis://write"
    environ["CELERY_RESULT_BACKEND"] = "redis://results"
    assert conf.broker_url == "redis://umbel"
    assert conf.broker_read_url == "redis://read"
    assert conf.broker_write_url == "redis://write"
    assert conf.result_backend == "redis://results"
    environ.clear()
    assert conf.broker_url == conf.result_backend == "redis://code"


def test_what_the_environment_gives_is_shown_among_the_users_settings():
    """It is what counts, so it is what the banner and the report must show."""
    conf = settings({"broker_url": "redis://code"}, environ={"UMBEL_BROKER_URL": "redis://:p@env"})
    assert conf.value_set_for("broker_url")
    assert conf.table()["broker_url"] == "redis://:********@env"
    assert not conf.value_set_for("result_backend")


def test_the_read_and_write_urls_fall_back_to_the_broker_url():
    """Each by itself."""
    conf = settings({"broker_url": "redis://a", "broker_read_url": "redis://b"})
    assert conf.broker_read_url == "redis://b"
    assert conf.broker_write_url == "redis://a"


def test_the_broker_url_is_put_together_from_its_parts_when_unset():
    """Each part quoted; a host that is a URL is taken as it is."""
    assert settings({"broker_host": "h"}).broker_url == "amqp://h/"
    conf = settings(
        {
            "broker_transport": "redis",
            "broker_host": "h",
            "broker_user": "u",
            "broker_password": "p/@",
            "broker_port": 3,
            "broker_vhost": "v",
        }
    )
    assert conf.broker_url == "redis://u:p%2F%40@h:3/v"
    conf.broker_url = "redis://x"
    assert conf.broker_url == "redis://x"
    assert settings({"broker_host": "redis://h/1"}).broker_url == "redis://h/1"


def test_task_default_exchange_and_routing_key_fall_back_to_the_default_queue():
    """As attribute and as item."""
    conf = settings({"task_default_queue": "mail"})
    assert conf.task_default_exchange == conf["task_default_exchange"] == "mail"
    assert conf.task_default_routing_key == "mail"
    conf.task_default_exchange = "other"
    assert conf.task_default_exchange == "other"
    conf.task_default_queue = "post"
    assert conf.task_default_routing_key == "post"


def test_timezone_falls_back_to_time_zone():
    """Django's name for it."""
    conf = settings(source={"TIME_ZONE": "Europe/Paris"})
    assert conf.timezone == conf.TIME_ZONE == "Europe/Paris"
    conf.timezone = "UTC"
    assert conf.timezone == "UTC"


# --------------------------------------------------------------------------- names that are unknown


@pytest.mark.parametrize(
    "write",
    [
        lambda conf: setattr(conf, "broker_urll", 1),
        lambda conf: conf.__setitem__("broker_urll", 1),
        lambda conf: conf.update(broker_urll=1),
        lambda conf: conf.setdefault("broker_urll", 1),
        lambda conf: conf.preset(broker_urll=1),
        lambda conf: conf.read_from({"broker_urll": 1}, force=True),
    ],
)
def test_an_unknown_name_is_an_error_with_a_suggestion(write):
    """Wherever it is written, before and after the first read."""
    for conf in (settings(), settings().finalize()):
        with pytest.raises(
            ImproperlyConfigured, match=r"'broker_urll' \(did you mean 'broker_url'"
        ):
            write(conf)


def test_the_suggestion_is_spelled_as_the_name_was():
    """Old names for capitals, names with prefix for those with prefix."""
    with pytest.raises(ImproperlyConfigured, match="did you mean 'CELERY_TASK_SERIALIZER'"):
        settings().CELERY_TASK_SERIALISER = "json"
    with pytest.raises(ImproperlyConfigured, match="did you mean 'CELERY_TASK_TRACK_STARTED'"):
        settings(source={"CELERY_TASK_TRACKED": 1}, namespace="CELERY").finalize()
    with pytest.raises(ImproperlyConfigured, match="did you mean 'app_task_protocol'"):
        settings(source={"app_task_protokol": 1}, namespace="app").finalize()


def test_a_wrong_value_is_an_error_that_names_the_key_as_it_was_written():
    """So that it can be found in the file."""
    with pytest.raises(ImproperlyConfigured, match="CELERYD_CONCURRENCY is 'four'; it takes"):
        settings(source={"CELERYD_CONCURRENCY": "four"}).finalize()


def test_keys_that_begin_with_x_are_the_users_own():
    """Assigned, given by a source, and in a namespace."""
    conf = settings({"x_one": 1}, {"CELERY_X_TWO": 2}, namespace="CELERY")
    conf.x_three = 3
    assert (conf.x_one, conf.x_two, conf["x_three"]) == (1, 2, 3)


def test_keys_declared_with_add_defaults_are_the_users_own():
    """They can be read, assigned, and given by a source."""
    conf = settings(source={"shop_country": "CH", "shop_town": "Bern"})
    conf.add_defaults({"shop_currency": "EUR"})
    conf.add_defaults(lambda: {"shop_country": "AT", "shop_town": None})
    conf.shop_currency = "CHF"
    assert (conf.shop_currency, conf.shop_country, conf.shop_town) == ("CHF", "AT", None)


def test_an_own_key_with_the_name_of_a_method_does_not_hide_it():
    """It can be read as an item."""
    conf = settings()
    conf.add_defaults({"update": 1, "task_protocol": 1})
    assert conf["update"] == 1
    conf.update(task_protocol=2)
    assert conf.task_protocol == 2


def test_added_defaults_are_checked():
    """A setting among them has to have a value that it can use."""
    with pytest.raises(ImproperlyConfigured, match="task_protocol"):
        settings().add_defaults({"task_protocol": "two"})


def test_callable_defaults_are_called_when_the_configuration_is_read():
    """Once, and at once when that has happened already."""
    calls = []
    conf = settings()
    conf.add_defaults(lambda: calls.append(1) or {"task_protocol": 1})
    assert calls == []
    assert conf.task_protocol == 1
    conf.add_defaults(lambda: calls.append(2) or {"task_protocol": 2})
    assert conf.task_protocol == 2
    assert calls == [1, 2]


# -------------------------------------------------------------------------- settings without effect


def test_a_setting_without_effect_is_accepted_with_one_warning_per_process():
    """The warning says why; applications that share the set of mentioned ones do not repeat it."""
    mentioned = set()
    conf = settings(mentioned=mentioned)
    with pytest.warns(UmbelWarning) as caught:
        conf.worker_timer = "x"
    assert [str(warning.message) for warning in caught] == [
        "worker_timer has no effect: delayed messages wait in the broker, never in a worker"
    ]
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        conf.worker_timer = "y"
        settings(source={"CELERYD_TIMER": "z"}, mentioned=mentioned).finalize()
    assert conf.worker_timer == "y"


def test_settings_without_effect_for_the_same_reason_share_a_warning():
    """A configuration for a store that is not there gives one, not ten."""
    conf = settings(source={"S3_BUCKET": "b", "S3_REGION": 5, "CASSANDRA_TABLE": "t"})
    with pytest.warns(UmbelWarning) as caught:
        conf.finalize()
    texts = sorted(str(warning.message).partition(":")[0] for warning in caught)
    assert texts == ["cassandra_table has no effect", "s3_bucket, s3_region have no effect"]


def test_a_setting_without_effect_that_nobody_gave_is_not_mentioned():
    """Reading it gives Celery's default."""
    assert settings().azureblockblob_read_timeout == 120


# -------------------------------------------------------------------------------- hooks and formats


def test_the_hooks_are_called_around_the_reading_in_order():
    """Before, then what the source says is prepared, then after, all once."""
    calls = []

    def before():
        calls.append(("before", conf.loaded))
        conf.task_protocol = 1

    def prepare(values):
        calls.append(("prepare", values))
        return {**values, "result_serializer": "yaml"}

    def after():
        calls.append(("after", conf.loaded, conf.task_protocol, conf.result_serializer))

    hooks = Hooks(before=before, prepare=prepare, after=after)
    conf = settings(source={"task_serializer": "yaml"}, hooks=hooks)
    assert conf.task_serializer == "yaml"
    assert conf.result_serializer == "yaml"
    assert calls == [
        ("before", False),
        ("prepare", {"task_serializer": "yaml"}),
        ("after", True, 1, "yaml"),
    ]


def test_a_hook_may_read_settings_and_name_the_source():
    """It sees what is known so far; the source it names is the one that is read."""
    seen = []

    def before():
        seen.append(conf.task_serializer)
        conf.read_from({"task_protocol": 1})

    conf = settings({"task_serializer": "yaml"}, hooks=Hooks(before=before))
    assert conf.task_protocol == 1
    assert seen == ["yaml"]


def test_what_prepare_returns_is_checked():
    """As if the source had said it."""
    conf = settings(source={}, hooks=Hooks(prepare=lambda _: {"task_protocol": "x"}))
    with pytest.raises(ImproperlyConfigured):
        conf.finalize()


@pytest.mark.parametrize(("keys", "renames"), FACTS["mixtures"])
def test_mixing_old_and_new_names_is_refused_as_in_celery(keys, renames):
    """The error lists what to rename: the kind there is less of, and the old where they tie."""
    conf = settings(source=dict.fromkeys(keys))
    if not renames:
        conf.finalize()
        return
    with pytest.raises(ImproperlyConfigured) as caught:
        conf.finalize()
    lines = [line.strip() for line in str(caught.value).splitlines() if " -> " in line]
    assert sorted(line.split()[0] for line in lines) == renames


def test_the_list_of_renames_gives_the_names_to_write():
    """In both directions."""
    source = {"CELERY_TASK_SERIALIZER": "json", "broker_url": None, "result_serializer": "json"}
    with pytest.raises(ImproperlyConfigured, match="CELERY_TASK_SERIALIZER -> task_serializer"):
        settings(source=source).finalize()
    source = {"CELERY_TASK_SERIALIZER": "json", "BROKER_URL": None, "result_serializer": "json"}
    with pytest.raises(ImproperlyConfigured, match="result_serializer -> CELERY_RESULT_SERIALIZER"):
        settings(source=source).finalize()


def test_keys_set_by_the_constructor_are_exempt_from_the_check():
    """An app made with broker=... may have old names otherwise; None counts as not given."""
    conf = settings()
    conf.preset(broker_url="redis://h", result_backend=None)
    conf.CELERY_TASK_SERIALIZER = "yaml"
    assert conf.task_serializer == "yaml"
    assert not conf.value_set_for("result_backend")


def test_what_was_assigned_before_the_first_read_must_not_be_mixed_either():
    """When there is no source."""
    conf = settings({"task_serializer": "json"})
    conf.CELERY_IMPORTS = ("a",)
    with pytest.raises(ImproperlyConfigured, match="CELERY_IMPORTS -> imports"):
        conf.finalize()


def test_settings_that_have_no_old_name_mix_with_everything():
    """Umbel's own, and those that Celery never declared."""
    conf = settings(
        source={"CELERY_TASK_PROTOCOL": 1, "task_max_crashes": 5, "worker_logfile": "l"}
    )
    assert (conf.task_protocol, conf.task_max_crashes) == (1, 5)


def test_in_a_namespace_the_check_is_skipped():
    """Another package's old names cannot be renamed."""
    source = {"CELERY_TASK_PROTOCOL": 1, "BROKER_URL": "redis://h", "result_serializer": "yaml"}
    conf = settings(source=source, namespace="CELERY")
    assert (conf.task_protocol, conf.broker_url, conf.result_serializer) == (1, "redis://h", "yaml")


# ----------------------------------------------------------------------------- copies and the cache


def test_a_value_read_once_is_an_ordinary_attribute_until_something_changes():
    """A read of one setting must cost next to nothing, and never be out of date."""
    conf = settings()
    assert conf.task_serializer == "json"
    assert vars(conf)["task_serializer"] == "json"
    for change in (
        lambda: conf.update(task_protocol=1),
        lambda: conf.pop("task_protocol"),
        conf.clear,
        lambda: conf.add_defaults({}),
        lambda: conf.read_from({}),
    ):
        assert conf.task_serializer == "json"
        change()
        assert "task_serializer" not in vars(conf)


def test_a_default_that_is_a_mapping_may_be_changed_in_place():
    """The change lasts, and other applications do not see it."""
    conf = settings()
    conf.beat_schedule["a"] = {"task": "t"}
    conf.task_protocol = 1
    assert conf.beat_schedule == {"a": {"task": "t"}}
    assert settings().beat_schedule == {}
    assert TABLE["beat_schedule"].default == {}


def test_portable_carries_what_makes_the_same_settings_elsewhere():
    """What was assigned, the source and the namespace, but no added defaults."""
    conf = settings({"task_protocol": 1}, {"CELERY_TASK_SERIALIZER": "yaml"}, namespace="CELERY")
    conf.add_defaults({"x_own": 1})
    portable = pickle.loads(pickle.dumps(conf.portable()))
    assert portable == {
        "changes": {"task_protocol": 1},
        "source": {"CELERY_TASK_SERIALIZER": "yaml"},
        "silent": False,
        "namespace": "CELERY_",
    }
    twin = settings(**portable)
    assert (twin.task_protocol, twin.task_serializer) == (1, "yaml")
    assert "x_own" not in twin


def test_portable_names_a_module_and_reads_an_object():
    """A module cannot be pickled; an object may be of a class that is not there elsewhere."""

    class Local:
        task_serializer = "yaml"

    assert settings(source=json).portable()["source"] == "json"
    assert settings(source="a.b:c").portable()["source"] == "a.b:c"
    assert settings(source=Local).portable()["source"] == {"task_serializer": "yaml"}
    assert settings().portable()["source"] is None


def test_settings_can_be_pickled():
    """They are not read on the way."""
    conf = settings({"task_protocol": 1}, "some.module")
    twin = pickle.loads(pickle.dumps(conf))
    assert not conf.loaded
    assert not twin.loaded
    assert twin.pop("task_protocol") == 1


def test_settings_do_not_keep_the_process_from_forgetting_them(request):
    """Nothing global holds them; what they imported stays imported, as any module."""
    before = set(sys.modules)
    conf = settings()
    conf.finalize()
    assert {name for name in sys.modules if name not in before} <= {"urllib", "urllib.parse"}
