"""What the meters did in one interval: a row for each, and the root that binds the rows.

The data chain adds rows up while an interval is open, and forgets them when it is closed. What stays is the root, the
count, and a *metered* leaf that holds the rows themselves: a restatement brings them back, and the root shows that they
are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, Final

from protocol.canonical import Value, decode, encode
from protocol.errors import EncodingError
from protocol.fields import items, name, row, uint
from protocol.merkle import Range, inclusion_proof, leaf_hash, root_of

METERS_MAX: Final = 1_000_000
LEAF_BYTES_MAX: Final = 1 << 27


@dataclass(frozen=True, slots=True)
class IntervalEnergy:
    """What one meter did in one interval. What waits for a restatement may be below 0, by a correction."""

    imported_wh: int = 0
    exported_wh: int = 0
    late_wh: int = 0
    """How much of both flowed in an earlier interval, and became known too late to restate that one."""
    readings: int = 0
    import_sum_w: int = 0
    """Sum of active power over the readings that imported."""
    export_sum_w: int = 0
    corrections: int = 0
    """By the regulator. Where there is one, the readings' power is not believed either: energy tells the flow."""
    voltage_sum_mv: int = 0
    """Sum over the readings with a voltage, of the mean of their phases, line to neutral."""
    voltage_readings: int = 0

    def plus(self, row: Sequence[int]) -> IntervalEnergy:
        """With more of each field, in their order."""
        return IntervalEnergy(*map(sum, zip(self.amounts, row, strict=True)))

    @property
    def amounts(self) -> tuple[int, ...]:
        """All fields, in their order."""
        return _amounts(self)


FIELDS: Final = len(fields(IntervalEnergy))
_amounts: Callable[[IntervalEnergy], tuple[int, ...]] = attrgetter(*(field.name for field in fields(IntervalEnergy)))

Energies = Mapping[str, IntervalEnergy]
"""What every meter did in an interval, by name, in the order of the names."""


def together(known: Energies, late: Energies) -> dict[str, IntervalEnergy]:
    """What is known of an interval, with what became known late: as if all had come in time."""
    both = {meter: known.get(meter, IntervalEnergy()).plus(row.amounts) for meter, row in late.items()}
    merged = {**known, **both}
    return {meter: merged[meter] for meter in sorted(merged)}


def energies_root(energies: Energies) -> bytes:
    """Merkle root over the rows of an interval, in the order of the meters' names."""
    return root_of(map(encode, spell_energies(energies)))


def spell_energies(energies: Energies) -> list[Value]:
    """The rows of an interval: meter, and the fields of `IntervalEnergy`."""
    return [[meter, *energies[meter].amounts] for meter in sorted(energies)]


def read_energies(value: Value, what: str, count_max: int = METERS_MAX) -> dict[str, IntervalEnergy]:
    """Read the rows of an interval.

    Raises:
        EncodingError: they are none, or not in the order of the meters' names.
    """
    energies = {}
    for line in items(value, what, count_max):
        meter, *amounts = row(line, what, FIELDS + 1)
        energies[name(meter, what)] = IntervalEnergy(*(uint(amount, what) for amount in amounts))
    if list(energies) != sorted(energies) or len(energies) != len(items(value, what, count_max)):
        raise EncodingError(f"{what}: meters must stand once each, in the order of their names")
    return energies


def metered_leaf(start_ms: int, energies: Energies) -> bytes:
    """The leaf that states what an interval was closed or restated with."""
    return encode(["metered", start_ms, spell_energies(energies)])


def read_metered_leaf(body: bytes, start_ms: int) -> dict[str, IntervalEnergy] | None:
    """What a leaf says about the interval that starts at `start_ms`, if it is the leaf that says it."""
    try:
        leaf: Any = decode(body, size_max=LEAF_BYTES_MAX)
    except EncodingError:
        return None
    if type(leaf) is not list or len(leaf) != 3 or leaf[:2] != ["metered", start_ms]:
        return None
    return read_energies(leaf[2], "metered")


@dataclass(frozen=True, slots=True)
class ProvenRow:
    """One meter's row of a closed interval, with the way to the root that the data chain keeps."""

    index: int
    energy: IntervalEnergy
    path: tuple[bytes, ...]


def prove_row(energies: Energies, meter: str) -> ProvenRow:
    """Show that a row is one of an interval's."""
    tree, nodes = Range(), dict[tuple[int, int], bytes]()
    for line in spell_energies(energies):
        nodes |= {(level, place): node for level, place, node in tree.append(leaf_hash(encode(line)))}
    index = sorted(energies).index(meter)
    path = inclusion_proof(lambda level, place: nodes[level, place], index, tree.size)
    return ProvenRow(index, energies[meter], tuple(path))


def row_hash(meter: str, energy: IntervalEnergy) -> bytes:
    """What a row is in the tree over its interval."""
    return leaf_hash(encode([meter, *energy.amounts]))
