"""The systems that are compared; a new one is a class in its own file and a line here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.systems.asyncio_peers import Arq, Saq, Taskiq
from benchmarks.systems.celery import (
    CeleryRabbitmq,
    CeleryRabbitmqConfirmed,
    CeleryRedis,
    CeleryRedisTuned,
)
from benchmarks.systems.dramatiq import DramatiqRabbitmq, DramatiqRabbitmqConfirmed, DramatiqRedis
from benchmarks.systems.huey import HueyRedis, HueySqlite, HueySqliteOff
from benchmarks.systems.procrastinate import Procrastinate
from benchmarks.systems.raw import RawPostgres, RawRabbitmq, RawRedis, RawSqlite
from benchmarks.systems.rq import Rq
from benchmarks.systems.umbel import (
    UmbelPostgres,
    UmbelRabbitmq,
    UmbelRedis,
    UmbelSqlite,
    UmbelSqliteNormal,
)

if TYPE_CHECKING:
    from benchmarks.systems.system import System

SYSTEMS: list[type[System]] = [
    UmbelSqlite,
    UmbelSqliteNormal,
    HueySqlite,
    HueySqliteOff,
    RawSqlite,
    UmbelRedis,
    CeleryRedis,
    CeleryRedisTuned,
    DramatiqRedis,
    HueyRedis,
    Rq,
    Taskiq,
    Saq,
    Arq,
    RawRedis,
    UmbelRabbitmq,
    CeleryRabbitmq,
    CeleryRabbitmqConfirmed,
    DramatiqRabbitmq,
    DramatiqRabbitmqConfirmed,
    RawRabbitmq,
    UmbelPostgres,
    Procrastinate,
    RawPostgres,
]
