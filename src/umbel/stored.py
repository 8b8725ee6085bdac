"""What a store has to find out about results that it keeps, or finds, as bytes alone.

Stores that are shared with Celery have no place for the name of a format or for a moment of
expiry.  So the format is told from the bytes and from the settings, and how long a result lasts
from the settings alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from umbel import serialization, states
from umbel.exceptions import ContentDisallowed, DecodeError, SerializationError
from umbel.message import StoredResult
from umbel.serialization import plain_pickle

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Formats:
    """The formats that the settings of results name.

    Attributes:
        content_type: what ``result_serializer`` writes.
        accept: what may be decoded: ``result_accept_content``, else ``accept_content``.
    """

    content_type: str = JSON
    accept: tuple[str, ...] = ("json",)

    @classmethod
    def of(cls, conf: Mapping[str, Any]) -> Formats:
        """What the settings say; defaults where they say nothing."""
        accept = conf.get("result_accept_content")
        if accept is None:
            accept = conf.get("accept_content") or ("json",)
        serializer = conf.get("result_serializer") or "json"
        return cls(serialization.default.find(serializer).content_type, tuple(accept))

    def of_bytes(self, body: bytes) -> str:
        """The content type of something stored: pickles are recognised, the rest is as set."""
        if plain_pickle.is_pickle(body):
            return plain_pickle.CONTENT_TYPE
        # No other format begins a mapping like this; those who wrote before a change of the
        # setting are understood still.
        return JSON if body[:2] == b'{"' else self.content_type

    def loads(self, body: bytes, content_type: str) -> Any:
        """What ``body`` holds; of a pickle that is not accepted, plain data only.

        Raises:
            SerializationError: it cannot be read, or may not.
        """
        try:
            return serialization.loads(body, content_type, "utf-8", accept=self.accept)
        except ContentDisallowed:
            if content_type != plain_pickle.CONTENT_TYPE:
                raise
            return plain_pickle.loads_plain(body)

    def result(self, task_id: str, payload: bytes, lifetimes: Lifetimes) -> StoredResult:
        """The state of a task in ``payload``, the whole of what was stored about it.

        What cannot be read counts as final, so that nobody waits for it: decoding it tells why.
        """
        try:
            body = serialization.decompress_result(payload)
            content_type = self.of_bytes(body)
            meta = self.loads(body, content_type)
        except SerializationError:
            return StoredResult(task_id, "", payload, True, None, self.of_bytes(payload))
        status = meta.get("status") if isinstance(meta, dict) else None
        status = status if isinstance(status, str) else ""
        final = not status or status in states.READY_STATES
        return StoredResult(task_id, status, payload, final, lifetimes.of(status), content_type)


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How many seconds results are kept after they were last written; None is for ever."""

    results: float | None = None
    failures: float | None = None

    @classmethod
    def from_settings(cls, conf: Mapping[str, Any]) -> Lifetimes:
        """What ``result_expires`` and ``result_failure_expires`` say."""
        results = _seconds(conf.get("result_expires", timedelta(days=1)))
        failures = conf.get("result_failure_expires")
        return cls(results, results if failures is None else _seconds(failures))

    def of(self, status: str) -> float | None:
        """The lifetime of a state."""
        return self.failures if status == states.FAILURE else self.results


def _seconds(span: float | timedelta | None) -> float | None:
    if isinstance(span, timedelta):
        span = span.total_seconds()
    return float(span) if span else None


def meta_of(result: StoredResult) -> dict[str, Any]:
    """The dictionary that a state of our own encodes, for stores that keep its parts.

    Raises:
        DecodeError: it is not the state of a task.
    """
    body = serialization.decompress_result(result.payload)
    accept: Collection[str] = (result.content_type,)
    meta = serialization.loads(body, result.content_type, "utf-8", accept=accept)
    if not isinstance(meta, dict):
        raise DecodeError("it is not the state of a task", result.content_type)
    return meta
