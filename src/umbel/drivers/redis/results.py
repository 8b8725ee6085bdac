"""States of tasks under Celery's keys, and what stands beside them.

The value is Celery's: the encoded meta and nothing else, so that its readers find what they
expect.  What cannot be read off it (a status that is not in a JSON text, an unusual expiry, another
content type) stands in a second key of ours that lives as long; for the results of most tasks there
is none.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from umbel import states
from umbel.message import StoredResult

if TYPE_CHECKING:
    from collections.abc import Collection

_JSON = "application/json"
_STATUS = re.compile(rb'\{"status": ?"([A-Za-z_]+)"')
_PICKLE = "application/x-python-serialize"


class Format:
    """Keys and values of results.

    Args:
        prefix: what every key begins with.
        expires: seconds for which results are kept unless they say something else.
    """

    def __init__(self, prefix: str, expires: float | None) -> None:
        self._prefix = prefix
        self._expires = expires

    def key(self, task_id: str) -> str:
        """The key of a task's state, which is also the channel on which it is announced."""
        return f"{self._prefix}celery-task-meta-{task_id}"

    @property
    def all_keys(self) -> str:
        """The pattern of the keys of all states."""
        return self.key("*")

    def id_of(self, key: bytes) -> str:
        """The task whose state has this key."""
        return key.decode().removeprefix(self.key(""))

    def pair(self, task_id: str) -> tuple[str, str]:
        """The key of a task's state and of what stands beside it."""
        return self.key(task_id), f"{self._prefix}umbel:result:{task_id}"

    def pairs(self, ids: Collection[str]) -> list[str]:
        """The keys of several tasks."""
        return [key for task_id in ids for key in self.pair(task_id)]

    def arguments(self, result: StoredResult) -> tuple[Any, ...]:
        """A state as the scripts take it."""
        key, side = self.pair(result.id)
        expires = "" if result.expires is None else max(int(result.expires * 1000), 1)
        return key, side, expires, result.payload, self._beside(result)

    def _beside(self, result: StoredResult) -> str:
        found = _STATUS.match(result.payload)
        plain = (
            result.content_type == _JSON
            and found is not None
            and found[1] == result.status.encode()
            and result.final == (result.status in states.READY_STATES)
            and result.expires in (None, self._expires)
        )
        if plain:
            return ""
        facts = (result.status, result.final, result.expires, result.content_type)
        return json.dumps(facts, separators=(",", ":"))

    def result(
        self, task_id: str, payload: bytes, beside: bytes | None, *, expires: bool
    ) -> StoredResult:
        """The state that was stored, by us or by Celery."""
        if beside is not None:
            status, final, seconds, content_type = json.loads(beside)
            return StoredResult(task_id, status, payload, final, seconds, content_type)
        status, content_type = _read(payload)
        # What cannot be read counts as final: decoding it tells why.
        final = status in states.READY_STATES or not status
        seconds = self._expires if expires else None
        return StoredResult(task_id, status, payload, final, seconds, content_type)


def _read(payload: bytes) -> tuple[str, str]:
    """Status and content type of a value that stands alone."""
    found = _STATUS.match(payload)
    if found is not None:
        return found[1].decode(), _JSON
    try:
        meta = json.loads(payload)
    except ValueError:
        return _guess(payload)
    status = meta.get("status") if isinstance(meta, dict) else None
    return status if isinstance(status, str) else "", _JSON


def _guess(payload: bytes) -> tuple[str, str]:
    found = re.search(rb"status[^\w]{1,8}([A-Z]+)", payload[:64])
    content_type = _PICKLE if payload[:1] == b"\x80" else _JSON
    return found[1].decode() if found else "", content_type
