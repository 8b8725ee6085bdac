"""From a call to a message on a queue.

`Client.message` routes, encodes and describes a call in the fields of Celery's protocol 2;
`Client.publish` hands messages to the broker within a deadline.  Synchronous callers publish in
their own thread; asynchronous ones hand over to one `Publisher` thread per process, which sends
whatever has gathered meanwhile as one batch.

What the calls of one task have in common is worked out once, see `umbel.templates`, and kept until
a setting or a queue changes.
"""

from __future__ import annotations

import time
from math import ceil
from typing import TYPE_CHECKING, Any

from umbel import serialization, signals
from umbel.current import get_current_request, joins_forbidden
from umbel.exceptions import ContentDisallowed, DecodeError, OperationalError
from umbel.identity import uuid7
from umbel.message import Message
from umbel.moments import due_at, expires_at, isoformat
from umbel.once import forget, once, once_locked
from umbel.places import default_database
from umbel.representation import saferepr
from umbel.retry import PublishRetry
from umbel.spreading import Spreader
from umbel.templates import make_template
from umbel.using import enlisted_by

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from concurrent.futures import Future

    from umbel.app import Umbel
    from umbel.publisher import Publisher
    from umbel.spool import Spool
    from umbel.task import Task
    from umbel.templates import Template

_PARTS = ("args", "kwargs", "embed")
_NO_OPTIONS: Mapping[str, Any] = {}
_FOREVER = 31_536_000.0
_AT_ONCE = 1000
"""Messages of one call that ``publish_timeout`` is for; more of them have as much more time."""
_PAUSE = 0.1
"""Seconds between tries to have results kept for this process."""
_SPOOL = frozenset({"publish_spool", "publish_spool_limit"})
_GRACE = 0.25
"""Seconds beyond its deadline for which a publisher that is just ending may be waited for."""


