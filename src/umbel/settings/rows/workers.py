"""Settings of workers and of beat."""

from __future__ import annotations

from umbel.settings.kinds import (
    ANY,
    FLAG,
    LEVEL,
    MAPPING,
    PATH,
    PROCESSES,
    REFERENCE,
    SECONDS,
    TEXT,
    WHOLE,
)
from umbel.settings.setting import Setting

POOL = (
    Setting(
        "worker_concurrency",
        PROCESSES,
        None,
        "How many child processes (or threads) a worker has. Unset or `auto`: as many as there "
        "are processor cores.",
        at_least=1,
    ),
    Setting(
        "worker_async_concurrency",
        WHOLE,
        100,
        "How many `async def` tasks each child runs at the same time.",
        origin="umbel",
        at_least=1,
    ),
    Setting(
        "worker_block_warning",
        SECONDS,
        0.25,
        "Seconds an `async def` task may hold the event loop before the log shows where it "
        "blocks. None or 0: never.",
        origin="umbel",
    ),
    Setting(
        "worker_pool",
        REFERENCE,
        "prefork",
        "What runs the tasks: `prefork` or `processes`, `threads`, or `solo` for the worker's "
        "own process. Coroutines need no pool of their own: they run in all of these.",
    ),
    Setting(
        "worker_pool_start_method",
        TEXT,
        "forkserver",
        "How children are started: `forkserver`, or `spawn` where an import starts threads. "
        "`fork`, Celery's default, is read as `forkserver`: nothing forks after threads exist.",
        celery_default="fork",
        choices=("forkserver", "spawn", "fork"),
    ),
    Setting(
        "worker_proc_alive_timeout",
        SECONDS,
        4.0,
        "Seconds within which a new child has to report that it is ready.",
    ),
    Setting(
        "worker_stall_timeout",
        SECONDS,
        30.0,
        "Seconds after which a child that is idle, and gets nothing although messages wait in "
        "its queues, connects to the broker anew; after as many again it is replaced. None or 0: "
        "never.",
        origin="umbel",
    ),
    Setting(
        "worker_max_tasks_per_child",
        WHOLE,
        None,
        "Replace a child after this many tasks. Unset: never.",
        at_least=0,
    ),
    Setting(
        "worker_max_memory_per_child",
        WHOLE,
        None,
        "Replace a child that uses more memory than this, in KiB, once it is idle. Unset: never.",
        at_least=0,
    ),
    Setting(
        "worker_pool_restarts",
        FLAG,
        False,
        "Allow the control command that restarts all children.",
    ),
    Setting(
        "worker_pool_putlocks",
        FLAG,
        True,
        "In Celery: hold a lock while handing a task to a child.",
        inert="children reserve their own messages; no task passes through the parent",
    ),
    Setting(
        "worker_lost_wait",
        SECONDS,
        10.0,
        "In Celery: how long to wait for the result of a child that died.",
        inert="the supervisor learns of a child's death at once",
    ),
    Setting(
        "worker_autoscaler",
        REFERENCE,
        None,
        "In Celery: the class that decides about the number of children.",
        inert="the supervisor decides that itself; give the bounds with --autoscale",
        celery_default="celery.worker.autoscale:Autoscaler",
    ),
    Setting(
        "worker_agent",
        REFERENCE,
        None,
        "In Celery: the class of an agent beside the worker.",
        inert="there is no agent; the supervisor starts and restarts children itself",
    ),
    Setting(
        "worker_consumer",
        REFERENCE,
        None,
        "In Celery: the class that consumes messages.",
        inert="Umbel's worker is not assembled from replaceable classes",
        celery_default="celery.worker.consumer:Consumer",
    ),
    Setting(
        "worker_timer",
        REFERENCE,
        None,
        "In Celery: the class of the timer that holds delayed tasks.",
        inert="delayed messages wait in the broker, never in a worker",
    ),
    Setting(
        "worker_timer_precision",
        SECONDS,
        1.0,
        "In Celery: how often the timer of delayed tasks looks at the clock.",
        inert="delayed messages wait in the broker, never in a worker",
    ),
    Setting(
        "worker_eta_task_limit",
        WHOLE,
        None,
        "In Celery: how many delayed tasks a worker may hold.",
        inert="delayed messages wait in the broker, never in a worker",
    ),
)

