"""Any text as text that PostgreSQL can keep, and back.

PostgreSQL takes every character but the null and lone surrogates, which file names that were
decoded badly hold, and so do task ids made of them.  Those few are written as a mark and four
hexadecimal digits.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# A character of the private use area, which means nothing by itself.
_MARK = "\ue07f"
_UNSTORABLE = re.compile(f"[\0\ud800-\udfff{_MARK}]")
_STORED = re.compile(f"{_MARK}([0-9a-f]{{4}})")


def stored(text: str) -> str:
    """``text`` as it is kept."""
    if text.isascii() and "\0" not in text:
        return text
    return _UNSTORABLE.sub(lambda found: f"{_MARK}{ord(found[0]):04x}", text)


def original(text: str) -> str:
    """The text that is kept as ``text``."""
    if _MARK not in text:
        return text
    return _STORED.sub(lambda found: chr(int(found[1], 16)), text)


def all_stored(texts: Iterable[str]) -> list[str]:
    """Each as it is kept."""
    given = list(texts)
    joined = "".join(given)
    if joined.isascii() and "\0" not in joined:
        return given
    return [stored(text) for text in given]
