"""What others send: measured before it is decoded, and never more than an error."""

from __future__ import annotations

import bz2
import datetime as dt
import gzip
import json
import lzma
import pickle
import sys
import tracemalloc
import zlib
from contextlib import suppress

import brotli
import msgpack
import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st

from umbel import serialization
from umbel.exceptions import ImproperlyConfigured
from umbel.serialization import ContentDisallowed, DecodeError, Limits, Registry
from umbel.serialization.compression import Compressions

TYPES = {
    "json": "application/json",
    "msgpack": "application/x-msgpack",
    "yaml": "application/x-yaml",
    "raw": "application/data",
    "text": "text/plain",
}
MIB = 1024 * 1024
OFF = Limits(body=None, decompressed=None, depth=None, items=None, int_digits=None, string=None)
REGISTRIES = {"orjson": Registry(), "stdlib": Registry(fast=False)}
BOTH = pytest.mark.parametrize("engine", REGISTRIES)
ZEROS = bytes(32 * MIB)
BOMBS = {
    "application/x-gzip": zlib.compress(ZEROS),
    "gzip": gzip.compress(ZEROS),
    "bzip2": bz2.compress(ZEROS),
    "lzma": lzma.compress(ZEROS, preset=0),
    "brotli": brotli.compress(ZEROS, quality=1),
    "zstd": zstandard.compress(ZEROS),
}


def decode(body, name="json", *, registry=serialization, **options):
    return registry.loads(body, TYPES[name], "utf-8", accept=[name], **options)


def tower(levels, inside=b""):
    return b"[" * levels + inside + b"]" * levels


@BOTH
@pytest.mark.parametrize(
    ("limits", "at_most", "too_much", "reason"),
    [
        (Limits(body=300), b'"' + b"x" * 298 + b'"', b'"' + b"x" * 299 + b'"', "has 301 bytes"),
        (Limits(), tower(64), tower(65), "deeper than 64 levels"),
        (Limits(depth=3), b'{"a":[{"b":1}]}', b'{"a":[{"b":[]}]}', "deeper than 3 levels"),
        (Limits(depth=2), b'[["]","}","["]]', b'[["]",["["]]]', "deeper than 2 levels"),
        (Limits(depth=2), b'[["\\"]","\\\\"]]', b'[["\\"]","\\\\",[]]]', "deeper than 2 levels"),
        (Limits(items=4), b"[1,2,3, 4]", b'[1,2,{"3":4},4]', "more than 4 list elements"),
        (Limits(items=4), b'[",,,,,,,,[[[["]', b"[[],[],[],[],[]]", "more than 4 list elements"),
        (Limits(int_digits=20), b"[" + b"1" * 20 + b"]", b"[" + b"1" * 21 + b"]", "than 20 digits"),
        (Limits(int_digits=5), b'["1234567890"]', b"[123456]", "integer of more than 5 digits"),
        (Limits(), b"9" * 4300, b"-" + b"9" * 4301, "integer of more than 4300 digits"),
        (Limits(string=9), b'["123456789"]', b'["1234567890"]', "text of more than 9 bytes"),
        (Limits(string=9), b'{"1234\\"678":[]}', b'{"1234\\"6789":1}', "text of more than 9 bytes"),
    ],
)
def test_json_is_let_in_up_to_its_limits(engine, limits, at_most, too_much, reason):
    """Exactly as much as a limit says passes, one more is refused."""
    registry = REGISTRIES[engine]
    assert repr(decode(at_most, registry=registry, limits=limits)) == repr(json.loads(at_most))
    with pytest.raises(DecodeError, match=reason):
        decode(too_much, registry=registry, limits=limits)


def test_the_limits_themselves_are_checked():
    """Zero, a fraction or a truth value is no limit; None is none at all."""
    for wrong in (0, -1, 1.5, True, "1"):
        with pytest.raises(ImproperlyConfigured, match="the limit depth must be"):
            Limits(depth=wrong)
    assert OFF.harmless == sys.maxsize
    assert decode(tower(500), limits=OFF)


@given(
    st.recursive(
        st.text('[]{}"\\,1') | st.integers(-(10**30), 10**30),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('[]{}"\\,'), inner),
        max_leaves=30,
    ),
    st.booleans(),
)
def test_measuring_agrees_with_the_value(value, ascii_only):
    """Whatever brackets, quotes and backslashes a text holds, depth and items are the value's."""

    def depth(part):
        inside = part.values() if isinstance(part, dict) else part
        nested = isinstance(part, (list, dict))
        return 1 + max(map(depth, inside), default=0) if nested else 0

    def items(part):
        inside = part.values() if isinstance(part, dict) else part
        return len(part) + sum(map(items, inside)) if isinstance(part, (list, dict)) else 0

    body = json.dumps(value, ensure_ascii=ascii_only).encode()
    levels, entries = depth(value), items(value)
    assert decode(body, limits=Limits(depth=levels or 1)) == value
    if levels > 1:
        with pytest.raises(DecodeError, match="deeper"):
            decode(body, limits=Limits(depth=levels - 1))
    if entries > 1:
        with pytest.raises(DecodeError, match="more than"):
            decode(body, limits=Limits(items=entries - 1))


