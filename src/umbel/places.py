"""Where an application comes from, and where its embedded database lies because of that.

Every process of a project must find the same file, from whichever directory it is started: the
web server, the worker, a script, an interactive session.  So the file lies where the project does.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

DATABASE = "umbel.db"
PROJECT_FILE = "pyproject.toml"
_INSTALLED = frozenset({"site-packages", "dist-packages"})
_PACKAGE = __name__.partition(".")[0]


class Origin(NamedTuple):
    """The code that made an application.

    Attributes:
        file: its file, or None where there is none (an interactive session, ``python -c``).
        module: its module's name, also where it runs as ``__main__``.
    """

    file: str | None
    module: str | None


def origin_of(app: Any) -> Origin:
    """The code whose call made ``app``: the first on the stack that is neither ours nor the app's.

    The constructors of subclasses of the application are passed over.
    """
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the caller is not told otherwise
    while frame is not None and (_is_ours(frame) or _is_constructor(frame, app)):
        frame = frame.f_back
    if frame is None:
        return Origin(None, None)
    names = frame.f_globals
    spec = names.get("__spec__")
    return Origin(names.get("__file__"), getattr(spec, "name", None) or names.get("__name__"))


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).partition(".")[0] == _PACKAGE


def _is_constructor(frame: FrameType, app: Any) -> bool:
    code = frame.f_code
    return (
        code.co_name == "__init__"
        and bool(code.co_varnames)
        and frame.f_locals.get(code.co_varnames[0]) is app
    )


def default_database(file: str | None, module: str | None) -> Path:
    """The file of the embedded broker where nobody names one.

    It lies beside the nearest ``pyproject.toml`` at or above the place of the code that made the
    application; without one, beside that code's top package. Code that has no place in a project
    (an interactive session, an installed library) counts as standing in the current directory.
    """
    beside = _place(file, module)
    for directory in (beside, *beside.parents):
        if (directory / PROJECT_FILE).is_file():
            return directory / DATABASE
    return beside / DATABASE


def _place(file: str | None, module: str | None) -> Path:
    from pathlib import Path

    if file is None:
        return Path.cwd()
    path = Path(file).resolve()
    beside = path.parent
    if not beside.is_dir() or _INSTALLED.intersection(beside.parts):
        return Path.cwd()
    packages = (module or "").split(".")
    if path.stem != "__init__":
        packages.pop()
    while packages and beside.name == packages.pop():
        beside = beside.parent
    while (beside / "__init__.py").is_file():
        beside = beside.parent
    return beside
