"""A connection to RabbitMQ, with failover, heartbeats and channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from umbel.drivers.amqp.channel import Channel
    from umbel.drivers.amqp.urls import AMQPUrl


class Connection:
    """One socket to the first of several servers that lets us in.

    Args:
        urls: the servers, in the order in which they are tried.
        connect_timeout: seconds an attempt to reach and log in to one server may take.
        heartbeat: seconds between heartbeats, None or 0 for none; the server may ask for fewer.
        ssl: True or options (``keyfile``, ``certfile``, ``ca_certs``, ``cert_reqs``, …) for TLS
            with every URL; ``amqps`` URLs use it anyway.
        login_method: ``PLAIN`` (when None), ``AMQPLAIN`` or ``EXTERNAL``.
        name: shown in the server's list of connections.
    """

    def __init__(
        self,
        urls: Sequence[AMQPUrl],
        *,
        connect_timeout: float = 4.0,
        heartbeat: float | None = 60,
        ssl: Mapping[str, Any] | bool = False,
        login_method: str | None = None,
        name: str = "",
    ) -> None:
        raise NotImplementedError(urls, connect_timeout, heartbeat, ssl, login_method, name)

    def open(self, timeout: float | None = None) -> None:
        """Connect unless connected; after a loss this makes a new connection.

        Args:
            timeout: seconds for all servers together; None is ``connect_timeout`` for each.

        Raises:
            OperationalError: no server could be reached in time.
            AccessRefused: a server refused user, password or vhost.
        """

    def close(self) -> None:
        """Close politely, within a bound; it may be opened again."""

    @property
    def is_open(self) -> bool:
        """Whether it is connected as far as is known."""
        raise NotImplementedError

    @property
    def blocked(self) -> str | None:
        """Why the server takes no messages at the moment (an alarm), or None."""
        raise NotImplementedError

    @property
    def server_properties(self) -> Mapping[str, Any]:
        """What the server says about itself: ``product``, ``version``, ``capabilities``, …"""
        raise NotImplementedError

    def channel(self) -> Channel:
        """A new channel; opens the connection if it is not open. Raises as `open`."""
        raise NotImplementedError
