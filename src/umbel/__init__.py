"""Umbel: a distributed task queue for Python.

The names below are looked up on first use, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module

__version__ = "0.1.0"

TYPE_CHECKING = False  # what type checkers take for True; importing `typing` would cost more
if TYPE_CHECKING:
    from typing import Any

    from umbel.app import Umbel
    from umbel.canvas import Signature, maybe_signature, signature, subtask
    from umbel.current import current_app, current_task
    from umbel.identity import uuid7 as uuid
    from umbel.making import shared_task
    from umbel.queues import Queue
    from umbel.report import bugreport
    from umbel.task import Task

_PLACES = {
    "Queue": ("umbel.queues", "Queue"),
    "Signature": ("umbel.canvas", "Signature"),
    "Task": ("umbel.task", "Task"),
    "Umbel": ("umbel.app", "Umbel"),
    "bugreport": ("umbel.report", "bugreport"),
    "current_app": ("umbel.current", "current_app"),
    "current_task": ("umbel.current", "current_task"),
    "maybe_signature": ("umbel.canvas", "maybe_signature"),
    "shared_task": ("umbel.making", "shared_task"),
    "signature": ("umbel.canvas", "signature"),
    "subtask": ("umbel.canvas", "subtask"),
    "uuid": ("umbel.identity", "uuid7"),
}


def __getattr__(name: str) -> Any:
    try:
        module, attribute = _PLACES[name]
    except KeyError:
        msg = f"module 'umbel' has no attribute {name!r}"
        raise AttributeError(msg) from None
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})


__all__ = [
    "Queue",
    "Signature",
    "Task",
    "Umbel",
    "__version__",
    "bugreport",
    "current_app",
    "current_task",
    "maybe_signature",
    "shared_task",
    "signature",
    "subtask",
    "uuid",
]
