"""A correction: the regulator changes what a meter is held to have counted, by exact watt-hours, and says why.

A wrong transformer ratio was found, or a meter was proven to lie. The readings stay as they were signed; the difference
enters as late energy does, and leads to a restatement. Format: docs/spec/este.cddl.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from aggregator.chains.metering.interval_energy import FIELDS, IntervalEnergy, ProvenRow
from protocol.canonical import Value, decode, encode, fields_of
from protocol.envelope import ENVELOPE_BYTES_MAX
from protocol.errors import EncodingError
from protocol.fields import digest, integer, items, name, optional, row, text, uint
from protocol.link import Link
from protocol.merkle import PROOF_HASHES_MAX

INTERVALS_MAX: Final = 1_500
"""In one correction: half a month of quarter hours, and no more than a broker passes on."""
DELTA_MAX_WH: Final = 10**12
"""A terawatt-hour in one interval: sums stay far within 64 bits."""
REASON_MAX: Final = 300


@dataclass(frozen=True, slots=True)
class Delta:
    """What is added to a meter's energy in one interval; below 0, taken away."""

    start_ms: int
    imported_wh: int
    exported_wh: int
    known: ProvenRow | None = None
    """What the closed interval says of the meter. Only who takes away has to show that so much is there."""


@dataclass(frozen=True, slots=True)
class Correction:
    """One meter, corrected in some intervals."""

    link: Link
    meter: str
    deltas: tuple[Delta, ...]
    """By rising start."""
    reason: str
    """For people."""

    def encode(self) -> bytes:
        """Spell the correction."""
        return encode(self.link.to_fields() | {5: self.meter, 6: list(map(_spell, self.deltas)), 7: self.reason})

    @classmethod
    def decode(cls, payload: bytes) -> Correction:
        """Read a correction.

        Raises:
            EncodingError: not the one spelling of a correction, or one that corrects nothing.
        """
        fields = fields_of(decode(payload, size_max=ENVELOPE_BYTES_MAX), (1, 2, 3, 4, 5, 6, 7), "correction")
        deltas = tuple(map(_read, items(fields[6], "deltas", INTERVALS_MAX)))
        starts = [delta.start_ms for delta in deltas]
        if not starts or starts != sorted(set(starts)):
            raise EncodingError("deltas: one interval at least, each once, by rising start")
        return cls(Link.from_fields(fields), name(fields[5], "meter"), deltas, text(fields[7], "reason", REASON_MAX))


def _spell(delta: Delta) -> Value:
    known = delta.known
    shown: Value = None if known is None else [known.index, list(known.energy.amounts), list(known.path)]
    return [delta.start_ms, delta.imported_wh, delta.exported_wh, shown]


def _read(value: Value) -> Delta:
    start_ms, imported_wh, exported_wh, known = row(value, "delta", 4)
    delta = Delta(
        uint(start_ms, "start"),
        integer(imported_wh, "imported"),
        integer(exported_wh, "exported"),
        optional(known, _read_known, "known"),
    )
    if not 0 < max(abs(delta.imported_wh), abs(delta.exported_wh)) <= DELTA_MAX_WH:
        raise EncodingError(f"delta: expected up to {DELTA_MAX_WH} Wh either way, and not nothing, from {start_ms}")
    return delta


def _read_known(value: Value, what: str) -> ProvenRow:
    index, amounts, path = row(value, what, 3)
    return ProvenRow(
        uint(index, what),
        IntervalEnergy(*(uint(amount, what) for amount in row(amounts, what, FIELDS))),
        tuple(digest(node, what) for node in items(path, what, PROOF_HASHES_MAX)),
    )
