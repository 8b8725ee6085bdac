"""What travels: one task message, and the claim under which it is worked on.

A `Message` carries the fields of Celery's protocol 2: headers that route and describe the task,
properties that belong to the transport, and a body of encoded ``[args, kwargs, embed]``.  Drivers
store and return it unchanged; only the broker-side facts (where it waits, from when, until when)
are lifted into attributes, because a broker must act on those without reading headers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

HIGHEST_PRIORITY = 9


@dataclass(slots=True)
class Message:
    """One task message, ready to be stored by any broker.

    Attributes:
        id: the task's id; the same for every retry of one task.
        headers: protocol 2 headers, plus the user's own.
        body: the encoded ``[args, kwargs, embed]``, compressed if ``headers`` says so.
        content_type: what ``body`` is, e.g. ``application/json``.
        content_encoding: ``utf-8`` or ``binary``.
        properties: transport properties (``correlation_id``, ``reply_to``, ``delivery_mode``, …).
        queue: where it waits.
        exchange: the exchange it was sent through; empty for the default one.
        routing_key: the key it was sent with.
        priority: 0 to 9, higher first; ``None`` is 0.
        due_at: not to be delivered before this moment (epoch seconds); ``None`` is now.
        expires_at: not to be started after this moment (epoch seconds).
    """

    id: str
    headers: Mapping[str, Any]
    body: bytes
    content_type: str = "application/json"
    content_encoding: str = "utf-8"
    properties: Mapping[str, Any] = field(default_factory=dict)
    queue: str = ""
    exchange: str = ""
    routing_key: str = ""
    priority: int | None = None
    due_at: float | None = None
    expires_at: float | None = None

    @property
    def task(self) -> str:
        """The task's name, or an empty text where the headers carry none."""
        name = self.headers.get("task")
        return name if isinstance(name, str) else ""


@dataclass(frozen=True, slots=True)
class Malformed:
    """Bytes found on a queue that are no message; kept whole for the dead letters."""

    raw: bytes
    reason: str
    id: str
    queue: str


@dataclass(slots=True)
class Delivery:
    """A message claimed by one owner, until it is settled, released or its lease ends.

    Attributes:
        message: what was claimed, or the malformed bytes that stood in its place.
        tag: the broker's own name for the claim; opaque outside the driver.
        fence: grows with every claim of the same message. A write that carries an older fence
            than the claim now in force changes nothing.
        owner: who claimed it.
        queue: the queue it was taken from.
        deliveries: how often it has been claimed and not given back, this time included.
        crashes: how many starts of it ended with the death of the process.
    """

    message: Message | Malformed
    tag: Any
    fence: int
    owner: str
    queue: str
    deliveries: int = 1
    crashes: int = 0

    @property
    def redelivered(self) -> bool:
        """Whether somebody held it before."""
        return self.deliveries > 1


@dataclass(slots=True)  # a frozen one takes four times as long to make, and every task makes one
class StoredResult:
    """A task's state, encoded for the result backend.

    Attributes:
        id: the task's id.
        status: PENDING, STARTED, SUCCESS, … or a custom state.
        payload: the encoded meta (``status``, ``result``, ``traceback``, …).
        final: whether waiting callers are to be woken: the state is one of READY.
        expires: seconds after which it may be forgotten; ``None`` keeps it.
        content_type: what ``payload`` is.
        reply_to: where the caller listens, for stores that send results there; others drop it.
    """

    id: str
    status: str
    payload: bytes
    final: bool
    expires: float | None = None
    content_type: str = "application/json"
    reply_to: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that nobody can or may run, with the evidence.

    Attributes:
        message: the message, or the malformed bytes.
        queue: where it was taken from.
        reason: one of ``unknown-task``, ``undecodable``, ``refused-content``, ``rejected``,
            ``crashed`` or ``malformed``.
        detail: a sentence for people.
        at: when it was buried (epoch seconds).
        evidence: what is known besides: host, exit code, traceback, …; plain data.
    """

    message: Message | Malformed
    queue: str
    reason: str
    detail: str
    at: float
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Settlement:
    """All that the end of an attempt makes durable, applied as one step.

    Where broker and result backend are the same server the step is atomic; otherwise the order
    is result, follow-ups, acknowledgement, so that a crash in between repeats work but never
    loses it.

    Attributes:
        delivery: the claim that ends; ``None`` if the message was acknowledged before it ran.
        result: the state to store.
        follow: messages to publish: the retry, the next step, callbacks.
        dead: set if the message goes to the dead letters.
        requeue: put the message back, at the end of its queue where the broker can choose,
            instead of removing it; the delivery stays counted.
    """

    delivery: Delivery | None
    result: StoredResult | None = None
    follow: tuple[Message, ...] = ()
    dead: DeadLetter | None = None
    requeue: bool = False
