"""Why somebody has the tokens that they have: from the movements on their account down to signed readings.

Each step names the record that it stands in. What the lower step adds up to is compared with what the upper one says,
so that an explanation that does not add up says so itself.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Final, Self

from aggregator.chains.congestion.relief import DueRelief
from aggregator.chains.intervals.findings import Finding
from aggregator.chains.intervals.flows import BranchFlow, ConverterFlow, ParticipantFlow, StorageContent
from aggregator.chains.intervals.known import Known
from aggregator.chains.intervals.origin import clean_wh
from aggregator.chains.metering.interval_energy import IntervalEnergy
from aggregator.chains.periods.carbon import PeriodSums
from aggregator.chains.periods.deeds import Response, deeds_of
from aggregator.chains.region import Region
from aggregator.service.past import NotInTheLogError, Past, Place, Posting, SignedReadings, StatedInterval
from aggregator.service.query import LedgerFile
from aggregator.views.behind import LIKE_DAYS_WITHIN, Charge, LikeDay, before, charges, like_days, witnesses
from aggregator.views.formulas import RoleFactor, role_factors
from aggregator.views.spans import Asked, restatable_ms
from aggregator.views.ways import way_to
from config.carriers import Carrier
from protocol.errors import EsteError
from protocol.units import Interval, UnixMs

NAMED_MAX: Final = 5
"""Participants that an error names."""


class NothingToExplainError(EsteError):
    """There is no such participant, or nothing of theirs in that time."""


@dataclass(frozen=True, slots=True)
class EnergyLine:
    """What a participant took from one network and gave to it in an interval."""

    carrier: str
    imported_wh: int
    exported_wh: int
    clean_wh: int
    origin_wh: dict[str, int]
    carbon_mg: int
    emitted_mg: int


@dataclass(frozen=True, slots=True)
class MeterLine:
    """What one of a participant's meters counted in an interval, and the batches that say so."""

    meter: str
    energy: IntervalEnergy | None
    """None where the region keeps no such leaf, or the meter counted nothing."""
    batches: tuple[SignedReadings, ...] = ()


@dataclass(frozen=True, slots=True)
class ExplainedInterval:
    """One interval of a participant."""

    start_ms: int
    end_ms: int
    place: Place
    restatements: int
    energy: tuple[EnergyLine, ...]
    converters: tuple[ConverterFlow, ...]
    """That the participant runs, or that feed the networks of heat, gas or hydrogen that they take from."""
    storages: tuple[StorageContent, ...]
    """Of the networks that the participant takes from."""
    way: tuple[BranchFlow, ...]
    """The lines on the way from the source, nearest to it first."""
    responses: tuple[Response, ...]
    """To the events that the participant was called for."""
    findings: tuple[Finding, ...]
    """About the participant's meters, nodes and lines, and about the region."""
    adds: dict[str, int]
    """To the sums of the period."""
    meters: tuple[MeterLine, ...] = ()
    """These and all below: only of an interval that was asked for by itself."""
    witnesses: tuple[MeterLine, ...] = ()
    """Meters of others that it rests on."""
    charges: tuple[Charge, ...] = ()
    """Of the storages, in the day before."""
    like_days: tuple[LikeDay, ...] = ()
    """That the baseline of an event is the mean of."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """A participant's settlement period, from the tokens down."""

    region: str
    participant: str
    name: str
    start_ms: int
    end_ms: int
    interval_ms: int
    postings: tuple[Posting, ...]
    tokens: int | None
    """That follow from the factors; None without factors."""
    tokens_max: int
    roles: tuple[RoleFactor, ...]
    relief: DueRelief | None
    """What relieving congested branches has come to."""
    factors_at: Place | None
    restatements: int
    """Of the factors."""
    is_settled: bool
    """False for the period that runs: there are no factors yet, and the sums are those of its intervals."""
    sums: dict[str, int]
    """As the factors' record says."""
    added: dict[str, int]
    """What the intervals add up to."""
    intervals: tuple[ExplainedInterval, ...]

    @property
    def adds_up(self) -> bool:
        """Whether the intervals add up to what the factors rest on.

        Relief is not settled by period: what is restated of it counts in the period that runs then.
        """
        return self.sums | {"relief_ppm": 0} == self.added | {"relief_ppm": 0}


