"""Journaled readings → one batch: when it is closed, what goes into it, and how it is laid out.

Given readings in the order in which they were journaled, chooses those that one batch can hold and turns them into
columns. A batch never mixes boots, nor two profiles, serial numbers or sets of columns of one meter, and always fits
its limits however many meters there are; what does not fit stays for the next. Drops, sorts and mends nothing.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from agent.bus.metering import Reading
from config.settings.agent import Batching
from protocol.batch import (
    BATCH_BYTES_MAX,
    FIXED_COLUMNS,
    VALUE_MAX,
    WORDS_BYTES_MAX,
    Batch,
    Clock,
    MeterBlock,
)
from protocol.link import Link
from protocol.units import ENERGY_REGISTERS, Quantity

HEAD_BYTES_MAX: Final = 1024
"""Everything in a batch beside its meter blocks: link, boot, clock and the array's own head."""

BLOCK_BYTES_MAX: Final = 384
"""Everything in a meter block that does not grow with its readings: a name of 64 and a serial number of 32 characters,
a digest, an instant, the numbers of its quantities, and the heads of table and words. So many of them fill a batch
before its format's bound of meters is reached."""

VALUE_BYTES: Final = 4
"""What a value takes in its column."""

READING_BYTES_MAX: Final = (
    BLOCK_BYTES_MAX + VALUE_BYTES * (FIXED_COLUMNS + len(Quantity)) + WORDS_BYTES_MAX * len(ENERGY_REGISTERS)
)
"""The most that any one reading can add, its meter's first."""

LEFT_MAX: Final = 4096
"""Readings that may be left in a row while a batch is laid out. However much waits behind them, a batch costs the
same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """One run of the machine: its identity, and the clock as last known in it."""

    id: bytes
    clock: Clock


@dataclass(frozen=True, slots=True)
class Journaled:
    """A reading and its row in the journal."""

    row: int
    reading: Reading


class Due(StrEnum):
    """Why a batch is closed."""

    READINGS = "readings"
    """A meter has as many as the settings allow."""
    AGE = "age"
    SIZE = "size"
    """One more reading might not fit."""
    CHANGE = "change"
    """A meter got another profile, serial number or set of columns."""


class OpenBatch:
    """What the journal has gathered since the last batch was closed, in numbers only."""

    def __init__(self, limits: Batching) -> None:
        self._limits = limits
        self._shapes: dict[str, _Shape] = {}
        self._counts: dict[str, int] = {}
        self._bytes = HEAD_BYTES_MAX
        self._has_change = False
        self.since_ms: int | None = None
        """When the first of it was read, on the boot's clock."""

    def __len__(self) -> int:
        return sum(self._counts.values())

    def add(self, reading: Reading) -> None:
        """One more reading was journaled."""
        shape = _shape_of(reading)
        before = self._shapes.setdefault(reading.meter, shape)
        self._has_change = self._has_change or before != shape
        self._bytes += _bytes_max(reading) + (0 if reading.meter in self._counts else BLOCK_BYTES_MAX)
        self._counts[reading.meter] = self._counts.get(reading.meter, 0) + 1
        self.since_ms = reading.start_ms if self.since_ms is None else self.since_ms

    def due(self, now_ms: int) -> Due | None:
        """Why the batch should be closed at `now_ms` on the boot's clock, if it should."""
        if self.since_ms is None:
            return None
        is_old = now_ms - self.since_ms >= self._limits.age_max_ms
        return self.is_enough or (Due.AGE if is_old else None)

    @property
    def is_enough(self) -> Due | None:
        """Why it should be closed at any time, if it should."""
        if not self._counts:
            return None
        if self._has_change:
            return Due.CHANGE
        if max(self._counts.values()) >= self._limits.readings_max:
            return Due.READINGS
        if self._bytes + READING_BYTES_MAX > BATCH_BYTES_MAX:
            return Due.SIZE
        return None


