"""What a child tells its supervisor about the application it has loaded."""

from __future__ import annotations

import inspect
import os
from typing import TYPE_CHECKING, Any

from umbel.exceptions import ImproperlyConfigured
from umbel.identity import default_nodename
from umbel.queues import worker_direct
from umbel.settings import mask_url
from umbel.spreading import check_exchanges
from umbel.worker import preload
from umbel.worker.options import Facts, WorkerOptions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from umbel.app import Umbel
    from umbel.queues import Queue

POOLS = {
    "prefork": "prefork",
    "processes": "prefork",
    "threads": "threads",
    "solo": "solo",
}
LONGEST_LEASE = 30.0
UNBOUND = 10_000
_DRIVER_SETTINGS = (*("broker_", "redis_", "task_default_", "task_queue_", "task_create_missing_"),)
_NOT_PLAIN = object()
_RABBITMQ_ONLY = ("expires", "message_ttl", "max_length", "max_length_bytes", "no_ack")


def facts_of(app: Umbel, options: WorkerOptions) -> Facts:
    """The settings of ``app`` under the words of the command line.

    Raises:
        ImproperlyConfigured: they cannot work together, or the broker cannot be used.
    """
    conf = app.conf
    if options.broker:
        conf.broker_url = options.broker
    if options.result_backend:
        conf.result_backend = options.result_backend
    tasks = app.tasks
    has_async = any(inspect.iscoroutinefunction(task.run) for task in tasks.values())
    pool = _pool(options.pool or conf.worker_pool)
    queues = _queues(app, options)
    retry, on_startup = conf.broker_connection_retry, conf.broker_connection_retry_on_startup
    tries = conf.broker_connection_max_retries or None
    # A file that cannot be opened is not a server that will come back.
    retries_at_start = (
        retry if on_startup is None else on_startup
    ) and not app.connections.server.embedded
    return Facts(
        name=app.main or "__main__",
        broker_url=app.broker_url,
        broker_options=dict(conf.broker_transport_options),
        conf=plain_settings(conf),
        shown_broker=mask_url(app.broker_url, stars=2),
        shown_backend=app.backend_shown,
        queues=tuple(queue.name for queue in queues),
        declared=queues,
        tasks=tuple(sorted(name for name in tasks if not name.startswith("celery."))),
        concurrency=_concurrency(pool, options.concurrency, conf.worker_concurrency),
        pool=pool,
        async_slots=conf.worker_async_concurrency if has_async else 0,
        has_async=has_async,
        time_limit=options.time_limit or conf.task_time_limit,
        soft_time_limit=options.soft_time_limit or conf.task_soft_time_limit,
        max_tasks=options.max_tasks_per_child or conf.worker_max_tasks_per_child,
        max_memory=options.max_memory_per_child or conf.worker_max_memory_per_child,
        prefetch=_prefetch(conf, options.prefetch_multiplier),
        lease=lease_of(conf.broker_transport_options),
        max_crashes=conf.task_max_crashes,
        retry_limit=tries if retry else 0,
        start_retry_limit=tries if retries_at_start else 0,
        stall=conf.worker_stall_timeout or None,
        threads_after_import=preload.threads_after_import,
        warnings=_warnings(app, pool, queues),
    )


def _pool(wanted: str) -> str:
    try:
        return POOLS[wanted]
    except KeyError:
        known = ", ".join(POOLS)
        msg = f"no pool named {wanted!r} (known: {known})"
        raise ImproperlyConfigured(msg) from None


def _concurrency(pool: str, *wishes: Any) -> int:
    if pool == "solo":
        return 1
    for wish in wishes:
        if wish in (None, "", 0, "auto"):
            continue
        count = int(wish)
        if count < 1:
            msg = f"concurrency must be at least 1, not {wish}"
            raise ImproperlyConfigured(msg)
        return count
    if hasattr(os, "sched_getaffinity"):
        return max(len(os.sched_getaffinity(0)), 1)
    return os.cpu_count() or 1


def _prefetch(conf: Any, asked: int | None) -> int | None:
    """How many messages a child may hold unstarted; None has it measured."""
    if conf.worker_disable_prefetch:
        return 0
    multiplier = conf.worker_prefetch_multiplier if asked is None else asked
    return UNBOUND if multiplier == 0 else multiplier


def _queues(app: Umbel, options: WorkerOptions) -> tuple[Queue, ...]:
    queues = app.queues
    if options.queues:
        queues.select(options.queues)
    if options.exclude_queues:
        queues.deselect(options.exclude_queues)
    if app.conf.worker_direct:
        queues.select_add(worker_direct(default_nodename(options.hostname)))
    if not queues.consume_from:
        raise ImproperlyConfigured("no queue is left to consume from (see -Q, -X and task_queues)")
    chosen = tuple(queues.consume_from.values())
    check_exchanges(chosen, app.broker)
    return chosen


def plain_settings(conf: Any) -> dict[str, Any]:
    """The settings that drivers read, as plain data.

    What only the application's own code can stand for (a function that orders brokers, a provider
    of credentials) is left out: the supervisor, which imports none of it, does without.
    """
    found: dict[str, Any] = {}
    for name in conf:
        if name.startswith(_DRIVER_SETTINGS):
            plain = _plain(conf[name])
            if plain is not _NOT_PLAIN:
                found[name] = plain
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        pairs = {key: _plain(each) for key, each in value.items() if isinstance(key, str)}
        return {key: each for key, each in pairs.items() if each is not _NOT_PLAIN}
    if isinstance(value, (list, tuple)):
        return [each for each in map(_plain, value) if each is not _NOT_PLAIN]
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)  # also a constant of `ssl`
    return value if value is None or type(value) in (bool, float, str, bytes) else _NOT_PLAIN


def _warnings(app: Umbel, pool: str, queues: tuple[Queue, ...]) -> tuple[str, ...]:
    """What was asked for and is not to be had here."""
    return (*_unlimited(app, pool), *_unbounded(app, queues))


def _unbounded(app: Umbel, queues: tuple[Queue, ...]) -> Iterator[str]:
    """Bounds of queues that only RabbitMQ keeps."""
    if app.broker.capabilities.exchanges:
        return
    for queue in queues:
        asked = [name for name in _RABBITMQ_ONLY if getattr(queue, name) not in (None, False)]
        if asked:
            yield f"queue {queue.name!r}: {', '.join(asked)} has an effect on RabbitMQ alone"


def _unlimited(app: Umbel, pool: str) -> tuple[str, ...]:
    """Time limits that this pool cannot enforce."""
    if pool == "prefork":
        return ()
    limited = sorted(
        name
        for name, task in app.tasks.items()
        if (task.soft_time_limit or task.time_limit) and not inspect.iscoroutinefunction(task.run)
    )
    if not limited:
        return ()
    names = ", ".join(limited)
    what = "soft time limits" if pool == "threads" else "time limits"
    return (f"{what} of def tasks are not enforced in the {pool} pool: {names}",)


def lease_of(options: Mapping[str, Any]) -> float:
    """Seconds a child's lease lasts between renewals.

    Celery's ``visibility_timeout`` must outlast the longest task, so that projects set it to
    hours; a lease is renewed for as long as a task runs, and must only outlast a renewal.
    """
    return min(float(options.get("visibility_timeout", LONGEST_LEASE)), LONGEST_LEASE)
