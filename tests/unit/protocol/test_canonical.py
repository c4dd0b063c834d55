"""One value has one spelling, and `decode` reads no other."""

from __future__ import annotations

from array import array
from fractions import Fraction

import cbor2
import pytest

from protocol.canonical import (
    DEPTH_MAX,
    KEY_MAX,
    Value,
    decode,
    encode,
    fields_of,
    read_octets,
)
from protocol.errors import EncodingError, OversizedError, SpellingError, TruncatedError

ANY_SIZE = 1 << 20

SPELLED = [
    (0, "00"),
    (23, "17"),
    (24, "1818"),
    (255, "18ff"),
    (256, "190100"),
    (65_535, "19ffff"),
    (65_536, "1a00010000"),
    (2**32, "1b0000000100000000"),
    (2**64 - 1, "1bffffffffffffffff"),
    (-1, "20"),
    (-(2**64), "3bffffffffffffffff"),
    (b"", "40"),
    (b"\x01\x02", "420102"),
    ("", "60"),
    ("watt ü", "677761747420c3bc"),
    ([], "80"),
    ([1, [2]], "82018102"),
    ({}, "a0"),
    ({1: 2, 23: None}, "a2010217f6"),
    (False, "f4"),
    (True, "f5"),
    (None, "f6"),
    (array("i", [1, -1]), "d84e4801000000ffffffff"),
    (array("i", [65_536]), "d84e4400000100"),
    (array("i"), "d84e40"),
]
"""RFC 8949 appendix A and RFC 8746 §2, as far as este speaks them."""


@pytest.mark.parametrize(("value", "spelling"), SPELLED, ids=lambda part: str(part)[:24])
def test_a_value_is_spelled_as_the_rfc_prints_it(value: Value, spelling: str) -> None:
    assert encode(value).hex() == spelling
    assert decode(bytes.fromhex(spelling), size_max=ANY_SIZE) == value


SECOND_SPELLINGS = {
    "an integer in two bytes that fits one": "1817",
    "an integer in three bytes that fits two": "1900ff",
    "an integer in five bytes that fits three": "1a0000ffff",
    "an integer in nine bytes that fits five": "1b00000000ffffffff",
    "a negative integer in two bytes": "3800",
    "a length in two bytes that fits one": "580141",
    "an array's count in two bytes": "980101",
    "a map's count in two bytes": "b8010101",
    "a tag in three bytes": "d9004d40",
    "an indefinite byte string": "5f4101ff",
    "an indefinite text": "7f6161ff",
    "an indefinite array": "9f01ff",
    "an indefinite map": "bf0101ff",
    "map keys that fall": "a202010101",
    "a map key in two bytes": "a1180501",
    "bytes behind the end": "0000",
    "a break behind the end": "00ff",
}


@pytest.mark.parametrize("spelling", SECOND_SPELLINGS.values(), ids=SECOND_SPELLINGS.keys())
def test_a_second_spelling_is_told_as_one(spelling: str) -> None:
    with pytest.raises(SpellingError):
        decode(bytes.fromhex(spelling), size_max=ANY_SIZE)


UNSPEAKABLE = {
    "a float of 16 bits": "f93c00",
    "a float of 32 bits": "fa3f800000",
    "a float of 64 bits": "fb3ff0000000000000",
    "undefined": "f7",
    "a simple value": "e0",
    "a simple value in two bytes": "f8ff",
    "false in two bytes": "f814",
    "a break": "ff",
    "a reserved head": "1c",
    "a bignum": "c249010000000000000000",
    "a bignum that a small integer spells": "c24105",
    "a date": "c11a514b67b0",
    "a decimal": "c48221196ab3",
    "a shared value": "d81c4105",
    "a reference to a shared value": "82d81c4105d81d00",
    "a reference to a string": "d90100824461626364d81900",
    "the mark of CBOR itself": "d9d9f705",
    "a set": "d9010280",
    "unsigned typed integers": "d8454405000000",
    "big-endian typed integers": "d8494101",
    "a typed array of no byte string": "d84e8101",
    "a typed array of text": "d84e6161",
    "a typed array within a typed array": "d84ed84e40",
    "an odd byte in a typed array": "d84e4101",
    "text that is not UTF-8": "61ff",
    "a surrogate in text": "63eda080",
    "a map key that stands twice": "a201010102",
    "a map key that stands twice, apart": "a3010102010102",
    "a text key": "a1616101",
    "a negative key": "a12001",
    "a key above 23": "a1181801",
    "an array as key": "a18001",
}


