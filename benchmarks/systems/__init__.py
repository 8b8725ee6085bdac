"""The systems that are compared; a new one is a class in its own file and a line here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.systems.celery_redis import CeleryRedis, CeleryRedisTuned
from benchmarks.systems.huey_sqlite import HueySqlite, HueySqliteOff
from benchmarks.systems.raw_sqlite import RawSqlite
from benchmarks.systems.umbel_sqlite import UmbelSqlite, UmbelSqliteNormal

if TYPE_CHECKING:
    from benchmarks.systems.system import System

SYSTEMS: list[type[System]] = [
    UmbelSqlite,
    UmbelSqliteNormal,
    CeleryRedis,
    CeleryRedisTuned,
    HueySqlite,
    HueySqliteOff,
    RawSqlite,
]
