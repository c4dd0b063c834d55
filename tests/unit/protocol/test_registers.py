"""Words on the wire become integers in base units: as makers print them, and exactly."""

from __future__ import annotations

import math
import struct
from fractions import Fraction
from typing import Any

import pytest

from config.load import load_profiles
from config.meter_profile import Grade, MeterProfile, Table
from protocol.errors import EncodingError
from protocol.registers import VALUE_MAX, RegisterCodec, WordOrder, WordType
from protocol.units import Quantity
from tests.vector_files import FOLDER, read_vectors

# -- What makers print

PINNED = {path.stem: read_vectors(f"registers/{path.name}") for path in sorted(FOLDER.glob("registers/*.yaml"))}

WITHOUT_BYTES = {"este_power_limiter", "este_power_controller"}
"""Profiles that have nothing to be read."""

RECKONED = {name for name, vectors in PINNED.items() if vectors.get("bytes") == "reckoned"}
"""Profiles that no published bytes pin, only bytes that were reckoned from the map. Their number may only shrink."""


def profile_of(vectors: dict[str, Any]) -> MeterProfile:
    return load_profiles()[vectors["profile"]]


def crc(frame: bytes) -> bytes:
    """Modbus over Serial Line 1.02 §6.2.2."""
    register = 0xFFFF
    for byte in frame:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (0xA001 if register & 1 else 0)
    return register.to_bytes(2, "little")


FRAMES = [
    pytest.param(profile_of(vectors), frame, id=f"{name} frame {number}")
    for name, vectors in PINNED.items()
    for number, frame in enumerate(vectors.get("frames", []))
]
WORDS = [
    pytest.param(profile_of(vectors), case, id=f"{name} {case['quantity']} {case['printed']}")
    for name, vectors in PINNED.items()
    for case in vectors.get("words", [])
]


def test_every_profile_is_pinned_by_bytes() -> None:
    pinned = {vectors["profile"] for vectors in PINNED.values()}
    assert pinned == set(load_profiles()) - WITHOUT_BYTES
    assert pinned == set(PINNED), "a file is named after its profile"


def test_bytes_that_are_not_the_makers_say_so() -> None:
    for name, vectors in PINNED.items():
        told = "and not from the maker" in " ".join(vectors["source"].split())
        assert told == (name in RECKONED), name


def test_a_file_that_is_not_reckoned_holds_bytes_from_elsewhere_and_tells_which_are_not() -> None:
    for name, vectors in PINNED.items():
        frames = vectors.get("frames", [])
        assert name in RECKONED or vectors.get("words") or any(frame.get("bytes") != "reckoned" for frame in frames)
        assert all(frame.get("bytes", "reckoned") == "reckoned" for frame in frames), name


def test_no_more_profiles_than_known_lack_published_bytes() -> None:
    assert len(RECKONED) <= 36, "found bytes for one? Lower the number"


def test_a_profile_graded_by_its_maker_is_pinned_by_published_bytes() -> None:
    graded = {profile.id for profile in load_profiles().values() if profile.grade is Grade.VENDOR_MANUAL}
    assert graded.isdisjoint(RECKONED)


@pytest.mark.parametrize("name", sorted(RECKONED))
def test_reckoned_bytes_pin_what_matters_most(name: str) -> None:
    """A voltage or a flow, a power, and what the meter counts: so type, scale, word order and table are all pinned."""
    quantities = {value["quantity"] for frame in PINNED[name]["frames"] for value in frame["values"]}
    always = {quantity.name.lower() for quantity in load_profiles()[name].always}
    assert always <= quantities | {"cooling_wh", "exported_wh", "heat_power_w"}
    assert len(quantities) >= 3


@pytest.mark.parametrize(("profile", "frame"), FRAMES)
def test_a_published_frame_was_transcribed_without_a_slip(profile: MeterProfile, frame: dict[str, Any]) -> None:
    for sent in filter(None, (frame["request"], frame["answer"])):
        octets = bytes.fromhex(sent)
        assert crc(octets[:-2]) == octets[-2:]


