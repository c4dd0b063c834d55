"""Journaled readings → one batch: when it is closed, what goes into it, and how it is laid out.

Given readings in the order in which they were journaled, chooses those that one batch can hold and has `columns` turn
them into columns. A batch never mixes boots, nor two profiles, serial numbers or sets of columns of one meter, and
always fits its limits however many meters there are; what does not fit stays for the next. Drops, sorts and mends
nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from agent.bus.reading import Reading, SlowReading
from agent.outbox.columns import MeterColumns, Shape, TableShape
from config.settings.agent import Batching
from protocol.batch import BATCH_BYTES_MAX, WORDS_BYTES_MAX, Batch, Clock
from protocol.link import Link
from protocol.readings import FIXED_COLUMNS, GAP_COLUMNS
from protocol.units import ENERGY_REGISTERS, Quantity

HEAD_BYTES_MAX: Final = 1024
"""Everything in a batch beside its meter blocks: link, boot, clock and the array's own head."""

BLOCK_BYTES_MAX: Final = 384
"""Everything in a meter block that does not grow with its readings: a name of 64 and a serial number of 32 characters,
a digest, an instant, the numbers of its quantities, and the heads of table and words. So many of them fill a batch
before its format's bound of meters is reached."""

VALUE_BYTES: Final = 4
"""What a value takes in its column."""

PARTS_BYTES_MAX: Final = 64
"""What a block takes to say which request brought each quantity."""

SLOW_BYTES_MAX: Final = 96
"""Everything in slow readings that does not grow with them; their quantities are the same numbers in another place."""

READING_BYTES_MAX: Final = (
    BLOCK_BYTES_MAX
    + PARTS_BYTES_MAX
    + SLOW_BYTES_MAX
    + VALUE_BYTES * (2 * FIXED_COLUMNS + (1 + GAP_COLUMNS) * len(Quantity))
    + WORDS_BYTES_MAX * len(ENERGY_REGISTERS)
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
        self._shapes: dict[tuple[str, bool], Shape | TableShape] = {}
        self._counts: dict[str, int] = {}
        self._bytes = HEAD_BYTES_MAX
        self._has_change = False
        self.since_ms: int | None = None
        """When the first of it was read, on the boot's clock."""

    def __len__(self) -> int:
        return sum(self._counts.values())

    def add(self, reading: Reading) -> None:
        """One more reading was journaled."""
        shape = Shape.of(reading)
        before = self._shapes.setdefault((reading.meter, False), shape)
        self._has_change = self._has_change or before != shape
        if reading.slow is not None:
            slow_shape = TableShape.of(reading.slow)
            self._has_change |= self._shapes.setdefault((reading.meter, True), slow_shape) != slow_shape
        self._bytes += _bytes_max(reading, is_first=reading.meter not in self._counts)
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
        self._blocks: dict[str, MeterColumns] = {}
        self._left: set[str] = set()
        self._bytes = HEAD_BYTES_MAX

    def offer(self, row: Journaled) -> bool:
        """Take the next reading, or leave it; say which."""
        reading = row.reading
        block = self._blocks.get(reading.meter)
        if reading.meter in self._left or (block is not None and not self._has_room(block, reading)):
            self._left.add(reading.meter)
            return False
        self._bytes += _bytes_max(reading, is_first=block is None)
        if self._bytes > BATCH_BYTES_MAX:
            self.is_full = True
            return False
        if block is None:
            block = self._blocks[reading.meter] = MeterColumns(reading)
        block.add(reading)
        self.rows.append(row.row)
        return True

    def build(self, link: Link, boot: Boot) -> Batch:
        """The batch, one block per meter, in rising order of name."""
        blocks = tuple(self._blocks[meter].to_block() for meter in sorted(self._blocks))
        return Batch(link=link, boot_id=boot.id, clock=boot.clock, meters=blocks)

    def _has_room(self, block: MeterColumns, reading: Reading) -> bool:
        return len(block) < self._readings_max and block.may_follow(reading)


def lay_out(rows: Iterable[Journaled], readings_max: int) -> Layout:
    """Fill the next batch from `rows`, taking no more of them than needed."""
    layout, left = Layout(readings_max), 0
    for row in rows:
        left = 0 if layout.offer(row) else left + 1
        if layout.is_full or left >= LEFT_MAX:
            break
    return layout


def _bytes_max(reading: Reading, *, is_first: bool) -> int:
    """The most that one reading adds to an encoded batch, with its words, its parts, and what it brings along."""
    added = _row_bytes(reading) + sum(map(len, reading.words.values()))
    if is_first:
        added += BLOCK_BYTES_MAX + (PARTS_BYTES_MAX if reading.parts else 0)
    if reading.slow is not None:
        added += SLOW_BYTES_MAX + _row_bytes(reading.slow)
    return added


def _row_bytes(row: Reading | SlowReading) -> int:
    """Start, duration, quality, values and gaps."""
    return VALUE_BYTES * (FIXED_COLUMNS + len(row.values) + GAP_COLUMNS * max(0, len(row.parts) - 1))
