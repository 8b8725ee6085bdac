"""Logging, set up only where the command line was asked to run something.

As a library Umbel touches no logger but its own. A worker's processes get one handler on the root
logger, unless the application set up its own, by the ``setup_logging`` signal, by handlers it
installed when it was imported, or by ``worker_hijack_root_logger=False``.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import TYPE_CHECKING, Any

from umbel import signals
from umbel.current import get_current_request
from umbel.representation import one_line

if TYPE_CHECKING:
    from umbel.settings import Settings

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "FATAL")

PLAIN = "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s"


COLORS = {"DEBUG": 34, "WARNING": 33, "ERROR": 31, "CRITICAL": 35}


class OneRecordPerLine(logging.Formatter):
    """Escapes what could make one record look like two; tracebacks keep their lines."""

    def __init__(self, text: str, datefmt: str | None = None, *, color: bool = False) -> None:
        super().__init__(text, datefmt)
        self._colors = COLORS if color else {}

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        line = one_line(super().format(record), keep="\n\t")
        color = self._colors.get(record.levelname)
        return f"\x1b[{color}m{line}\x1b[0m" if color else line


class JsonLines(logging.Formatter):
    """One JSON object for each record, with the running task's id and name."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON."""
        data: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S"),
            "level": record.levelname,
            "logger": record.name,
            "process": record.processName,
            "message": record.getMessage(),
        }
        request = get_current_request()
        if request is not None:
            data["task_id"], data["task"] = request.id, request.task
        extra = getattr(record, "data", None)
        if isinstance(extra, dict):
            data["data"] = extra
        if record.exc_info:
            data["traceback"] = self.formatException(record.exc_info)
        return json.dumps(data, default=str)


def level_number(name: str | int | None) -> int:
    """The number of a level's name, in any case; WARNING if there is none.

    Raises:
        ValueError: there is no such level.
    """
    if name is None:
        return logging.WARNING
    if isinstance(name, int):
        return name
    number = logging.getLevelName(name.upper())
    if not isinstance(number, int):
        msg = f"no log level named {name!r} (known: {', '.join(LEVELS)})"
        raise ValueError(msg)  # noqa: TRY004 - the type is right, the name is not
    return number


def setup_logging(
    *,
    level: str | int | None,
    logfile: str | None = None,
    style: str | None = None,
    color: bool = False,
    conf: Settings | None = None,
) -> None:
    """Have this process's records written to ``logfile`` or the standard error stream.

    ``color`` colours what goes to the standard error stream, unless ``conf`` says otherwise.
    """
    if conf is not None and conf.worker_log_color is not None:
        color = conf.worker_log_color
    color = color and not logfile
    number = level_number(level)
    logging.getLogger("umbel").setLevel(number)
    text = conf.worker_log_format if conf is not None else PLAIN
    responses = signals.setup_logging.send(
        sender=None, loglevel=number, logfile=logfile, format=text, colorize=color
    )
    root = logging.getLogger()
    if responses or (root.handlers and not _ours(root)):
        return
    if conf is not None and not conf.worker_hijack_root_logger:
        return
    handler = _handler(logfile)
    handler.set_name("umbel")
    datefmt = conf.worker_log_datefmt if conf is not None else None
    plain = OneRecordPerLine(text, datefmt, color=color)
    handler.setFormatter(JsonLines() if style == "json" else plain)
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(number)
    signals.after_setup_logger.send(
        sender=None, logger=root, loglevel=number, logfile=logfile, format=text, colorize=color
    )


def _handler(logfile: str | None) -> logging.Handler:
    if not logfile:
        return logging.StreamHandler(sys.stderr)
    from logging.handlers import WatchedFileHandler

    return WatchedFileHandler(logfile, encoding="utf-8")


def _ours(root: logging.Logger) -> bool:
    return all(handler.get_name() == "umbel" for handler in root.handlers)