@BOTH
def test_neither_depth_nor_digits_nor_width_exhausts_the_decoder(engine):
    """Nesting of a million, an integer of a million digits and flat floods end as errors."""
    hostile = [
        tower(1_000_000),
        b"[" * 1_000_000,
        b'{"a":' * 1_000_000,
        b'["]",' * 1_000_000,
        b"1" * 1_000_000,
        b"[-" + b"1" * 1_000_000 + b"]",
        b"[" + b"0," * 2_000_000 + b"0]",
        b"[" + b"{}," * 2_000_000 + b"0]",
        b'"' + b"\\" * 1_000_001,
        b'"' * 1_000_001,
    ]
    for body in hostile:
        with pytest.raises(DecodeError):
            decode(body, registry=REGISTRIES[engine])


@BOTH
def test_without_limits_the_stack_still_decides(engine):
    """Limits that are off leave an error, not a crash."""
    with pytest.raises(DecodeError):
        decode(tower(100_000), registry=REGISTRIES[engine], limits=OFF)


def test_many_keys_decode_in_time():
    """A hundred thousand keys are no attack: texts are hashed with a secret."""
    body = json.dumps({f"key{number}": number for number in range(100_000)}).encode()
    assert len(decode(body)) == 100_000


@pytest.mark.parametrize(
    ("limits", "value", "reason"),
    [
        (Limits(depth=3), [[[[]]]], "deeper than 3 levels"),
        (Limits(items=3), [1, 2, [3]], "more than 3 list elements"),
        (Limits(items=3), {"a": {"b": 1, "c": 2}, "d": 3}, "more than 3 list elements"),
        (Limits(items=3), [1, 2, 3, 4], "is not within|exceeds"),
        (Limits(string=3), ["four"], "exceeds"),
    ],
)
def test_msgpack_is_bounded(limits, value, reason):
    """Depth and items as for JSON; claimed lengths before memory is set aside for them."""
    with pytest.raises(DecodeError, match=reason):
        decode(msgpack.packb(value), "msgpack", limits=limits)


def test_msgpack_that_claims_more_than_it_has_is_refused():
    """A header can promise four billion items in five bytes, a thousand times over."""
    body = (b"\xdd" + (1_000_000).to_bytes(4, "big")) * 1000
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError):
            decode(body + bytes(1000), "msgpack")
        assert tracemalloc.get_traced_memory()[1] < 100 * MIB
    finally:
        tracemalloc.stop()
    with pytest.raises(DecodeError):
        decode(b"\x91" * 100_000 + b"\x01", "msgpack")


def bomb(levels, width=9):
    lines = [f"a0: &a0 [{', '.join(['x'] * width)}]"]
    for level in range(1, levels):
        lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * width)}]"]
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (bomb(9), "more than 1000000 list elements"),
        (
            b"a: &a {k: v}\n"
            + b"".join(
                b"%c: &%c {<<: [%s]}\n" % (98 + n, 98 + n, b", ".join([b"*%c" % (97 + n)] * 50))
                for n in range(6)
            ),
            "more than 1000000 list elements",
        ),
        (b"s: &s " + b"x" * MIB + b"\nl: [" + b"*s, " * 100 + b"]", "more than 67108864 bytes"),
        (b"&a [*a]", "refers to nothing, or to what holds it"),
        (b"&a {k: *a}", "refers to nothing, or to what holds it"),
        (b"[&a x, &a [*a]]", "refers to nothing, or to what holds it"),
        (b"[*nowhere]", "refers to nothing"),
        (tower(65), "deeper than 64 levels"),
        (tower(100_000), "deeper than 64 levels"),
        (b"[" * 100_000, "deeper than 64 levels"),
        (b"- " * 100 + b"x", "deeper than 64 levels"),
        (b"&a " + tower(40) + b"", None),
        (b"[&a " + tower(40) + b", " + tower(30, b"*a") + b"]", "deeper than 64 levels"),
        (b"1" * 5000, "more than 4300 digits"),
        (b"1" + b":59" * 5000, "more than 4300 digits"),
        (b"1" + b":59" * 5000 + b".5", "more than 4300 digits"),
        (b"0x" + b"f" * 5000, "more than 4300 digits"),
        (b"{%d: 1}" % (2**61 - 1) ** 3, "more than 64 bits is a key"),
        (b"{<<: {%d: 1}}" % (2**61 - 1) ** 3, "more than 64 bits is a key"),
        (b"a: [", r"\(line \d, column \d\)"),
        (b"? [a]\n: 1", "unhashable"),
        (b"--- 1\n--- 2", "but found another document"),
        (b"!!python/object/apply:os.getcwd []", "could not determine a constructor"),
        (b"!!map 1", "expected a mapping"),
        (b'"\\ud800"', "surrogate|special characters|escape"),
        (b"\xff", "can't decode"),
    ],
    ids=lambda part: repr(part)[:40],
)
def test_yaml_is_bounded_with_all_its_aliases_written_out(body, reason):
    """Few bytes that stand for much are refused before anything is built from them."""
    if reason is None:
        assert decode(body, "yaml")
        return
    with pytest.raises(DecodeError, match=reason):
        decode(body, "yaml")


