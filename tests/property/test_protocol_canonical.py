"""What must hold of every value and of every string of bytes."""

from __future__ import annotations

from array import array

import cbor2
from hypothesis import assume, example, given
from hypothesis import strategies as st

from protocol.canonical import DEPTH_MAX, Value, decode, encode
from protocol.errors import EncodingError

ANY_SIZE = 1 << 20

integers = st.integers(-(2**64), 2**64 - 1)
keys = st.integers(0, 23)
arrays = st.lists(st.integers(-(2**31), 2**31 - 1)).map(lambda values: array("i", values))
leaves = st.none() | st.booleans() | integers | st.binary(max_size=300) | st.text(max_size=300) | arrays
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner) | st.dictionaries(keys, inner).map(lambda d: dict(sorted(d.items()))),
    max_leaves=30,
)
"""Whatever este can say."""


def accepted_by_reencoding(data: bytes) -> Value | None:
    """The second opinion: let cbor2 read leniently, look at what came out, and compare what it writes.

    This is how the one spelling was proven before `decode` read it directly. It is slow and leans on cbor2 for what a
    second spelling is; agreeing with it means that both are right, or wrong in the same way.
    """
    try:
        value = _plain(cbor2.loads(data, max_depth=DEPTH_MAX, allow_indefinite=False, allow_duplicate_keys=False), 0)
        spelled = cbor2.dumps(_tagged(value))
    except (cbor2.CBORError, TypeError, ValueError, OverflowError, RecursionError):
        return None
    return [value] if spelled == data else None


def _plain(value: Value, depth: int) -> Value:
    """The value with arrays for tags, if there is nothing in it that este does not speak."""
    if type(value) is int and not -(2**64) <= value < 2**64:
        raise ValueError("more than 64 bits")
    if type(value) in (int, bytes, str, bool, type(None)):
        return value
    if depth >= DEPTH_MAX:
        raise ValueError("too deep")
    if type(value) is dict:
        if any(type(key) is not int or not 0 <= key <= 23 for key in value) or list(value) != sorted(value):
            raise ValueError("keys")
        return {key: _plain(item, depth + 1) for key, item in value.items()}
    if type(value) in (list, tuple):
        return [_plain(item, depth + 1) for item in value]
    if type(value) is cbor2.CBORTag and type(value.value) is bytes and value.tag == 78:
        return array("i", value.value)
    raise ValueError(f"no spelling for {value!r}")


def _tagged(value: Value) -> Value:
    if type(value) is dict:
        return {key: _tagged(item) for key, item in value.items()}
    if type(value) is list:
        return [_tagged(item) for item in value]
    if type(value) is array:
        return cbor2.CBORTag(78, value.tobytes())
    return value


def decoded(data: bytes) -> Value | None:
    try:
        return [decode(data, size_max=ANY_SIZE)]
    except EncodingError:
        return None


@given(values)
def test_what_is_encoded_decodes_to_itself(value: Value) -> None:
    assert decode(encode(value), size_max=ANY_SIZE) == value


@given(values)
def test_the_second_opinion_reads_what_is_encoded(value: Value) -> None:
    assert accepted_by_reencoding(encode(value)) == [value]


@given(st.binary(max_size=60))
@example(bytes.fromhex("d90100824461626364d81900"))
@example(bytes.fromhex("c24105"))
def test_any_bytes_are_refused_exactly_if_reencoding_refuses_them(data: bytes) -> None:
    assert decoded(data) == accepted_by_reencoding(data)


heads = st.sampled_from(
    [bytes.fromhex(h) for h in ("d84d", "d84e", "d84f", "d81c", "d81d00", "d81900", "d90100", "c2", "c3", "d9d9f7")]
    + [bytes.fromhex(h) for h in ("5f", "9f", "bf", "ff", "1800", "190000", "1a00000000", "f97e00", "f7", "f800", "a1")]
)


@given(values, st.data())
def test_well_formed_bytes_with_one_slip_are_refused_exactly_if_reencoding_refuses_them(
    value: Value, data: st.DataObject
) -> None:
    """A flipped bit, a byte too few or too many, or a head from the tricks that CBOR knows."""
    spelled = encode(value)
    at = data.draw(st.integers(0, len(spelled) - 1), label="at")
    match data.draw(st.sampled_from(["flip", "drop", "repeat", "insert"]), label="slip"):
        case "flip":
            slipped = spelled[:at] + bytes([spelled[at] ^ 1 << data.draw(st.integers(0, 7))]) + spelled[at + 1 :]
        case "drop":
            slipped = spelled[:at] + spelled[at + 1 :]
        case "repeat":
            slipped = spelled[: at + 1] + spelled[at:]
        case _:
            slipped = spelled[:at] + data.draw(heads) + spelled[at:]
    assert decoded(slipped) == accepted_by_reencoding(slipped)


@given(st.integers(0, 1 << 17), st.binary(max_size=9))
def test_no_tag_but_the_typed_array_has_a_meaning(tag: int, content: bytes) -> None:
    """cbor2 turns some tags into plain values, and may learn more of them: none may pass for a value of ours."""
    assume(tag != 78)
    assert decoded(cbor2.dumps(cbor2.CBORTag(tag, content))) is None
    assert decoded(cbor2.dumps(cbor2.CBORTag(tag, 5))) is None
