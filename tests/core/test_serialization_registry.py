"""The registry: what is known, what is let in, and what is loaded only when it is used."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from base64 import b64decode, b64encode
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umbel import serialization
from umbel.serialization import (
    ContentDisallowed,
    DecodeError,
    Encoded,
    EncodeError,
    Limits,
    Registry,
    SerializerNotInstalled,
)

BODY = [[2, 3], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
STRUCTURED = ["json", "msgpack", "yaml", "pickle"]
OFFSETS = st.integers(-1439, 1439).map(lambda m: dt.timezone(dt.timedelta(minutes=m)))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(max_size=20)
    | st.datetimes().map(lambda moment: moment.replace(fold=0))
    | st.datetimes(timezones=OFFSETS).map(lambda moment: moment.replace(fold=0))
    | st.dates()
    | st.times().map(lambda moment: moment.replace(fold=0))
    | st.decimals(allow_nan=False)
    | st.uuids()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


class Colour(Enum):
    RED = "red"


class Tag(str, Enum):  # noqa: UP042 - the older way to write it is meant
    NEW = "new"


@dataclass
class Point:
    x: int


@pytest.fixture
def registry():
    return Registry()


def round_trip(value, name, registry=serialization):
    encoded = registry.dumps(value, name)
    return registry.loads(
        encoded.body, encoded.content_type, encoded.content_encoding, accept=[name]
    )


@pytest.mark.parametrize(
    ("name", "content_type", "content_encoding", "value"),
    [
        ("json", "application/json", "utf-8", BODY),
        ("pickle", "application/x-python-serialize", "binary", BODY),
        ("yaml", "application/x-yaml", "utf-8", BODY),
        ("msgpack", "application/x-msgpack", "binary", BODY),
        ("raw", "application/data", "binary", b"\xff"),
        ("raw", "application/data", "utf-8", "é"),
        ("text", "text/plain", "utf-8", "é"),
    ],
)
def test_formats_carry_celerys_names(name, content_type, content_encoding, value):
    """Name, content type and encoding are those of Celery; the body comes back by either."""
    for known_as in (name, content_type):
        encoded = serialization.dumps(value, known_as)
        assert type(encoded) is Encoded
        assert encoded == (content_type, content_encoding, encoded.body, None)
        assert type(encoded.body) is bytes
        back = serialization.loads(encoded.body, content_type, content_encoding, accept=[known_as])
        assert back == value
    assert name in serialization.names()


@pytest.mark.parametrize("name", STRUCTURED)
@given(VALUES)
def test_every_format_brings_the_types_back(name, value):
    """Dates, decimals, UUIDs and bytes survive in each of them."""
    assert repr(round_trip(value, name)) == repr(value)


@pytest.mark.parametrize("name", ["json", "msgpack", "yaml"])
def test_structured_values_are_plain_data_in_every_format(name):
    """Enums and dataclasses arrive as what they consist of, subclasses as their base."""
    value = [Colour.RED, Tag.NEW, Point(1), type("Number", (int,), {})(5), (1, 2)]
    assert round_trip(value, name) == ["red", "new", {"x": 1}, 5, [1, 2]]


@pytest.mark.parametrize("name", ["msgpack", "yaml"])
def test_keys_that_could_not_be_read_are_refused(name):
    """Numbers and bytes are keys there; a tuple would arrive as a list, which is none."""
    keys = {1: "a", b"b": 2, None: 3, 1.5: 4}
    assert round_trip(keys, name) == keys
    for bad in ({(1, 2): 3}, {"deep": [{"er": ({(1,): 2},)}]}, [Point({(1, 2): 3})]):
        with pytest.raises(EncodeError, match="keys must be text, numbers"):
            serialization.dumps(bad, name)


def test_each_format_says_what_it_cannot_write():
    """The error names the place and the format."""

    def refusal(value, name):
        with pytest.raises(EncodeError) as caught:
            serialization.dumps(value, name, where=("args",))
        return str(caught.value)

    for name in ("json", "msgpack", "yaml"):
        assert refusal([[{"a": object()}]], name) == (
            f"args[0].a cannot be encoded: <class 'object'> has no {name} form"
            " (register_type() gives it one)"
        )
    assert "OverflowError: it has more than 64 bits" in refusal([[2**64]], "msgpack")
    assert refusal([["\ud800"]], "yaml").startswith("args[0] cannot be encoded: it is text with")
    assert refusal([[lambda: 0]], "pickle").startswith("args[0] cannot be encoded: pickle of")
    assert "raw bodies are bytes or text" in refusal([1], "raw")
    assert "text bodies are text" in refusal(b"bytes", "text")
    assert refusal("\ud800", "text") == "the text is not utf-8: UnicodeEncodeError"
    cycle = []
    cycle.append(cycle)
    for name in ("json", "msgpack", "yaml"):
        assert "it holds itself" in refusal(cycle, name)


def test_raw_and_text_are_what_their_label_says():
    """Bytes without an encoding, text with one; the encodings are a closed list."""
    loads = serialization.loads
    for label in ("binary", None, "", "ascii-8bit"):
        assert loads(b"\xe9", "application/data", label, accept=[]) == b"\xe9"
    assert loads(b"\xe9", "application/data", "latin-1", accept=[]) == "é"
    assert loads(b"\xc3\xa9", "application/text", "UTF-8", accept=[]) == "é"
    assert loads("é".encode("utf-16"), "text/plain", "utf-16", accept=["text"]) == "é"
    assert loads(b"x", None, None, accept=[]) == b"x"
    assert serialization.dumps(bytearray(b"a"), "raw").body == b"a"
    for label in ("zip", "rot13", "os", "../../etc", "utf-7", 5, ["utf-8"]):
        for content_type in ("application/data", "application/json"):
            with pytest.raises(DecodeError, match=r"its content encoding .* is not known"):
                loads(b"1", content_type, label, accept=["json"])
    with pytest.raises(DecodeError):
        loads(b"\xff", "application/data", "utf-8", accept=[])


def test_only_accepted_content_is_decoded():
    """By name or by content type; raw data is harmless and always let in, plain text is not."""
    body = serialization.dumps(BODY).body
    for accept in (["json"], {"application/json"}, ("yaml", "json"), {"json": 1}):
        assert serialization.loads(body, "application/json", "utf-8", accept=accept) == BODY
        serialization.check_accepted("application/json", accept)
    for accept in ([], ["yaml"], {"application/x-yaml"}, ["jso"]):
        with pytest.raises(ContentDisallowed, match=r"application/json is refused"):
            serialization.loads(body, "application/json", "utf-8", accept=accept)
        with pytest.raises(ContentDisallowed):
            serialization.check_accepted("application/json", accept)
    for content_type in ("text/plain", "application/json; charset=utf-8", "json", "*/*", b"x", 5):
        with pytest.raises(ContentDisallowed):
            serialization.loads(body, content_type, "utf-8", accept=["json"])
    for content_type in ("application/data", "application/text", "", None):
        serialization.check_accepted(content_type, [])


def test_accepting_an_unknown_type_does_not_let_it_in():
    """A type that no format has is refused even if the settings list it."""
    for content_type in ("application/nope", ["application/json"], {}):
        with pytest.raises(ContentDisallowed):
            serialization.loads(b"1", content_type, "utf-8", accept=["application/nope"])


def test_a_refusal_names_what_is_accepted():
    """The operator sees what to list, and a long content type does not flood the log."""
    with pytest.raises(ContentDisallowed, match=r"\(accepted: json, yaml\)"):
        serialization.loads(b"", "text/plain", None, accept=["yaml", "json"])
    with pytest.raises(ContentDisallowed) as caught:
        serialization.loads(b"", "x" * 100_000, None, accept=["json"])
    assert len(str(caught.value)) < 300


def test_a_format_of_ones_own_is_used_like_the_others(registry):
    """Registered by name, found by name and content type, accepted only if listed."""
    registry.register(
        "b64", lambda obj: b64encode(repr(obj).encode()), lambda body: b64decode(body).decode(),
        "application/x-b64", "binary",
    )  # fmt: skip
    encoded = registry.dumps([1], "b64")
    assert encoded == ("application/x-b64", "binary", b"WzFd", None)
    for name in ("b64", "application/x-b64"):
        assert registry.loads(b"WzFd", "application/x-b64", "binary", accept=[name]) == "[1]"
    with pytest.raises(ContentDisallowed):
        registry.loads(b"WzFd", "application/x-b64", "binary", accept=["json"])
    with pytest.raises(DecodeError, match=r"application/x-b64 body cannot be decoded: .*Error"):
        registry.loads(b"WzF", "application/x-b64", "binary", accept=["b64"])
    with pytest.raises(DecodeError, match="the limit is 3"):
        registry.loads(b"WzFd", "application/x-b64", None, accept=["b64"], limits=Limits(body=3))
    registry.unregister("b64")
    with pytest.raises(SerializerNotInstalled, match="'b64' is not a registered codec"):
        registry.dumps([1], "b64")
    with pytest.raises(ContentDisallowed):
        registry.loads(b"WzFd", "application/x-b64", "binary", accept=["b64"])
    with pytest.raises(SerializerNotInstalled):
        registry.unregister("b64")


def test_an_encoder_of_ones_own_may_return_text_or_raise_anything(registry):
    """Text is encoded as the content encoding says; what is neither text nor bytes is refused."""
    registry.register("text1", str, bytes.decode, "application/x-1")
    registry.register("text2", str, bytes.decode, "application/x-2", "binary")
    assert registry.dumps("é", "text1") == ("application/x-1", "utf-8", b"\xc3\xa9", None)
    assert registry.dumps("é", "text2") == ("application/x-2", "utf-8", b"\xc3\xa9", None)
    registry.register("odd", lambda obj: obj, bytes, "application/x-3")
    with pytest.raises(EncodeError, match="neither bytes nor text"):
        registry.dumps(5, "odd")
    with pytest.raises(EncodeError, match="is not utf-8"):
        registry.dumps("\ud800", "odd")
    registry.register("bad", lambda _: 1 / 0, bytes, "application/x-4")
    with pytest.raises(EncodeError, match=r"value cannot be encoded: bad of .*ZeroDivisionError"):
        registry.dumps([5], "bad")


def test_a_format_may_take_over_a_content_type_and_give_it_back(registry):
    """The one registered last reads it, as signed bodies do under application/data."""
    registry.register("auth", lambda _: b"signed", lambda _: "checked", "application/data")
    assert registry.loads(b"x", "application/data", "binary", accept=["auth"]) == "checked"
    registry.unregister("auth")
    assert registry.loads(b"x", "application/data", "binary", accept=[]) == b"x"
    registry.register("json", lambda _: b"mine", lambda _: "mine", "application/json")
    assert registry.dumps(1).body == b"mine"
    assert registry.loads(b"1", "application/json", "utf-8", accept=["json"]) == "mine"


def test_the_functions_of_the_module_share_one_registry():
    """What is registered in one place is known everywhere in the process."""
    serialization.register("twice", lambda o: str(o) * 2, bytes.decode, "application/x-twice")
    serialization.register_type(Colour, "colour", lambda c: c.value, Colour)
    serialization.register_compression("rev", *[lambda b, _=0: b[::-1]] * 2, content_type="x/rev")
    try:
        assert serialization.dumps("a", "twice").body == b"aa"
        for name in ("json", "yaml", "msgpack"):
            assert round_trip([Colour.RED], name) == [Colour.RED]
        encoded = serialization.dumps([1, 2], compression="rev")
        assert encoded == ("application/json", "utf-8", b"]2,1[", "x/rev")
        assert serialization.decompress(encoded.body, "x/rev", limit=10) == b"[1,2]"
    finally:
        serialization.unregister("twice")
        serialization.unregister_type(Colour)
        serialization.unregister_compression("rev")
    assert round_trip([Colour.RED], "json") == ["red"]
    assert "twice" not in serialization.names()


def test_a_compressed_message_opens_with_its_header():
    """The header is the content type that `dumps` reports, or a name."""
    for name in ("gzip", "bzip2", "xz", "brotli", "zstd"):
        encoded = serialization.dumps(BODY * 50, compression=name)
        assert encoded.compression == serialization.compress(b"", name)[1]
        back = serialization.loads(
            encoded.body,
            encoded.content_type,
            encoded.content_encoding,
            accept=["json"],
            compression=encoded.compression,
        )
        assert back == BODY * 50


def test_sending_is_bound_before_and_after_compression():
    """What is compressed may be larger than what travels."""
    limits = Limits(body=200, decompressed=2000)
    assert serialization.dumps("a" * 1000, compression="gzip", limits=limits)
    with pytest.raises(EncodeError, match="decompressed it has 3002 bytes, the limit is 2000"):
        serialization.dumps("a" * 3000, compression="gzip", limits=limits)
    with pytest.raises(EncodeError, match="it has 302 bytes, the limit is 200"):
        serialization.dumps("a" * 300, limits=limits)


@pytest.mark.parametrize(("name", "package"), [("msgpack", "msgpack"), ("yaml", "yaml")])
def test_a_missing_package_is_named_with_its_extra(monkeypatch, name, package):
    """Where a format is asked for or arrives, the error says what to install."""
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"umbel.serialization.{name}_codec", raising=False)
    registry = Registry()
    with pytest.raises(SerializerNotInstalled, match=rf'pip install "umbel\[{name}\]"'):
        registry.dumps([1], name)
    content_type = f"application/x-{name}"
    with pytest.raises(SerializerNotInstalled, match="pip install"):
        registry.loads(b"1", content_type, None, accept=[name])
    with pytest.raises(ContentDisallowed):
        registry.loads(b"1", content_type, None, accept=["json"])


@pytest.mark.parametrize(("name", "package"), [("brotli", "brotli"), ("zstd", "zstandard")])
def test_a_missing_compression_is_named_with_its_extra(monkeypatch, name, package):
    """Compressing and opening both say what to install."""
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    registry = Registry()
    with pytest.raises(SerializerNotInstalled, match=r'pip install "umbel\[compression\]"'):
        registry.dumps([1], compression=name)
    with pytest.raises(SerializerNotInstalled, match="pip install"):
        registry.loads(b"1", "application/json", None, accept=["json"], compression=name)


def test_without_orjson_nothing_changes(monkeypatch):
    """The standard library takes over; the message is the same."""
    with_it = Registry().dumps(BODY)
    monkeypatch.setitem(sys.modules, "orjson", None)
    assert Registry().dumps(BODY) == with_it


def test_an_unknown_name_gets_a_suggestion():
    """A slip in a setting is answered with what was probably meant."""
    with pytest.raises(SerializerNotInstalled, match="did you mean 'msgpack'"):
        serialization.dumps(1, "msgpak")
    with pytest.raises(SerializerNotInstalled, match="did you mean 'gzip'"):
        serialization.compress(b"", "gzipp")
    with pytest.raises(SerializerNotInstalled):
        serialization.unregister_compression("nope")


def test_pickle_uses_the_protocol_of_the_environment(monkeypatch):
    """Protocol 4 unless PICKLE_PROTOCOL says otherwise; anything that pickles travels."""
    assert serialization.dumps(1, "pickle").body[:2] == b"\x80\x04"
    monkeypatch.setenv("PICKLE_PROTOCOL", "2")
    assert serialization.dumps(1, "pickle").body[:2] == b"\x80\x02"
    value = [{1, 2}, (3,), Colour.RED, Point(1), Decimal(1), UUID(int=1)]
    assert round_trip(value, "pickle") == value


def test_importing_loads_no_codec():
    """A process that only needs the names pays for no package and no parser."""
    code = (
        "import sys, umbel.serialization\n"
        "heavy = {'orjson', 'yaml', 'msgpack', 'brotli', 'zstandard', 'pydantic', 'lzma', 'json',"
        " 'bz2', 'decimal', 'uuid'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