def test_yaml_of_ordinary_documents_is_read():
    """Aliases, merge keys and dates are YAML's own; a text limit counts texts."""
    body = b"base: &b {a: 1}\nmore: {<<: *b, c: [*b, *b]}\nday: 2024-02-29\ntime: 12:30"
    assert decode(body, "yaml") == {
        "base": {"a": 1},
        "more": {"a": 1, "c": [{"a": 1}, {"a": 1}]},
        "day": dt.date(2024, 2, 29),
        "time": 750,
    }
    with pytest.raises(DecodeError, match="text of more than 3 bytes"):
        decode(b"[four]", "yaml", limits=Limits(string=3))


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_stops_at_the_limit(name):
    """32 MiB from few bytes: refused after the limit, with memory in proportion to the limit."""
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError, match="decompressed it has more than 262144 bytes"):
            serialization.decompress(BOMBS[name], name, limit=256 * 1024)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < (24 if name == "zstd" else 2) * MIB
    assert len(serialization.decompress(BOMBS[name], name, limit=len(ZEROS))) == len(ZEROS)
    assert len(serialization.decompress(BOMBS[name], name, limit=None)) == len(ZEROS)
    with pytest.raises(DecodeError):
        serialization.decompress(BOMBS[name], name, limit=len(ZEROS) - 1)


def test_a_compressed_body_is_measured_small_and_large():
    """Its size on the way, its size after, and then its structure."""
    small = zlib.compress(tower(100))
    with pytest.raises(DecodeError, match="bytes, the limit is 10"):
        decode(small, compression="gzip", limits=Limits(body=10))
    with pytest.raises(DecodeError, match="decompressed it has more than 150"):
        decode(small, compression="gzip", limits=Limits(decompressed=150))
    with pytest.raises(DecodeError, match="deeper than 64"):
        decode(small, compression="application/x-gzip")
    assert decode(zlib.compress(b"[1]"), compression="application/x-gzip") == [1]


@pytest.mark.parametrize("name", ["gzip", "bzip2", "lzma", "brotli", "zstd"])
def test_broken_compression_is_an_error(name):
    """Nothing, noise, half of it, one flipped byte, or something behind it."""
    small, _ = serialization.compress(b"some text " * 50, name)
    middle = len(small) // 2
    flipped = small[:middle] + bytes([small[middle] ^ 0xFF]) + small[middle + 1 :]
    for body in (b"", b"\x00", b"noise" * 20, small[:-1], small[:middle], small + b"more"):
        with pytest.raises(DecodeError):
            serialization.decompress(body, name, limit=10_000)
    with suppress(DecodeError):
        assert serialization.decompress(flipped, name, limit=10_000) != b""


def test_an_unknown_compression_is_an_error():
    """Whatever a sender puts into the header."""
    for header in ("nope", "application/nope", ["gzip"], {"a": 1}, 5, b"gzip", "x" * 1000):
        with pytest.raises(DecodeError, match=r"its compression .* is not known"):
            decode(b"[1]", compression=header)


def test_a_marked_result_is_bounded_too():
    """The mark of a compressed result opens no way around the limits."""
    stored = serialization.compress_result(bytes(1000), "zstd")
    with pytest.raises(DecodeError, match="more than 999"):
        serialization.decompress_result(stored, limits=Limits(decompressed=999))
    with pytest.raises(DecodeError):
        serialization.decompress_result(stored, limits=Limits(body=10))
    for broken in (b"\x00celery-compressed\x00", b"\x00celery-compressed\x00nope\x00abc"):
        with pytest.raises(DecodeError):
            serialization.decompress_result(broken)
    assert serialization.decompress_result(b'{"a": 1}') == b'{"a": 1}'


