"""Whatever bits a register holds: the value is the exact one, rounded once, however it is read."""

from __future__ import annotations

import math
import struct
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import EncodingError
from protocol.registers import VALUE_MAX, VALUE_MIN, RegisterCodec, WordOrder, WordType

SCALES = [Fraction(1), Fraction(10), Fraction(100), Fraction(1000), Fraction(10**6), Fraction(1, 10), Fraction(-1)]
SCALES += [Fraction(1, 1000), Fraction(7, 3), Fraction(2**29 - 1), Fraction(2**29), Fraction(10**9)]

codecs = st.builds(RegisterCodec, st.sampled_from(WordType), st.sampled_from(WordOrder), st.sampled_from(SCALES))


@st.composite
def registers(draw: st.DrawFn) -> tuple[RegisterCodec, list[bytes]]:
    """A codec, and registers of its type: any bits, with those of everyday numbers more often."""
    codec = draw(codecs)
    width = 2 * codec.type.words
    bits = st.binary(min_size=width, max_size=width)
    everyday = st.integers(0, 100_000).map(lambda n: everyday_bits(codec, n))
    return codec, draw(st.lists(bits | everyday, min_size=1, max_size=8))


def everyday_bits(codec: RegisterCodec, number: int) -> bytes:
    form = {"f": ">f", "d": ">d"}.get({WordType.F32: "f", WordType.F64: "d"}.get(codec.type, ""))
    width = 2 * codec.type.words
    data = struct.pack(form, number / 100) if form else (number % (1 << 8 * width - 1)).to_bytes(width)
    return data if codec.order is WordOrder.HIGH_FIRST else swapped(data)


def swapped(data: bytes) -> bytes:
    return b"".join(reversed([data[at : at + 2] for at in range(0, len(data), 2)]))


def exact_value(codec: RegisterCodec, data: bytes) -> int | None:
    """The definition, written anew: bits → rational number → times scale → rounded half to even."""
    bits = int.from_bytes(data if codec.order is WordOrder.HIGH_FIRST else swapped(data))
    width = 16 * codec.type.words
    match codec.type.value[0]:
        case "u":
            number = Fraction(bits)
        case "i":
            number = Fraction(bits - (bits >> (width - 1) << width))
        case _:
            exponent_bits, mantissa_bits = (8, 23) if width == 32 else (11, 52)
            exponent = bits >> mantissa_bits & (1 << exponent_bits) - 1
            mantissa = bits & (1 << mantissa_bits) - 1
            if exponent == (1 << exponent_bits) - 1:
                return None
            significand = Fraction(mantissa, 1 << mantissa_bits) + (exponent > 0)
            number = significand * Fraction(2) ** (max(exponent, 1) - ((1 << exponent_bits - 1) - 1))
            number = -number if bits >> width - 1 else number
    scaled = number * codec.scale
    floor, half = scaled.numerator // scaled.denominator, Fraction(1, 2)
    rest = scaled - floor
    value = floor + (rest > half or (rest == half and floor % 2 == 1))
    return value if VALUE_MIN <= value <= VALUE_MAX else None


def decoded(codec: RegisterCodec, data: bytes) -> int | None:
    try:
        return codec.decode_bytes(data)
    except EncodingError:
        return None


@given(registers())
def test_a_value_is_exact_and_rounded_once(case: tuple[RegisterCodec, list[bytes]]) -> None:
    codec, data = case
    assert [decoded(codec, register) for register in data] == [exact_value(codec, register) for register in data]


@given(registers())
def test_a_column_is_its_registers_one_by_one(case: tuple[RegisterCodec, list[bytes]]) -> None:
    codec, data = case
    one_by_one = [decoded(codec, register) for register in data]
    try:
        column = codec.decode_column(b"".join(data))
    except EncodingError:
        assert None in one_by_one
    else:
        assert column == one_by_one
        assert all(type(value) is int for value in column)


@given(registers(), st.sets(st.integers(0, 3)))
def test_a_column_with_a_register_without_value_is_refused(
    case: tuple[RegisterCodec, list[bytes]], chosen: set[int]
) -> None:
    codec, data = case
    patterns = {data[n] for n in chosen if n < len(data)}
    high_first = {int.from_bytes(p if codec.order is WordOrder.HIGH_FIRST else swapped(p)) for p in patterns}
    codec = RegisterCodec(codec.type, codec.order, codec.scale, frozenset(high_first))
    for register in data:
        if register in patterns:
            assert codec.decode_bytes(register) is None
    if patterns:
        try:
            codec.decode_column(b"".join(data))
        except EncodingError:
            return
        raise AssertionError("a register that says it has no value was decoded")


@given(codecs, st.integers(-(2**62), 2**62))
def test_what_fits_a_register_comes_back_to_the_nearest_count(codec: RegisterCodec, value: int) -> None:
    try:
        words = codec.encode(value)
    except EncodingError:
        return
    back = codec.decode(words)
    assert back is not None
    counts = abs(Fraction(value) / codec.scale)
    step = {WordType.F32: Fraction(1, 2**24), WordType.F64: Fraction(1, 2**53)}.get(codec.type)
    slip = Fraction(1, 2) if step is None else max(counts * step * 2, Fraction(1, 2**149))
    assert abs(back - value) <= abs(codec.scale) * slip + Fraction(1, 2)


@given(codecs, st.binary(max_size=40))
def test_no_bytes_make_a_codec_fail_in_another_way(codec: RegisterCodec, data: bytes) -> None:
    for read in (codec.decode_bytes, codec.decode_column):
        try:
            value = read(data)
        except EncodingError:
            continue
        assert value is None or type(value) in (int, list)


@given(codecs, st.lists(st.integers(), max_size=5))
def test_no_words_make_a_codec_fail_in_another_way(codec: RegisterCodec, words: list[int]) -> None:
    try:
        codec.decode(words)
    except EncodingError:
        return
    assert len(words) == codec.type.words


@given(st.floats(width=32))
def test_a_float_reads_as_the_number_it_is(number: float) -> None:
    codec = RegisterCodec(WordType.F32, WordOrder.HIGH_FIRST, Fraction(1))
    value = decoded(codec, struct.pack(">f", number))
    if math.isfinite(number) and VALUE_MIN <= number <= VALUE_MAX:
        assert value == round(number)
    else:
        assert value is None
