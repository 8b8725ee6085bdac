"""A connection to RabbitMQ: failover, login, heartbeats, and channels on it.

A `Connection` outlives its sockets: when one is lost, `open` makes another, to the same server or
to the next one.  Channels do not: they belong to the socket they were made on.  After a fork the
child gives up the socket, which is the parent's, without a word to the server.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from threading import Lock
from typing import TYPE_CHECKING, Any

from umbel.drivers.amqp import forks, tls
from umbel.drivers.amqp.channel import Channel
from umbel.drivers.amqp.codec import Decoder
from umbel.drivers.amqp.errors import ConnectionLost
from umbel.drivers.amqp.link import Link
from umbel.drivers.amqp.login import METHODS, Wishes, log_in
from umbel.drivers.amqp.stream import Stream, dial
from umbel.exceptions import ImproperlyConfigured, OperationalError, UmbelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from umbel.drivers.amqp.urls import AMQPUrl

_GOODBYE = 3.0
"""Seconds that closing may take."""
_LONGEST_BEAT = 65_535


class Connection:
    """One socket to the first of several servers that lets us in; any thread.

    Args:
        urls: the servers, in the order in which they are tried.
        connect_timeout: seconds an attempt to reach and log in to one server may take.
        heartbeat: seconds between heartbeats, None or 0 for none; the server may ask for fewer.
        ssl: True or options (``keyfile``, ``certfile``, ``ca_certs``, ``cert_reqs``, …) for TLS
            with every URL; ``amqps`` URLs use it anyway.
        login_method: ``PLAIN`` (when None), ``AMQPLAIN`` or ``EXTERNAL``.
        name: shown in the server's list of connections.
        answer_timeout: seconds the server may take for an answer before it counts as lost.

    Raises:
        ImproperlyConfigured: an option cannot work.
    """

    def __init__(
        self,
        urls: Sequence[AMQPUrl],
        *,
        connect_timeout: float = 4.0,
        heartbeat: float | None = 60,
        ssl: Mapping[str, Any] | bool | None = None,
        login_method: str | None = None,
        name: str = "",
        answer_timeout: float = 15.0,
    ) -> None:
        method = (login_method or METHODS[0]).upper()
        if method not in METHODS:
            raise ImproperlyConfigured(
                f"broker_login_method {login_method!r} is none of {', '.join(METHODS)}"
            )
        self._urls = tuple(urls)
        self._connect_timeout = connect_timeout
        self._wishes = Wishes(method, _whole(heartbeat), name)
        self._tls_options = dict(ssl) if isinstance(ssl, Mapping) else {}
        self._always_tls = ssl is True or isinstance(ssl, Mapping)
        self._context = (
            tls.context(self._tls_options)
            if self._always_tls or any(url.tls for url in self._urls)
            else None
        )
        self.answer_timeout = answer_timeout
        self._opening = Lock()
        self._link: Link | None = None
        self._next = 0
        forks.register(self)

    def open(self, timeout: float | None = None) -> None:
        """Connect unless connected; after a loss this makes a new connection.

        The server that was connected last is tried first, then the others in order.

        Args:
            timeout: seconds for all servers together; None is ``connect_timeout`` for each.

        Raises:
            OperationalError: no server could be reached in time.
            ImproperlyConfigured: every server refused user, password or vhost, or is none.
        """
        self._opened(timeout)

    def _opened(self, timeout: float | None = None) -> Link:
        link = self._link
        if link is not None and link.lost is None:
            return link
        budget = self._connect_timeout * len(self._urls) if timeout is None else timeout
        deadline = time.monotonic() + budget
        if not self._opening.acquire(timeout=max(budget, 0)):
            raise OperationalError(f"another thread still connects to {self._urls[self._next]}")
        try:
            if self._link is None or self._link.lost is not None:
                self._link = self._first_link(deadline)
            return self._link
        finally:
            self._opening.release()

    def _first_link(self, deadline: float) -> Link:
        failures: list[UmbelError] = []
        count = len(self._urls)
        for turn in range(count):
            number = (self._next + turn) % count
            url = self._urls[number]
            own = self._connect_timeout if url.connect_timeout is None else url.connect_timeout
            try:
                link = self._connect(url, min(deadline, time.monotonic() + own))
            except UmbelError as error:
                failures.append(error)
            else:
                self._next = number
                return link
            if time.monotonic() >= deadline:
                break
        raise _all_failed(failures) from failures[-1]

    def _connect(self, url: AMQPUrl, deadline: float) -> Link:
        """Log in to one server."""
        try:
            plain = dial(url.host, url.port, deadline)
        except ConnectionLost as error:
            raise ConnectionLost(error.reason, str(url)) from error
        try:
            secret = self._context if url.tls or self._always_tls else None
            host = self._tls_options.get("server_hostname") or url.host
            if secret is not None:
                plain = tls.encrypt(plain, secret, host, str(url), deadline)
            stream = Stream(plain)
        except BaseException:
            plain.close()
            raise
        wishes = self._wishes
        if url.heartbeat is not None:
            wishes = Wishes(wishes.method, _whole(url.heartbeat), wishes.name)
        decoder = Decoder()
        try:
            tuned = log_in(stream, decoder, url, wishes, deadline)
            return Link(stream, decoder, tuned, str(url))
        except BaseException:
            stream.close()
            raise

    def close(self) -> None:
        """Close politely, within seconds; channels end, and it may be opened again."""
        with self._opening:
            link, self._link = self._link, None
        if link is not None:
            link.close(time.monotonic() + _GOODBYE)

    @property
    def is_open(self) -> bool:
        """Whether it is connected, as far as is known."""
        return self._link is not None and self._link.lost is None

    @property
    def blocked(self) -> str | None:
        """Why the server takes no messages at the moment (an alarm), or None."""
        return self._link.blocked if self._link is not None else None

    @property
    def server_properties(self) -> Mapping[str, Any]:
        """What the server says about itself: ``product``, ``version``, …; empty if not open."""
        return self._link.tuned.server_properties if self._link is not None else {}

    @property
    def url(self) -> AMQPUrl:
        """The server that is connected, or that is tried first."""
        return self._urls[self._next]

    def channel(self) -> Channel:
        """A new channel; opens the connection if it is not open. Raises as `open`."""
        return Channel(self._opened(), self.answer_timeout)

    def forget(self) -> None:
        """Give up the parent's socket after a fork; the connection may be opened again here."""
        self._opening = Lock()  # a thread that is not here may hold the old one
        link, self._link = self._link, None
        if link is not None:
            link.forget()


def _whole(heartbeat: float | None) -> int:
    """AMQP counts whole seconds: at least one where any are wanted."""
    if not heartbeat:
        return 0
    return min(max(round(heartbeat), 1), _LONGEST_BEAT)


def _all_failed(failures: list[UmbelError]) -> UmbelError:
    """What to say when no server let us in: what trying again may cure goes first."""
    passing = [error for error in failures if isinstance(error, OperationalError)]
    if len(failures) == 1:
        return failures[0]
    text = "; ".join(dict.fromkeys(map(str, failures)))
    return OperationalError(text) if passing else ImproperlyConfigured(text)