@pytest.mark.parametrize(("profile", "frame"), FRAMES)
def test_a_published_answer_decodes_to_what_is_printed(profile: MeterProfile, frame: dict[str, Any]) -> None:
    answer = bytes.fromhex(frame["answer"])
    assert answer[1] == (3 if profile.table is Table.HOLDING else 4), "the function code tells the table"
    data = answer[3 : 3 + answer[2]]
    first = int.from_bytes(bytes.fromhex(frame["request"])[2:4]) if frame["request"] else None
    for value in frame["values"]:
        register = next(r for r in profile.registers if r.quantity == value["quantity"])
        at = 2 * (register.address - (register.address if first is None else first))
        assert profile.codecs[register.id].decode_bytes(data[at : at + 2 * register.type.words]) == value["value"]


@pytest.mark.parametrize(("profile", "case"), WORDS)
def test_a_published_register_decodes_to_what_is_printed(profile: MeterProfile, case: dict[str, Any]) -> None:
    codec = profile.codecs[Quantity[case["quantity"].upper()]]
    assert codec.decode_bytes(bytes.fromhex(case["bytes"])) == case["value"]


def in_the_other_order(codec: RegisterCodec, data: bytes) -> int | None:
    other = WordOrder.LOW_FIRST if codec.order is WordOrder.HIGH_FIRST else WordOrder.HIGH_FIRST
    try:
        return RegisterCodec(codec.type, other, codec.scale, codec.not_available).decode_bytes(data)
    except EncodingError:
        return None


@pytest.mark.parametrize(("profile", "case"), WORDS)
def test_published_bytes_in_the_other_word_order_would_not_decode_the_same(
    profile: MeterProfile, case: dict[str, Any]
) -> None:
    """Else the vector would not pin the word order."""
    codec = profile.codecs[Quantity[case["quantity"].upper()]]
    if codec.type.words > 1 and case["value"] is not None:
        assert in_the_other_order(codec, bytes.fromhex(case["bytes"])) != case["value"]


@pytest.mark.parametrize("name", sorted(RECKONED))
def test_reckoned_bytes_in_the_other_word_order_would_not_decode_the_same(name: str) -> None:
    profile = load_profiles()[name]
    for frame in PINNED[name]["frames"]:
        (value,) = frame["values"]
        codec = profile.codecs[Quantity[value["quantity"].upper()]]
        if codec.type.words > 1 and value["value"] is not None:
            assert in_the_other_order(codec, bytes.fromhex(frame["answer"])[3:-2]) != value["value"]


# -- Every type in every order

ONE = Fraction(1)

PATTERNS = [
    (WordType.U16, "8001", 0x8001),
    (WordType.I16, "8001", -0x7FFF),
    (WordType.U32, "80000102", 0x80000102),
    (WordType.I32, "80000102", 0x80000102 - (1 << 32)),
    (WordType.U64, "0000000000010203", 0x10203),
    (WordType.I64, "fffffffffffffffe", -2),
    (WordType.F32, "c2280000", -42),
    (WordType.F64, "40f86a0000000000", 100_000),
]


@pytest.mark.parametrize(("type_", "high_first", "value"), PATTERNS, ids=[str(case[0]) for case in PATTERNS])
def test_every_type_reads_in_both_orders(type_: WordType, high_first: str, value: int) -> None:
    data = bytes.fromhex(high_first)
    low_first = b"".join(reversed([data[at : at + 2] for at in range(0, len(data), 2)]))
    for order, ordered in ((WordOrder.HIGH_FIRST, data), (WordOrder.LOW_FIRST, low_first)):
        codec = RegisterCodec(type_, order, ONE)
        words_ = list(struct.unpack(f">{type_.words}H", ordered))
        assert codec.decode_bytes(ordered) == codec.decode(words_) == value
        assert codec.decode_column(ordered * 3) == [value] * 3
        assert codec.encode(value) == words_


def test_inside_a_word_the_high_byte_always_comes_first() -> None:
    for order in WordOrder:
        assert RegisterCodec(WordType.U16, order, ONE).decode([0x0102]) == 0x0102


def test_a_value_is_rounded_half_to_even() -> None:
    tenth = RegisterCodec(WordType.I16, WordOrder.HIGH_FIRST, Fraction(1, 10))
    assert [tenth.decode([count]) for count in (5, 15, 25, 35)] == [0, 2, 2, 4]
    assert [tenth.decode([0x10000 - count]) for count in (5, 15, 25, 35)] == [0, -2, -2, -4]


def test_a_scale_may_turn_the_sign() -> None:
    assert RegisterCodec(WordType.I16, WordOrder.HIGH_FIRST, Fraction(-10)).decode([7]) == -70


def f32(value: float) -> bytes:
    return struct.pack(">f", value)


