"""Settings of tasks: how they are published, routed, run and acknowledged."""

from __future__ import annotations

from umbel.settings.kinds import (
    ANY,
    FLAG,
    FLAG_OR_PATH,
    MAPPING,
    MODE,
    QUEUES,
    RATE,
    SECONDS,
    TEXT,
    WHOLE,
)
from umbel.settings.setting import Setting

RUNNING = (
    Setting(
        "task_acks_late",
        FLAG,
        True,
        "A message is acknowledged after its task has ended, so that a task cut short by a "
        "crash runs again. False acknowledges before the run: at most once. Celery's default is "
        "False.",
        celery_default=False,
    ),
    Setting(
        "task_reject_on_worker_lost",
        FLAG,
        True,
        "A message whose worker process died goes back to its queue, at most `task_max_crashes` "
        "times. False reports the task as failed instead. Celery leaves this off.",
        celery_default=None,
    ),
    Setting(
        "task_max_crashes",
        WHOLE,
        3,
        "How often a task may take its worker process down with it before its message goes to "
        "the dead letters instead of back to the queue.",
        origin="umbel",
        at_least=1,
    ),
    Setting(
        "task_acks_on_failure",
        FLAG,
        None,
        "With late acknowledgement: whether the message of a task that raised is acknowledged. "
        "Unset: as `task_acks_on_failure_or_timeout`.",
    ),
    Setting(
        "task_acks_on_timeout",
        FLAG,
        None,
        "With late acknowledgement: whether the message of a task that exceeded its hard time "
        "limit is acknowledged. Unset: as `task_acks_on_failure_or_timeout`.",
    ),
    Setting(
        "task_acks_on_failure_or_timeout",
        FLAG,
        True,
        "The older setting for both of the above; it decides where they are unset.",
    ),
    Setting(
        "task_retry_on_worker_lost",
        FLAG,
        False,
        "In Celery: use the retry machinery when a worker process dies.",
        inert="a message whose worker process died is delivered again by the broker, which counts "
        "the crashes; see task_reject_on_worker_lost and task_max_crashes",
    ),
    Setting(
        "task_time_limit",
        SECONDS,
        None,
        "Seconds after which the process that runs a task is killed and the task is reported as "
        "failed. Unset: no limit.",
    ),
    Setting(
        "task_soft_time_limit",
        SECONDS,
        None,
        "Seconds after which `SoftTimeLimitExceeded` is raised inside the task, which may catch "
        "it to clean up. Unset: no limit.",
    ),
    Setting(
        "task_annotations",
        ANY,
        None,
        "Attributes to set on tasks when they are bound to the app: a mapping of task name (or "
        '`"*"`) to a mapping of attributes, an object with `annotate(task)`, or a list of these.',
    ),
    Setting(
        "task_default_rate_limit",
        RATE,
        None,
        'The rate limit of tasks that set none: a number per second, or a text like `"100/m"`. '
        "It counts per worker process.",
    ),
    Setting(
        "task_track_started",
        FLAG,
        False,
        "Store the state STARTED when a task begins. Costs one write per task.",
    ),
    Setting(
        "task_ignore_result",
        FLAG,
        False,
        "Do not store results, unless a task asks for it itself.",
    ),
    Setting(
        "task_store_errors_even_if_ignored",
        FLAG,
        False,
        "Store failures even of tasks whose results are ignored.",
    ),
    Setting(
        "task_remote_tracebacks",
        FLAG,
        False,
        "In Celery: rebuild the worker's traceback objects in the caller.",
        inert="a failed result always carries the worker's traceback as text, and traceback "
        "objects are not rebuilt from it",
    ),
    Setting(
        "task_allow_error_cb_on_chord_header",
        FLAG,
        False,
        "An error callback linked to a chord is also linked to every task of its header.",
    ),
    Setting(
        "task_always_eager",
        FLAG,
        False,
        "`delay` and `apply_async` run the task here and now instead of publishing it. Meant for "
        "tests.",
    ),
    Setting(
        "task_eager_propagates",
        FLAG,
        False,
        "A task that is run eagerly raises its error at the call instead of keeping it in the "
        "result.",
    ),
    Setting(
        "task_store_eager_result",
        FLAG,
        False,
        "Store the results of eagerly run tasks in the result backend as well.",
    ),
)