class Layout:
    """The next batch in the making: readings of one boot, oldest first, column by column.

    What is left out is left for good reason: the batch is full, or the meter's reading before it was left out too.
    """

    def __init__(self, readings_max: int) -> None:
        self.rows: list[int] = []
        """Of the readings that were taken."""
        self.is_full = False
        """Whether no meter's next reading would fit."""
        self._readings_max = readings_max
        self._blocks: dict[str, _Columns] = {}
        self._left: set[str] = set()
        self._bytes = HEAD_BYTES_MAX

    def offer(self, row: Journaled) -> bool:
        """Take the next reading, or leave it; say which."""
        reading = row.reading
        block = self._blocks.get(reading.meter)
        if reading.meter in self._left or (block is not None and not self._may_follow(block, reading)):
            self._left.add(reading.meter)
            return False
        self._bytes += _bytes_max(reading) + (BLOCK_BYTES_MAX if block is None else 0)
        if self._bytes > BATCH_BYTES_MAX:
            self.is_full = True
            return False
        if block is None:
            block = self._blocks[reading.meter] = _Columns(reading)
        block.add(reading)
        self.rows.append(row.row)
        return True

    def build(self, link: Link, boot: Boot) -> Batch:
        """The batch, one block per meter, in rising order of name."""
        blocks = tuple(self._blocks[meter].to_block() for meter in sorted(self._blocks))
        return Batch(link=link, boot_id=boot.id, clock=boot.clock, meters=blocks)

    def _may_follow(self, block: _Columns, reading: Reading) -> bool:
        """Whether `reading` may stand in `block`. A clock that went back is the aggregator's to judge, not ours."""
        return (
            block.shape == _shape_of(reading)
            and block.last_ms < reading.start_ms <= block.first_ms + VALUE_MAX
            and len(block) < self._readings_max
        )


def lay_out(rows: Iterable[Journaled], readings_max: int) -> Layout:
    """Fill the next batch from `rows`, taking no more of them than needed."""
    layout, left = Layout(readings_max), 0
    for row in rows:
        left = 0 if layout.offer(row) else left + 1
        if layout.is_full or left >= LEFT_MAX:
            break
    return layout


@dataclass(frozen=True, slots=True)
class _Shape:
    """What all readings of one block have in common."""

    profile: bytes
    serial: str
    quantities: tuple[Quantity, ...]


def _shape_of(reading: Reading) -> _Shape:
    return _Shape(reading.profile, reading.serial, tuple(reading.values))


def _bytes_max(reading: Reading) -> int:
    """The most that one reading adds to an encoded batch: start, duration, quality, its values and its words."""
    return VALUE_BYTES * (FIXED_COLUMNS + len(reading.values)) + sum(map(len, reading.words.values()))


class _Columns:
    """The readings of one meter, as the batch will hold them."""

    def __init__(self, head: Reading) -> None:
        self.shape = _shape_of(head)
        self.first_ms = head.start_ms
        self.last_ms = -1
        self._head = head
        self._starts_ms, self._durations_ms, self._quality = array("i"), array("i"), array("i")
        self._columns = {quantity: array("i") for quantity in head.values if quantity not in head.words}
        self._words = {quantity: bytearray() for quantity in head.words}

    def __len__(self) -> int:
        return len(self._starts_ms)

    def add(self, reading: Reading) -> None:
        """One more reading of the same shape."""
        self.last_ms = reading.start_ms
        self._starts_ms.append(reading.start_ms - self._head.start_ms)
        self._durations_ms.append(reading.end_ms - reading.start_ms)
        self._quality.append(reading.quality.value)
        for quantity, column in self._columns.items():
            column.append(reading.values[quantity])
        for quantity, words in self._words.items():
            words.extend(reading.words[quantity])

    def to_block(self) -> MeterBlock:
        """The block, as it is signed."""
        return MeterBlock.of(
            meter=self._head.meter,
            profile=self._head.profile,
            serial=self._head.serial,
            first_ms=self._head.start_ms,
            starts_ms=self._starts_ms,
            durations_ms=self._durations_ms,
            quality=self._quality,
            columns=self._columns,
            words={quantity: bytes(words) for quantity, words in self._words.items()},
        )
