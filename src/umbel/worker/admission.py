"""From a delivery to a job: what can be decided about a message without running its task.

A message nobody can run must neither stop the worker nor disappear: it goes to the dead letters
with the reason, and whoever waits for its result is told.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from umbel import attempt, protocol, serialization, signals, states
from umbel.context import Context
from umbel.exceptions import (
    ContentDisallowed,
    DecodeError,
    InvalidTaskError,
    MissingExtra,
    NotRegistered,
    SerializationError,
    SerializerNotInstalled,
    TimeLimitExceeded,
    WorkerLostError,
)
from umbel.message import DeadLetter, Malformed, Settlement
from umbel.outcome import Expired, Failed, Succeeded, Undeliverable
from umbel.representation import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from umbel.app import Umbel
    from umbel.message import Delivery, Message
    from umbel.outcome import Outcome
    from umbel.worker.options import Duty

logger = logging.getLogger("umbel.worker")

VERDICT = "umbel_verdict"
"""Header that a supervisor adds to the message of a task whose process died: how it ends."""


@dataclass(slots=True)
class Job:
    """A delivery whose task is known, and the request once its body is decoded."""

    plan: attempt.Plan
    delivery: Delivery
    message: Message
    hard: float | None
    soft: float | None
    request: Context | None = None
    slot: int = 0
    started: float = 0.0
    acknowledged: bool = False


class Admission:
    """Turns deliveries into jobs, or into the settlement of what cannot be run here.

    ``verdict_of`` says what the supervisor has decided about a message that the broker delivers
    again by itself; None where the supervisor writes it into the message.
    """

    def __init__(
        self,
        app: Umbel,
        duty: Duty,
        *,
        verdict_of: Callable[[str], dict[str, Any] | None] | None = None,
    ) -> None:
        self.app = app
        self._verdict_of = None if app.broker.capabilities.leases else verdict_of
        self.hostname = duty.node
        self._hard = duty.time_limit
        self._soft = duty.soft_time_limit
        self._plans: dict[str, attempt.Plan] = {}
        self._max_crashes = app.conf.task_max_crashes
        self._deduplicates = app.conf.worker_deduplicate_successful_tasks
        self._accept = tuple(app.conf.accept_content)
        self._limits = app.decode_limits

    def plan(self, name: str) -> attempt.Plan:
        """The plan of a task.

        Raises:
            NotRegistered: there is no such task.
        """
        found = self._plans.get(name)
        if found is None:
            found = self._plans[name] = attempt.Plan.of(self.app.tasks[name])
        return found

    def admit(self, delivery: Delivery) -> Job | Settlement:
        """The job, or what is to be settled instead."""
        message = delivery.message
        if isinstance(message, Malformed):
            return self._bury_raw(delivery, message)
        name = message.task
        try:
            plan = self.plan(name)
        except NotRegistered as error:
            if protocol.is_old(message):
                return self._exchange(delivery, message)
            return self._unknown(delivery, message, error)
        hard, soft = _limits_of(message)
        task = plan.task
        return Job(
            plan,
            delivery,
            message,
            hard or task.time_limit or self._hard,
            soft or task.soft_time_limit or self._soft,
        )

    def open(self, job: Job) -> Outcome | None:
        """Decode the body into ``job.request``; an outcome if the task must not run.

        Runs where the task will run, so that a body that takes long to decode delays only its
        own slot.
        """
        message = job.message
        try:
            parts = self._decode(message)
        except ContentDisallowed as error:
            return self._refused(job, "refused-content", error)
        except (DecodeError, MissingExtra, SerializerNotInstalled, InvalidTaskError) as error:
            return self._refused(job, "undecodable", error)
        job.request = self._request(job.delivery, message, parts)
        return self._foregone(job, message, job.request)

    def _foregone(self, job: Job, message: Message, request: Context) -> Outcome | None:
        """The end of a task that must not start: decided, poisonous, too late or done."""
        verdict = message.headers.get(VERDICT)
        if verdict is None and self._verdict_of is not None and job.delivery.redelivered:
            verdict = self._verdict_of(message.id)
        if verdict is not None:
            return _verdict(verdict)
        if job.delivery.crashes >= self._max_crashes:
            return self._crashed(job)
        if message.expires_at is not None and message.expires_at <= time.time():
            signals.task_revoked.send(
                sender=job.plan.task, request=request, terminated=False, signum=None, expired=True
            )
            return Expired()
        if self._deduplicates and job.delivery.redelivered and job.plan.acks_late:
            return self._completed(request)
        return None

    def _completed(self, request: Context) -> Outcome | None:
        """The success that was stored before the message could be acknowledged."""
        task_id = str(request.id)
        if self.app.result_store is None or not self.app.backend.exists(task_id):
            return None
        meta = self.app.backend.get(task_id)
        if meta["status"] != states.SUCCESS:
            return None
        logger.info("Task %s already completed", one_line(f"{request.task}[{task_id}]"))
        return Succeeded(meta["result"])

    def look_at(self, delivery: Delivery, message: Message) -> Context:
        """The request of a message that is not to be run; without arguments if it is unreadable."""
        try:
            parts: Any = self._decode(message)
        except (SerializationError, MissingExtra, InvalidTaskError):
            parts = (), {}, {}
        return self._request(delivery, message, parts)

    def _request(self, delivery: Delivery, message: Message, parts: Any) -> Context:
        """The request; under the id the broker knows, whatever the headers claim."""
        request = Context.of(delivery, message, parts, self.hostname)
        request.id = message.id
        return request

    def _crashed(self, job: Job) -> Outcome:
        detail = (
            f"{job.delivery.crashes} starts of it ended with the death of the process; "
            f"that is task_max_crashes"
        )
        logger.error(
            "Task %s[%s] went to the dead letters: %s", job.message.task, job.message.id, detail
        )
        return Undeliverable("crashed", detail, WorkerLostError(detail))

    def _loads(self, message: Message) -> Any:
        return serialization.loads(
            message.body,
            message.content_type,
            message.content_encoding,
            accept=self._accept,
            compression=message.headers.get("compression"),
            limits=self._limits,
        )

    def _decode(self, message: Message) -> tuple[Any, Any, dict[str, Any]]:
        parts = self._loads(message)
        args, kwargs, embed = protocol.parts_of(parts)
        if not isinstance(args, (list, tuple)) or not isinstance(kwargs, dict):
            msg = "args must be a list and kwargs a mapping with text keys"
            raise InvalidTaskError(msg)
        return args, kwargs, embed if isinstance(embed, dict) else {}

    def _refused(self, job: Job, reason: str, error: Exception) -> Outcome:
        message = job.message
        job.request = self._request(job.delivery, message, ((), {}, {}))
        logger.error(
            "Task %s[%s] cannot be read (%s: %s); the message went to the dead letters",
            message.task,
            message.id,
            type(error).__name__,
            error,
        )
        signals.task_rejected.send(sender=self, message=message, exc=error)
        return Undeliverable(reason, str(error), error)

    def _exchange(self, delivery: Delivery, message: Message) -> Settlement:
        """Put the same call in the present protocol in the place of a message of protocol 1."""
        try:
            body = self._loads(message)
            found = protocol.translate(message, body, zone=self.app.timezone, limits=self._limits)
        except ContentDisallowed as error:
            return self._no_message(delivery, message, "refused-content", error)
        except InvalidTaskError as error:
            return self._no_message(delivery, message, "malformed", error)
        except (SerializationError, MissingExtra) as error:
            return self._no_message(delivery, message, "undecodable", error)
        return Settlement(delivery, follow=(found,))

    def _no_message(
        self, delivery: Delivery, message: Message, reason: str, error: Exception
    ) -> Settlement:
        logger.error(
            "Received a message on queue %s that names no task (%s); it went to the dead letters",
            delivery.queue,
            one_line(str(error)),
        )
        signals.task_rejected.send(sender=self, message=message, exc=error)
        dead = DeadLetter(message, delivery.queue, reason, str(error), time.time())
        return Settlement(delivery, dead=dead)

    def _unknown(self, delivery: Delivery, message: Message, error: NotRegistered) -> Settlement:
        name = message.task
        logger.error(
            "Cannot run message %s: %s; the message went to the dead letters",
            one_line(message.id),
            one_line(str(error)) if name else "its headers name no task",
        )
        signals.task_unknown.send(sender=self, message=message, exc=error, name=name, id=message.id)
        request = self.look_at(delivery, message)
        outcome = Undeliverable("unknown-task", str(error), error)
        return attempt.conclude(self.stand_in(), request, delivery, outcome)

    def stand_in(self) -> attempt.Plan:
        """The plan of no task in particular, for messages whose task is not known."""
        return attempt.Plan(self.app.Task(), self.app, str, False, frozenset(), True, True)

    def _bury_raw(self, delivery: Delivery, message: Malformed) -> Settlement:
        logger.error(
            "Received %d bytes on queue %s that are no message (%s); they went to the dead letters",
            len(message.raw),
            delivery.queue,
            message.reason,
        )
        signals.task_rejected.send(sender=self, message=message, exc=None)
        dead = DeadLetter(message, delivery.queue, "malformed", message.reason, time.time())
        return Settlement(delivery, dead=dead)


def _limits_of(message: Message) -> tuple[float | None, float | None]:
    """Hard and soft limit in the headers; what is no number of seconds sets none."""
    limits = message.headers.get("timelimit")
    if not isinstance(limits, (list, tuple)) or len(limits) != 2:  # noqa: PLR2004 - a pair
        return None, None
    hard, soft = (each if type(each) in (int, float) and each > 0 else None for each in limits)
    return hard, soft


def _verdict(verdict: Any) -> Outcome:
    """The end of a task whose process died, as its supervisor saw it."""
    data = verdict if isinstance(verdict, dict) else {}
    detail = str(data.get("detail", "the process that ran it died"))
    match data.get("kind"):
        case "timelimit":
            return Failed(TimeLimitExceeded(data.get("limit")), None)
        case "crashed":
            return Undeliverable("crashed", detail, WorkerLostError(detail))
        case _:
            return Failed(WorkerLostError(detail), None)