class Client:
    """Builds and publishes the messages of one application."""

    def __init__(self, app: Umbel) -> None:
        self.app = app
        self.lock = app.building
        self._templates: dict[str, Template] = {}
        app.conf.observe("", self._settings_changed)

    def _settings_changed(self, changed: frozenset[str]) -> None:
        self._templates = {}
        if not changed or not _SPOOL.isdisjoint(changed):
            forget(self, "spool")

    # -- building --------------------------------------------------------------------------

    def message(
        self,
        name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        task: Task[..., Any] | None = None,
        options: Mapping[str, Any],
        exact: bool = True,
    ) -> Message:
        """The message of one call; ``exact`` refuses values whose type would not come back.

        Raises:
            EncodeError: an argument cannot be encoded; the text names its path.
            TypeError, ValueError: an option makes no sense.
            QueueNotFound: a queue is unknown, and missing ones are not to be made.
        """
        _check_arguments(name, args, kwargs)
        template = self._template(name, args, kwargs, task, options)
        merged = template.merged
        task_id = merged.get("task_id") or uuid7()
        encoded = serialization.dumps(
            [args, kwargs, template.embed],
            template.serializer,
            compression=template.compression,
            limits=template.limits,
            where=_PARTS,
            exact=exact,
        )
        headers = template.headers.copy()
        headers["id"] = task_id
        self._show(headers, args, kwargs)
        if encoded.compression is not None:
            headers["compression"] = encoded.compression
        properties = template.properties.copy()
        properties["correlation_id"] = task_id
        if properties["reply_to"] is None:
            properties["reply_to"] = self.app.thread_oid
        message = Message(
            task_id,
            headers,
            encoded.body,
            encoded.content_type,
            encoded.content_encoding,
            properties,
            template.queue,
            template.exchange,
            template.routing_key,
            _descend(headers, template, task_id),
        )
        if template.timed:
            self._set_times(message, headers, properties, merged)
        own = merged.get("headers")
        if own:
            headers.update(own)
        return message

    def _template(
        self,
        name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        task: Task[..., Any] | None,
        options: Mapping[str, Any],
    ) -> Template:
        kept = self._templates.get(name)
        if (
            kept is not None
            and kept.options == options
            and kept.queues == self.app.amqp.queues.version
        ):
            return kept
        template = make_template(self.app, name, args, kwargs, task, options)
        if template.lasts:
            self._templates[name] = template
        return template

    def _show(self, headers: dict[str, Any], args: Sequence[Any], kwargs: Any) -> None:
        levels = self.app.conf.task_repr_maxlevels
        amqp = self.app.amqp
        if headers["argsrepr"] is None:
            shown = tuple(args) if type(args) is list else args
            headers["argsrepr"] = saferepr(shown, amqp.argsrepr_maxsize, levels)
        if headers["kwargsrepr"] is None:
            headers["kwargsrepr"] = saferepr(kwargs, amqp.kwargsrepr_maxsize, levels)

    def _set_times(
        self,
        message: Message,
        headers: dict[str, Any],
        properties: dict[str, Any],
        options: Mapping[str, Any],
    ) -> None:
        now = time.time()
        zone = self.app.timezone
        due = due_at(options.get("countdown") or None, options.get("eta"), now=now)
        if due is not None:
            message.due_at, headers["eta"] = due, isoformat(due, zone)
        expiry = expires_at(options.get("expires"), now=now)
        if expiry is not None:
            message.expires_at, headers["expires"] = expiry, isoformat(expiry, zone)
            properties["expiration"] = _milliseconds(expiry - now)
            if expiry <= now:
                _mention_expired(message)

    # -- publishing ------------------------------------------------------------------------

    def publish(
        self, messages: Sequence[Message], options: Mapping[str, Any] = _NO_OPTIONS
    ) -> None:
        """Store messages in the broker, all or none; durable on return.

        ``timeout`` (s), ``retry`` and ``retry_policy`` among ``options`` say how hard it is
        tried; by default the settings do.

        Raises:
            OperationalError: not stored within ``publish_timeout`` seconds.
            UnroutableError: a message goes to an exchange that no queue is bound to.
        """
        if not messages:
            return
        until = self._deadline(options, len(messages))
        listened = signals.before_task_publish.receivers or signals.after_task_publish.receivers
        bodies = self._announce(messages, options) if listened else None
        if self.app.connections.replies is not None:
            self._expect(self._addresses(messages), until)
        enlisted = enlisted_by(self.app)
        if enlisted is not None:
            enlisted.publish(self._spread_to_write(messages, until))
        else:
            self.store(messages, until, options)
        if bodies is not None:
            _report(messages, bodies)

    async def apublish(
        self, messages: Sequence[Message], options: Mapping[str, Any] = _NO_OPTIONS
    ) -> None:
        """As `publish`, without blocking the event loop; concurrent calls share a batch.

        Raises:
            OperationalError: not stored within ``publish_timeout`` seconds.
            UnroutableError: a message goes to an exchange that no queue is bound to.
        """
        if not messages:
            return
        until = self._deadline(options, len(messages))
        listened = signals.before_task_publish.receivers or signals.after_task_publish.receivers
        bodies = self._announce(messages, options) if listened else None
        if self.app.connections.replies is not None:
            from asyncio import to_thread

            await to_thread(self._expect, self._addresses(messages), until)
        enlisted = enlisted_by(self.app)
        if enlisted is not None:
            await enlisted.apublish(self._spread_to_write(messages, until))
        else:
            await self._stored(self.publisher.submit(messages, until, options), until)
        if bodies is not None:
            _report(messages, bodies)

    def _spread_to_write(self, messages: Sequence[Message], until: float) -> Sequence[Message]:
        return self.spreader.spread(messages, self.app.connections.write_broker, until)

    def _addresses(self, messages: Sequence[Message]) -> set[str]:
        """Where this process will be sent results of these calls; nowhere if it may not wait."""
        if joins_forbidden.get():
            return set()
        named = {
            message.properties.get("reply_to")
            for message in messages
            if not message.headers.get("ignore_result")
        }
        return self.app.oids & named

    def _expect(self, addresses: set[str], until: float) -> None:
        """Have results kept that are sent to ``addresses``, in the time there is."""
        replies = self.app.connections.replies
        while addresses and replies is not None:
            left = until - time.monotonic()
            try:
                replies.expect(addresses, max(left, 0.001))
            except OperationalError:
                if self.spool is not None:
                    return  # the calls wait there, and whoever waits for results goes on trying
                if left < _PAUSE:
                    raise
                time.sleep(_PAUSE)
            else:
                return

    async def _stored(self, done: Future[None], until: float) -> None:
        """Wait for the publisher, but not much longer than the caller wants to.

        It may be busy with what others, who have more time, gave it before.
        """
        import asyncio

        left = max(until - time.monotonic(), 0.0)
        try:
            async with asyncio.timeout(left + _GRACE):
                await asyncio.wrap_future(done)
        except TimeoutError:
            msg = f"the broker did not store it within {left:.1f} s"
            raise OperationalError(msg) from None

    @once
    def publisher(self) -> Publisher:
        """The thread that publishes for asynchronous callers."""
        from umbel.publisher import Publisher

        return Publisher(self.store)

    @once_locked
    def spool(self) -> Spool | None:
        """The file that takes messages while the broker is away; None where none was asked for."""
        path = self.app.conf.publish_spool
        if not path:
            return None
        from umbel.spool import FILE, Spool

        if path is True:
            path = default_database(*self.app.origin).with_name(FILE)
        return Spool(str(path), self.app.conf.publish_spool_limit, self._hand_on)

    def _hand_on(self, messages: Sequence[Message]) -> None:
        """Store what comes from the spool, in one try."""
        self._store(messages, self._deadline(_NO_OPTIONS, len(messages)), {"retry": False})

    def close(self) -> None:
        """Publish what waits, and end the threads."""
        publisher, spool = self.__dict__.pop("publisher", None), self.__dict__.pop("spool", None)
        if publisher is not None:
            publisher.close()
        if spool is not None:
            spool.close()

    @once
    def spreader(self) -> Spreader:
        """Finds the queues of messages that name an exchange."""
        return Spreader(self.app)

    def spread(self, messages: Sequence[Message]) -> Sequence[Message]:
        """What the broker that workers consume from is to publish for these messages.

        Raises:
            UnroutableError: an exchange has no queue for one of them.
            OperationalError: the broker cannot be reached.
        """
        return self.spreader.spread(
            messages, self.app.broker, self._deadline(_NO_OPTIONS, len(messages))
        )

    def _deadline(self, options: Mapping[str, Any], count: int) -> float:
        timeout = options.get("timeout")
        if timeout is None:
            timeout = self.app.conf.publish_timeout
            if timeout is not None:
                timeout *= ceil(count / _AT_ONCE)
        return time.monotonic() + (_FOREVER if timeout is None else timeout)

    def store(
        self, messages: Sequence[Message], until: float, options: Mapping[str, Any] = _NO_OPTIONS
    ) -> None:
        """Have the broker store messages before ``until``, on the monotonic clock.

        What it does not store in time goes to the spool, where there is one.
        """
        spool = self.spool
        if spool is None:
            self._store(messages, until, options)
        elif spool.is_in_use:
            spool.add(messages)
        else:
            try:
                self._store(messages, until, options)
            except OperationalError as error:
                spool.add(messages, error)

    def _store(self, messages: Sequence[Message], until: float, options: Mapping[str, Any]) -> None:
        broker = self.app.connections.write_broker
        pauses: Iterator[float] | None = None
        policy: PublishRetry | None = None
        if options.get("retry_policy") is not None:
            policy = self._policy(options)
        while True:
            try:
                spread = self.spreader.spread(messages, broker, until)
                broker.publish(spread, timeout=max(until - time.monotonic(), 0.001))
            except Exception as error:
                policy = policy or self._policy(options)
                if not isinstance(error, (OperationalError, *(policy.retry_errors or ()))):
                    raise
                pauses = pauses or policy.intervals()
                pause = next(pauses, None)
                if pause is None or time.monotonic() + pause >= until:
                    raise
                time.sleep(pause)
            else:
                return

    def _policy(self, options: Mapping[str, Any]) -> PublishRetry:
        conf = self.app.conf
        retry = options.get("retry")
        if not (conf.task_publish_retry if retry is None else retry):
            return PublishRetry(max_retries=0)
        return PublishRetry.of(
            {**conf.task_publish_retry_policy, **(options.get("retry_policy") or {})}
        )

    # -- telling receivers -----------------------------------------------------------------

    def _announce(self, messages: Sequence[Message], options: Mapping[str, Any]) -> list[Any]:
        """Send ``before_task_publish``; returns the bodies as receivers see them."""
        bodies = [self._body(message) for message in messages]
        if signals.before_task_publish.receivers:
            for message, body in zip(messages, bodies, strict=True):
                self._announce_one(message, body, options)
        return bodies

    def _announce_one(self, message: Message, body: Any, options: Mapping[str, Any]) -> None:
        headers, properties = dict(message.headers), dict(message.properties)
        if message.expires_at is not None:
            properties["expiration"] = max(message.expires_at - time.time(), 0.0)
        before = properties.get("expiration")
        if message.priority is not None:
            properties["priority"] = message.priority
        signals.before_task_publish.send(
            sender=message.task,
            body=body,
            exchange=message.exchange,
            routing_key=message.routing_key,
            headers=headers,
            properties=properties,
            declare=options.get("declare"),
            retry_policy=options.get("retry_policy"),
        )
        expiration = properties.get("expiration")
        if isinstance(expiration, (int, float)):
            properties["expiration"] = _milliseconds(expiration)
            if expiration != before:
                message.expires_at = time.time() + expiration
        message.priority = properties.get("priority")
        message.headers = headers
        message.properties = {k: v for k, v in properties.items() if k != "priority"}

    def _body(self, message: Message) -> Any:
        """``(args, kwargs, embed)``, decoded again: a message keeps nothing but bytes."""
        try:
            return tuple(
                serialization.loads(
                    message.body,
                    message.content_type,
                    message.content_encoding,
                    accept=(message.content_type,),
                    compression=message.headers.get("compression"),
                    limits=self.app.decode_limits,
                )
            )
        except (DecodeError, ContentDisallowed, TypeError):
            return message.body


