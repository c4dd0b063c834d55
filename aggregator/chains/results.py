"""What compute nodes sign: the result of an interval, the factors of a period, the settlement of a period.

Physics is done in floats, so its result enters the ledger as a signed record of integers. What is exact anyway
(factors, tokens) every node works out for itself; the record then holds only a digest to compare, and says when.
Format: docs/spec/este.cddl.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from config.grid_model import Source
from protocol.canonical import Value, decode, encode, fields_of
from protocol.errors import EncodingError
from protocol.fields import digest, integer, items, name, row, text, uint
from protocol.link import Link
from protocol.units import PPM

RESULT_BYTES_MAX: Final = 64 << 20
"""An interval of a million participants."""
ROWS_MAX: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class ParticipantFlow:
    """What one participant took and gave in an interval, and where what they took came from."""

    participant: str
    imported_wh: int
    exported_wh: int
    emitted_mg: int
    """Of what they fed in."""
    origin_wh: tuple[tuple[Source, int], ...]
    """By source, in the order of `Source`; sums to `imported_wh`."""


@dataclass(frozen=True, slots=True)
class BranchFlow:
    """How a branch was loaded in an interval, on average."""

    branch: str
    flow_w: int
    """From its from_node to its to_node; below 0 the other way."""
    loading_ppm: int
    """Of its rating; above 1,000,000 it is congested."""

    @property
    def is_congested(self) -> bool:
        """Whether it carried more than it is rated for."""
        return self.loading_ppm > PPM


@dataclass(frozen=True, slots=True)
class Flows:
    """The physics of an interval, quantized."""

    participants: tuple[ParticipantFlow, ...]
    """In the order of their names; those without energy are left out."""
    branches: tuple[BranchFlow, ...]
    """In the order of the grid file."""
    losses_w: int
    findings: tuple[str, ...]
    """What could not be known, in words."""

    def spell(self) -> list[Value]:
        """Participants, branches, losses and findings, as records hold them."""
        branches = [[branch.branch, branch.flow_w, branch.loading_ppm] for branch in self.branches]
        return [spell_participants(self.participants), branches, self.losses_w, list(self.findings)]

    @classmethod
    def read(cls, values: Sequence[Value], rows_max: int) -> Flows:
        """Read what `spell` spells.

        Raises:
            EncodingError: it is not that.
        """
        participants, branches, losses, findings = values
        return cls(
            participants=read_participants(participants, rows_max),
            branches=tuple(map(_read_branch, items(branches, "branches", rows_max))),
            losses_w=uint(losses, "losses"),
            findings=tuple(text(finding, "finding", 300) for finding in items(findings, "findings", 1000)),
        )


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
        fields = fields_of(decode(payload, size_max=RESULT_BYTES_MAX), tuple(range(1, 11)), "interval")
        flows = Flows.read([fields[key] for key in range(7, 11)], ROWS_MAX)
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


SOURCES: Final = tuple(Source)
"""Numbered on the wire in this order; new ones are added at the end."""


def spell_participants(flows: Iterable[ParticipantFlow]) -> list[Value]:
    """Everybody's flows, as records hold them."""
    return [_flow_row(flow) for flow in flows]


def read_participants(value: Value, rows_max: int) -> tuple[ParticipantFlow, ...]:
    """Read everybody's flows.

    Raises:
        EncodingError: they are none.
    """
    return tuple(map(_read_flow, items(value, "participants", rows_max)))


def _flow_row(flow: ParticipantFlow) -> list[Value]:
    origin = [[SOURCES.index(source), energy_wh] for source, energy_wh in flow.origin_wh]
    return [flow.participant, flow.imported_wh, flow.exported_wh, flow.emitted_mg, origin]


def _read_flow(value: Value) -> ParticipantFlow:
    participant, imported, exported, emitted, origin = row(value, "participant flow", 5)
    sources = tuple(map(_read_source, items(origin, "origin", len(SOURCES))))
    if [source for source, _ in sources] != sorted({source for source, _ in sources}, key=SOURCES.index):
        raise EncodingError("origin: sources must stand once each, in their order")
    return ParticipantFlow(
        name(participant, "participant"),
        uint(imported, "imported"),
        uint(exported, "exported"),
        uint(emitted, "emitted"),
        sources,
    )


def _read_source(value: Value) -> tuple[Source, int]:
    number, energy_wh = row(value, "origin", 2)
    return SOURCES[uint(number, "source", len(SOURCES) - 1)], uint(energy_wh, "energy")


def _read_branch(value: Value) -> BranchFlow:
    branch, flow_w, loading_ppm = row(value, "branch flow", 3)
    return BranchFlow(name(branch, "branch"), integer(flow_w, "flow"), uint(loading_ppm, "loading"))
