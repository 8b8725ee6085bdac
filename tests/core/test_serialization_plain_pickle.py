"""Pickles of plain data are read without running anything; all others are refused."""

from __future__ import annotations

import collections
import datetime as dt
import os
import pickle
import pickletools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umbel.exceptions import DecodeError
from umbel.serialization import Limits
from umbel.serialization.plain_pickle import is_pickle, loads_plain

PROTOCOLS = (2, 3, 4, 5)
leaves = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
)
plain = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(value=plain, protocol=st.sampled_from((4, 5)))
def test_plain_data_comes_back_as_it_is(value, protocol):
    """All of it, in every protocol that Python uses today."""
    body = pickle.dumps(value, protocol)
    assert is_pickle(body)
    assert loads_plain(body) == value


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_old_protocols_are_read(protocol):
    """Bytes have none of their own before the third."""
    value = {"a": [1, -5, 2**70, 2.5, None, True, "ü"], "b": ((), (1,), (1, 2, 3, 4))}
    assert loads_plain(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "value",
    [
        os.getcwd,
        dt.datetime(2020, 1, 1),  # noqa: DTZ001 - what is refused is the type
        collections.OrderedDict(a=1),
        ValueError("x"),
        complex(1, 2),
    ],
    ids=["function", "datetime", "subclass", "exception", "complex"],
)
def test_what_needs_a_name_is_refused(value, protocol):
    """However harmless it may be: a name is an import."""
    with pytest.raises(DecodeError, match="more than plain data"):
        loads_plain(pickle.dumps(value, protocol))


def test_a_call_hidden_behind_plain_data_is_not_made(tmp_path):
    """The whole pickle is looked at before any of it is run."""
    target = tmp_path / "pwned"

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(target),)

    with pytest.raises(DecodeError):
        loads_plain(pickle.dumps([1, "fine", Evil()]))
    assert not target.exists()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x80\x04.",
        b"\x80\x04N",
        b"\x80\x04}(.",
        b"cos\nsystem\n(S'true'\ntR.",
        b"\x80\x02\x81.",
        b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b".",
        b"\x80\x04Nr" + struct.pack("<I", 2**31 - 1) + b".",
        b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"N.",
        b"\x80\x05\x97.",
        b"\x80\x02}\x82\x01.",
    ],
)
def test_broken_and_hostile_pickles_are_refused(body):
    """With the one error, and without making room for what they claim to hold."""
    with pytest.raises(DecodeError):
        loads_plain(body)


def test_a_small_pickle_that_stands_for_gigabytes_is_refused():
    """Everything is counted as often as it is referred to."""
    value: list[object] = ["x" * 100]
    for _ in range(40):
        value = [value, value]
    body = pickle.dumps(value)
    assert len(body) < 1000
    with pytest.raises(DecodeError):
        loads_plain(body)
    with pytest.raises(DecodeError, match="bytes"):
        loads_plain(pickle.dumps(["x" * 1000] * 100), Limits(decompressed=50_000))


def test_a_pickle_that_holds_itself_is_refused():
    """It would have no end as JSON."""
    value: list[object] = []
    value.append(value)
    with pytest.raises(DecodeError):
        loads_plain(pickle.dumps(value))


@given(st.binary(max_size=60))
def test_random_bytes_do_no_harm(noise):
    """They are data, or an error."""
    try:
        loads_plain(b"\x80\x04" + noise + b".")
    except DecodeError:
        pass
    else:
        names = {opcode.name for opcode, _, _ in pickletools.genops(b"\x80\x04" + noise + b".")}
        assert not names & {"GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"}


def test_json_and_msgpack_are_no_pickles():
    """An empty mapping in msgpack begins like one."""
    assert not any(is_pickle(body) for body in (b"", b"\x80", b'{"a": 1}', b"\x81\xa1a\x01"))
