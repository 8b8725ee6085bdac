"""What tasks and applications are called."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from umbel.app import Umbel


def gen_task_name(app: Umbel, name: str, module_name: str | None) -> str:
    """``module.name``, with the application's name in place of ``__main__``."""
    module_name = module_name or "__main__"
    module = sys.modules.get(module_name)
    if module is not None:
        module_name = module.__name__
        main_file = os.environ.get("MP_MAIN_FILE")
        if main_file and getattr(module, "__file__", None) == main_file:
            module_name = "__main__"
    if module_name in ("__main__", "__mp_main__"):
        return f"{app.main or '__main__'}.{name}"
    return f"{module_name}.{name}"


def describe_app(app: Umbel | None) -> str:
    """The application in the representation of a task: its name and its address."""
    if app is None:
        return "no application"
    return f"{app.main or '__main__'} at {id(app):#x}"
