"""Readings of one meter → the columns of its block in a batch, the slow ones in a table of their own.

All readings of a block have one shape: whose they are, by which profile, what they tell, which request brings what.
Slow readings come with some readings and not with others, and have a shape for themselves. Given readings one after
another; whether one may follow is asked first, and what it will take is bounded in `batching`.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise

from agent.bus.reading import Reading, SlowReading
from protocol.batch import MeterBlock
from protocol.readings import VALUE_MAX, Readings
from protocol.units import Quantity


@dataclass(frozen=True, slots=True)
class TableShape:
    """What all rows of one table have in common."""

    quantities: tuple[Quantity, ...]
    parts: tuple[tuple[Quantity, ...], ...]
    """What came with each of several requests."""

    @classmethod
    def of(cls, row: Reading | SlowReading) -> TableShape:
        """The shape of a table with this row."""
        return cls(tuple(row.values), tuple(part.quantities for part in row.parts))


@dataclass(frozen=True, slots=True)
class Shape:
    """What all readings of one block have in common."""

    profile: bytes
    serial: str
    table: TableShape

    @classmethod
    def of(cls, reading: Reading) -> Shape:
        """The shape of a block with this reading."""
        return cls(reading.profile, reading.serial, TableShape.of(reading))


class MeterColumns:
    """The readings of one meter, as the batch will hold them."""

    def __init__(self, head: Reading) -> None:
        self._head = head
        self._shape = Shape.of(head)
        self._table = _Table(head, head.words)
        self._slow: _Table | None = None
        self._words = {quantity: bytearray() for quantity in head.words}

    def __len__(self) -> int:
        return len(self._table)

    def may_follow(self, reading: Reading) -> bool:
        """Whether `reading` may stand here. A clock that went back is the aggregator's to judge, not ours."""
        slow = reading.slow
        is_slow_fit = slow is None or self._slow is None or self._slow.may_follow(slow)
        return is_slow_fit and self._shape == Shape.of(reading) and self._table.may_follow(reading)

    def add(self, reading: Reading) -> None:
        """One more reading that may follow."""
        self._table.add(reading)
        for quantity, words in self._words.items():
            words.extend(reading.words[quantity])
        if reading.slow is not None:
            self._slow = self._slow or _Table(reading.slow)
            self._slow.add(reading.slow)

    def to_block(self) -> MeterBlock:
        """The block, as it is signed."""
        return MeterBlock.around(
            self._table.to_readings(),
            meter=self._head.meter,
            profile=self._head.profile,
            serial=self._head.serial,
            words={quantity: bytes(words) for quantity, words in self._words.items()},
            slow=None if self._slow is None else self._slow.to_readings(),
        )


class _Table:
    """The rows of one table."""

    def __init__(self, head: Reading | SlowReading, energy: Collection[Quantity] = ()) -> None:
        self._shape = TableShape.of(head)
        self._first_ms, self._last_ms = head.start_ms, -1
        self._energy = sorted(energy)
        self._starts_ms, self._durations_ms, self._quality = array("i"), array("i"), array("i")
        self._columns = {quantity: array("i") for quantity in head.values if quantity not in energy}
        self._gaps_ms = [(array("i"), array("i")) for _ in head.parts[1:]]

    def __len__(self) -> int:
        return len(self._starts_ms)

    def may_follow(self, row: Reading | SlowReading) -> bool:
        is_in_time = self._last_ms < row.start_ms <= self._first_ms + VALUE_MAX
        return is_in_time and self._shape == TableShape.of(row)

    def add(self, row: Reading | SlowReading) -> None:
        self._last_ms = row.start_ms
        self._starts_ms.append(row.start_ms - self._first_ms)
        self._durations_ms.append(row.end_ms - row.start_ms)
        self._quality.append(row.quality.value)
        for quantity, column in self._columns.items():
            column.append(row.values[quantity])
        for (answered, sent), (before, after) in zip(self._gaps_ms, pairwise(row.parts), strict=True):
            answered.append(before.end_ms - row.start_ms)
            sent.append(after.start_ms - row.start_ms)

    def to_readings(self) -> Readings:
        brought = {quantity: n for n, told in enumerate(self._shape.parts) for quantity in told}
        return Readings.of(
            first_ms=self._first_ms,
            starts_ms=self._starts_ms,
            durations_ms=self._durations_ms,
            quality=self._quality,
            columns=self._columns,
            parts=bytes(brought[quantity] for quantity in (*sorted(self._columns), *self._energy) if brought),
            gaps_ms=[column for gap in self._gaps_ms for column in gap],
        )
