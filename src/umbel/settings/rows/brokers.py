"""Settings of the connection to the broker."""

from __future__ import annotations

from umbel.settings.kinds import (
    FLAG,
    FLAG_OR_MAPPING,
    MAPPING,
    NUMBER,
    REFERENCE,
    SECONDS,
    TEXT,
    URL,
    WHOLE,
)
from umbel.settings.setting import Setting

BROKER = (
    Setting(
        "broker_url",
        URL,
        None,
        "The broker: a URL, or several as a list or separated by `;` to fail over to. Unset: "
        "SQLite in the file `umbel.db` of the project, with no server at all (Celery: RabbitMQ "
        "on this machine). `UMBEL_BROKER_URL`, then `CELERY_BROKER_URL`, in the environment win "
        "over the code.",
    ),
    Setting(
        "broker_read_url",
        URL,
        None,
        "The broker that workers consume from, where it is another one. "
        "`UMBEL_BROKER_READ_URL`, then `CELERY_BROKER_READ_URL`, win over it.",
    ),
    Setting(
        "broker_write_url",
        URL,
        None,
        "The broker that tasks are published to, where it is another one. "
        "`UMBEL_BROKER_WRITE_URL`, then `CELERY_BROKER_WRITE_URL`, win over it.",
    ),
    Setting(
        "coordinator_url",
        URL,
        None,
        "The server that keeps locks, rate limits and unique keys for the whole fleet. Unset: "
        "the broker, or the result backend where the broker cannot (RabbitMQ).",
        origin="umbel",
    ),
    Setting(
        "broker_transport_options",
        MAPPING,
        {},
        "Options of the broker. On every broker `visibility_timeout` shortens the lease (30 "
        "seconds): how long after the death of a worker its messages are delivered again. More "
        "than that has no effect, since leases are renewed while tasks run.",
    ),
    Setting(
        "broker_use_ssl",
        FLAG_OR_MAPPING,
        False,
        "True, or a mapping of options, encrypts the connection. RabbitMQ: `keyfile`, "
        "`certfile`, `ca_certs`, `cert_reqs`; Redis: the same with `ssl_` in front.",
    ),
    Setting(
        "broker_connection_timeout",
        SECONDS,
        4,
        "Seconds after which an attempt to connect fails.",
    ),
    Setting(
        "broker_connection_retry",
        FLAG,
        True,
        "A worker that loses the broker tries to reach it again. False: it finishes what runs and "
        "ends, with exit code 69.",
    ),
    Setting(
        "broker_connection_retry_on_startup",
        FLAG,
        None,
        "The same for the first connection of a worker. Unset: as `broker_connection_retry`.",
    ),
    Setting(
        "broker_connection_max_retries",
        WHOLE,
        100,
        "How often in a row a worker tries, at most 5 seconds apart, before it finishes what runs "
        "and ends, with exit code 69. None or 0: for ever.",
        at_least=0,
    ),
    Setting(
        "broker_channel_error_retry",
        FLAG,
        False,
        "In Celery: connect again to RabbitMQ after a channel error too.",
        inert="a channel error that a new channel or connection can mend is always mended; any "
        "other is reported with what to do",
    ),
    Setting(
        "broker_failover_strategy",
        REFERENCE,
        None,
        "The order in which several brokers are tried: `round-robin` (when unset), `shuffle`, or "
        "a function that makes an iterator of them. A worker's supervisor, which imports no code "
        "of the application, goes round-robin where that is a function.",
    ),
    Setting(
        "broker_pool_limit",
        WHOLE,
        10,
        "In Celery: the most connections a process keeps for publishing.",
        at_least=0,
        inert="the threads of a process share one connection for publishing, which sends what "
        "they publish at the same time together",
    ),
    Setting(
        "broker_pool_acquire_timeout",
        SECONDS,
        None,
        "In Celery: seconds to wait for a free connection of the pool.",
        inert="there is no pool to wait for; `publish_timeout` bounds the whole of a publish",
    ),
    Setting(
        "broker_heartbeat",
        WHOLE,
        120,
        "On RabbitMQ: seconds between the heartbeats of a connection. None or 0: none.",
        at_least=0,
    ),
    Setting(
        "broker_heartbeat_checkrate",
        NUMBER,
        3.0,
        "In Celery: how often in that time RabbitMQ's heartbeat is looked for.",
        at_least=0,
        inert="the connection notices by itself when the other side is silent for twice as long "
        "as was agreed",
    ),
    Setting(
        "broker_login_method",
        TEXT,
        None,
        "On RabbitMQ: the login mechanism, e.g. `PLAIN`, `AMQPLAIN`, `EXTERNAL`.",
    ),
    Setting(
        "broker_native_delayed_delivery_queue_type",
        TEXT,
        "quorum",
        "On RabbitMQ: the type of the queues that delayed messages wait in.",
        choices=("classic", "quorum"),
    ),
)

BROKER_PARTS = (
    Setting(
        "broker_transport",
        TEXT,
        None,
        "The scheme of the URL that is put together from the settings of this group when "
        "`broker_url` is unset. Write `broker_url` in new projects.",
    ),
    Setting("broker_host", TEXT, None, "The host of that URL, or a whole URL."),
    Setting("broker_port", WHOLE, None, "The port of that URL."),
    Setting("broker_user", TEXT, None, "The user name of that URL."),
    Setting("broker_password", TEXT, None, "The password of that URL.", secret=True),
    Setting("broker_vhost", TEXT, None, "The virtual host of that URL."),
)
