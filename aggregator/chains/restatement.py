"""What compute nodes sign when an interval has to be stated once more: a restatement, and the adjustment it leads to.

The state does not hold what an interval was closed with, only roots and digests of it. So a restatement carries the
former energy and the former flows along: whoever judges it needs nothing but the record and the state.
Format: docs/spec/este.cddl.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from aggregator.chains.asset import RESTATED_ROWS_MAX, Region
from aggregator.chains.carbon import PeriodSums
from aggregator.chains.flows import FIELDS as FLOWS_FIELDS
from aggregator.chains.flows import Flows, ParticipantFlow, read_participants, spell_participants
from aggregator.chains.interval_energy import Energies, read_energies, spell_energies
from aggregator.chains.origin import clean_wh
from aggregator.chains.results import RESULT_BYTES_MAX
from aggregator.economy.periods import Period
from config.carriers import Carrier
from protocol.canonical import decode, encode, fields_of
from protocol.crypto import digest_of
from protocol.fields import digest, uint
from protocol.link import Link


@dataclass(frozen=True, slots=True)
class Restatement:
    """An interval, stated once more with everything that is known of it now."""

    link: Link
    start_ms: int
    end_ms: int
    former_energies: Energies
    """What it was closed, or restated, with last."""
    former_participants: tuple[ParticipantFlow, ...]
    """What was stated last."""
    energies_root: bytes
    """Over all that is known now: late energy that comes after this was signed is not in it."""
    flows: Flows

    def encode(self) -> bytes:
        """Spell the restatement."""
        return encode(
            self.link.to_fields()
            | {
                5: self.start_ms,
                6: self.end_ms,
                7: spell_energies(self.former_energies),
                8: spell_participants(self.former_participants),
                9: self.energies_root,
            }
            | dict(enumerate(self.flows.spell(), start=10))
        )

    @classmethod
    def decode(cls, payload: bytes) -> Restatement:
        """Read a restatement.

        Raises:
            EncodingError: not the one spelling of one.
        """
        fields = fields_of(
            decode(payload, size_max=RESULT_BYTES_MAX), tuple(range(1, 10 + FLOWS_FIELDS)), "restatement"
        )
        return cls(
            link=Link.from_fields(fields),
            start_ms=uint(fields[5], "start"),
            end_ms=uint(fields[6], "end"),
            former_energies=read_energies(fields[7], "former energies", RESTATED_ROWS_MAX),
            former_participants=read_participants(fields[8], RESTATED_ROWS_MAX),
            energies_root=digest(fields[9], "energies root"),
            flows=Flows.read([fields[key] for key in range(10, 10 + FLOWS_FIELDS)], RESTATED_ROWS_MAX),
        )


@dataclass(frozen=True, slots=True)
class PeriodAdjustment:
    """Tokens of a settled period whose factors have been restated: what is minted, burned and moved for it."""

    link: Link
    start_ms: int
    end_ms: int
    restatements: int
    """How many restatements of the period it makes up for."""
    minted: int
    burned: int
    changes_root: bytes
    """Over its leaves."""

    def encode(self) -> bytes:
        """Spell the record."""
        return encode(
            self.link.to_fields()
            | {
                5: self.start_ms,
                6: self.end_ms,
                7: self.restatements,
                8: self.minted,
                9: self.burned,
                10: self.changes_root,
            }
        )

    @classmethod
    def decode(cls, payload: bytes) -> PeriodAdjustment:
        """Read the record.

        Raises:
            EncodingError: not the one spelling of one.
        """
        fields = fields_of(decode(payload, size_max=RESULT_BYTES_MAX), tuple(range(1, 11)), "adjustment")
        return cls(
            link=Link.from_fields(fields),
            start_ms=uint(fields[5], "start"),
            end_ms=uint(fields[6], "end"),
            restatements=uint(fields[7], "restatements"),
            minted=uint(fields[8], "minted"),
            burned=uint(fields[9], "burned"),
            changes_root=digest(fields[10], "changes root"),
        )


@dataclass(frozen=True, slots=True)
class StatedFlows:
    """What was last said about an interval that may be restated."""

    digest: bytes


def horizon_after(period: Period, region: Region) -> int:
    """Start of the oldest interval that may be restated once `period` is over."""
    start = period.span.end_ms
    for _ in range(region.rules_at(period.span.start_ms).time.restate_periods):
        if start > region.begin_ms:
            start = region.period_of(start - 1).span.start_ms
    return start


def flows_digest(flows: Iterable[ParticipantFlow]) -> bytes:
    """What stays in the state of the flows that were stated last."""
    return digest_of(encode(spell_participants(flows)))


def deeds_of(flows: Iterable[ParticipantFlow], region: Region) -> dict[str, PeriodSums]:
    """What an interval's flows add to everybody's sums of its settlement period."""
    deeds: dict[str, PeriodSums] = {}
    for flow in flows:
        deeds[flow.participant] = deeds.get(flow.participant, PeriodSums()).plus(_deeds(flow, region))
    return deeds


def _deeds(flow: ParticipantFlow, region: Region) -> PeriodSums:
    is_used = flow.carrier is Carrier.ELECTRICITY and flow.participant not in region.outside
    return PeriodSums(
        used_wh=flow.imported_wh if is_used else 0,
        clean_wh=clean_wh(flow.origin_wh, region) if is_used else 0,
        fed_in_wh=flow.exported_wh,
        emitted_mg=flow.emitted_mg,
    )


def differences(before: Mapping[str, PeriodSums], after: Mapping[str, PeriodSums]) -> dict[str, PeriodSums]:
    """By how much everybody's sums change, in the order of their names; who has no change is left out."""
    nothing = PeriodSums()
    apart = {
        name: after.get(name, nothing).plus(before.get(name, nothing).negated) for name in sorted({*before, *after})
    }
    return {name: delta for name, delta in apart.items() if delta != nothing}
