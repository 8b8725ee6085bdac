"""A state of a task as a row of Celery's table, and back.

Each value has a column of its own, encoded by the result serializer; earlier versions of Celery
pickled them.  Where both are JSON the row's values are put together as text, without decoding
them: whoever asked for the result does that, and gets the error if it makes no sense.
"""

from __future__ import annotations

import pickle
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from umbel import serialization, states
from umbel.exceptions import SerializationError
from umbel.message import StoredResult
from umbel.serialization import plain_pickle
from umbel.stored import JSON, meta_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import RowMapping

    from umbel.stored import Formats

_ENCODED = ("args", "kwargs")
_AS_THEY_ARE = ("name", "worker", "retries", "queue")
_PROTOCOL = 4
_STAMPS = ("stamped_headers", "stamps")


class Columns:
    """Makes rows of states and states of rows.

    Args:
        formats: how values are encoded that others wrote.
        pickled: whether results are written for versions of Celery before 5.7, which know nothing
            but pickles; later ones read those, too.
    """

    def __init__(self, formats: Formats, *, pickled: bool = False) -> None:
        self._formats = formats
        self._pickled = pickled

    def row(self, result: StoredResult, now: float) -> dict[str, Any]:
        """The values of all columns but the first.

        Raises:
            SerializationError: it is not the state of a task.
        """
        meta = meta_of(result)

        def encoded(value: Any) -> bytes:
            return serialization.dumps(value, result.content_type).body

        row: dict[str, Any] = {
            "task_id": result.id,
            "status": result.status,
            "result": self._result(meta.get("result"), encoded),
            # Also of a state that is not final: this is what it is deleted by.
            "date_done": datetime.fromtimestamp(now, UTC).replace(tzinfo=None),
            "traceback": meta.get("traceback"),
            # Old and new versions agree on no other form of it than none.
            "children": encoded(meta["children"])
            if meta.get("children") and not self._pickled
            else None,
            "stamps": None,
        }
        row.update((name, meta.get(name)) for name in _AS_THEY_ARE)
        row.update((name, encoded(meta[name]) if name in meta else None) for name in _ENCODED)
        if meta.get("stamped_headers"):
            stamps = {name: meta.get(name) for name in meta["stamped_headers"]}
            row["stamps"] = encoded(dict(zip(_STAMPS, (list(stamps), stamps), strict=True)))
        return row

    def _result(self, value: Any, encoded: Callable[[Any], bytes]) -> bytes:
        return pickle.dumps(value, _PROTOCOL) if self._pickled else encoded(value)

    def result(self, row: RowMapping, expires: float | None) -> StoredResult:
        """The state in a row.

        What cannot be read counts as final, so that nobody waits for it: decoding it tells why.
        """
        status = row["status"] or states.PENDING
        final = status in states.READY_STATES
        blob = bytes(row["result"] or b"null")
        kind = self._formats.of_bytes(blob)
        try:
            if kind == JSON:
                return StoredResult(row["task_id"], status, self._spliced(row), final, expires)
            meta = self._meta(row, status, final=final)
            kind = self._kind_of(kind)
            payload = serialization.dumps(meta, kind).body
        except SerializationError:
            return StoredResult(row["task_id"], status, blob, True, expires, kind)
        return StoredResult(row["task_id"], status, payload, final, expires, kind)

    def _kind_of(self, kind: str) -> str:
        """How a row is passed on: plain data out of a pickle that is not accepted, as JSON."""
        if kind != plain_pickle.CONTENT_TYPE or {"pickle", kind} & set(self._formats.accept):
            return kind
        return JSON

    def _meta(self, row: RowMapping, status: str, *, final: bool) -> dict[str, Any]:
        """The row's values, decoded."""
        meta = {
            "status": status,
            "result": self._decoded(row["result"]),
            "traceback": row["traceback"],
            "children": self._decoded(row["children"]),
            "date_done": _moment(row["date_done"]) if final else None,
        }
        if _is_extended(row):
            meta.update((name, row[name]) for name in _AS_THEY_ARE)
            meta.update((name, self._decoded(row[name])) for name in _ENCODED)
        stamps = self._decoded(row["stamps"])
        if isinstance(stamps, dict) and isinstance(stamps.get("stamps"), dict):
            meta["stamped_headers"] = stamps.get("stamped_headers")
            meta.update(stamps["stamps"])
        meta["task_id"] = row["task_id"]
        return meta

    def _decoded(self, blob: Any) -> Any:
        if blob is None:
            return None
        body = bytes(blob)
        return self._formats.loads(body, self._formats.of_bytes(body))

    def _spliced(self, row: RowMapping) -> bytes:
        """The row's values as one JSON object, of which only the small ones are encoded here."""
        status = row["status"] or states.PENDING
        final = status in states.READY_STATES
        parts = [
            b'"status": ' + _json(status),
            b'"result": ' + bytes(row["result"] or b"null"),
            b'"traceback": ' + _json(row["traceback"]),
            b'"children": ' + self._as_json(row["children"]),
            b'"date_done": ' + _json(_moment(row["date_done"]) if final else None),
        ]
        if _is_extended(row):
            parts += (_member(name, _json(row[name])) for name in _AS_THEY_ARE)
            parts += (_member(name, self._as_json(row[name])) for name in _ENCODED)
        if row["stamps"] is not None:
            meta = self._meta(row, status, final=final)
            stamped = meta.get("stamped_headers") or ()
            parts += (_member(name, _json(meta.get(name))) for name in (_STAMPS[0], *stamped))
        parts.append(b'"task_id": ' + _json(row["task_id"]))
        return b"{" + b", ".join(parts) + b"}"

    def _as_json(self, blob: Any) -> bytes:
        if blob is None:
            return b"null"
        body = bytes(blob)
        if self._formats.of_bytes(body) != plain_pickle.CONTENT_TYPE:
            return body
        return serialization.dumps(self._decoded(body), "json").body


def _json(value: Any) -> bytes:
    return serialization.dumps(value, "json").body


def _member(name: str, value: bytes) -> bytes:
    return _json(name) + b": " + value


def _is_extended(row: RowMapping) -> bool:
    return any(row[name] is not None for name in (*_AS_THEY_ARE, *_ENCODED))


def _moment(at: datetime | None) -> str | None:
    return None if at is None else at.replace(tzinfo=UTC).isoformat()