def _check_arguments(name: str, args: Any, kwargs: Any) -> None:
    if not isinstance(args, (list, tuple)):
        msg = f"args of {name} must be a list or tuple, not {type(args).__name__}"
        raise TypeError(msg)
    if not isinstance(kwargs, dict):
        msg = f"kwargs of {name} must be a mapping, not {type(kwargs).__name__}"
        raise TypeError(msg)


def _report(messages: Sequence[Message], bodies: Sequence[Any]) -> None:
    for message, body in zip(messages, bodies, strict=True):
        signals.after_task_publish.send(
            sender=message.task,
            headers=message.headers,
            body=body,
            exchange=message.exchange,
            routing_key=message.routing_key,
        )


def _descend(headers: dict[str, Any], template: Template, task_id: str) -> int | None:
    """Name the task that sends a message as its parent, and the first of them all as its root.

    Returns the message's priority, which may be the parent's.
    """
    request = get_current_request()
    if request is None:
        headers["root_id"] = headers["root_id"] or task_id
        return template.priority
    headers["root_id"] = headers["root_id"] or request.root_id or request.id
    headers["parent_id"] = headers["parent_id"] or request.id
    if not template.inherits:
        return template.priority
    inherited: int | None = (request.delivery_info or {}).get("priority")
    return template.priority if inherited is None else inherited


def _mention_expired(message: Message) -> None:
    import logging

    logging.getLogger("umbel.client").warning(
        "%s[%s] is sent although it has expired already; it will end as revoked",
        message.task,
        message.id,
    )


def _milliseconds(seconds: float) -> str:
    return str(max(int(seconds * 1000), 0))
