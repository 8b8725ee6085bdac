"""RabbitMQ as a site of the contract: a virtual host of this session's own, emptied by each test.

RabbitMQ keeps neither results nor locks, so an embedded file stands beside it, as in a deployment
where they are on another server.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import subprocess
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit, urlunsplit
from uuid import uuid4

import servers
from sites import Site
from umbel import drivers
from umbel.clock import SystemClock
from umbel.drivers import Server
from umbel.drivers.amqp.broker import AMQPBroker
from umbel.drivers.amqp.channel import Channel
from umbel.drivers.amqp.connection import Connection
from umbel.drivers.amqp.options import checked
from umbel.drivers.amqp.urls import parse_many

if TYPE_CHECKING:
    from umbel.ports.backend import ResultBackend

CONF = {"task_queue_max_priority": 10, "broker_native_delayed_delivery_queue_type": "classic"}


@cache
def session_url() -> str:
    """A virtual host for this session if its server is ours to command, else the shared one."""
    url = servers.url("amqp")
    ctl = shutil.which("rabbitmqctl")
    if ctl is None:
        return url
    name = f"umbel-test-{os.getpid()}-{uuid4().hex[:8]}"
    parts = urlsplit(url)
    user = parts.username or "guest"
    if not _ctl(ctl, "add_vhost", name):
        return url
    _sweep(ctl)
    atexit.register(_ctl, ctl, "delete_vhost", name)
    if not _ctl(ctl, "set_permissions", "-p", name, user, ".*", ".*", ".*"):
        return url
    return urlunsplit(parts._replace(path="/" + quote(name, safe="")))


def _sweep(ctl: str) -> None:
    """Delete what sessions have left that were killed."""
    listed = subprocess.run(
        [ctl, "-q", "list_vhosts"], check=False, capture_output=True, text=True, timeout=60
    )
    for name in listed.stdout.split():
        found = re.fullmatch(r"umbel-test-(\d+)-[0-9a-f]{8}", name)
        if found is not None and not Path(f"/proc/{found[1]}").exists():
            _ctl(ctl, "delete_vhost", name)


def _ctl(ctl: str, *arguments: str) -> bool:
    done = subprocess.run([ctl, "-q", *arguments], check=False, capture_output=True, timeout=60)
    return done.returncode == 0


class AMQPSite(Site):
    """One virtual host."""

    unit = 2.0
    slack = 0.7
    many = 4
    roles = frozenset()

    def __init__(self, directory: Path) -> None:
        self.url = session_url()
        self.noted = Noted()
        super().__init__(directory)

    def connect(self) -> Server:
        beside = drivers.connect(f"sqlite:///{self.directory / 'beside.db'}")
        broker = driven(self.url, self.noted)
        broker.results = beside.backend
        return Server(self.url, broker, beside.backend, beside.coordinator)

    def advance(self, seconds: float) -> None:
        """RabbitMQ's clock cannot be set: time really passes."""
        time.sleep(seconds + self.slack)
        self.slack = 0.0

    def close(self) -> None:
        super().close()
        self.noted.remove(self.url)

    @staticmethod
    def server() -> Server:
        return drivers.connect("amqp://localhost//offers", {}, CONF)


class Noted:
    """The names of what was declared through some connections."""

    def __init__(self) -> None:
        self.queues: set[str] = set()
        self.exchanges: set[str] = set()

    def remove(self, url: str) -> None:
        """Delete all of it."""
        connection = Connection(parse_many(url))
        try:
            channel = connection.channel()
            for name in self.queues:
                channel.delete_queue(name)
            for name in self.exchanges:
                channel.delete_exchange(name)
        finally:
            connection.close()


class NotingChannel(Channel):
    """A channel that remembers what was declared on it."""

    noted: Noted

    def declare_queue(self, name, **options):
        found = super().declare_queue(name, **options)
        if not options.get("exclusive"):
            self.noted.queues.add(found.name)
        return found

    def declare_exchange(self, name, kind="direct", **options):
        super().declare_exchange(name, kind, **options)
        self.noted.exchanges.add(name)


class NotingConnection(Connection):
    """A connection with such channels."""

    noted: Noted

    def channel(self):
        channel = NotingChannel(self._opened(), self.answer_timeout)
        channel.noted = self.noted
        return channel


class StoringBroker(AMQPBroker):
    """Stores results where they are kept before it settles, as a worker does."""

    results: ResultBackend | None = None

    def settle(self, settlements):
        results = [each.result for each in settlements if each.result is not None]
        if results and self.results is not None:
            self.results.store(results)
        return super().settle(settlements)


def driven(url: str, noted: Noted, given=None, conf=CONF) -> StoringBroker:
    """The broker at ``url``, noting what it declares."""

    def make() -> Connection:
        connection = NotingConnection(parse_many(url))
        connection.noted = noted
        return connection

    options = checked(given or {}, conf)
    return StoringBroker(make, options, conf, SystemClock())
