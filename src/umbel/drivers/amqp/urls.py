"""Where a RabbitMQ server is, read from a URL."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class AMQPUrl:
    """One server: ``amqp://user:password@host:port/vhost``, or ``amqps://`` for TLS.

    What is missing is ``guest``, ``guest``, ``localhost``, 5672 (TLS: 5671) and ``/``.  Parts may
    be percent-encoded. ``str()`` gives the URL without its password.
    """

    host: str = "localhost"
    port: int = 5672
    user: str = "guest"
    password: str = field(default="guest", repr=False)
    vhost: str = "/"
    tls: bool = False
    heartbeat: int | None = None
    connect_timeout: float | None = None


def parse(url: str) -> AMQPUrl:
    """The server that ``url`` names.

    Raises:
        ImproperlyConfigured: it is no such URL.
    """
    raise NotImplementedError(url)


def parse_many(urls: str) -> list[AMQPUrl]:
    """Every server of a list separated by ``;``, in order; at least one.

    Raises:
        ImproperlyConfigured: one of them is no such URL.
    """
    return [parse(url) for url in urls.split(";")]
