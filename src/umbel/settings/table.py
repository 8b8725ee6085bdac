"""The table of settings: the one place that knows them all.

Everything else is made from it: the defaults, the old names, the checks, what is hidden when
settings are shown, and the page ``docs/reference/settings.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from umbel.settings.rows.brokers import BROKER, BROKER_PARTS
from umbel.settings.rows.foreign import FOREIGN
from umbel.settings.rows.general import CONTROL, GENERAL, LIMITS, SECURITY
from umbel.settings.rows.results import CACHE, DATABASE, REDIS, RESULTS
from umbel.settings.rows.tasks import PUBLISHING, ROUTING, RUNNING
from umbel.settings.rows.workers import (
    BEAT,
    CONSUMING,
    LOGGING,
    POOL,
    PROCESSES_OF_UMBEL,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from umbel.settings.setting import Setting

SECTIONS: Final[Mapping[str, tuple[Setting, ...]]] = {
    "General": GENERAL,
    "Broker": BROKER,
    "Broker URL in parts": BROKER_PARTS,
    "Publishing tasks": PUBLISHING,
    "Routing tasks": ROUTING,
    "Running tasks": RUNNING,
    "Results": RESULTS,
    "Results in Redis": REDIS,
    "Results in a database": DATABASE,
    "Results in memory": CACHE,
    "Worker: processes": POOL,
    "Worker: messages": CONSUMING,
    "Worker: logging": LOGGING,
    "Beat": BEAT,
    "Process options": PROCESSES_OF_UMBEL,
    "Events and control": CONTROL,
    "Security": SECURITY,
    "Limits of what is decoded": LIMITS,
    "Result stores of Celery": FOREIGN,
}
"""Every setting, under the headings of the reference page."""

TABLE: Final[Mapping[str, Setting]] = {
    setting.name: setting for section in SECTIONS.values() for setting in section
}
"""Every setting by its lower-case name."""

DEFAULTS: Final[Mapping[str, Any]] = {name: setting.default for name, setting in TABLE.items()}