def explain(ledger: LedgerFile, participant: str, asked: Asked) -> Explanation:
    """Explain a participant's settlement period, or one interval of it down to the readings.

    Raises:
        NothingToExplainError: nobody is called so.
        EsteError: that time is not settled yet, or the log begins later.
    """
    region, past = ledger.five.asset.region, Past(ledger.store)
    see_that_known(region, participant)
    span = asked.period
    stated = past.factors(region, participant, region.period_of(span.start_ms))
    rules = region.rules_at(span.start_ms)
    relief = past.relief(participant, span.start_ms)
    intervals = past.intervals(span.start_ms, span.end_ms, restatable_ms(region))
    roles = role_factors(stated.row.deeds, rules.carbon, rules.tokens) if stated else ()
    concern = _Concern.of(region, participant)
    every = [_interval(region, concern, interval) for interval in intervals]
    lines = every
    if asked.interval is not None:
        lines = [_closely(region, past, participant, line) for line in every if _is(line, asked)]
    added = {key: sum(line.adds[key] for line in every) for key in _named(PeriodSums())}
    return Explanation(
        region=region.grid.region,
        participant=participant,
        name=next(one.name for one in region.grid.participants if one.id == participant),
        start_ms=span.start_ms,
        end_ms=span.end_ms,
        interval_ms=rules.time.interval_ms,
        postings=tuple(past.postings(participant, span.start_ms)),
        tokens=_capped(roles, relief, rules.tokens.tokens_max) if stated else None,
        tokens_max=rules.tokens.tokens_max,
        roles=roles,
        relief=relief,
        factors_at=stated.place if stated else None,
        restatements=stated.restatements if stated else 0,
        is_settled=asked.is_settled,
        sums=_named(stated.row.sums if stated else PeriodSums()) if asked.is_settled else added,
        added=added,
        intervals=tuple(lines),
    )


def see_that_known(region: Region, participant: str) -> None:
    """See that somebody is called so.

    Raises:
        NothingToExplainError: nobody is; those with the nearest names are told.
    """
    if participant not in region.participants:
        near = difflib.get_close_matches(participant, region.participants, n=3, cutoff=0.5)
        some, left = near or region.participants[:NAMED_MAX], len(region.participants) - NAMED_MAX
        words = "the nearest names are" if near else "there are"
        more = f" and {left} more" if left > 0 and not near else ""
        raise NothingToExplainError(
            f"no participant {participant!r} in {region.grid.region}: {words} {', '.join(some)}{more}"
        )


@dataclass(frozen=True, slots=True)
class _Concern:
    """What of a region concerns a participant."""

    participant: str
    way: tuple[str, ...]
    converters: frozenset[str]
    storages: frozenset[str]
    """Of the networks that their meters hang in."""
    subjects: frozenset[str]
    """Of findings: themselves, the region, their meters and nodes, lines on the way, converters and storages."""

    @classmethod
    def of(cls, region: Region, participant: str) -> Self:
        """Look it up in the grid."""
        grid = region.grid
        nodes = {meter.id: meter.node for meter in grid.meters}
        meters = [meter for meter in grid.meters if meter.participant == participant]
        own, at = {meter.id for meter in meters}, {meter.node for meter in meters}
        carriers = {region.carriers[node] for node in at}
        way = way_to(grid, [meter.node for meter in meters if not meter.branch])
        warm = {meter.id for meter in grid.meters if region.carriers[meter.node] in carriers - {Carrier.ELECTRICITY}}
        feeding = [(one, {output.meter for output in one.outputs} & warm) for one in grid.converters]
        converters = frozenset(one.id for one, feeds in feeding if feeds or own.intersection(one.meters))
        storages = frozenset(one.id for one in grid.storages if region.carriers[nodes[one.charge_meter]] in carriers)
        subjects = {participant, grid.region, *way, *own, *at, *converters, *storages, *carriers}
        return cls(participant, way, converters, storages, frozenset(subjects))


