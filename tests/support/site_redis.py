"""A Redis server under the contract: one prefix of keys for each test."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import servers
from redis_keys import forget, new_prefix
from sites import HOUR, MovingClock, Site
from umbel import drivers

if TYPE_CHECKING:
    from pathlib import Path

    from umbel.drivers import Server

TEN_STEPS = ",".join(map(str, range(10)))


class RedisSite(Site):
    """A prefix on a shared server, and as many priority lists as there are priorities."""

    def __init__(self, directory: Path) -> None:
        self.clock = MovingClock()
        self.prefix = new_prefix()
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
