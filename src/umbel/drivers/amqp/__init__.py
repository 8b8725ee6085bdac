"""RabbitMQ as a broker: ``amqp://``, ``amqps://`` and ``pyamqp://``, and ``rpc://`` for results.

Several URLs separated by ``;`` are one server to fail over to.  How it works and what it promises
is told in ``docs/explanation/rabbitmq.md``.
"""

from __future__ import annotations

import os
import random
import sys
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from umbel.clock import SystemClock
from umbel.drivers import Server
from umbel.drivers.amqp import options as chosen
from umbel.drivers.amqp.broker import AMQPBroker
from umbel.drivers.amqp.connection import Connection
from umbel.drivers.amqp.urls import parse_many
from umbel.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from umbel.drivers.amqp.urls import AMQPUrl

_TIMEOUT = 4.0
_HEARTBEAT = 120


def connect(url: str, given: Mapping[str, Any], conf: Mapping[str, Any]) -> Server:
    """The server at ``url``, or the servers to fail over to; nothing is opened until first used.

    Raises:
        ImproperlyConfigured: the URL is malformed, or an option is unknown or out of range.
    """
    if url.strip().partition(":")[0].lower() == "rpc":
        from umbel.drivers.amqp.rpc import connect_rpc

        server: Server = connect_rpc(url, given, conf)
        return server
    urls = parse_many(url)
    options = chosen.checked(given, conf)
    # Checks the options of the connection at once.
    connection_to(urls, given, conf)
    broker = AMQPBroker(lambda: connection_to(urls, given, conf), options, conf, SystemClock())
    return Server(";".join(map(str, urls)), broker, None, None)


def connection_to(
    urls: Sequence[AMQPUrl], given: Mapping[str, Any], conf: Mapping[str, Any]
) -> Connection:
    """A connection, not opened, as the settings say.

    Raises:
        ImproperlyConfigured: a setting cannot work.
    """
    timeout = conf.get("broker_connection_timeout")
    heartbeat = conf.get("broker_heartbeat", _HEARTBEAT)
    return Connection(
        _ordered(urls, conf.get("broker_failover_strategy")),
        connect_timeout=_TIMEOUT if timeout is None else float(timeout),
        heartbeat=heartbeat or None,
        ssl=conf.get("broker_use_ssl") or False,
        login_method=given.get("login_method") or conf.get("broker_login_method"),
        name=f"umbel {os.getpid()} {os.path.basename(sys.argv[0] if sys.argv else '')}".strip(),  # noqa: PTH119 - a name for people
    )


def _ordered(urls: Sequence[AMQPUrl], strategy: Any) -> list[AMQPUrl]:
    """The order in which servers are tried."""
    if strategy in (None, "round-robin"):
        return list(urls)
    if strategy == "shuffle":
        return random.sample(list(urls), len(urls))
    if callable(strategy):
        choose = cast("Callable[[list[AMQPUrl]], Iterable[AMQPUrl]]", strategy)
        # It may go round for ever.
        return list(islice(choose(list(urls)), len(urls)))
    raise ImproperlyConfigured(
        f"broker_failover_strategy can be 'round-robin', 'shuffle' or a function, not {strategy!r}"
    )
