"""Settings of results, whatever the store."""

from __future__ import annotations

from datetime import timedelta
from math import inf

from umbel.settings.kinds import (
    ANY,
    BACKEND,
    FLAG,
    FLAG_OR_MAPPING,
    LIFETIME,
    MAPPING,
    NUMBER,
    SECONDS,
    TEXT,
    URL,
    WHOLE,
)
from umbel.settings.setting import Setting

RESULTS = (
    Setting(
        "result_backend",
        BACKEND,
        None,
        "Where results are kept: a URL, an alias or a class. Unset: the embedded broker keeps "
        "them beside its messages, and any other broker keeps none. `UMBEL_RESULT_BACKEND`, then "
        "`CELERY_RESULT_BACKEND`, in the environment win over the code.",
    ),
    Setting(
        "result_backend_transport_options",
        MAPPING,
        {},
        "Options of the result backend, e.g. `global_keyprefix`, `result_chord_ordered`, "
        "`retry_policy`, `master_name`. For a database: `pickled`, which writes results for Celery "
        "before 5.7.",
    ),
    Setting(
        "result_serializer",
        TEXT,
        "json",
        "The serializer of results.",
    ),
    Setting(
        "result_compression",
        TEXT,
        None,
        "The compression of stored results. Unset: none. Without effect in a database.",
    ),
    Setting(
        "result_expires",
        LIFETIME,
        timedelta(days=1),
        "How long results are kept: seconds or a timedelta. None or 0: for ever.",
    ),
    Setting(
        "result_failure_expires",
        LIFETIME,
        None,
        "How long failed results are kept. Unset: as `result_expires`. Files are deleted by "
        "`result_expires` alone.",
    ),
    Setting(
        "result_chord_expires",
        LIFETIME,
        None,
        "How long the marks of an unfinished chord are kept. Unset: as `result_expires`.",
    ),
    Setting(
        "result_extended",
        FLAG,
        False,
        "Store the task's name, arguments, worker, retries and queue with its result.",
    ),
    Setting(
        "result_cache_max",
        WHOLE,
        -1,
        "How many results the caller's process keeps in memory. -1: none; 0: all of them.",
        at_least=-1,
    ),
    Setting(
        "result_chord_join_timeout",
        SECONDS,
        3.0,
        "Seconds to wait for the results of a chord's header once all of its tasks have ended.",
    ),
    Setting(
        "result_chord_retry_interval",
        SECONDS,
        1.0,
        "In Celery: seconds between two looks at a chord on backends that have to be polled.",
        inert="the body of a chord is published by whichever task of its header ends last; "
        "nothing is polled",
    ),
    Setting(
        "result_backend_always_retry",
        FLAG,
        False,
        "Try again when the result backend cannot be reached.",
    ),
    Setting(
        "result_backend_max_retries",
        NUMBER,
        inf,
        "How often to try again.",
        at_least=0,
    ),
    Setting(
        "result_backend_base_sleep_between_retries_ms",
        WHOLE,
        10,
        "The first pause between two tries, in milliseconds. It doubles every time.",
        at_least=0,
    ),
    Setting(
        "result_backend_max_sleep_between_retries_ms",
        WHOLE,
        10000,
        "The longest pause between two tries, in milliseconds.",
        at_least=0,
    ),
    Setting(
        "result_backend_thread_safe",
        FLAG,
        None,
        "In Celery: share one backend object among threads.",
        inert="every result backend of Umbel may be shared among threads",
        origin="undeclared",
    ),
    Setting(
        "result_exchange",
        TEXT,
        "celeryresults",
        "In Celery: the exchange of results that travel as messages.",
        inert="result messages go to the caller's own queue, through the default exchange",
    ),
    Setting(
        "result_exchange_type",
        TEXT,
        "direct",
        "In Celery: the type of that exchange.",
        inert="result messages go to the caller's own queue, through the default exchange",
    ),
    Setting(
        "result_persistent",
        FLAG,
        None,
        "With `rpc://` results: result messages survive a restart of the broker.",
    ),
)

REDIS = (
    Setting("redis_host", TEXT, None, "The server, where `result_backend` is only `redis`."),
    Setting("redis_port", WHOLE, None, "Its port. Unset: 6379."),
    Setting("redis_db", WHOLE, None, "The number of the database. Unset: 0."),
    Setting("redis_username", TEXT, None, "The user name."),
    Setting("redis_password", TEXT, None, "The password.", secret=True),
    Setting(
        "redis_backend_use_ssl",
        FLAG_OR_MAPPING,
        None,
        "Options of the encrypted connection: a mapping of the client's `ssl_...` arguments.",
    ),
    Setting(
        "redis_max_connections",
        WHOLE,
        None,
        "The size of the connection pool. Unset: no bound.",
    ),
    Setting(
        "redis_socket_timeout",
        SECONDS,
        120.0,
        "Seconds after which an unanswered command fails.",
    ),
    Setting(
        "redis_socket_connect_timeout",
        SECONDS,
        None,
        "Seconds after which connecting fails. Unset: as `redis_socket_timeout`.",
    ),
    Setting("redis_socket_keepalive", FLAG, False, "Ask the system for TCP keep-alive."),
    Setting(
        "redis_retry_on_timeout",
        FLAG,
        False,
        "Send a command again that was not answered in time.",
    ),
    Setting(
        "redis_client_name",
        TEXT,
        None,
        "The name this process shows in the server's `CLIENT LIST`.",
        origin="undeclared",
    ),
    Setting(
        "redis_backend_health_check_interval",
        SECONDS,
        None,
        "Seconds a connection may be idle before it is checked with a PING on its next use.",
        origin="undeclared",
    ),
    Setting(
        "redis_backend_credential_provider",
        ANY,
        None,
        "An object, or the path of a class, that gives user name and password when connecting.",
        secret=True,
        origin="undeclared",
    ),
)

CACHE = (
    Setting(
        "cache_backend",
        TEXT,
        None,
        "The memory, where `result_backend` is only `cache`: `memory`, which is that of this "
        "process. Memcached is no result backend of Umbel.",
    ),
)

DATABASE = (
    Setting(
        "database_url",
        URL,
        None,
        "The database, where `result_backend` is only `database`: an SQLAlchemy URL without `db+`.",
    ),
    Setting(
        "database_engine_options",
        MAPPING,
        {"pool_pre_ping": True, "pool_recycle": 3600},
        "Arguments of SQLAlchemy's `create_engine`.",
    ),
    Setting(
        "database_engine_callback",
        ANY,
        None,
        "A function that is called with the engine once it is made, e.g. to listen to its events.",
    ),
    Setting(
        "database_short_lived_sessions",
        FLAG,
        False,
        "Open a connection for every operation and close it after; SQLite is always used so.",
    ),
    Setting(
        "database_table_names",
        MAPPING,
        None,
        "Other names for the tables: a mapping with the keys `task` and `group`.",
    ),
    Setting(
        "database_table_schemas",
        MAPPING,
        None,
        "The schemas of the tables: a mapping with the keys `task` and `group`.",
    ),
    Setting(
        "database_create_tables_at_setup",
        FLAG,
        True,
        "Create the tables when the application first uses the backend, not with the first "
        "result. Either way nothing is created that is there.",
    ),
)
