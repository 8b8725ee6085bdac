"""Settings of the application, its content and its security."""

from __future__ import annotations

from umbel.settings.kinds import (
    BYTES,
    FLAG,
    ITEMS,
    ITEMS_FIXED,
    MAPPING,
    PATH,
    SECONDS,
    TEXT,
    WHOLE,
    ZONE,
)
from umbel.settings.setting import Setting

GENERAL = (
    Setting(
        "accept_content",
        ITEMS,
        ("json",),
        "The serializers (names or content types) whose messages are decoded. Anything else is "
        "refused before a byte of it is decoded; add `pickle` only if you trust every sender.",
    ),
    Setting(
        "result_accept_content",
        ITEMS,
        None,
        "The same for results read from the result backend. Unset: as `accept_content`.",
    ),
    Setting(
        "enable_utc",
        FLAG,
        True,
        "Times in messages are UTC. When False they are in the local zone, for peers that expect "
        "that.",
    ),
    Setting(
        "imports",
        ITEMS_FIXED,
        (),
        "Modules a worker imports when it starts, so that the tasks in them are registered.",
    ),
    Setting(
        "include",
        ITEMS_FIXED,
        (),
        "More modules to import, usually given as `Umbel(include=[...])` or with `--include`.",
    ),
    Setting(
        "timezone",
        ZONE,
        None,
        "The zone of schedules and of `app.now()`, by name (`Europe/Paris`) or as a tzinfo. "
        "Unset: the key `TIME_ZONE` (Django's), else UTC, or the local zone when `enable_utc` is "
        "False.",
    ),
    Setting(
        "override_backends",
        MAPPING,
        None,
        "Your own result backends: a mapping of the alias used in `result_backend` to the path "
        "of the class.",
        origin="undeclared",
    ),
    Setting(
        "db_reuse_max",
        WHOLE,
        None,
        "Under Django: how many tasks a worker runs before it closes its database connections. "
        "Unset: they are closed around every task.",
        origin="undeclared",
        old="CELERY_DB_REUSE_MAX",
    ),
)

LIMITS = (
    Setting(
        "message_max_bytes",
        WHOLE,
        16 * 2**20,
        "The largest message body in bytes that is encoded or decoded; a larger one is refused. "
        "None: no limit, as for all settings of this group.",
        origin="umbel",
        at_least=1,
    ),
    Setting(
        "message_max_decompressed_bytes",
        WHOLE,
        64 * 2**20,
        "The largest size in bytes a compressed body may unpack to. Unpacking stops there.",
        origin="umbel",
        at_least=1,
    ),
    Setting(
        "message_max_depth",
        WHOLE,
        64,
        "How deeply lists and mappings may be nested in a body that is decoded.",
        origin="umbel",
        at_least=1,
    ),
    Setting(
        "message_max_items",
        WHOLE,
        1_000_000,
        "How many list items and mapping entries a decoded body may hold altogether.",
        origin="umbel",
        at_least=1,
    ),
    Setting(
        "message_max_digits",
        WHOLE,
        4300,
        "How many digits a number in a decoded body may have; longer ones take time that grows "
        "with the square of their length.",
        origin="umbel",
        at_least=1,
    ),
    Setting(
        "message_max_string",
        WHOLE,
        8 * 2**20,
        "The longest single string, in bytes, in a body that is decoded.",
        origin="umbel",
        at_least=1,
    ),
)

SECURITY = (
    Setting(
        "security_certificate",
        PATH,
        None,
        "The file of the certificate that others check this process's signatures with.",
    ),
    Setting(
        "security_cert_store",
        PATH,
        None,
        "Where the certificates of accepted senders are: a directory or a glob pattern.",
    ),
    Setting("security_key", PATH, None, "The file of the private key that signs messages."),
    Setting(
        "security_key_password",
        BYTES,
        None,
        "The password of the private key file.",
        secret=True,
    ),
    Setting(
        "security_digest", TEXT, "sha256", "The name of the hash that signatures are made with."
    ),
)

CONTROL = (
    Setting(
        "control_exchange",
        TEXT,
        "celery",
        "The first part of the name of the exchange for control commands, which ends in `.pidbox`.",
    ),
    Setting(
        "control_queue_durable",
        FLAG,
        False,
        "Control queues survive a restart of the broker. Cannot be combined with "
        "`control_queue_exclusive`.",
    ),
    Setting(
        "control_queue_exclusive",
        FLAG,
        True,
        "A control queue belongs to one connection and goes away with it.",
    ),
    Setting(
        "control_queue_expires",
        SECONDS,
        10.0,
        "Seconds after which an unused control queue is deleted.",
    ),
    Setting(
        "control_queue_ttl",
        SECONDS,
        300.0,
        "Seconds after which a control command that nobody took is dropped.",
    ),
    Setting("event_exchange", TEXT, "celeryev", "The exchange that events are sent to."),
    Setting("event_queue_prefix", TEXT, "celeryev", "How the names of event queues begin."),
    Setting(
        "event_queue_durable",
        FLAG,
        False,
        "Event queues survive a restart of the broker. Cannot be combined with "
        "`event_queue_exclusive`.",
    ),
    Setting(
        "event_queue_exclusive",
        FLAG,
        True,
        "An event queue belongs to one connection and goes away with it.",
    ),
    Setting(
        "event_queue_expires",
        SECONDS,
        60.0,
        "Seconds after which an unused event queue is deleted.",
    ),
    Setting(
        "event_queue_ttl",
        SECONDS,
        5.0,
        "Seconds after which an event that nobody took is dropped.",
    ),
    Setting("event_serializer", TEXT, "json", "The serializer of events."),
)
