"""A task's state as the result backend stores it, in the form Celery's backends read and write.

The payload is the serialized dictionary ``{"status", "result", "traceback", "children",
"date_done", …, "task_id"}``; an exception is stored as data (see `umbel.failure`).
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from umbel import serialization, states
from umbel.failure import exception_from_data, exception_to_data, picklable
from umbel.message import StoredResult
from umbel.representation import saferepr

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import tzinfo

    from umbel.context import Context

_META = "state"
_TO_SECONDS = len("2030-01-31T12:00:00")
_ARGUMENTS = (f"{_META}.args", f"{_META}.kwargs")


class MetaCodec:
    """Encodes states for one application's settings and decodes them again.

    Args:
        serializer: the format of what is stored.
        accept: the formats that are read.
        compression: how payloads are compressed.
        extended: whether name, arguments, worker, retries and queue are stored too.
        expires: seconds after which a state may be forgotten; None and 0 keep it.
        failure_expires: the same for failures; None is as ``expires``.
        limits: the bounds on what is decoded.
        zone: the zone of ``date_done``.
    """

    def __init__(
        self,
        *,
        serializer: str = "json",
        accept: Collection[str] = ("json",),
        compression: str | None = None,
        extended: bool = False,
        expires: float | timedelta | None = None,
        failure_expires: float | timedelta | None = None,
        limits: serialization.Limits | None = None,
        zone: tzinfo = UTC,
    ) -> None:
        self._serializer = serializer
        self._accept = accept
        self._compression = compression
        self._extended = extended
        self._limits = limits
        self._zone = zone
        self._second = (-1, "", "")
        self._expires = seconds_of(expires)
        self._failure_expires = (
            self._expires if failure_expires is None else seconds_of(failure_expires)
        )

    def encode(
        self,
        task_id: str,
        status: str,
        value: Any,
        *,
        traceback: str | None = None,
        request: Context | None = None,
        children: list[Any] | None = None,
    ) -> StoredResult:
        """The state of a task, ready to store.

        Raises:
            EncodeError: the value cannot be encoded by the result serializer.
        """
        final = status in states.READY_STATES
        meta: dict[str, Any] = {
            "status": status,
            "result": self._plain(value),
            "traceback": traceback,
            "children": children,
            "date_done": self._now() if final else None,
        }
        if request is not None:
            self._describe(meta, request)
        meta["task_id"] = task_id
        encoded = self._dumps(meta)
        payload = encoded.body
        if self._compression:
            payload = serialization.compress_result(payload, self._compression)
        expires = self._failure_expires if status == states.FAILURE else self._expires
        reply_to = None if request is None else request.reply_to
        return StoredResult(
            task_id, status, payload, final, expires, encoded.content_type, reply_to
        )

    def _now(self) -> str:
        """This moment in ISO 8601; all but its fraction is worked out once a second."""
        now = time.time()
        second = int(now)
        known, head, tail = self._second
        if known != second:
            text = datetime.fromtimestamp(second, self._zone).isoformat()
            head, tail = text[:_TO_SECONDS], text[_TO_SECONDS:]
            self._second = second, head, tail
        return f"{head}.{int((now - second) * 1_000_000):06d}{tail}"

    def _dumps(self, meta: dict[str, Any]) -> serialization.Encoded:
        try:
            return serialization.dumps(meta, self._serializer, limits=self._limits, where=_META)
        except serialization.EncodeError as error:
            path = error.path or ""
            if not path.startswith(_ARGUMENTS):
                raise serialization.EncodeError(
                    error.reason, path.removeprefix(f"{_META}.") or None
                ) from error
        # Arguments that came in with types of the user's own need not go out again.
        for name in ("args", "kwargs"):
            if not self._encodes(meta[name]):
                meta[name] = saferepr(meta[name])
        return self._dumps(meta)

    def _plain(self, value: Any) -> Any:
        """Exceptions and results as data; the pickle serializer takes them as they are."""
        if isinstance(value, BaseException):
            if self._serializer == "pickle":
                return picklable(value)
            return exception_to_data(value, self._encodes)
        if self._serializer != "pickle" and hasattr(value, "iterdeps"):
            return value.as_tuple()
        return value

    def _encodes(self, value: Any) -> bool:
        try:
            serialization.dumps(value, self._serializer, limits=self._limits)
        except serialization.EncodeError:
            return False
        return True

    def _describe(self, meta: dict[str, Any], request: Context) -> None:
        if request.group:
            meta["group_id"] = request.group
        if request.parent_id:
            meta["parent_id"] = request.parent_id
        if not self._extended:
            return
        meta["name"] = request.task
        meta["args"] = request.args
        meta["kwargs"] = request.kwargs
        meta["worker"] = request.hostname
        meta["retries"] = request.retries
        meta["queue"] = (request.delivery_info or {}).get("routing_key")
        if request.stamped_headers:
            meta["stamped_headers"] = request.stamped_headers
            meta.update(request.stamps or {})

    def decode(self, stored: StoredResult) -> dict[str, Any]:
        """The stored dictionary, with exceptions built again.

        Raises:
            DecodeError: the payload is not what it says it is, or no state.
            ContentDisallowed: its content type is not accepted.
            SecurityError: it names something as an exception that is none.
            ValueError: its exception has no type.
        """
        payload = serialization.decompress_result(stored.payload, limits=self._limits)
        meta = serialization.loads(
            payload, stored.content_type, "utf-8", accept=self._accept, limits=self._limits
        )
        if not isinstance(meta, dict) or not isinstance(meta.get("status"), str):
            raise serialization.DecodeError("it is not the state of a task", stored.content_type)
        meta.setdefault("result", None)
        if meta.get("status") in states.EXCEPTION_STATES and meta.get("result") is not None:
            meta["result"] = exception_from_data(meta["result"])
        return meta


def pending_meta(task_id: str) -> dict[str, Any]:
    """What is known of a task that nothing is stored about."""
    return {
        "status": states.PENDING,
        "result": None,
        "traceback": None,
        "children": None,
        "date_done": None,
        "task_id": task_id,
    }


def seconds_of(span: float | timedelta | None) -> float | None:
    """A span in seconds; None and 0 mean for ever."""
    if isinstance(span, timedelta):
        span = span.total_seconds()
    return float(span) if span else None
