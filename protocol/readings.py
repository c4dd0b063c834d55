"""Readings of one meter in columns: when each was taken, what it showed, and which request brought what.

A reading that takes several requests is no instant: what came with the first was so earlier than what came with the
last. So where there is more than one request, its *parts* say which of them brought each quantity, and *gaps* when one
was answered and the next was sent. The first is sent when the reading starts and the last is answered when it ends, so
that is told once. Where one request brings all, as with most meters, none of this takes a byte.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from operator import add, le, lt
from typing import Final

from protocol.canonical import Value
from protocol.errors import EncodingError
from protocol.fields import items
from protocol.units import ENERGY_REGISTERS, Quantity

READINGS_MAX: Final = 4096
"""Readings of one meter in one batch."""
FIXED_COLUMNS: Final = 3
"""Starts, durations and quality come before the quantities."""
GAP_COLUMNS: Final = 2
"""For each request behind a reading's first: when the one before it was answered, and when it was sent."""
VALUE_MIN: Final = -(1 << 31)
VALUE_MAX: Final = (1 << 31) - 1
"""What a column holds: two gigawatts, two thousand kilovolts, three weeks and a half after the first start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """Readings of one meter, column by column."""

    first_ms: int
    """Start of the first read, on the boot's clock."""
    quantities: tuple[Quantity, ...]
    """What the columns behind the first three of the table hold, in rising order; never energy."""
    table: array[int]
    """One column after another, each a value per reading: starts, durations, quality, `quantities`, gaps."""
    parts: bytes = b""
    """For each of `told`, which of a reading's requests brought it, 0 the first; empty where one brings all."""

    @staticmethod
    def of(
        *,
        first_ms: int,
        starts_ms: Iterable[int],
        durations_ms: Iterable[int],
        quality: Iterable[int],
        columns: Mapping[Quantity, Iterable[int]],
        parts: bytes = b"",
        gaps_ms: Iterable[Iterable[int]] = (),
    ) -> Readings:
        """Build the table from its columns.

        Args:
            first_ms: start of the first read, on the boot's clock.
            starts_ms: start of each read after `first_ms`; rising from 0.
            durations_ms: how long each read took, to the last answer.
            quality: `Quality` flags of each reading.
            columns: values in base units, by quantity.
            parts: which request brought each of `told`.
            gaps_ms: a column of when a request was answered and one of when the next was sent, after the start of the
                reading; for each request but the last.

        Raises:
            OverflowError: a value needs more than 32 bits.
        """
        quantities = tuple(sorted(columns))
        table = array("i")
        values = (columns[quantity] for quantity in quantities)
        for column in chain((starts_ms, durations_ms, quality), values, gaps_ms):
            table += array("i", column)
        return Readings(first_ms=first_ms, quantities=quantities, table=table, parts=parts)

    def __len__(self) -> int:
        return len(self.table) // (FIXED_COLUMNS + len(self.quantities) + _gap_columns(self.parts))

    @property
    def told(self) -> tuple[Quantity, ...]:
        """What every reading tells, in the order of `parts`."""
        return self.quantities

    @property
    def starts_ms(self) -> array[int]:
        """Start of each read after `first_ms`; rising from 0."""
        return self.table[: len(self)]

    @property
    def end_ms(self) -> int:
        """When the last read was complete, on the boot's clock."""
        last_ms: int = max(map(add, self.starts_ms, self.durations_ms))
        return self.first_ms + last_ms

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
        """The values of one quantity, or None where there are none."""
        if quantity not in self.quantities:
            return None
        return self._column(FIXED_COLUMNS + self.quantities.index(quantity))

    def spans_ms(self, reading: int) -> list[tuple[int, int]]:
        """For each request of one reading, when it was sent and when it was answered, on the boot's clock."""
        count, start_ms = len(self), self.first_ms + self.table[reading]
        gaps = self.table[(FIXED_COLUMNS + len(self.quantities)) * count + reading :: count]
        cuts = [start_ms, *(start_ms + cut for cut in gaps), start_ms + self.table[count + reading]]
        return list(zip(cuts[::2], cuts[1::2], strict=True))

    def brought_by(self, request: int) -> tuple[Quantity, ...]:
        """What came with one request of every reading."""
        if not self.parts:
            return self.told
        return tuple(quantity for quantity, part in zip(self.told, self.parts, strict=True) if part == request)

    def _column(self, place: int) -> array[int]:
        count = len(self)
        return self.table[place * count : (place + 1) * count]


def read_quantities(value: Value) -> tuple[Quantity, ...]:
    """The quantities of a table.

    Raises:
        EncodingError: unknown, unordered, or energy.
    """
    quantities = tuple(map(read_quantity, items(value, "quantities", len(Quantity))))
    if any(a >= b for a, b in pairwise(quantities)) or not _ENERGY.isdisjoint(quantities):
        raise EncodingError("quantities: must stand once each, in rising order, and none of them is energy")
    return quantities


def read_parts(value: Value, told: int) -> bytes:
    """Which request brought each of so many quantities.

    Raises:
        EncodingError: another number of quantities, a single request, or one that brought nothing.
    """
    if type(value) is not bytes or len(value) != told or not told or not 1 <= max(value) == len(set(value)) - 1:
        raise EncodingError(f"parts: expected the numbers of {told} quantities' requests, from 0 and none left out")
    return value


def read_table(value: Value, quantities: Sequence[Quantity], parts: bytes) -> tuple[array[int], int]:
    """The table of some readings, at least one.

    Returns:
        The table, and how many readings it holds.

    Raises:
        EncodingError: of another shape, or with times that fall.
    """
    if type(value) is not array:
        raise EncodingError("table: expected an array of 32-bit integers")
    table: array[int] = value
    count, rest = divmod(len(table), FIXED_COLUMNS + len(quantities) + _gap_columns(parts))
    if rest or not 1 <= count <= READINGS_MAX:
        raise EncodingError(f"table: {len(table)} values are not from 1 to {READINGS_MAX} readings in equal columns")
    if table[0] != 0 or not all(map(lt, table[: count - 1], table[1:count])):
        raise EncodingError("starts: must rise from 0")
    if min(table[count : FIXED_COLUMNS * count]) < 0:
        raise EncodingError("durations and quality flags are never negative")
    if parts:
        _check_gaps(table, count, (FIXED_COLUMNS + len(quantities)) * count)
    return table, count


def read_quantity(number: Value) -> Quantity:
    """The quantity by its number on the wire.

    Raises:
        EncodingError: there is none.
    """
    quantity = _QUANTITIES.get(number) if type(number) is int else None
    if quantity is None:
        raise EncodingError(f"no quantity has the number {number!r:.20}")
    return quantity


def _check_gaps(table: array[int], count: int, begin: int) -> None:
    """One request after another: from the start of the reading to its end, no instant lies before the one before it."""
    cuts = [table[at : at + count] for at in range(begin, len(table), count)]
    durations = table[count : 2 * count]
    if min(cuts[0]) < 0 or not all(all(map(le, a, b)) for a, b in pairwise((*cuts, durations))):
        raise EncodingError("gaps: must not fall, from the start of a reading to its end")


def _gap_columns(parts: bytes) -> int:
    return GAP_COLUMNS * max(parts) if parts else 0


_ENERGY: Final = frozenset(ENERGY_REGISTERS)
_QUANTITIES: Final = {quantity.value: quantity for quantity in Quantity}