CONSUMING = (
    Setting(
        "worker_prefetch_multiplier",
        WHOLE,
        None,
        "How many messages to hold back per process; 0: no bound. Unset: as many as about 100 ms "
        "of measured run time, and unstarted ones are given back. Celery's default is 4.",
        celery_default=4,
        at_least=0,
    ),
    Setting(
        "worker_disable_prefetch",
        FLAG,
        False,
        "Reserve a message only when a process is free to run it.",
    ),
    Setting(
        "worker_enable_prefetch_count_reduction",
        FLAG,
        True,
        "In Celery: hold back fewer messages for a while after a lost connection.",
        inert="what a worker has reserved stays its own while its lease lasts, over a lost "
        "connection too",
    ),
    Setting(
        "worker_detect_quorum_queues",
        FLAG,
        True,
        "In Celery: notice quorum queues of RabbitMQ and adapt to them.",
        inert="delays and prefetch work the same way with every type of queue",
    ),
    Setting(
        "worker_deduplicate_successful_tasks",
        FLAG,
        False,
        "A message that is delivered again although its task has succeeded is acknowledged "
        "without running it.",
    ),
    Setting(
        "worker_cancel_long_running_tasks_on_connection_loss",
        FLAG,
        False,
        "Cancel what runs when the connection to the broker is lost, because another worker may "
        "run it by then.",
    ),
    Setting(
        "worker_disable_rate_limits",
        FLAG,
        False,
        "Ignore the rate limits of all tasks.",
    ),
    Setting(
        "worker_direct",
        FLAG,
        False,
        "Consume a private queue named after the worker as well: `<node>.dq2`, bound to the "
        "exchange `C.dq2` with the worker's name.",
    ),
    Setting(
        "worker_enable_remote_control",
        FLAG,
        True,
        "Answer control commands.",
    ),
    Setting(
        "worker_send_task_events",
        FLAG,
        False,
        "Send events about tasks, for monitors. Also `-E`.",
    ),
    Setting(
        "worker_state_db",
        PATH,
        None,
        "The file in which a worker keeps the revoked ids over a restart.",
    ),
    Setting(
        "worker_soft_shutdown_timeout",
        SECONDS,
        0.0,
        "Seconds that running tasks get to end before a cold stop interrupts them. 0: none.",
    ),
    Setting(
        "worker_enable_soft_shutdown_on_idle",
        FLAG,
        False,
        "Take that time even when no task runs.",
    ),
)

LOGGING = (
    Setting(
        "worker_hijack_root_logger",
        FLAG,
        True,
        "`umbel worker` sets up the root logger and replaces its handlers. False leaves logging "
        "alone.",
    ),
    Setting(
        "worker_log_format",
        TEXT,
        "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s",
        "The format of log lines.",
    ),
    Setting("worker_log_datefmt", TEXT, None, "The format of the time in log lines."),
    Setting(
        "worker_task_log_format",
        TEXT,
        "[%(asctime)s: %(levelname)s/%(processName)s] %(task_name)s[%(task_id)s]: %(message)s",
        "The format of log lines that tasks write.",
    ),
    Setting("worker_task_log_datefmt", TEXT, None, "The format of the time in those lines."),
    Setting(
        "worker_log_color",
        FLAG,
        None,
        "Colour log lines by level. Unset: when the log goes to a terminal.",
    ),
    Setting(
        "worker_redirect_stdouts",
        FLAG,
        True,
        "What tasks print goes to the log.",
    ),
    Setting(
        "worker_redirect_stdouts_level",
        LEVEL,
        "WARNING",
        "The log level of what tasks print.",
    ),
)

BEAT = (
    Setting(
        "beat_schedule",
        MAPPING,
        {},
        "The periodic tasks: a mapping of a name to an entry with `task`, `schedule`, `args`, "
        "`kwargs` and `options`.",
    ),
    Setting(
        "beat_scheduler",
        REFERENCE,
        "umbel.beat:PersistentScheduler",
        "The class that decides what is due. `celery.beat:PersistentScheduler` means the same.",
        celery_default="celery.beat:PersistentScheduler",
    ),
    Setting(
        "beat_schedule_filename",
        PATH,
        "celerybeat-schedule",
        "The file in which beat remembers when each entry ran last.",
    ),
    Setting(
        "beat_sync_every",
        WHOLE,
        0,
        "Write that file after this many sent tasks. 0: on a timer only.",
        at_least=0,
    ),
    Setting(
        "beat_max_loop_interval",
        SECONDS,
        0,
        "The longest beat sleeps between two looks at its schedule, in seconds. 0: what the "
        "scheduler says, usually 300.",
    ),
    Setting(
        "beat_cron_starting_deadline",
        WHOLE,
        None,
        "How late, in seconds, a missed crontab run may still be started. Unset: always.",
        at_least=0,
    ),
    Setting(
        "beat_enable_remote_control",
        FLAG,
        False,
        "Beat answers `inspect ping`.",
    ),
    Setting(
        "beat_remote_control_max_tick_age",
        SECONDS,
        None,
        "Seconds without a look at the schedule after which beat no longer answers, so that a "
        "stuck one is noticed. Unset: worked out from `beat_max_loop_interval`; 0: off.",
    ),
)

_PROCESS_OPTIONS = (
    ("logfile", PATH, "The file that {who} writes its log to. Unset: the standard error."),
    ("pidfile", PATH, "The file that {who} writes its process id to."),
    ("uid", ANY, "The user, by name or number, that {who} becomes after it has started."),
    ("gid", ANY, "The group, by name or number, that {who} becomes after it has started."),
    ("umask", ANY, "The file mode creation mask of {who}, octal when given as text."),
)

PROCESSES_OF_UMBEL = tuple(
    row
    for family, who in (("worker", "a worker"), ("beat", "beat"), ("events", "the event monitor"))
    for row in (
        *(
            Setting(f"{family}_{option}", kind, None, text.format(who=who), origin="undeclared")
            for option, kind, text in _PROCESS_OPTIONS
        ),
        Setting(
            f"{family}_executable",
            PATH,
            None,
            f"In Celery: the Python that {who} is started with in the background.",
            inert="nothing puts itself into the background; leave that to a service manager",
            origin="undeclared",
        ),
    )
)
