"""A batch: what a gateway read in a while, ready to be signed.

One batch belongs to one boot of one gateway and is linked to the gateway's record before it. Its instants are
milliseconds on that boot's monotonic clock; `Clock.epoch_ms` turns them into UTC. So readings taken before the
clock was set lose nothing, and a clock that jumps cannot bend the past.

Energy travels once: as the words of its registers, exactly as the meter sent them. Whoever has the meter's profile
decodes them, so nobody has to believe a gateway's arithmetic where money is made of it. Format: docs/spec/este.cddl.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from itertools import pairwise
from typing import Final, Self

from protocol.canonical import Value, decode, encode, fields_of
from protocol.errors import EncodingError
from protocol.fields import digest, items, name, octets, row, text, uint
from protocol.link import Link
from protocol.readings import Readings, read_parts, read_quantities, read_table
from protocol.units import Quantity

BATCH_BYTES_MAX: Final = 256 * 1024
METERS_MAX: Final = 1024
WORDS_BYTES_MAX: Final = 8
"""Bytes of one register."""
BOOT_ID_BYTES: Final = 16
WORD_KEYS: Final[Mapping[Quantity, int]] = {Quantity.IMPORTED_WH: 4, Quantity.EXPORTED_WH: 5, Quantity.HEAT_WH: 6}
"""Under which key of a map the words of an energy register stand: keys of maps stay below 24."""
WORD_QUANTITIES: Final[Mapping[int, Quantity]] = {key: quantity for quantity, key in WORD_KEYS.items()}
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


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterBlock(Readings):
    """The readings of one meter: in a table what it showed, beside it the words of its energy registers."""

    meter: str
    profile: bytes
    """Digest of the profile that tells where in the meter each value stood."""
    serial: str
    """Serial number as read from the meter; empty where it tells none."""
    words: Mapping[Quantity, bytes]
    """Energy registers as on the wire, one reading after another."""
    slow: Readings | None = None
    """What was read more rarely, none of it energy and none of it later than the last of these readings began."""

    @classmethod
    def around(
        cls,
        readings: Readings,
        *,
        meter: str,
        profile: bytes,
        serial: str,
        words: Mapping[Quantity, bytes],
        slow: Readings | None = None,
    ) -> Self:
        """Build a block; `readings.parts` counts the energy registers behind the columns."""
        return cls(
            meter=meter,
            profile=profile,
            serial=serial,
            first_ms=readings.first_ms,
            quantities=readings.quantities,
            table=readings.table,
            parts=readings.parts,
            words=dict(sorted(words.items())),
            slow=slow,
        )

    @property
    def latest_ms(self) -> int:
        """When the last read of all was complete, a slow one or not, on the boot's clock."""
        return max(self.end_ms, self.slow.end_ms) if self.slow else self.end_ms

    @property
    def told(self) -> tuple[Quantity, ...]:
        """What every reading tells: columns, and behind them energy registers."""
        return (*self.quantities, *self.words)

    def words_of(self, quantity: Quantity, reading: int) -> bytes:
        """The words of an energy register at one reading, as on the wire."""
        width = len(self.words[quantity]) // len(self)
        return self.words[quantity][reading * width : (reading + 1) * width]


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
    fields: dict[int, Value] = {
        1: block.meter,
        2: block.profile,
        3: block.serial,
        4: block.first_ms,
        5: [quantity.value for quantity in block.quantities],
        6: block.table,
        7: {WORD_KEYS[quantity]: words for quantity, words in block.words.items()},
    }
    if block.parts:
        fields[8] = block.parts
    if block.slow is not None:
        fields[9] = _slow_fields(block.slow)
    return fields


def _slow_fields(slow: Readings) -> dict[int, Value]:
    fields: dict[int, Value] = {1: slow.first_ms, 2: [quantity.value for quantity in slow.quantities], 3: slow.table}
    if slow.parts:
        fields[4] = slow.parts
    return fields


def _read_clock(value: Value) -> Clock:
    state, error_ms, source, epoch_ms = row(value, "clock", 4)
    return Clock(
        state=ClockState(uint(state, "clock state", max(ClockState))),
        error_ms=uint(error_ms, "clock error", 86_400_000),
        source=text(source, "clock source", 32),
        epoch_ms=uint(epoch_ms, "clock epoch", INSTANT_MAX),
    )


def _read_block(value: Value) -> MeterBlock:
    fields = fields_of(value, (1, 2, 3, 4, 5, 6, 7), "meter block", optional=(8, 9))
    quantities, words = read_quantities(fields[5]), _map_of(fields[7], "words")
    parts = read_parts(fields[8], len(quantities) + len(words)) if 8 in fields else b""
    table, count = read_table(fields[6], quantities, parts)
    block = MeterBlock(
        meter=name(fields[1], "meter"),
        profile=digest(fields[2], "profile"),
        serial=text(fields[3], "serial number", 32),
        first_ms=_read_first(fields[4]),
        quantities=quantities,
        table=table,
        parts=parts,
        words=_read_words(words, count),
        slow=_read_slow(fields[9]) if 9 in fields else None,
    )
    if block.slow is not None:
        _check_slow(block, block.slow)
    return block


def _read_slow(value: Value) -> Readings:
    fields = fields_of(value, (1, 2, 3), "slow readings", optional=(4,))
    quantities = read_quantities(fields[2])
    if not quantities:
        raise EncodingError("slow readings: at least one quantity, or they tell nothing")
    parts = read_parts(fields[4], len(quantities)) if 4 in fields else b""
    table, _ = read_table(fields[3], quantities, parts)
    return Readings(first_ms=_read_first(fields[1]), quantities=quantities, table=table, parts=parts)


def _check_slow(block: MeterBlock, slow: Readings) -> None:
    """A quantity stands in one of both tables, and slow readings come with a reading that began after them."""
    if not set(slow.quantities).isdisjoint(block.quantities):
        raise EncodingError("slow readings: a quantity that every reading tells stands there already")
    if slow.first_ms + slow.starts_ms[-1] > block.first_ms + block.starts_ms[-1]:
        raise EncodingError("slow readings: none begins after the last reading")


def _read_first(value: Value) -> int:
    return uint(value, "first instant", INSTANT_MAX)


def _read_words(value: Mapping[int, Value], count: int) -> dict[Quantity, bytes]:
    if not WORD_QUANTITIES.keys() >= value.keys():
        raise EncodingError("words: only energy registers bring their words")
    words = {WORD_QUANTITIES[key]: data for key, data in value.items()}
    for data in words.values():
        if type(data) is not bytes or len(data) % (2 * count) or not 0 < len(data) <= WORDS_BYTES_MAX * count:
            raise EncodingError(f"words: expected {count} registers of whole words")
    return words


def _map_of(value: Value, what: str) -> dict[int, Value]:
    if type(value) is not dict:
        raise EncodingError(f"{what}: expected a map")
    return value
