"""The options of ``umbel worker``, and those of Celery's that need nothing done here.

A start-up script written for ``celery worker`` must go on working: an option that has no meaning
here is accepted and noted at level DEBUG, with the reason.  Only where ignoring it would do harm
(a worker that keeps root's rights, a schedule nobody runs) is it refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from umbel.cli.command import Option
from umbel.cli.words import NAMES, POSITIVE, SECONDS, Concurrency, joined
from umbel.telemetry import LEVELS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from umbel.worker.options import WorkerOptions

POOLS = ("prefork", "processes", "threads", "solo")
GREEN = ("eventlet", "gevent", "custom")

WORK, LIMITS, LOG, LIFE = "What it runs", "Limits", "Log", "Life"

SERVICE = (
    "a worker stays in the foreground, where systemd, a container or another supervisor starts "
    "it, watches it and keeps its log (see docs/how-to/deploy-systemd.md)"
)
REFUSED = {
    "detach": f"there is no --detach: {SERVICE}",
    "uid": "there is no --uid: let systemd start the worker as that user (User=)",
    "gid": "there is no --gid: let systemd start the worker as that group (Group=)",
    "beat": "there is no --beat: this version runs no periodic tasks",
}
"""Options of Celery's that must not be ignored, and what to do instead."""

WITHOUT_EFFECT = {
    "task_events": "this version sends no events",
    "optimization": "work is always given to a slot that is free",
    "pool_start_method": "children are forked from a server that has no threads, or spawned",
    "disable_prefetch": "no more is held than about 100 ms of work",
    "without_gossip": "workers do not gossip",
    "without_mingle": "workers do not wait for each other at start-up",
    "without_heartbeat": "the lease in the broker takes the place of heartbeats",
    "heartbeat_interval": "the lease in the broker takes the place of heartbeats",
    "statedb": "nothing has to be kept between two runs",
    "schedule_filename": "this version runs no periodic tasks",
    "scheduler": "this version runs no periodic tasks",
    "executable": "the worker does not detach",
}
"""Options of Celery's that change nothing here, and why."""


