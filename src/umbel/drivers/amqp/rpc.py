"""Results as messages to whoever made the call: ``rpc://``.

A worker sends each state, through the default exchange, to the queue that the call names as its
``reply_to``; nothing is kept anywhere else.  So only the process that made a call learns what
became of it, and only while it lives; what is sent to nobody is dropped by the server.  Names,
arguments and content are Celery's: callers and workers of both kinds understand each other.
"""

from __future__ import annotations

import os
from threading import Lock
from typing import TYPE_CHECKING, Any

from umbel.drivers import Server
from umbel.drivers.amqp import connection_to
from umbel.drivers.amqp import options as chosen
from umbel.drivers.amqp.errors import ConnectionLost
from umbel.drivers.amqp.messages import Outgoing
from umbel.drivers.amqp.replies import Replies
from umbel.drivers.amqp.session import Session
from umbel.drivers.amqp.urls import parse_many
from umbel.exceptions import BackendStoreError, ImproperlyConfigured, UmbelError
from umbel.lookout import Watchers
from umbel.settings import mask_url
from umbel.stored import Formats, Lifetimes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from umbel.drivers.amqp.connection import Connection
    from umbel.message import StoredResult

_SCHEMES = ("amqp", "amqps", "pyamqp")
_TRANSIENT, _PERSISTENT = 1, 2

NOT_THE_CALLER = (
    "results on rpc:// go to the process that made the call and to no other, and this process has "
    "made none whose result can be waited for; to ask from anywhere, keep results in a store "
    "(result_backend = 'redis://…', 'postgresql://…' or 'db+…')"
)


def connect_rpc(url: str, given: Mapping[str, Any], conf: Mapping[str, Any]) -> Server:
    """Results through the server that ``url`` names, or through the broker where it names none.

    Raises:
        ImproperlyConfigured: that is no RabbitMQ, or an option is unknown or out of range.
    """
    urls = parse_many(_place(url, conf))
    options = chosen.checked(given, conf)
    connection_to(urls, given, conf)  # checks the options of the connection at once
    backend = RpcBackend(
        lambda: connection_to(urls, given, conf),
        Formats.of(conf),
        Lifetimes.from_settings(conf),
        persistent=bool(conf.get("result_persistent")),
        timeout=options.operation_timeout,
    )
    return Server("rpc://" + str(urls[0]).partition("://")[2], None, backend, None)


def _place(url: str, conf: Mapping[str, Any]) -> str:
    if url.partition(":")[2].strip("/"):
        return url
    found = conf.get("broker_write_url") or conf.get("broker_url") or ""
    place = found if isinstance(found, str) else ";".join(found)
    if place.partition(":")[0].strip() not in _SCHEMES:
        shown = mask_url(place) or "the embedded one"
        raise ImproperlyConfigured(
            f"rpc:// sends results through the broker, which must be RabbitMQ and is {shown}; "
            "choose another result_backend, or name a RabbitMQ (rpc://user:password@host//)"
        )
    return place


