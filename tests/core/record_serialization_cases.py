"""Writes serialization_cases.json: how the real kombu writes and reads values.

Run it with the Python of an environment that has Celery, msgpack, PyYAML and brotli installed; the
tests only read the file.
"""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import json
import uuid
from pathlib import Path

import kombu
from celery.backends import base as backends
from kombu import compression, serialization

TYPES = {
    "json": "application/json",
    "yaml": "application/x-yaml",
    "msgpack": "application/x-msgpack",
    "pickle": "application/x-python-serialize",
}
NAMESPACE = {"datetime": dt, "decimal": decimal, "uuid": uuid, "tz": dt.timezone}
WRITTEN = [
    "None",
    "True",
    "0",
    "-1",
    "2**53 + 1",
    "2**63",
    "-2**63",
    "2**64 - 1",
    "2**64",
    "-2**63 - 1",
    "10**300",
    "1.5",
    "-0.0",
    "1e16",
    "1e-7",
    "1.7976931348623157e308",
    "5e-324",
    "float('nan')",
    "float('inf')",
    "float('-inf')",
    "''",
    "'text'",
    "'Grüße, 世界 😀'",
    "'\\x00\\x1f\\x7f\\x85\\u2028 \\\\ \"'",
    "b''",
    "b'text'",
    "'é'.encode()",
    "b'\\xff\\x00'",
    "datetime.datetime(2024, 2, 29, 23, 59, 59)",
    "datetime.datetime(2024, 2, 29, 23, 59, 59, 1)",
    "datetime.datetime(1, 1, 1)",
    "datetime.datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=tz.utc)",
    "datetime.datetime(2024, 1, 2, tzinfo=tz(datetime.timedelta(hours=5, minutes=30)))",
    "datetime.datetime(2024, 1, 2, tzinfo=tz(-datetime.timedelta(hours=3)))",
    "datetime.date(2024, 2, 29)",
    "datetime.time(12, 30)",
    "datetime.time(12, 30, 15, 250000)",
    "datetime.time(12, 30, tzinfo=tz.utc)",
    "datetime.timedelta(days=1)",
    "decimal.Decimal('1.10')",
    "decimal.Decimal('-0')",
    "decimal.Decimal('1E+400')",
    "decimal.Decimal('NaN')",
    "uuid.UUID('12345678-1234-5678-1234-567812345678')",
    "[]",
    "{}",
    "()",
    "(1, (2, 3))",
    "[1, 'a', None, [2.5, {'b': b'c'}]]",
    "{'a': {'b': [datetime.date(2024, 1, 1)]}}",
    "{1: 'int', None: 'none', True: 'true', 2.5: 'float'}",
    "{(1, 2): 3}",
    "{b'a': 1}",
    "{1, 2}",
    "frozenset()",
    "bytearray(b'a')",
    "1j",
    "range(3)",
    "object",
    "{'__type__': 'datetime', '__value__': '2024-01-01T00:00:00'}",
    "{'__type__': 'datetime', '__value__': '2024-01-01T00:00:00', 'more': 1}",
    "{'__type__': 'alone'}",
    "[[2, 3], {}, {'callbacks': None, 'errbacks': None, 'chain': None, 'chord': None}]",
]
READ = [
    b" [1 , 2 ] \n",
    b"[NaN, Infinity, -Infinity, 1e999, -1e999]",
    b'{"a": 1, "a": 2}',
    b"-0",
    b"1E5",
    b"18446744073709551616",
    b"-9223372036854775809",
    b"[123456789012345678901234567890, 1.5]",
    b'"\\ud83d\\ude00"',
    b'"\\u00e9"',
    '"\u00e9"'.encode(),
    b'{"__type__": "datetime", "__value__": "2024-01-01T00:00:00Z"}',
    b'{"__type__": "datetime", "__value__": "soon"}',
    b'{"__type__": "datetime", "__value__": 1}',
    b'{"__type__": "bytes", "__value__": "x", "more": 1}',
    b'{"__type__": "nothing", "__value__": 1}',
    b'{"__type__": null, "__value__": 1}',
    b'{"__type__": [], "__value__": 1}',
    b'{"__value__": 1}',
    b'{"__type__": "uuid", "__value__": {"hex": "12345678123456781234567812345678"}}',
    b'{"__type__": "uuid", "__value__": {"hex": "1"}}',
    b'{"__type__": "uuid", "__value__": "12345678123456781234567812345678"}',
    b'{"__type__": "decimal", "__value__": "ten"}',
    b'{"__type__": "decimal", "__value__": 5}',
    b'{"__type__": "bytes", "__value__": "\xc3\xa9"}',
    b'{"__type__": "base64", "__value__": "/w=="}',
    b'{"__type__": "date", "__value__": "2024-02-30"}',
    b'{"__type__": "time", "__value__": "25:00"}',
    b"",
    b"[1",
    b"[1,]",
    b"1 2",
    b"nul",
    b"'a'",
    b"01",
    b"+1",
    b".5",
    b'["a\tb"]',
    b'"\xff"',
    b'"\xed\xa0\x80"',
    b"\xef\xbb\xbf1",
    b"{1: 2}",
]
BODY = b'[["compress me"], {}, {"callbacks": null}]' * 5


def written(serializer: str, expression: str) -> dict[str, object]:
    """What kombu makes of a value, or that it refuses it."""
    try:
        content_type, encoding, body = serialization.dumps(
            eval(expression, dict(NAMESPACE)), serializer
        )
    except serialization.EncodeError:
        return {"value": expression, "serializer": serializer, "refused": True}
    body = body if isinstance(body, bytes) else body.encode()
    case = {
        "value": expression,
        "serializer": serializer,
        "content_type": content_type,
        "content_encoding": encoding,
        "body": base64.b64encode(body).decode(),
    }
    try:
        back = serialization.loads(body, content_type, encoding, accept={content_type})
    except serialization.DecodeError:
        return {**case, "unreadable": True}
    return {**case, "back": repr(back)}


def read(body: bytes) -> dict[str, object]:
    """What kombu reads from a body of JSON, or that it refuses it."""
    case: dict[str, object] = {"body": base64.b64encode(body).decode()}
    try:
        case["value"] = repr(
            serialization.loads(body, TYPES["json"], "utf-8", accept={TYPES["json"]})
        )
    except serialization.DecodeError:
        case["refused"] = True
    return case


def compressed(name: str) -> dict[str, str]:
    """A body as kombu compresses it."""
    small, content_type = compression.compress(BODY, name)
    return {
        "name": name,
        "content_type": content_type,
        "body": base64.b64encode(small).decode(),
        "plain": base64.b64encode(BODY).decode(),
    }


def main() -> None:
    """Write the file beside this one."""
    serialization.enable_insecure_serializers(list(TYPES))
    cases = {
        "kombu": kombu.__version__,
        "written": [written(s, e) for s in ("json", "yaml", "msgpack") for e in WRITTEN],
        "read": [read(body) for body in READ],
        "compressed": [
            compressed(name)
            for name in ("gzip", "zlib", "bzip2", "bzip", "lzma", "xz", "brotli", "zstd")
            if name in {*compression._aliases}
        ],
        "result": base64.b64encode(backends.compress_payload(BODY, "gzip")).decode(),
        "raw": {
            kind: list(map(str, serialization.dumps(value, "raw")[:2]))
            for kind, value in (("bytes", b"\xff"), ("text", "é"))
        },
    }
    target = Path(__file__).with_name("serialization_cases.json")
    target.write_text(json.dumps(cases, indent=1) + "\n")


if __name__ == "__main__":
    main()
