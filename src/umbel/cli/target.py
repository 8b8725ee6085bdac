"""Which application a command is about, found without importing anything.

The first of these that names one counts: ``-A``; the environment (``UMBEL_APP``, ``CELERY_APP``);
``app`` in the table ``[tool.umbel]`` of the nearest ``pyproject.toml``; a file ``celery.py``,
``tasks.py`` or ``app.py`` in the current directory.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from umbel.cli.ends import USAGE, Failure

if TYPE_CHECKING:
    from umbel.app import Umbel

FILES = ("celery.py", "tasks.py", "app.py")

NOTHING_FOUND = (
    "which application? Name its module with -A MODULE, in the environment variable UMBEL_APP, or "
    'as app = "MODULE" under [tool.umbel] in pyproject.toml (there is no celery.py, tasks.py or '
    "app.py here either)"
)


@dataclass(frozen=True, slots=True)
class Target:
    """An application by name.

    Attributes:
        spec: ``module`` or ``module:attribute``.
        directory: where the module is looked for first.
        origin: where the name comes from, as the end of a sentence; empty for ``-A``.
    """

    spec: str
    directory: str
    origin: str = ""


def find_target(spec: str | None, cwd: Path) -> Target | None:
    """The application that ``spec`` means, or the project in ``cwd`` without one.

    Raises:
        Failure: ``pyproject.toml`` cannot be read.
    """
    if spec:
        return Target(spec, str(cwd))
    return _from_project(cwd) or _from_files(cwd)


def _from_project(cwd: Path) -> Target | None:
    import tomllib

    file = next(filter(Path.is_file, (at / "pyproject.toml" for at in (cwd, *cwd.parents))), None)
    if file is None:
        return None
    try:
        project = tomllib.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise Failure(f"{file} cannot be read: {error}", USAGE) from None
    tool = project.get("tool")
    table = tool.get("umbel") if isinstance(tool, dict) else None
    spec = table.get("app") if isinstance(table, dict) else None
    if spec is None:
        return None
    if not isinstance(spec, str) or not spec:
        raise Failure(f'{file}: app under [tool.umbel] must be text, as in "shop.main:app"', USAGE)
    return Target(spec, str(file.parent), f" (named in {file})")


def _from_files(cwd: Path) -> Target | None:
    for name in FILES:
        if (cwd / name).is_file():
            return Target(name.removesuffix(".py"), str(cwd), f" (found as {cwd / name})")
    return None


def target_of(app: Umbel) -> Target:
    """How another process finds an application that lives in this one.

    Raises:
        Failure: it is in no module's global names.
    """
    for name, module in list(sys.modules.items()):
        for attribute, value in list(getattr(module, "__dict__", {}).items()):
            if value is app:
                return _in_module(name, attribute)
    raise Failure(
        "worker processes import the application, and this one is in no module's global names; "
        "assign it to one, as in app = Umbel(...)",
        USAGE,
    )


def _in_module(name: str, attribute: str) -> Target:
    module = sys.modules[name]
    file = getattr(module, "__file__", None)
    if name != "__main__":
        return Target(f"{name}:{attribute}", str(Path.cwd()))
    spec = getattr(module, "__spec__", None)
    if spec is not None:
        return Target(f"{spec.name}:{attribute}", str(Path.cwd()))
    if file is None:
        raise Failure("an interactive session has no module that workers could import", USAGE)
    path = Path(file).resolve()
    return Target(f"{path.stem}:{attribute}", str(path.parent))
