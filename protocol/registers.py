"""Words on the wire ↔ integers in base units: exact, whatever the machine.

A *word* is 16 bits of a Modbus answer; a *register* here is a value that spans one to four of them. Whatever a
meter speaks (integers with a scale, or IEEE 754 floats), the result is an integer in the base unit of its
quantity, rounded half to even from the exact rational value, so that gateway and auditor agree to the last digit.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Final

from protocol.errors import EncodingError


class WordType(StrEnum):
    """How the bits of a register spell a number."""

    U16 = "u16"
    I16 = "i16"
    U32 = "u32"
    I32 = "i32"
    U64 = "u64"
    I64 = "i64"
    F32 = "f32"
    F64 = "f64"

    @property
    def words(self) -> int:
        """How many 16-bit words it spans."""
        return int(self.value[1:]) // 16

    @property
    def is_unsigned(self) -> bool:
        """Whether it has no numbers below 0."""
        return self.value.startswith("u")


class WordOrder(StrEnum):
    """Which of several words comes first. Inside a word, the high byte always does (Modbus 4.2)."""

    HIGH_FIRST = "high_first"
    LOW_FIRST = "low_first"


_STRUCT: Final = {
    WordType.U16: "H",
    WordType.I16: "h",
    WordType.U32: "I",
    WordType.I32: "i",
    WordType.U64: "Q",
    WordType.I64: "q",
    WordType.F32: "f",
    WordType.F64: "d",
}

_FLOATS: Final = frozenset((WordType.F32, WordType.F64))

VALUE_MIN: Final = -(1 << 63)
VALUE_MAX: Final = (1 << 63) - 1
"""What a column of a batch can hold."""

_EXACT_SCALE_MAX: Final = 1 << 29
"""A 24-bit mantissa times a whole scale below this fits the 53 bits of a double without rounding."""


@dataclass(frozen=True, slots=True)
class RegisterCodec:
    """How one register's words become an integer in its base unit, and back."""

    type: WordType
    order: WordOrder
    scale: Fraction
    """Base units per count: 1000 for a float in kWh, 10 for an integer in 0.01 kWh."""
    not_available: frozenset[int] = frozenset()
    """Bit patterns, as unsigned integers, by which the meter says that it has no value."""

    def decode(self, words: Sequence[int]) -> int | None:
        """One register, as the words of a Modbus answer.

        Returns:
            The value in base units, or None where the meter says that it has none.

        Raises:
            EncodingError: a wrong number of words, a word that is none, or a value of more than 64 bits.
        """
        if len(words) != self.type.words:
            raise EncodingError(f"{self.type} spans {self.type.words} words, not {len(words)}")
        try:
            data = struct.pack(f">{len(words)}H", *words)
        except struct.error as error:
            raise EncodingError(f"not words of 16 bits: {words!r:.60}") from error
        return self.decode_bytes(data)

    def decode_bytes(self, data: bytes) -> int | None:
        """One register, as the bytes on the wire. See `decode`."""
        ordered = self._high_first(data)
        if int.from_bytes(ordered) in self.not_available:
            return None
        raw = struct.unpack(">" + _STRUCT[self.type], ordered)[0]
        return None if raw != raw else self._whole(raw)  # noqa: PLR0124  only a NaN differs from itself

    def decode_column(self, data: bytes) -> list[int]:
        """Many registers, packed one after another, none of them without a value.

        Raises:
            EncodingError: the length is no multiple of the register's, or a value is none.
        """
        width = 2 * self.type.words
        if len(data) % width:
            raise EncodingError(f"{len(data)} bytes are no multiple of {width}")
        count = len(data) // width
        if count > 1 and data == data[:width] * count:  # a register that stands still, as most do for hours
            return self.decode_column(data[:width]) * count
        if self.order is WordOrder.LOW_FIRST and self.type.words > 1:
            data = b"".join(self._high_first(data[i : i + width]) for i in range(0, len(data), width))
        if self.not_available:
            patterns = struct.unpack(f">{count}{_UNSIGNED[self.type.words]}", data)
            if not self.not_available.isdisjoint(patterns):
                raise EncodingError("a register says that it has no value")
        return self._wholes(struct.unpack(f">{count}{_STRUCT[self.type]}", data))

    def encode(self, value: int) -> list[int]:
        """The words that come nearest to `value` base units.

        Raises:
            EncodingError: the register cannot hold it, or would say that it has no value.
        """
        counts = Fraction(value) / self.scale
        try:
            packed = struct.pack(">" + _STRUCT[self.type], float(counts) if self.type in _FLOATS else round(counts))
        except (struct.error, OverflowError) as error:
            raise EncodingError(f"{value} does not fit a register of type {self.type}") from error
        if int.from_bytes(packed) in self.not_available:
            raise EncodingError(f"{value} is spelled like no value at all in a register of type {self.type}")
        words = list(struct.unpack(f">{self.type.words}H", packed))
        return words[::-1] if self.order is WordOrder.LOW_FIRST else words

    def _whole(self, raw: float) -> int:
        """Round the exact value half to even."""
        try:
            value = round(Fraction(raw) * self.scale)
        except (OverflowError, ValueError) as error:
            raise EncodingError("a register holds no finite number") from error
        if not VALUE_MIN <= value <= VALUE_MAX:
            raise EncodingError("a register holds more than 64 bits of base units")
        return value

    def _wholes(self, raw: Sequence[float]) -> list[int]:
        """`_whole` for many: by the machine's own arithmetic wherever that cannot round."""
        count = self.scale.numerator
        try:
            if self._is_exact_in_double():
                factor = float(count)
                values = [round(x * factor) for x in raw]
            elif self.scale.denominator == 1 and self.type not in _FLOATS:
                values = [int(x) * count for x in raw]
            else:
                return [self._whole(x) for x in raw]
            array("q", values)  # a second look, at what fits 64 bits
        except (OverflowError, ValueError) as error:
            raise EncodingError("a register holds no finite number of at most 64 bits") from error
        return values

    def _is_exact_in_double(self) -> bool:
        """Whether float arithmetic cannot round: then it is the fast spelling of `_whole`."""
        return (
            self.type is WordType.F32 and self.scale.denominator == 1 and abs(self.scale.numerator) < _EXACT_SCALE_MAX
        )

    def _high_first(self, data: bytes) -> bytes:
        if len(data) != 2 * self.type.words:
            raise EncodingError(f"{self.type} spans {2 * self.type.words} bytes, not {len(data)}")
        if self.order is WordOrder.HIGH_FIRST:
            return data
        return b"".join(data[i : i + 2] for i in range(len(data) - 2, -1, -2))


_UNSIGNED: Final = {1: "H", 2: "I", 4: "Q"}
