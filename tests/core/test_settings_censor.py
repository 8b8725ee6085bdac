"""What may be seen of settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umbel.settings import Settings, censor, mask_url
from umbel.settings.censor import is_hidden

FACTS = json.loads((Path(__file__).parent / "celery_settings.json").read_text("utf-8"))
STARS = "********"


def test_the_same_is_hidden_as_in_celery():
    """Keys that tell of secrets, at any depth; mappings are entered even under such a key."""
    settings, expected = FACTS["censored"]
    assert censor(settings) == expected


@pytest.mark.parametrize(
    "key", ["API", "my_token", "KEY", "secret", "compass", "PROFANITIES_LIST", "database", "x_Key"]
)
def test_a_key_that_tells_of_a_secret_hides_its_value_in_any_case(key):
    """Whatever the value is, None included."""
    assert censor({key: "x"}) == {key: STARS}
    assert censor({key: None}) == {key: STARS}
    assert censor({key: [1, 2]}) == {key: STARS}


def test_a_mapping_under_such_a_key_is_entered_instead():
    """Only its own keys decide then."""
    shown = censor({"api": {"password": "a", "host": "h", "deep": [{"token": 1}]}})
    assert shown == {"api": {"password": STARS, "host": "h", "deep": [{"token": STARS}]}}


def test_lists_are_entered_too():
    """A secret in a list of mappings or URLs is hidden as well."""
    shown = censor({"broker_url": ["amqp://u:p@a", "amqp://u:q@b"], "x": ({"key": 1},)})
    assert shown == {
        "broker_url": [f"amqp://u:{STARS}@a", f"amqp://u:{STARS}@b"],
        "x": ({"key": STARS},),
    }


@pytest.mark.parametrize(
    "key",
    ["broker_url", "broker_read_url", "broker_write_url", "BROKER_URL", "CELERY_BROKER_URL",
     "result_backend", "CELERY_RESULT_BACKEND", "cache_backend", "coordinator_url", "other"],
)  # fmt: skip
def test_the_password_in_a_url_is_masked_under_every_key(key):
    """With eight asterisks; the rest of the URL stays."""
    assert censor({key: "redis://u:canary@h:1/0"}) == {key: f"redis://u:{STARS}@h:1/0"}


def test_secret_settings_without_a_telling_name_are_hidden():
    """The table marks them."""
    assert is_hidden("cassandra_auth_kwargs")
    assert is_hidden("CASSANDRA_AUTH_KWARGS")
    assert not is_hidden("worker_concurrency")


def test_keys_that_are_no_text_are_kept():
    """Nested mappings may have any keys."""
    assert censor({3: 4, None: "redis://:canary@h"}) == {3: 4, None: f"redis://:{STARS}@h"}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:p@h", "redis://:**@h"),
        ("redis://u:p@h:6379/0", "redis://u:**@h:6379/0"),
        ("redis://u:p@ss@h", "redis://u:**@h"),
        ("redis://u:p%40ss@h", "redis://u:**@h"),
        ("amqp://u:p@h;amqp://u:q@h2", "amqp://u:**@h;amqp://u:**@h2"),
        ("sentinel://:p@h1:1,sentinel://:q@h2", "sentinel://:**@h1:1,sentinel://:**@h2"),
        ("mongodb://u:p@h1:1,h2:2/db", "mongodb://u:**@h1:1,h2:2/db"),
        ("sqla+postgresql://u:p@h/db", "sqla+postgresql://u:**@h/db"),
        ("redis+socket:///tmp/s?password=p&db=1", "redis+socket:///tmp/s?password=**&db=1"),
        ("https://h/c?sv=1&sig=abc%3D", "https://h/c?sv=1&sig=**"),
        (
            "azureblockblob://DefaultEndpointsProtocol=https;AccountName=x;AccountKey=a==;Suffix=e",
            "azureblockblob://DefaultEndpointsProtocol=https;AccountName=x;AccountKey=**;Suffix=e",
        ),
        ("x://SharedAccessSignature=abc;EndpointSuffix=e", "x://SharedAccessSignature=**;EndpointSuffix=e"),
        ("azureservicebus://Name:Key@ns", "azureservicebus://Name:**@ns"),
        ("u:p@h", "u:**@h"),
    ],
)  # fmt: skip
def test_mask_url_masks_every_password(url, shown):
    """Lists, several hosts, nested schemes, query strings and connection strings."""
    assert mask_url(url) == shown
    assert mask_url(url, stars=8) == shown.replace("**", STARS)


@pytest.mark.parametrize(
    "url",
    ["", "no url", "redis://h", "redis://h:6379/0", "redis://user@h", "rpc://", "file:///var/x",
     "sqlite:////tmp/a.db", "db+sqlite:///x.db", "cache+memcached://a:1;b:2/", "redis://[::1]:6379/0",
     "amqp://a;amqp://b;amqp://c", "redis://u:@h", "://", ":", "@"],
)  # fmt: skip
def test_mask_url_leaves_alone_what_holds_no_password(url):
    """Nothing is added, normalised or lost."""
    assert mask_url(url) == url


SCHEMES = st.sampled_from(["redis", "amqp", "db+postgresql", "sentinel", "mongodb", ""])
PLAIN = st.text(st.characters(codec="ascii", categories=["Ll", "Nd"]), max_size=6)
HOSTS = st.lists(st.builds("{}{}".format, PLAIN, st.sampled_from(["", ":1", ":65535"])), max_size=3)
TAILS = st.sampled_from(["", "/", "/0", "//", "/v?x=1", "?db=1#f", "/a;b,c"])
# No URL inside the password: then the text is a list of two URLs by every reading.
PASSWORDS = st.text(min_size=1, max_size=12).filter(lambda text: "://" not in f":{text}")
CANARY = "CaNaRy"


@given(SCHEMES, PLAIN, PASSWORDS, PASSWORDS, HOSTS, TAILS)
def test_no_password_is_ever_shown_however_malformed_the_url(
    scheme, user, before, after, hosts, tail
):
    """Raw separators of every kind may stand in the password, in front of and behind a canary."""
    url = f"{scheme}://{user}:{before}{CANARY}{after}@{','.join(hosts)}{tail}"
    assert CANARY not in mask_url(url)


# What begins with a digit may be a port, and what stands behind an @ is a host.
UNMISTAKABLE = PASSWORDS.filter(lambda text: not text[0].isdecimal() and "@" not in text)


@given(SCHEMES, PLAIN, UNMISTAKABLE, HOSTS)
def test_a_password_without_a_host_is_not_shown_either(scheme, user, before, hosts):
    """Who forgets the host has still written a password."""
    assert CANARY not in mask_url(f"{scheme}://{user}:{before}{CANARY}")
    assert CANARY not in mask_url(f"amqp://a:b@{','.join(hosts)};{scheme}://{user}:{CANARY}@h")


@given(st.text(st.characters(exclude_characters="&"), max_size=12), TAILS)
def test_a_secret_field_is_not_shown(text, tail):
    """In query strings, whatever is in the value but the separator of fields."""
    assert CANARY not in mask_url(f"redis://h:1/0?password={CANARY}{text}")
    assert CANARY not in mask_url(f"AccountName=x;AccountKey={CANARY}{text}{tail}")


@given(st.text())
def test_masking_any_text_works_and_is_repeatable(text):
    """No text makes it fail, and what was masked once stays as it is."""
    once = mask_url(text)
    assert CANARY not in mask_url(f"redis://:{CANARY}@h") + once.replace(CANARY, "")
    assert isinstance(once, str)


def test_table_and_humanize_hide_secrets_and_can_be_told_not_to():
    """The canary appears in neither unless asked for."""
    conf = Settings(
        {
            "broker_url": "redis://u:canary@h/0",
            "result_backend": "redis://:canary@h;redis://:canary@i",
            "redis_password": "canary",
            "broker_transport_options": {"sentinel_kwargs": {"password": "canary"}},
            "x_headers": [{"api": "canary"}],
        },
        environ={},
    )
    assert "canary" not in str(conf.table())
    assert "canary" not in conf.humanize(with_defaults=True)
    assert "canary" not in repr(conf)
    assert conf.table(censored=False)["redis_password"] == "canary"
    assert "redis_password: 'canary'" in conf.humanize(censored=False).splitlines()


def test_humanize_is_one_line_per_setting():
    """In the order in which they were given, as ``name: value``."""
    conf = Settings({"task_serializer": "json", "worker_concurrency": 4}, environ={})
    assert conf.humanize() == (
        "task_serializer: 'json'\nworker_concurrency: 4\ndeprecated_settings: None"
    )
