"""Progress for people: a bar where there is a terminal, a line every tenth where there is none."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TextIO

STEPS = 10
REDRAW = 0.05


class Progress:
    """How far ``total`` things have got; call it with the number done so far."""

    def __init__(self, total: int, *, stream: TextIO = sys.stdout) -> None:
        self._total = total
        self._stream = stream
        self._bar = stream.isatty()
        self._started_at = time.monotonic()
        self._drawn_at = 0.0
        self._step = 0

    def __call__(self, done: int) -> None:
        """Show the number done, if it is time to."""
        if not self._bar:
            self._line(done)
        elif done == self._total or time.monotonic() - self._drawn_at > REDRAW:
            self._drawn_at = time.monotonic()
            self._stream.write("\r" + self._text(done))
            self._stream.flush()
        if self._bar and done == self._total:
            self._stream.write("\n")

    def say(self, text: str) -> None:
        """Print a line of its own without spoiling the bar."""
        erase = "\r\x1b[K" if self._bar else ""
        self._stream.write(f"{erase}{text}\n")
        self._stream.flush()

    def _line(self, done: int) -> None:
        step = done * STEPS // self._total
        if step > self._step:
            self._step = step
            self._stream.write(self._figures(done) + "\n")
            self._stream.flush()

    def _text(self, done: int) -> str:
        figures = self._figures(done)
        width = max(10, min(50, shutil.get_terminal_size().columns - len(figures) - 4))
        filled = done * width // self._total
        return f"[{'#' * filled}{' ' * (width - filled)}] {figures}"

    def _figures(self, done: int) -> str:
        rate = done / max(time.monotonic() - self._started_at, 1e-6)
        return f"{done:,}/{self._total:,} files  {rate:,.0f}/s"
