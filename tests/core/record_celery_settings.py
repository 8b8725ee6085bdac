"""Writes celery_settings.json: the settings of the real Celery, and how it looks them up.

Run it with the Python of an environment that has Celery installed; the tests only read the file.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import celery
from celery import Celery
from celery.app.defaults import _TO_OLD_KEY, NAMESPACES, flatten
from celery.app.utils import filter_hidden_settings
from celery.exceptions import ImproperlyConfigured

SPELLINGS = {
    "CELERY_TASK_TRACK_STARTED": True,
    "celery_task_serializer": "json",
    "BROKER_URL": "redis://old",
    "result_serializer": "yaml",
    "TASK_ALWAYS_EAGER": True,
    "CELERYD_CONCURRENCY": 7,
    "PROJ_BROKER_HEARTBEAT": 5,
    "proj_broker_heartbeat": 6,
    "OTHER": 1,
}
LOOK_UPS = [
    *((SPELLINGS, namespace) for namespace in ("CELERY", "CELERY_", "celery", "proj", "PROJ")),
    ({"CELERY_BROKER_URL": "a://", "broker_url": "b://", "BROKER_URL": "c://"}, "CELERY"),
    ({"broker_url": "b://", "BROKER_URL": "c://"}, "CELERY"),
    ({"BROKER_URL": "c://", "CELERY_RESULT_SERIALIZER": "yaml"}, None),
    ({"CELERY_RESULT_SERIALIZER": "json", "result_serializer": "yaml"}, None),
    ({"TIME_ZONE": "Europe/Paris"}, None),
    ({"TIME_ZONE": "Europe/Paris"}, "CELERY"),
    ({"CELERY_TIME_ZONE": "Europe/Rome"}, "CELERY"),
    ({"task_default_queue": "mail"}, None),
    ({"broker_url": "a://", "broker_read_url": "b://"}, None),
]
READ = [
    "task_track_started",
    "task_serializer",
    "broker_url",
    "broker_read_url",
    "broker_write_url",
    "result_serializer",
    "CELERY_RESULT_SERIALIZER",
    "task_always_eager",
    "worker_concurrency",
    "broker_heartbeat",
    "timezone",
    "task_default_exchange",
    "task_default_routing_key",
]
MIXTURES = [
    ["CELERY_TASK_SERIALIZER", "broker_url", "result_serializer"],
    ["CELERY_TASK_SERIALIZER", "BROKER_URL", "result_serializer"],
    ["CELERY_TASK_SERIALIZER", "result_serializer"],
    ["CELERY_TASK_SERIALIZER", "task_serializer"],
    ["CELERY_TASK_SERIALIZER", "task_serializer", "CELERY_ACKS_LATE", "result_expires", "imports"],
    ["CELERY_TASK_SERIALIZER", "BROKER_URL"],
    ["task_serializer", "broker_url"],
]
SECRETS = {
    "foo_key": "a",
    "Api": 1,
    "x": {"password": "a", "q": {"token": 3, "n": 1}},
    "secret_map": {"a": 1},
    "broker_url": "amqp://u:p@h:5672//v",
    "BROKER_URL": "amqp://u:p@h:5672//v",
    "result_backend": "db+postgres://u:p@h/x",
    "cache_backend": "memcached://a",
    "CELERY_RESULT_BACKEND": "redis://:p@h;redis://:q@h2",
    "s3_secret_access_key": "x",
    "database_url": "z",
    "security_certificate": "shown",
    "beat_dburi": 1,
    "PROFANITIES_LIST": ["x"],
    "my_signature": "x",
    "result_backend_transport_options": {"sentinel_kwargs": {"password": "a"}},
    "redis_password": None,
    "task_default_routing_key": "x",
    "worker_concurrency": 3,
}
WORDS = [
    (["worker.concurrency=4"], "celery"),
    (["worker_concurrency=4"], "celery"),
    ([".concurrency=4"], "worker"),
    (["_concurrency=4"], "worker"),
    (["task.acks_late=yes", "task_track_started=0"], "celery"),
    (["result.expires=(int)5"], "celery"),
    (["result.expires=5"], "celery"),
    (['accept_content=(list)["json"]'], "celery"),
    (['broker.transport_options=(json){"a":1}'], "celery"),
    (["broker.transport_options=(dict){}"], "celery"),
    (["task.routes=abc"], "celery"),
    (["broker.url=a=b"], "celery"),
    (["BROKER.URL=x"], "celery"),
    (["task.time_limit=(any)3"], "celery"),
    (["task.time_limit=(string)3"], "celery"),
    (["task.time_limit=(float)3"], "celery"),
]


def configured(source, namespace=None):
    app = Celery("facts", set_as_current=False, namespace=namespace)
    app.config_from_object(source)
    return app.conf


def looked_up(source, namespace):
    conf = configured(source, namespace)
    return {key: getattr(conf, key) for key in READ}


def to_rename(keys):
    """Which of the keys the error about mixed formats lists."""
    try:
        configured(dict.fromkeys(keys, ())).finalize()
    except ImproperlyConfigured as error:
        return sorted(line.split()[0] for line in str(error).splitlines() if " -> " in line)
    return []


def main():
    parse = Celery("facts", set_as_current=False).loader.cmdline_config_parser
    settings = {}
    for name, option in sorted(flatten(NAMESPACES)):
        kind = getattr(option.type, "__name__", option.type)
        settings[name] = [kind, repr(option.default), _TO_OLD_KEY[name]]
    facts = {
        "celery": celery.__version__,
        "look_ups": [[*case, looked_up(*case)] for case in LOOK_UPS],
        "mixtures": [[keys, to_rename(keys)] for keys in MIXTURES],
        "censored": [SECRETS, filter_hidden_settings(SECRETS)],
        "words": [[*case, parse(*case)] for case in WORDS],
        "settings": settings,
    }
    rows = ",\n  ".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in facts["settings"].items())
    parts = [
        f" {json.dumps(name)}: {json.dumps(facts[name])}" for name in facts if name != "settings"
    ]
    text = "{\n" + ",\n".join([*parts, f' "settings": {{\n  {rows}\n }}']) + "\n}\n"
    (Path(sys.argv[0]).parent / "celery_settings.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
