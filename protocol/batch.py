"""A batch: what a gateway read in a while, in columns, ready to be signed.

One batch belongs to one boot of one gateway and is linked to the gateway's record before it. Its instants are
milliseconds on that boot's monotonic clock; `Clock.epoch_ms` turns them into UTC. So readings taken before the
clock was set lose nothing, and a clock that jumps cannot bend the past.

Energy travels once: as the words of its registers, exactly as the meter sent them. Whoever has the meter's profile
decodes them, so nobody has to believe a gateway's arithmetic where money is made of it. Format: docs/spec/este.cddl.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from itertools import pairwise
from operator import add, lt
from typing import Final, Self

from protocol.canonical import Value, decode, encode, fields_of
from protocol.errors import EncodingError
from protocol.fields import digest, items, name, octets, row, text, uint
from protocol.link import Link
from protocol.units import ENERGY_REGISTERS, Quantity

BATCH_BYTES_MAX: Final = 256 * 1024
METERS_MAX: Final = 1024
READINGS_MAX: Final = 4096
"""Readings of one meter in one batch."""
WORDS_BYTES_MAX: Final = 8
"""Bytes of one register."""
BOOT_ID_BYTES: Final = 16
FIXED_COLUMNS: Final = 3
"""Starts, durations and quality come before the quantities."""
VALUE_MIN: Final = -(1 << 31)
VALUE_MAX: Final = (1 << 31) - 1
"""What a column holds: two gigawatts, two thousand kilovolts, three weeks and a half after the first start."""
INSTANT_MAX: Final = 1 << 53
"""Milliseconds: 285,000 years. An instant is a sum of three such numbers, and still fits 64 bits."""


class ClockState(IntEnum):
    """Whether a gateway's clock may be believed."""

    UNSYNCHRONIZED = 0
    SYNCHRONIZED = 1


class Quality(IntFlag):
    """What is to be known about one reading, beyond its numbers."""

    NONE = 0
    VALUE_MISSING = 1
    """The meter had no value for some quantity other than energy; its column holds 0."""
    UNEXPLAINED_STEP = 2
    """An energy register did what no counter may do; see protocol.energy_register."""


@dataclass(frozen=True, slots=True)
class Clock:
    """What a gateway knows about its own clock."""

    state: ClockState
    error_ms: int
    """Estimated error; what the system says, bounded to a day."""
    source: str
    """Who says so: ``kernel``, ``chrony``, …"""
    epoch_ms: int
    """UTC at the zero of the boot's monotonic clock."""


@dataclass(frozen=True, slots=True)
class MeterBlock:
    """The readings of one meter, column by column."""

    meter: str
    profile: bytes
    """Digest of the profile that tells where in the meter each value stood."""
    serial: str
    """Serial number as read from the meter; empty where it tells none."""
    first_ms: int
    """Start of the first read, on the boot's clock."""
    quantities: tuple[Quantity, ...]
    """What the columns behind the first three of the table hold, in rising order; never energy."""
    table: array[int]
    """One column after another, each a value per reading: starts, durations, quality, then `quantities`."""
    words: Mapping[Quantity, bytes]
    """Energy registers as on the wire, one reading after another."""

    @classmethod
    def of(
        cls,
        *,
        meter: str,
        profile: bytes,
        serial: str,
        first_ms: int,
        starts_ms: Iterable[int],
        durations_ms: Iterable[int],
        quality: Iterable[int],
        columns: Mapping[Quantity, Iterable[int]],
        words: Mapping[Quantity, bytes],
    ) -> Self:
        """Build a block from its columns.

        Args:
            starts_ms: start of each read after `first_ms`; rising from 0.
            durations_ms: how long each read took, to the last answer.
            quality: `Quality` flags of each reading.
            columns: values in base units, by quantity.
            words: the energy registers' words, by quantity.

        Raises:
            OverflowError: a value needs more than 32 bits.
        """
        quantities = tuple(sorted(columns))
        table = array("i")
        for column in (starts_ms, durations_ms, quality, *(columns[quantity] for quantity in quantities)):
            table += array("i", column)
        return cls(meter, profile, serial, first_ms, quantities, table, dict(sorted(words.items())))

    def __len__(self) -> int:
        return len(self.table) // (FIXED_COLUMNS + len(self.quantities))

    @property
    def starts_ms(self) -> array[int]:
        """Start of each read after `first_ms`; rising from 0."""
        return self.table[: len(self)]

    @property
    def last_ms(self) -> int:
        """End of the read that ended last, on the boot's clock."""
        took_until_ms: int = max(map(add, self.starts_ms, self.durations_ms))
        return self.first_ms + took_until_ms

    @property
    def durations_ms(self) -> array[int]:
        """How long each read took, to the last answer."""
        return self._column(1)

    @property
    def quality(self) -> array[int]:
        """`Quality` flags of each reading."""
        return self._column(2)

    @property
    def columns(self) -> dict[Quantity, array[int]]:
        """Values in base units, by quantity."""
        return {quantity: self._column(FIXED_COLUMNS + place) for place, quantity in enumerate(self.quantities)}

    def column(self, quantity: Quantity) -> array[int] | None:
        """The values of one quantity, or None where the block has none."""
        if quantity not in self.quantities:
            return None
        return self._column(FIXED_COLUMNS + self.quantities.index(quantity))

    def words_of(self, quantity: Quantity, reading: int) -> bytes:
        """The words of an energy register at one reading, as on the wire."""
        width = len(self.words[quantity]) // len(self)
        return self.words[quantity][reading * width : (reading + 1) * width]

    def _column(self, place: int) -> array[int]:
        count = len(self)
        return self.table[place * count : (place + 1) * count]


