"""The contract in PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from postgres_database import MOMENT, database, empty, set_moment
from sites import HOUR, Site
from umbel import drivers

if TYPE_CHECKING:
    from pathlib import Path

    from umbel.drivers import Server


class PostgresSite(Site):
    """One schema, whose time is moved by replacing the function that tells it."""

    def __init__(self, directory: Path) -> None:
        self.url = database()
        self._ahead = 0.0
        super().__init__(directory)

    def connect(self) -> Server:
        from umbel.drivers import postgres
        from umbel.drivers.postgres.options import Options

        return postgres.serve(self.url, Options(poll_interval=HOUR))

    def advance(self, seconds: float) -> None:
        self._ahead += seconds
        set_moment(self.url, f"{MOMENT} + {self._ahead!r}")

    def now(self) -> float:
        return super().now() + self._ahead

    def close(self) -> None:
        super().close()
        empty(self.url)

    @staticmethod
    def server() -> Server:
        return drivers.connect("postgresql://offers/offers")