@pytest.mark.parametrize("spelling", UNSPEAKABLE.values(), ids=UNSPEAKABLE.keys())
def test_what_este_does_not_speak_is_refused(spelling: str) -> None:
    with pytest.raises(EncodingError):
        decode(bytes.fromhex(spelling), size_max=ANY_SIZE)


EVERYTHING: Value = {
    1: [None, True, False, -5, 300, 70_000, 2**40],
    2: "text with ü",
    3: bytes(300),
    4: {0: array("i", range(-9, 9)), 1: array("i", [70_000]), 23: array("i")},
}


def test_bytes_that_end_early_are_told_as_truncated_wherever_they_end() -> None:
    spelled = encode(EVERYTHING)
    for end in range(len(spelled)):
        with pytest.raises(TruncatedError):
            decode(spelled[:end], size_max=ANY_SIZE)


def test_a_length_that_promises_more_than_there_is_costs_nothing() -> None:
    for head in ("5b", "7b", "9b", "bb", "d84e5b"):
        with pytest.raises(TruncatedError):
            decode(bytes.fromhex(head + "7fffffffffffffff"), size_max=ANY_SIZE)


def test_more_bytes_than_allowed_are_not_even_parsed() -> None:
    with pytest.raises(OversizedError, match="3 bytes where at most 2"):
        decode(b"\xff\xff\xff", size_max=2)


def test_nesting_is_bounded_on_both_ways() -> None:
    deep: Value = []
    for _ in range(DEPTH_MAX - 1):
        deep = [deep]
    assert decode(encode(deep), size_max=ANY_SIZE) == deep
    with pytest.raises(TypeError, match="nested deeper"):
        encode([deep])
    with pytest.raises(EncodingError, match="nested deeper"):
        decode(b"\x81" * DEPTH_MAX + b"\x80", size_max=ANY_SIZE)
    with pytest.raises(EncodingError, match="nested deeper"):
        decode(b"\x81" * ANY_SIZE, size_max=ANY_SIZE)


@pytest.mark.parametrize(
    "value",
    [
        *(1.5, {1.0: 2}, {"a": 1}, {24: 1}, {-1: 1}, {2: 1, 1: 2}, {True: 1}, {1, 2}, object(), Fraction(1), 2**64),
        *(-(2**64) - 1, bytearray(b"x"), cbor2.CBORTag(77, b""), array("d", [1.0]), [[1.5]]),
    ],
    ids=repr,
)
def test_what_has_no_spelling_is_not_written(value: Value) -> None:
    with pytest.raises(TypeError):
        encode(value)


def test_every_key_from_0_to_23_fits_one_byte() -> None:
    full = dict.fromkeys(range(KEY_MAX + 1))
    assert decode(encode(full), size_max=ANY_SIZE) == full


def test_a_tuple_is_written_as_an_array() -> None:
    assert encode((1, (2,))) == encode([1, [2]])


@pytest.mark.parametrize("typecode", ["h", "q", "B", "d"])
def test_an_array_of_another_width_has_no_spelling(typecode: str) -> None:
    with pytest.raises(TypeError, match="32 bits"):
        encode(array(typecode, [1]))


@pytest.mark.parametrize("tag", [64, 70, 72, 77, 79, 40, 1040])
def test_typed_arrays_of_other_kinds_have_no_meaning(tag: int) -> None:
    with pytest.raises(EncodingError, match="32-bit"):
        decode(cbor2.dumps(cbor2.CBORTag(tag, bytes(8))), size_max=ANY_SIZE)


def test_byte_strings_can_be_read_one_after_another() -> None:
    data = encode(b"one") + encode(b"") + encode(bytes(300))
    first, at = read_octets(data, 0)
    second, at = read_octets(data, at)
    third, at = read_octets(data, at)
    assert (first, second, third, at) == (b"one", b"", bytes(300), len(data))
    with pytest.raises(TruncatedError):
        read_octets(data, at)


@pytest.mark.parametrize("other", [0, "text", [], {}, None, array("i")], ids=repr)
def test_where_a_byte_string_is_due_nothing_else_is_even_read(other: Value) -> None:
    with pytest.raises(EncodingError, match="byte string"):
        read_octets(encode(other)[:1], 0)


def test_a_map_must_have_exactly_the_keys_of_its_kind() -> None:
    assert fields_of({1: "a", 2: "b"}, (1, 2), "thing") == {1: "a", 2: "b"}
    for other in ({1: "a"}, {1: "a", 2: "b", 3: "c"}, [1, 2], None):
        with pytest.raises(EncodingError, match="thing"):
            fields_of(other, (1, 2), "thing")