def _pool(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    if value in GREEN:
        raise click.BadParameter(
            f"there is no {value} pool: async def tasks run on an event loop in every pool, "
            f"def tasks in {', '.join(POOLS)}"
        )
    return value


def _autoscale(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    try:
        return max(int(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not MAX,MIN") from None


WORK_OPTIONS = (
    Option(
        ["-Q", "--queues"],
        type=NAMES,
        metavar="NAMES",
        multiple=True,
        section=WORK,
        help="Take tasks from these queues alone, as in -Q mail,celery.",
    ),
    Option(
        ["-X", "--exclude-queues"],
        type=NAMES,
        metavar="NAMES",
        multiple=True,
        section=WORK,
        help="Take tasks from all queues but these.",
    ),
    Option(
        ["-I", "--include"],
        type=NAMES,
        metavar="NAMES",
        multiple=True,
        section=WORK,
        help="Import these modules too.",
    ),
    Option(
        ["-c", "--concurrency"],
        type=Concurrency(),
        metavar="N",
        section=WORK,
        help="How many def tasks run at once. Default: as many as there are cores.",
    ),
    Option(
        ["-P", "--pool"],
        type=click.Choice([*POOLS, *GREEN], case_sensitive=False),
        metavar="POOL",
        callback=_pool,
        section=WORK,
        help="Where def tasks run: prefork (the default) or processes, each in a process of "
        "its own; threads, of one process; solo, one at a time in this process.",
    ),
    Option(
        ["--prefetch-multiplier"],
        type=click.IntRange(min=0),
        metavar="N",
        section=WORK,
        help="Hold this many messages per slot. Default: what runs within about 100 ms.",
    ),
    Option(
        ["-n", "--hostname"],
        metavar="NAME",
        section=WORK,
        help="The worker's name; %h is the host, %d its domain. Default: celery@%h.",
    ),
    Option(
        ["--time-limit"],
        type=SECONDS,
        metavar="SECONDS",
        section=LIMITS,
        help="Kill a task that runs longer and has no limit of its own.",
    ),
    Option(
        ["--soft-time-limit"],
        type=SECONDS,
        metavar="SECONDS",
        section=LIMITS,
        help="Raise SoftTimeLimitExceeded in a task that runs longer and has no soft limit "
        "of its own.",
    ),
    Option(
        ["--max-tasks-per-child"],
        type=POSITIVE,
        metavar="N",
        section=LIMITS,
        help="Replace a process after this many tasks.",
    ),
    Option(
        ["--max-memory-per-child"],
        type=POSITIVE,
        metavar="KIB",
        section=LIMITS,
        help="Replace a process that needs more memory, after its task.",
    ),
    Option(
        ["-l", "--loglevel"],
        type=click.Choice(LEVELS, case_sensitive=False),
        metavar="LEVEL",
        section=LOG,
        help="Log from this level on: DEBUG, INFO, WARNING, ERROR or CRITICAL. Default: "
        "INFO on a terminal, otherwise WARNING.",
    ),
    Option(
        ["--log-format"],
        type=click.Choice(["text", "json"]),
        metavar="FORMAT",
        section=LOG,
        help="text, lines for people; or json, one object for each record.",
    ),
)
"""What tells which tasks are run, how, and how it is logged."""


LIFE_OPTIONS = (
    Option(
        ["-f", "--logfile"],
        type=click.Path(dir_okay=False),
        metavar="FILE",
        section=LOG,
        help="Log into this file; %n is the worker's name, %i the number of the process.",
    ),
    Option(
        ["--until-empty", "--burst"],
        is_flag=True,
        section=LIFE,
        help="Stop when the queues are empty.",
    ),
    Option(
        ["--purge", "--discard"],
        is_flag=True,
        section=LIFE,
        help="First delete what waits in the queues, without asking.",
    ),
    Option(
        ["--pidfile"],
        type=click.Path(dir_okay=False),
        metavar="FILE",
        section=LIFE,
        help="Write the process id into this file, and refuse to start beside a worker "
        "that is in it.",
    ),
    Option(["--umask"], metavar="OCTAL", section=LIFE, help="The umask of this worker, as in 022."),
    Option(["--leash"], type=int, hidden=True, allow_from_autoenv=False),
)
"""What tells how this one worker starts and ends, and where it writes."""


def _hidden(*names: str, **attributes: Any) -> Option:
    return Option(names, hidden=True, allow_from_autoenv=False, **attributes)


CELERY_OPTIONS = (
    _hidden("-D", "--detach", is_flag=True),
    _hidden("--uid"),
    _hidden("--gid"),
    _hidden("-B", "--beat", is_flag=True),
    _hidden("--autoscale", callback=_autoscale),
    _hidden("-E", "--task-events", is_flag=True),
    _hidden("-O", "--optimization"),
    _hidden("--pool-start-method"),
    _hidden("--disable-prefetch", is_flag=True),
    _hidden("--without-gossip", is_flag=True),
    _hidden("--without-mingle", is_flag=True),
    _hidden("--without-heartbeat", is_flag=True),
    _hidden("--heartbeat-interval"),
    _hidden("-S", "--statedb"),
    _hidden("-s", "--schedule-filename"),
    _hidden("--scheduler"),
    _hidden("--executable"),
)
"""What ``celery worker`` takes as well; not shown in the help."""


def adding(*lists: Sequence[Option]) -> Callable[[Any], Any]:
    """Decorator that adds lists of options to a command."""

    def decorate(function: Any) -> Any:
        before = getattr(function, "__click_params__", [])
        added = [option for options in lists for option in options]
        function.__click_params__ = [*before, *reversed(added)]
        return function

    return decorate


def options_from(given: Mapping[str, Any], *, app: str) -> WorkerOptions:
    """What the command line says, for the worker.

    Raises:
        ImproperlyConfigured: what is behind the two dashes is no setting.
        UsageError: the name or the log file has a ``%`` followed by an unknown character.
    """
    from umbel.identity import default_nodename, host_format
    from umbel.worker.options import WorkerOptions

    if given["settings"]:
        from umbel.settings.command_line import parse

        parse(given["settings"], "worker")
    try:
        name = default_nodename(host_format(given["hostname"] or ""))
        options = WorkerOptions(
            app=app,
            hostname=name,
            concurrency=given["concurrency"] or given["autoscale"],
            pool=given["pool"],
            queues=joined(given["queues"]),
            exclude_queues=joined(given["exclude_queues"]),
            include=joined(given["include"]),
            loglevel=given["loglevel"],
            logfile=given["logfile"],
            log_format=given["log_format"],
            time_limit=given["time_limit"],
            soft_time_limit=given["soft_time_limit"],
            max_tasks_per_child=given["max_tasks_per_child"],
            max_memory_per_child=given["max_memory_per_child"],
            prefetch_multiplier=given["prefetch_multiplier"],
            purge=given["purge"],
            until_empty=given["until_empty"],
            config=given["settings"],
        )
        options.log_path()
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    return options
