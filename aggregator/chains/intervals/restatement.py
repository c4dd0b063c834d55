"""What compute nodes sign when an interval has to be stated once more: a restatement, and the adjustment it leads to.

The state does not hold what an interval was closed with, only roots and digests of it. So a restatement carries the
former energy, what everybody did, and what the interval inherited along: whoever judges it needs nothing but the record
and the state.
Format: docs/spec/este.cddl.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final

from aggregator.chains.intervals.flows import FIELDS as FLOWS_FIELDS
from aggregator.chains.intervals.flows import Flows
from aggregator.chains.intervals.known import Known, read_inherited
from aggregator.chains.intervals.results import RESULT_BYTES_MAX
from aggregator.chains.metering.interval_energy import Energies, read_energies, spell_energies
from aggregator.chains.periods.carbon import PeriodSums
from aggregator.chains.region import RESTATED_ROWS_MAX, Region
from aggregator.economy.periods import Period
from protocol.canonical import Value, decode, encode, fields_of
from protocol.crypto import digest_of
from protocol.errors import EncodingError
from protocol.fields import digest, integer, items, name, row, uint
from protocol.link import Link

SUMS: Final = len(fields(PeriodSums))


@dataclass(frozen=True, slots=True)
class Restatement:
    """An interval, stated once more with everything that is known of it now."""

    link: Link
    start_ms: int
    end_ms: int
    former_energies: Energies
    """What it was closed, or restated, with last."""
    former_deeds: Mapping[str, PeriodSums]
    """What everybody did in it, as stated last."""
    energies_root: bytes
    """Over all that is known now: late energy that comes after this was signed is not in it."""
    inherited: Known
    """What the interval was closed with, beside its energy: contents, parcels, events. It changes no more."""
    flows: Flows

    def encode(self) -> bytes:
        """Spell the restatement."""
        return encode(
            self.link.to_fields()
            | {
                5: self.start_ms,
                6: self.end_ms,
                7: spell_energies(self.former_energies),
                8: spell_deeds(self.former_deeds),
                9: self.energies_root,
                10: self.inherited.inherited(),
            }
            | dict(enumerate(self.flows.spell(), start=11))
        )

    @classmethod
    def decode(cls, payload: bytes) -> Restatement:
        """Read a restatement.

        Raises:
            EncodingError: not the one spelling of one.
        """
        known = tuple(range(1, 11 + FLOWS_FIELDS))
        fields = fields_of(decode(payload, size_max=RESULT_BYTES_MAX), known, "restatement")
        return cls(
            link=Link.from_fields(fields),
            start_ms=uint(fields[5], "start"),
            end_ms=uint(fields[6], "end"),
            former_energies=read_energies(fields[7], "former energies", RESTATED_ROWS_MAX),
            former_deeds=_read_deeds(fields[8]),
            energies_root=digest(fields[9], "energies root"),
            inherited=read_inherited(fields[10], {}, RESTATED_ROWS_MAX),
            flows=Flows.read([fields[key] for key in range(11, 11 + FLOWS_FIELDS)], RESTATED_ROWS_MAX),
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

    deeds: bytes
    """Digest of what everybody did."""
    inherited: bytes
    """Digest of what it was closed with, beside its energy."""


def horizon_after(period: Period, region: Region) -> int:
    """Start of the oldest interval that may be restated once `period` is over."""
    start = period.span.end_ms
    for _ in range(region.rules_at(period.span.start_ms).time.restate_periods):
        if start > region.begin_ms:
            start = region.period_of(start - 1).span.start_ms
    return start


def deeds_digest(deeds: Mapping[str, PeriodSums]) -> bytes:
    """What stays in the state of what was stated last."""
    return digest_of(encode(spell_deeds(deeds)))


def spell_deeds(deeds: Mapping[str, PeriodSums]) -> list[Value]:
    """What everybody did in an interval, as records hold it."""
    return [[participant, *deeds[participant].amounts] for participant in sorted(deeds)]


def _read_deeds(value: Value) -> dict[str, PeriodSums]:
    deeds = {}
    for line in items(value, "former deeds", RESTATED_ROWS_MAX):
        participant, *amounts = row(line, "former deeds", SUMS + 1)
        deeds[name(participant, "participant")] = PeriodSums(*(integer(amount, "amount") for amount in amounts))
    if spell_deeds(deeds) != value:
        raise EncodingError("former deeds: each once, in the order of their names")
    return deeds


def differences(before: Mapping[str, PeriodSums], after: Mapping[str, PeriodSums]) -> dict[str, PeriodSums]:
    """By how much everybody's sums change, in the order of their names; who has no change is left out."""
    nothing = PeriodSums()
    apart = {
        name: after.get(name, nothing).plus(before.get(name, nothing).negated) for name in sorted({*before, *after})
    }
    return {name: delta for name, delta in apart.items() if delta != nothing}
