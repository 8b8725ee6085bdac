"""A Redis server under the contract: one prefix of keys for each test."""

from __future__ import annotations

import uuid
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import quote

import redis

import servers
from sites import HOUR, MovingClock, Site
from umbel import drivers

if TYPE_CHECKING:
    from pathlib import Path

    from umbel.drivers import Server

TEN_STEPS = ",".join(map(str, range(10)))


@cache
def client() -> redis.Redis:
    """A client of the library's own, to look at keys."""
    return redis.Redis.from_url(servers.url("redis"))


def keys(prefix: str) -> set[str]:
    """The names of all keys with this prefix, without it."""
    found = client().scan_iter(match=f"{prefix}*", count=1000)
    return {key.decode("utf-8", "replace").removeprefix(prefix) for key in found}


def forget(prefix: str) -> None:
    """Delete all keys with this prefix."""
    for key in client().scan_iter(match=f"{prefix}*", count=1000):
        client().unlink(key)


class RedisSite(Site):
    """A prefix on a shared server, and as many priority lists as there are priorities."""

    def __init__(self, directory: Path) -> None:
        self.clock = MovingClock()
        self.prefix = f"umbel-test-{uuid.uuid4().hex}:"
        options = f"global_keyprefix={quote(self.prefix)}&priority_steps={TEN_STEPS}"
        self.url = f"{servers.url('redis')}?{options}"
        super().__init__(directory)

    def connect(self) -> Server:
        from umbel.drivers import redis as driver

        return driver.serve(self.url, {"poll_interval": HOUR}, {}, self.clock)

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def now(self) -> float:
        return self.clock.now()

    def close(self) -> None:
        super().close()
        forget(self.prefix)

    @staticmethod
    def server() -> Server:
        return drivers.connect("redis://offers")