def test_a_compression_of_ones_own_is_held_to_the_limit():
    """Even if its decoder does not stop by itself, or raises anything."""
    own = Compressions()
    own.register("rot", lambda b: b[::-1], lambda b, _: b[::-1], content_type="application/x-rot")
    assert own.compress(b"abc", "rot") == (b"cba", "application/x-rot")
    assert own.decompress(b"cba", "application/x-rot", limit=3) == b"abc"
    with pytest.raises(DecodeError, match="more than 2 bytes"):
        own.decompress(b"cba", "rot", limit=2)
    own.register("bad", lambda _: 1 / 0, lambda *_: 1 / 0, content_type="application/x-bad")
    with pytest.raises(DecodeError, match="is broken"):
        own.decompress(b"", "bad", limit=2)
    with pytest.raises(serialization.EncodeError, match="bad compression failed"):
        own.compress(b"", "bad")
    own.unregister("rot")
    for name in ("rot", "application/x-rot"):
        with pytest.raises(serialization.SerializerNotInstalled):
            own.find(name)


# ------------------------------------------------------------------------------------------- fuzz

GOOD = {"a": [1, 2.5, None, True, "text", b"\xff", dt.date(2024, 1, 1)], "é": {"b": [[]] * 3}}
SEEDS = [serialization.dumps(GOOD, name) for name in ("json", "msgpack", "yaml", "pickle")]
HEADERS = (
    st.sampled_from([*TYPES.values(), "", "application/x-python-serialize", "gzip", "utf-8"])
    | st.none()
    | st.text(max_size=10)
    | st.integers()
    | st.lists(st.text(max_size=2), max_size=2)
)


@st.composite
def damaged(draw):
    """A good body with some bytes cut out, put in or changed."""
    body = bytearray(draw(st.sampled_from(SEEDS)).body)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(body)))
        end = start + draw(st.integers(0, 5))
        body[start:end] = draw(st.binary(max_size=5) | st.sampled_from([b'"', b"[", b"\\u", b"*"]))
    return bytes(body)


BODIES = st.binary(max_size=200) | damaged()


@pytest.mark.parametrize("engine", REGISTRIES)
@pytest.mark.parametrize("name", TYPES)
@given(BODIES)
@example(b"")
@example(b"\x00" * 200)
@example(b"\xc1")
@example(b"\xff\xfe[\x001\x00]\x00")
def test_garbage_is_a_decode_error_or_a_value(engine, name, body):
    """Nothing but DecodeError comes out of bytes that are not what they are said to be."""
    with suppress(DecodeError):
        decode(body, name, registry=REGISTRIES[engine])


@given(BODIES, HEADERS, HEADERS, HEADERS)
def test_garbage_in_the_headers_is_an_error_or_a_value(body, content_type, encoding, compression):
    """Content type, encoding and compression may be anything at all."""
    with suppress(DecodeError, ContentDisallowed):
        serialization.loads(
            body,
            content_type,
            encoding,
            accept=["json", "msgpack", "yaml", "text"],
            compression=compression,
        )


@given(st.sampled_from(sorted(BOMBS)), st.binary(max_size=100) | damaged())
def test_garbage_is_no_compressed_body(name, body):
    """Nothing but DecodeError comes out of the decompressors."""
    with suppress(DecodeError):
        serialization.decompress(body, name, limit=1000)


def test_a_body_that_is_no_bytes_is_read_or_refused():
    """Stores hand out text and memory views; anything else is an error."""
    for body in ("[1]", bytearray(b"[1]"), memoryview(b"[1]")):
        assert decode(body) == [1]
    for body in (None, 5, ["[1]"], "\ud800"):
        with pytest.raises(DecodeError):
            decode(body)


# ------------------------------------------------------------------------------------- code in data


class Exploit:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("compression", [None, "gzip", "nope"])
def test_pickle_and_yaml_are_refused_before_they_are_touched(tmp_path, compression):
    """Code in a message does not run in a worker that accepts JSON alone."""
    marker = tmp_path / "marker"
    exploits = {
        "application/x-python-serialize": pickle.dumps(Exploit(marker)),
        "application/x-yaml": f"!!python/object/apply:open [{marker}, w]".encode(),
    }
    for content_type, body in exploits.items():
        sent = zlib.compress(body) if compression == "gzip" else body
        with pytest.raises(ContentDisallowed, match=f"type {content_type} is refused"):
            serialization.loads(
                sent, content_type, "binary", accept=["json"], compression=compression
            )
        with pytest.raises(DecodeError):
            serialization.loads(body, "application/json", "binary", accept=["json"])
    assert not marker.exists()
    with pytest.raises(DecodeError, match="could not determine a constructor"):
        decode(exploits["application/x-yaml"], "yaml")
    assert not marker.exists()