PUBLISHING = (
    Setting(
        "task_serializer",
        TEXT,
        "json",
        "The serializer of task messages: `json`, `pickle`, `yaml`, `msgpack` or one that you "
        "registered.",
    ),
    Setting(
        "task_compression",
        TEXT,
        None,
        "The compression of task messages: `gzip`, `bzip2`, `lzma`, `brotli`, `zstd`. Unset: none.",
    ),
    Setting(
        "task_protocol",
        WHOLE,
        2,
        "The version of the message format that is written: 2, or 1 for very old workers. Both "
        "are read.",
        choices=(1, 2),
    ),
    Setting(
        "task_publish_retry",
        FLAG,
        True,
        "Try again when the broker cannot be reached while publishing.",
    ),
    Setting(
        "task_publish_retry_policy",
        MAPPING,
        {"max_retries": 3, "interval_start": 0, "interval_max": 1, "interval_step": 0.2},
        "How often and after which pauses (seconds) to try again. `publish_timeout` bounds all "
        "of it together.",
    ),
    Setting(
        "publish_timeout",
        SECONDS,
        2.0,
        "Seconds within which every publish either is confirmed by the broker or raises; a call "
        "to `delay` never blocks longer. `publish_many` has that much for each 1,000 calls. None "
        "waits for ever.",
        origin="umbel",
    ),
    Setting(
        "publish_spool",
        FLAG_OR_PATH,
        None,
        "A file that takes messages which the broker did not store within `publish_timeout`, and "
        "hands them on later: its path, or True for `umbel-spool.db` beside the project. Such a "
        "call counts as sent. Unset: it raises `OperationalError`.",
        origin="umbel",
    ),
    Setting(
        "publish_spool_limit",
        WHOLE,
        100_000,
        "How many messages that file takes before calls raise `OperationalError` again.",
        origin="umbel",
        at_least=1,
    ),
    Setting(
        "task_send_sent_event",
        FLAG,
        False,
        "Send the event `task-sent` for every published task.",
    ),
    Setting(
        "task_repr_maxlevels",
        WHOLE,
        3,
        "How deeply nested arguments are shown in logs and events.",
        at_least=0,
    ),
    Setting(
        "task_default_priority",
        WHOLE,
        None,
        "The priority of messages that name none, 0 to 9. What is higher depends on the broker: "
        "the reference of each tells.",
    ),
    Setting(
        "task_inherit_parent_priority",
        FLAG,
        False,
        "A task published by a task takes over its priority, unless it names one.",
    ),
    Setting(
        "task_default_delivery_mode",
        MODE,
        2,
        "2 or `persistent`: messages survive a restart of the broker. 1 or `transient`: faster, "
        "and lost.",
    ),
)

ROUTING = (
    Setting(
        "task_routes",
        ANY,
        None,
        "Which task goes to which queue: a mapping of names or patterns to queues or options, a "
        "function, the path of one, or a list of these.",
    ),
    Setting(
        "task_queues",
        QUEUES,
        None,
        "The queues that workers consume from. Unset: the default queue alone.",
    ),
    Setting(
        "task_default_queue",
        TEXT,
        "celery",
        "The queue of tasks that are not routed elsewhere. The name is Celery's, so that both "
        "can work on one queue.",
    ),
    Setting(
        "task_default_queue_type",
        TEXT,
        "classic",
        "On RabbitMQ: the type of the default queue.",
        choices=("classic", "quorum"),
    ),
    Setting(
        "task_default_exchange",
        TEXT,
        None,
        "The exchange of queues that name none. Unset: named as the default queue.",
    ),
    Setting(
        "task_default_exchange_type",
        TEXT,
        "direct",
        "The type of the default exchange.",
    ),
    Setting(
        "task_default_routing_key",
        TEXT,
        None,
        "The routing key of queues that name none. Unset: named as the default queue.",
    ),
    Setting(
        "task_create_missing_queues",
        FLAG,
        True,
        "A queue that is not in `task_queues` is created when a task is sent to it. When False "
        "that is an error.",
    ),
    Setting(
        "task_create_missing_queue_type",
        TEXT,
        "classic",
        "On RabbitMQ: the type of queues created that way.",
        choices=("classic", "quorum"),
    ),
    Setting(
        "task_create_missing_queue_exchange_type",
        TEXT,
        None,
        "The type of the exchanges created with them. Unset: direct.",
    ),
    Setting(
        "task_queue_max_priority",
        WHOLE,
        None,
        "On RabbitMQ: the highest priority of queues that set none (`x-max-priority`).",
        at_least=0,
    ),
)
