"""A batch: what a gateway read in a while, in columns, ready to be signed.

One batch belongs to one boot of one gateway and is linked to the gateway's record before it. Its instants are
milliseconds on that boot's monotonic clock; `Clock.epoch_ms` turns them into UTC. So readings taken before the
clock was set lose nothing, and a clock that jumps cannot bend the past.

The words of the energy registers travel as the meter sent them, so that anybody can decode them again.
Format: docs/spec/este.cddl.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from itertools import pairwise
from operator import lt
from typing import Final

from protocol.canonical import Value, decode, encode, fields_of, integers_in, none_negative
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
    """The readings of one meter, column by column; all columns have one length."""

    meter: str
    profile: bytes
    """Digest of the profile that its words were decoded with."""
    serial: str
    """Serial number as read from the meter; empty where it tells none."""
    first_ms: int
    """Start of the first read, on the boot's clock."""
    starts_ms: array[int]
    """Start of each read after `first_ms`; rising from 0."""
    durations_ms: array[int]
    """How long each read took, to the last answer."""
    quality: array[int]
    columns: Mapping[Quantity, array[int]]
    """Values in base units."""
    words: Mapping[Quantity, bytes]
    """Energy registers as on the wire, one after another."""

    def __len__(self) -> int:
        return len(self.starts_ms)


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
        5: block.starts_ms,
        6: block.durations_ms,
        7: block.quality,
        8: {quantity.value: block.columns[quantity] for quantity in sorted(block.columns)},
        9: {quantity.value: block.words[quantity] for quantity in sorted(block.words)},
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
    fields = fields_of(value, (1, 2, 3, 4, 5, 6, 7, 8, 9), "meter block")
    starts = integers_in(fields[5])
    count = len(starts)
    if not 1 <= count <= READINGS_MAX:
        raise EncodingError(f"starts: from 1 to {READINGS_MAX} readings, got {count}")
    durations, quality = integers_in(fields[6]), integers_in(fields[7])
    columns = {_quantity(key): integers_in(column) for key, column in _map_of(fields[8], "columns").items()}
    if {len(durations), len(quality), *map(len, columns.values())} != {count}:
        raise EncodingError(f"columns: every column must hold {count} values")
    if starts[0] != 0 or not _rises(starts) or starts[-1] > INSTANT_MAX:
        raise EncodingError(f"starts: must rise from 0, to {INSTANT_MAX} at most")
    for column, what in ((durations, "durations"), (quality, "quality flags")):
        if not none_negative(column) or column.itemsize > 4:
            raise EncodingError(f"{what}: must lie from 0 to {2**31 - 1}")
    words = {_quantity(key): data for key, data in _map_of(fields[9], "words").items()}
    if list(words) != [quantity for quantity in ENERGY_REGISTERS if quantity in columns]:
        raise EncodingError("words: exactly the energy registers among the columns bring their words")
    for data in words.values():
        if type(data) is not bytes or len(data) % (2 * count) or not 0 < len(data) <= WORDS_BYTES_MAX * count:
            raise EncodingError(f"words: expected {count} registers of whole words")
    return MeterBlock(
        meter=name(fields[1], "meter"),
        profile=digest(fields[2], "profile"),
        serial=text(fields[3], "serial number", 32),
        first_ms=uint(fields[4], "first instant", INSTANT_MAX),
        starts_ms=starts,
        durations_ms=durations,
        quality=quality,
        columns=columns,
        words=words,
    )


def _map_of(value: Value, what: str) -> dict[int, Value]:
    if type(value) is not dict:
        raise EncodingError(f"{what}: expected a map")
    return value


_QUANTITIES: Final = {quantity.value: quantity for quantity in Quantity}


def _quantity(key: int) -> Quantity:
    try:
        return _QUANTITIES[key]
    except KeyError as error:
        raise EncodingError(f"no quantity has the number {key}") from error


def _rises(values: array[int]) -> bool:
    return all(map(lt, values, values[1:]))
