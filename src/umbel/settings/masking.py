"""Passwords out of URLs and connection strings, before anybody sees them.

The rule is never to show a password, not even of a URL that is written wrongly, because a wrong
URL is the one that ends up in an error message. So a text is read precisely only where it is a
complete URL::

    scheme://user:password@host:port,host:port/path?query

Everything else is read greedily: from the first colon after ``://`` to the *last* ``@`` of the
text, or to its end where there is no ``@``, all counts as password. That covers passwords with
raw ``/ ? # @ ; ,`` inside, at the price of sometimes hiding a host name with them. A list of URLs
is cut at a separator only where what stands before it is complete by itself.

Fields are masked by their names in query strings (``?password=...``) and in connection strings
(``AccountKey=...;EndpointSuffix=...``). Both rules mark spans of the same original text, and what
either of them marked is hidden: masking in two passes would let the first pass cut a password so
that the second no longer recognises the rest. User names are shown.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

STARS = 8

# Compiled when first used, and kept by `re`: most processes that import this never show a URL.
_BETWEEN_URLS = r"[;,\s]+(?=[A-Za-z][\w+.-]*://)"
_HOST = r"(?:\[[^\]@]*\]|[^\s:@/?#\[\],;]*)(?::\d+)?"
_COMPLETE = rf"[\w+.-]*://(?P<authority>(?:[^/?#]*@)?{_HOST}(?:[,;]{_HOST})*)(?:[/?#][^@]*)?"
_HIDDEN_FIELD = r"""(?ix)
    (?: ^ | (?<=[?&;,\s/"'=]) )
    (?: [\w.-]*
        (?: api | token | key | secret | pass | pwd | signature | credential | auth )
        [\w.-]*
      | sig )
    =
    (?P<value> [^&]*? )
    (?= & | ;\s*[\w.-]+= | [;,\s]+[A-Za-z][\w+.-]*:// | \Z )
"""


def mask_url(text: str, stars: int = 2) -> str:
    """The same text with every password in it replaced by ``stars`` asterisks.

    Takes one URL, a list of URLs separated by ``;`` or ``,``, a URL with several hosts, or a
    connection string; text without any of these comes back as it is. Works on malformed URLs too,
    where it hides more rather than less.
    """
    shown, seen = [], 0
    for start, end in sorted([*_fields(text), *_passwords(text)]):
        if start >= seen:
            shown += [text[seen:start], "*" * stars]
        seen = max(seen, end)
    return "".join([*shown, text[seen:]])


def holds_url(text: str) -> bool:
    """True when there is something in the text that `mask_url` is meant for."""
    return "://" in text or re.search(_HIDDEN_FIELD, text) is not None


def _fields(text: str) -> Iterator[tuple[int, int]]:
    return (found.span("value") for found in re.finditer(_HIDDEN_FIELD, text) if found["value"])


def _passwords(text: str) -> Iterator[tuple[int, int]]:
    """Where the passwords stand, one span for each URL of the list."""
    start, whole = 0, re.compile(_COMPLETE)
    for separator in re.finditer(_BETWEEN_URLS, text):
        if complete := whole.fullmatch(text, start, separator.start()):
            yield from _userinfo(text, *complete.span("authority"))
            start = separator.end()
    if complete := whole.fullmatch(text, start):
        yield from _userinfo(text, *complete.span("authority"))
    else:
        yield from _greedy(text, start)


def _greedy(text: str, start: int) -> Iterator[tuple[int, int]]:
    divider = text.find("://", start)
    if divider >= 0 and "@" not in text[divider:]:
        colon = text.find(":", divider + 3)
        yield from [(colon + 1, len(text))] if colon >= 0 else ()
    else:
        yield from _userinfo(text, start if divider < 0 else divider + 3, len(text))


def _userinfo(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """From behind the first colon to the last ``@``."""
    at = text.rfind("@", start, end)
    colon = text.find(":", start, max(at, start))
    if 0 <= colon < at - 1:
        yield colon + 1, at
