"""What a worker is told: by its command line, and by the application its children load."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from umbel.identity import default_nodename, node_format

if TYPE_CHECKING:
    from umbel.queues import Queue


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """The command line, as plain data that children receive.

    ``None`` leaves a choice to the application's settings.
    """

    app: str = ""
    broker: str | None = None
    result_backend: str | None = None
    workdir: str | None = None
    hostname: str | None = None
    concurrency: int | str | None = None
    pool: str | None = None
    queues: tuple[str, ...] = ()
    exclude_queues: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    loglevel: str | None = None
    logfile: str | None = None
    log_format: str | None = None
    color: bool = False
    time_limit: float | None = None
    soft_time_limit: float | None = None
    max_tasks_per_child: int | None = None
    max_memory_per_child: int | None = None
    prefetch_multiplier: int | None = None
    purge: bool = False
    until_empty: bool = False
    config: tuple[str, ...] = ()

    def log_path(self, index: int = 0) -> str | None:
        """The log file of one process, format characters replaced; 0 is the supervisor.

        Raises:
            ValueError: the name has a ``%`` followed by an unknown character.
        """
        if self.logfile is None:
            return None
        return node_format(self.logfile, default_nodename(self.hostname), index=index)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the supervisor must know of an application it does not import.

    The first child says it when the application is loaded. It holds nothing but plain data and
    values of ours, so that reading it imports nothing of the user's.

    Attributes:
        broker_url: the broker that is consumed from, with its password.
        conf: the settings that drivers read.
        queues: the names of what is consumed.
        declared: the same queues, to be made known to the broker.
        retry_limit: how often a lost broker is tried again; None is without end.
        start_retry_limit: the same for the first connection.
        stall: seconds after which a child that gets nothing though work waits connects anew.
    """

    name: str
    broker_url: str
    broker_options: dict[str, Any]
    conf: dict[str, Any]
    shown_broker: str
    shown_backend: str
    queues: tuple[str, ...]
    declared: tuple[Queue, ...]
    tasks: tuple[str, ...]
    concurrency: int
    pool: str
    async_slots: int
    has_async: bool
    time_limit: float | None
    soft_time_limit: float | None
    max_tasks: int | None
    max_memory: int | None
    prefetch: int | None
    lease: float
    max_crashes: int
    retry_limit: int | None
    start_retry_limit: int | None
    stall: float | None
    threads_after_import: tuple[str, ...] = ()
    warnings: tuple[str, ...] = field(default_factory=tuple)


@dataclass(frozen=True, slots=True)
class Duty:
    """What one engine is to do: for whom it claims, from where, with how many slots.

    Attributes:
        owner: in whose name messages are claimed.
        node: the worker's name, as tasks see it.
        queues: where to take messages from.
        declared: the same queues, to be made known to the broker.
        threads: slots for ``def`` tasks; the first is the thread that calls `Engine.work`.
        async_slots: how many ``async def`` tasks run at once.
        lease: seconds for which claims hold without being renewed.
        time_limit: for tasks that have none of their own.
        soft_time_limit: as ``time_limit``.
        prefetch: how many messages to hold unstarted; None has it measured.
        until_empty: end when the queues are empty.
    """

    owner: str
    node: str
    queues: tuple[str, ...]
    declared: tuple[Queue, ...] = ()
    threads: int = 1
    async_slots: int = 0
    lease: float = 30.0
    time_limit: float | None = None
    soft_time_limit: float | None = None
    prefetch: int | None = None
    until_empty: bool = False

    @classmethod
    def of(
        cls, facts: Facts, options: WorkerOptions, *, owner: str, node: str, threads: int = 1
    ) -> Duty:
        """What the application and the command line say, for one engine."""
        return cls(
            owner=owner,
            node=node,
            queues=facts.queues,
            declared=facts.declared,
            threads=threads,
            async_slots=facts.async_slots,
            lease=facts.lease,
            time_limit=facts.time_limit,
            soft_time_limit=facts.soft_time_limit,
            prefetch=facts.prefetch,
            until_empty=options.until_empty,
        )