class RpcBackend:
    """A `ReplyBackend`; in a forked process it begins anew, and nobody waits."""

    def __init__(
        self,
        connect: Callable[[], Connection],
        formats: Formats,
        lifetimes: Lifetimes,
        *,
        persistent: bool,
        timeout: float,
    ) -> None:
        self._connect = connect
        self._formats = formats
        self._lifetimes = lifetimes
        self._mode = _PERSISTENT if persistent else _TRANSIENT
        self._timeout = timeout
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._selecting = Lock()
        self._session = Session(self._connect, self._timeout)
        self._replies = Replies(self._session, self._formats, self._lifetimes)
        self._watchers = _Waiting(self._replies)
        self._replies.tell = self._watchers.heard

    def setup(self) -> None:
        """Nothing to create: queues are made by those who call."""

    def close(self) -> None:
        """Delete the queues of this process, with what is in them, and close the connection."""
        self._notice_fork()
        self._replies.close()
        self._watchers.clear()
        self._session.close()

    def _notice_fork(self) -> None:
        if self._pid != os.getpid():
            self._begin()

    # -- the worker's side -----------------------------------------------------------------

    def store(self, results: Sequence[StoredResult]) -> None:
        """Send states to those who wait for them; confirmed by the server on return.

        A state without an address is not sent, and is no error.
        """
        self._notice_fork()
        messages = [self._message(result) for result in results if result.reply_to]
        if not messages:
            return
        try:
            try:
                self._send(messages)
            except ConnectionLost:  # it may have been dead for long, and nobody noticed
                self._send(messages)
        except UmbelError as error:
            first = results[0]
            raise BackendStoreError(str(error), state=first.status, task_id=first.id) from error

    def _send(self, messages: Sequence[Outgoing]) -> None:
        channel = self._session.channel("results", timeout=self._timeout)
        with self._selecting:
            channel.select_confirms()
        last = channel.publish(messages, timeout=self._timeout)
        channel.wait_confirmed(last, self._timeout)

    def _message(self, result: StoredResult) -> Outgoing:
        properties: dict[str, Any] = {
            "content_type": result.content_type,
            "content_encoding": "utf-8" if result.content_type == "application/json" else "binary",
            "delivery_mode": self._mode,
            "priority": 0,
            "correlation_id": result.id,
            "headers": {},
        }
        if result.expires is not None:
            properties["expiration"] = str(int(result.expires * 1000))
        return Outgoing("", result.reply_to or "", properties, result.payload)

    # -- the caller's side -----------------------------------------------------------------

    def expect(self, addresses: Collection[str], timeout: float) -> None:
        """Have queues for what is sent to this process; see `ReplyBackend.expect`."""
        self._notice_fork()
        self._replies.expect(addresses, timeout)

    def fetch(self, ids: Collection[str]) -> dict[str, StoredResult]:
        """What has arrived here for these tasks; see `ResultBackend.fetch`.

        The first call also waits, shortly, for what was sent before it.
        """
        self._notice_fork()
        return self._replies.find(ids)

    def wait(
        self, ids: Collection[str], timeout: float | None, *, any_of: bool = False
    ) -> dict[str, StoredResult]:
        """Block until all, or any, are final; see `ResultBackend.wait`.

        Raises:
            NotImplementedError: this process made no call whose result is sent to it.
        """
        self._need_a_call(ids)
        found = self._watchers.wait(ids, timeout, any_of=any_of)
        self._replies.mark_read(found)
        return found

    def watch(
        self, ids: Collection[str], callback: Callable[[StoredResult], None]
    ) -> Callable[[], None]:
        """Call back for each that is final; see `ResultBackend.watch`.

        Raises:
            NotImplementedError: this process made no call whose result is sent to it.
        """
        self._need_a_call(ids)

        def tell(result: StoredResult) -> None:
            self._replies.mark_read((result.id,))
            callback(result)

        return self._watchers.watch(ids, tell)

    def _need_a_call(self, ids: Collection[str]) -> None:
        self._notice_fork()
        if ids and not self._replies.is_expecting:
            raise NotImplementedError(NOT_THE_CALLER)

    def forget(self, ids: Collection[str]) -> int:
        """Forget what has arrived for these tasks; see `ResultBackend.forget`."""
        self._notice_fork()
        return self._replies.forget(ids)

    def prune(self, limit: int = 10_000) -> int:
        """Forget what arrived long ago; see `ResultBackend.prune`. It happens by itself, too."""
        self._notice_fork()
        return self._replies.prune(limit)


class _Waiting(Watchers):
    """Those who wait; they look after the thread that listens for them."""

    def __init__(self, replies: Replies) -> None:
        super().__init__(lambda ids: replies.find(ids).values())
        self._replies = replies

    def check(self) -> None:
        self._replies.check()