@dataclass(frozen=True, slots=True)
class Batch:
    """Everything a gateway signs at once."""

    link: Link
    boot_id: bytes
    clock: Clock
    meters: tuple[MeterBlock, ...]

    @property
    def readings(self) -> int:
        """How many readings the batch holds."""
        return sum(map(len, self.meters))

    def encode(self) -> bytes:
        """Spell the batch."""
        clock = self.clock
        return encode(
            self.link.to_fields()
            | {
                5: self.boot_id,
                6: [clock.state.value, clock.error_ms, clock.source, clock.epoch_ms],
                7: [_block_fields(block) for block in self.meters],
            }
        )

    @classmethod
    def decode(cls, payload: bytes) -> Batch:
        """Read a batch.

        Raises:
            EncodingError: not the one spelling of a batch; see its subclasses.
        """
        fields = fields_of(decode(payload, size_max=BATCH_BYTES_MAX), (1, 2, 3, 4, 5, 6, 7), "batch")
        meters = tuple(map(_read_block, items(fields[7], "meters", METERS_MAX)))
        if not meters:
            raise EncodingError("meters: a batch holds at least one")
        if any(a.meter >= b.meter for a, b in pairwise(meters)):
            raise EncodingError("meters: must stand once each, in rising order of name")
        return cls(
            link=Link.from_fields(fields),
            boot_id=octets(fields[5], "boot id", BOOT_ID_BYTES),
            clock=_read_clock(fields[6]),
            meters=meters,
        )


def _block_fields(block: MeterBlock) -> dict[int, Value]:
    return {
        1: block.meter,
        2: block.profile,
        3: block.serial,
        4: block.first_ms,
        5: [quantity.value for quantity in block.quantities],
        6: block.table,
        7: {quantity.value: words for quantity, words in block.words.items()},
    }


def _read_clock(value: Value) -> Clock:
    state, error_ms, source, epoch_ms = row(value, "clock", 4)
    return Clock(
        state=ClockState(uint(state, "clock state", max(ClockState))),
        error_ms=uint(error_ms, "clock error", 86_400_000),
        source=text(source, "clock source", 32),
        epoch_ms=uint(epoch_ms, "clock epoch", INSTANT_MAX),
    )


def _read_block(value: Value) -> MeterBlock:
    fields = fields_of(value, (1, 2, 3, 4, 5, 6, 7), "meter block")
    quantities = tuple(map(_quantity, items(fields[5], "quantities", len(Quantity))))
    if any(a >= b for a, b in pairwise(quantities)) or not _ENERGY.isdisjoint(quantities):
        raise EncodingError("quantities: must stand once each, in rising order, and none of them is energy")
    table = fields[6]
    if type(table) is not array:
        raise EncodingError("table: expected an array of 32-bit integers")
    count, rest = divmod(len(table), FIXED_COLUMNS + len(quantities))
    if rest or not 1 <= count <= READINGS_MAX:
        raise EncodingError(f"table: {len(table)} values are not from 1 to {READINGS_MAX} readings in equal columns")
    if table[0] != 0 or not all(map(lt, table[: count - 1], table[1:count])):
        raise EncodingError("starts: must rise from 0")
    if min(table[count : FIXED_COLUMNS * count]) < 0:
        raise EncodingError("durations and quality flags are never negative")
    return MeterBlock(
        meter=name(fields[1], "meter"),
        profile=digest(fields[2], "profile"),
        serial=text(fields[3], "serial number", 32),
        first_ms=uint(fields[4], "first instant", INSTANT_MAX),
        quantities=quantities,
        table=table,
        words=_read_words(fields[7], count),
    )


def _read_words(value: Value, count: int) -> dict[Quantity, bytes]:
    words = {_quantity(key): data for key, data in _map_of(value, "words").items()}
    if not _ENERGY.issuperset(words):
        raise EncodingError("words: only energy registers bring their words")
    for data in words.values():
        if type(data) is not bytes or len(data) % (2 * count) or not 0 < len(data) <= WORDS_BYTES_MAX * count:
            raise EncodingError(f"words: expected {count} registers of whole words")
    return words


def _map_of(value: Value, what: str) -> dict[int, Value]:
    if type(value) is not dict:
        raise EncodingError(f"{what}: expected a map")
    return value


_ENERGY: Final = frozenset(ENERGY_REGISTERS)
_QUANTITIES: Final = {quantity.value: quantity for quantity in Quantity}


def _quantity(number: Value) -> Quantity:
    quantity = _QUANTITIES.get(number) if type(number) is int else None
    if quantity is None:
        raise EncodingError(f"no quantity has the number {number!r:.20}")
    return quantity