def _interval(region: Region, concern: _Concern, stated: StatedInterval) -> ExplainedInterval:
    flows, participant = stated.flows, concern.participant
    known = {flow.branch: flow for flow in flows.branches}
    interval = Interval(start_ms=UnixMs(stated.start_ms), end_ms=UnixMs(stated.end_ms))
    deeds = deeds_of(region, interval, flows, stated.known or Known({}))
    return ExplainedInterval(
        start_ms=stated.start_ms,
        end_ms=stated.end_ms,
        place=stated.place,
        restatements=stated.restatements,
        energy=tuple(_energy(region, flow) for flow in flows.participants if flow.participant == participant),
        converters=tuple(flow for flow in flows.converters if flow.converter in concern.converters),
        storages=tuple(flow for flow in flows.storages if flow.storage in concern.storages),
        way=tuple(known[line] for line in concern.way if line in known),
        responses=tuple(response for response in stated.responses if response.participant == participant),
        findings=tuple(finding for finding in flows.findings if finding.subject in concern.subjects),
        adds=_named(deeds.sums.get(participant, PeriodSums())),
    )


def _energy(region: Region, flow: ParticipantFlow) -> EnergyLine:
    return EnergyLine(
        carrier=flow.carrier.value,
        imported_wh=flow.imported_wh,
        exported_wh=flow.exported_wh,
        clean_wh=clean_wh(flow.origin_wh, region),
        origin_wh={source.value: energy for source, energy in flow.origin_wh},
        carbon_mg=flow.carbon_mg,
        emitted_mg=flow.emitted_mg,
    )


def _closely(region: Region, past: Past, participant: str, line: ExplainedInterval) -> ExplainedInterval:
    """An interval with what it rests on: meters and the batches that hold their readings, and what was before."""
    try:
        earlier = before(region, past, line.start_ms, days=LIKE_DAYS_WITHIN if line.responses else 1)
    except NotInTheLogError:
        earlier = past.intervals(line.start_ms, line.end_ms, restatable_ms(region))
    own = frozenset(meter.id for meter in region.grid.meters if meter.participant == participant)
    others = witnesses(
        region.grid,
        storages=(storage.storage for storage in line.storages),
        converters=(converter.converter for converter in line.converters),
        findings=(finding for finding in line.findings if finding.subject in own),
        branches=(response.branch for response in line.responses),
    )
    return replace(
        line,
        meters=_meters(region, past, own, earlier[-1]),
        witnesses=_meters(region, past, others - own, earlier[-1]),
        charges=charges(region, line.storages, earlier),
        like_days=like_days(region, participant, earlier) if line.responses else (),
    )


def _meters(region: Region, past: Past, names: frozenset[str], stated: StatedInterval) -> tuple[MeterLine, ...]:
    """What some meters counted in an interval, and the batches that say so."""
    of_gateway: dict[str, set[str]] = {}
    for meter in region.grid.meters:
        if meter.id in names:
            of_gateway.setdefault(meter.gateway, set()).add(meter.id)
    lines = []
    for gateway in sorted(of_gateway):
        for meter_id, batches in past.readings(gateway, frozenset(of_gateway[gateway]), stated).items():
            energy = stated.energies.get(meter_id) if stated.energies is not None else None
            lines.append(MeterLine(meter_id, energy, tuple(batches)))
    return tuple(lines)


def _is(line: ExplainedInterval, asked: Asked) -> bool:
    wanted: Interval | None = asked.interval
    return wanted is not None and line.start_ms == wanted.start_ms


def _named(sums: PeriodSums) -> dict[str, int]:
    return {field.name: getattr(sums, field.name) for field in fields(sums)}


def _capped(roles: Sequence[RoleFactor], relief: DueRelief | None, tokens_max: int) -> int:
    earned = [*(role.tokens for role in roles), relief.tokens if relief else 0]
    return min(tokens_max, sum(one for one in earned if one > 0)) + sum(one for one in earned if one < 0)