KILO = RegisterCodec(WordType.F32, WordOrder.HIGH_FIRST, Fraction(1000))


@pytest.mark.parametrize("value", [math.inf, -math.inf], ids=str)
def test_infinity_is_no_value(value: float) -> None:
    with pytest.raises(EncodingError):
        KILO.decode_bytes(f32(value))
    with pytest.raises(EncodingError):
        KILO.decode_column(f32(1.0) + f32(value))


@pytest.mark.parametrize("pattern", ["7fc00000", "ffc00000", "7f800001", "7fffffff"])
def test_a_float_that_is_no_number_means_that_there_is_no_value(pattern: str) -> None:
    assert KILO.decode_bytes(bytes.fromhex(pattern)) is None
    with pytest.raises(EncodingError):
        KILO.decode_column(f32(1.0) + bytes.fromhex(pattern))


def test_a_float_beyond_64_bits_is_no_value() -> None:
    for codec in (KILO, RegisterCodec(WordType.F64, WordOrder.HIGH_FIRST, ONE)):
        huge = struct.pack(">f" if codec.type is WordType.F32 else ">d", 1e30)
        with pytest.raises(EncodingError, match="64 bits"):
            codec.decode_bytes(huge)
        with pytest.raises(EncodingError, match="64 bits"):
            codec.decode_column(huge)


def test_an_integer_that_the_scale_lifts_beyond_64_bits_is_no_value() -> None:
    ten_wh = RegisterCodec(WordType.U64, WordOrder.HIGH_FIRST, Fraction(10))
    assert ten_wh.decode_bytes((VALUE_MAX // 10).to_bytes(8)) == VALUE_MAX // 10 * 10
    for pattern in (VALUE_MAX // 10 + 1, 2**64 - 1):
        with pytest.raises(EncodingError, match="64 bits"):
            ten_wh.decode_bytes(pattern.to_bytes(8))
        with pytest.raises(EncodingError, match="64 bits"):
            ten_wh.decode_column(pattern.to_bytes(8))


@pytest.mark.parametrize("value", [0.0, -0.0, 2**-149, -(2**-149), 2**-126, 0.0005, 0.0015])
def test_the_smallest_floats_round_like_all_others(value: float) -> None:
    exact = struct.unpack(">f", f32(value))[0]
    assert KILO.decode_bytes(f32(value)) == round(Fraction(exact) * 1000)
    assert KILO.decode_column(f32(value)) == [round(Fraction(exact) * 1000)]


# -- Bounds and mistakes


def test_bits_by_which_the_meter_says_that_it_has_no_value_are_none() -> None:
    codec = RegisterCodec(WordType.U32, WordOrder.LOW_FIRST, ONE, frozenset({0x7FFF0000}))
    assert codec.decode([0x0000, 0x7FFF]) is None
    assert codec.decode([0x7FFF, 0x0000]) == 0x7FFF
    with pytest.raises(EncodingError, match="no value"):
        codec.decode_column(bytes.fromhex("0001000000007fff"))
    with pytest.raises(EncodingError, match="no value"):
        codec.encode(0x7FFF0000)


@pytest.mark.parametrize("wrong", [[], [1], [1, 2, 3], [1, 0x10000], [-1, 0]], ids=str)
def test_words_that_are_none_are_refused(wrong: list[int]) -> None:
    with pytest.raises(EncodingError):
        RegisterCodec(WordType.U32, WordOrder.HIGH_FIRST, ONE).decode(wrong)


@pytest.mark.parametrize("data", [b"", b"\x00", bytes(3), bytes(5)], ids=len)
def test_bytes_of_another_length_are_refused(data: bytes) -> None:
    codec = RegisterCodec(WordType.U32, WordOrder.HIGH_FIRST, ONE)
    with pytest.raises(EncodingError):
        codec.decode_bytes(data)
    if data:
        with pytest.raises(EncodingError):
            codec.decode_column(data)


def test_a_column_of_nothing_is_empty() -> None:
    assert KILO.decode_column(b"") == []


@pytest.mark.parametrize(
    ("type_", "value"),
    [(WordType.U16, -1), (WordType.U16, 0x10000), (WordType.I32, 1 << 31), (WordType.F32, 10**45)],
    ids=str,
)
def test_what_a_register_cannot_hold_is_not_written(type_: WordType, value: int) -> None:
    with pytest.raises(EncodingError):
        RegisterCodec(type_, WordOrder.HIGH_FIRST, ONE).encode(value)
