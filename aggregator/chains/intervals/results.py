"""What compute nodes sign: the result of an interval, the factors of a period, the settlement of a period.

Physics is done in floats, so its result enters the ledger as a signed record of integers. What is exact anyway
(factors, tokens) every node works out for itself; the record then holds only a digest to compare, and says when.
Format: docs/spec/este.cddl.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from aggregator.chains.intervals.flows import FIELDS, Flows
from protocol.canonical import decode, encode, fields_of
from protocol.fields import digest, uint
from protocol.link import Link

RESULT_BYTES_MAX: Final = 64 << 20
"""An interval of a million participants."""
ROWS_MAX: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class IntervalResult:
    """An interval, closed."""

    link: Link
    start_ms: int
    end_ms: int
    flows: Flows

    def encode(self) -> bytes:
        """Spell the result."""
        spelled = dict(enumerate(self.flows.spell(), start=7))
        return encode(self.link.to_fields() | {5: self.start_ms, 6: self.end_ms} | spelled)

    @classmethod
    def decode(cls, payload: bytes) -> IntervalResult:
        """Read the result of an interval.

        Raises:
            EncodingError: not the one spelling of one.
        """
        fields = fields_of(decode(payload, size_max=RESULT_BYTES_MAX), tuple(range(1, 7 + FIELDS)), "interval")
        flows = Flows.read([fields[key] for key in range(7, 7 + FIELDS)], ROWS_MAX)
        return cls(Link.from_fields(fields), uint(fields[5], "start"), uint(fields[6], "end"), flows)


@dataclass(frozen=True, slots=True)
class PeriodFactors:
    """The carbon factors of a settlement period are due; this is the root over them."""

    link: Link
    start_ms: int
    end_ms: int
    rows_root: bytes

    def encode(self) -> bytes:
        """Spell the record."""
        return encode(self.link.to_fields() | {5: self.start_ms, 6: self.end_ms, 7: self.rows_root})

    @classmethod
    def decode(cls, payload: bytes) -> PeriodFactors:
        """Read the record.

        Raises:
            EncodingError: not the one spelling of one.
        """
        fields = fields_of(decode(payload, size_max=RESULT_BYTES_MAX), tuple(range(1, 8)), "factors")
        return cls(
            Link.from_fields(fields), uint(fields[5], "start"), uint(fields[6], "end"), digest(fields[7], "rows root")
        )


@dataclass(frozen=True, slots=True)
class PeriodSettlement:
    """The tokens of a settlement period are due; this is what is minted, charged and moved."""

    link: Link
    start_ms: int
    end_ms: int
    factors_root: bytes
    """The analysis record that it rests on."""
    minted: int
    charged: int
    movements_root: bytes

    def encode(self) -> bytes:
        """Spell the record."""
        return encode(
            self.link.to_fields()
            | {
                5: self.start_ms,
                6: self.end_ms,
                7: self.factors_root,
                8: self.minted,
                9: self.charged,
                10: self.movements_root,
            }
        )

    @classmethod
    def decode(cls, payload: bytes) -> PeriodSettlement:
        """Read the record.

        Raises:
            EncodingError: not the one spelling of one.
        """
        fields = fields_of(decode(payload, size_max=RESULT_BYTES_MAX), tuple(range(1, 11)), "settlement")
        return cls(
            link=Link.from_fields(fields),
            start_ms=uint(fields[5], "start"),
            end_ms=uint(fields[6], "end"),
            factors_root=digest(fields[7], "factors root"),
            minted=uint(fields[8], "minted"),
            charged=uint(fields[9], "charged"),
            movements_root=digest(fields[10], "movements root"),
        )
