"""Heads mean the same whether orjson or the standard library wrote them, or reads them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posts import post
from umbel.exceptions import EncodeError
from umbel.message import Malformed
from umbel.serialization import heads as encoding

keys = st.text(max_size=5)
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=[]), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=10,
)
ORJSON = encoding.orjson


@pytest.fixture(scope="module", autouse=True)
def restored():
    yield
    encoding.orjson = ORJSON


@given(
    headers=st.lists(st.dictionaries(keys, plain, max_size=4), min_size=1, max_size=3),
    written_by=st.lists(st.booleans(), min_size=3, max_size=3),
    read_by=st.booleans(),
)
def test_the_same_values_come_back(headers, written_by, read_by):
    """In any mixture of writers, and for batches of any mixture."""
    heads = []
    for header, fast in zip(headers, written_by, strict=False):
        encoding.orjson = ORJSON if fast else None
        heads.append(encoding.head_of(post("id", headers=header)))
    encoding.orjson = ORJSON if read_by else None
    decoded = encoding.decode_heads(heads)
    assert repr([head[0] for head in decoded]) == repr(headers)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("value", [datetime.now(UTC), object(), b"bytes", {1, 2}])
def test_what_is_not_plain_is_refused(fast, value):
    """By both, so that installing orjson changes nothing."""
    encoding.orjson = ORJSON if fast else None
    with pytest.raises(EncodeError, match="headers or properties of message it"):
        encoding.head_of(post("it", headers={"x": value}))


@pytest.mark.parametrize("fast", [True, False])
@given(heads=st.lists(st.binary(max_size=30), min_size=1, max_size=4), good=st.integers(0, 4))
def test_broken_heads_do_not_spoil_their_neighbours(fast, heads, good):
    """Each is read by itself if the batch cannot be read as one."""
    encoding.orjson = ORJSON
    whole = post("good")
    heads.insert(good, encoding.head_of(whole))
    encoding.orjson = ORJSON if fast else None
    decoded = encoding.decode_heads(heads)
    assert len(decoded) == len(heads)
    messages = [
        encoding.message_from("good", whole.queue, head, raw=raw, body=whole.body)
        for head, raw in zip(decoded, heads, strict=True)
    ]
    assert whole in messages
    assert all(isinstance(message, Malformed) for message in messages if message != whole)


def test_a_forged_head_cannot_shift_those_that_follow():
    """Text that would be two entries of a list is one broken head."""
    encoding.orjson = ORJSON
    good = encoding.head_of(post("good"))
    assert encoding.decode_heads([b"[1],[2]", good])[1] is not None
    assert encoding.decode_heads([b"[1],[2]", b"[3"])[1] is None
    assert len(encoding.decode_heads([b"[1", b"2]", good])) == 3
