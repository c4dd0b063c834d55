"""What everybody did in one interval: what it adds to their sums of the settlement period, and what it rests on.

Everything follows from the signed flows and from what was known (`aggregator.chains.intervals.known`), in integers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from aggregator.chains.intervals.findings import FindingKind
from aggregator.chains.intervals.flows import CalledEvent, Flows, ParticipantFlow
from aggregator.chains.intervals.known import Known
from aggregator.chains.intervals.origin import clean_wh, net_electricity_wh, unheard
from aggregator.chains.metering.interval_energy import Energies
from aggregator.chains.periods.carbon import PeriodSums
from aggregator.chains.region import Region
from aggregator.economy.congestion import relief_w
from config.carriers import Carrier
from protocol.canonical import encode
from protocol.units import PPM, Interval

EMITTING = frozenset((Carrier.ELECTRICITY, Carrier.HEAT))
"""Whoever feeds in gas or hydrogen emits nothing by that: it is emitted where it is burned, in a converter."""


@dataclass(frozen=True, slots=True)
class Response:
    """What one participant who was called did in an interval of an event: the evidence for what they are paid."""

    participant: str
    start_ms: int
    event: int
    branch: str
    baseline_wh: int
    metered_wh: int
    loading_ppm: int
    """Of the branch, as it was; 0 where the event is for no branch."""
    called_loading_ppm: int
    """Of the branch, had nobody responded."""
    relieving_ppm: int
    relief_w: int
    factor_ppm: int
    """0 where the branch was not congested either way."""

    @property
    def leaf(self) -> bytes:
        """The leaf that states it."""
        amounts = (self.baseline_wh, self.metered_wh, self.loading_ppm, self.called_loading_ppm)
        relief = (self.relieving_ppm, self.relief_w, self.factor_ppm)
        branch = self.branch or None
        return encode(["response", self.participant, self.start_ms, self.event, branch, *amounts, *relief])


@dataclass(frozen=True, slots=True)
class IntervalDeeds:
    """What everybody did in an interval."""

    sums: Mapping[str, PeriodSums]
    """By participant, in the order of their names; who did nothing is left out."""
    responses: tuple[Response, ...]
    """By event and participant."""

    @property
    def leaves(self) -> list[bytes]:
        """The evidence, one leaf for each participant who was called."""
        return [response.leaf for response in self.responses]


def deeds_of(region: Region, interval: Interval, flows: Flows, known: Known) -> IntervalDeeds:
    """What an interval adds to everybody's sums of its settlement period."""
    sums: dict[str, PeriodSums] = {}

    def add(participant: str, more: PeriodSums) -> None:
        sums[participant] = sums.get(participant, PeriodSums()).plus(more)

    for flow in flows.participants:
        add(flow.participant, _used_and_fed_in(flow, region))
    for converter in flows.converters:
        add(region.operators[converter.converter], PeriodSums(emitted_mg=converter.burned_mg))
    responses = tuple(_responses(region, interval, flows, known))
    for participant, response_wh, relief_ppm in _paid(responses):
        add(participant, PeriodSums(response_wh=response_wh, relief_ppm=relief_ppm))
    nothing = PeriodSums()
    return IntervalDeeds({name: sums[name] for name in sorted(sums) if sums[name] != nothing}, responses)


def not_measured(region: Region, flows: Flows, energies: Energies) -> frozenset[str]:
    """Whose response cannot be told: a meter of theirs was not heard, or was caught saying what cannot be."""
    flagged = (finding.subject for finding in flows.findings if finding.kind is FindingKind.IMPOSSIBLE_READING)
    caught = {region.meters[meter].meter.participant for meter in flagged if meter in region.meters}
    return unheard(region, energies) | caught


def _used_and_fed_in(flow: ParticipantFlow, region: Region) -> PeriodSums:
    used_wh, used_clean_wh = flow.imported_wh, clean_wh(flow.origin_wh, region)
    if flow.participant in region.outside:
        used_wh = used_clean_wh = 0
    match flow.carrier:
        case Carrier.ELECTRICITY:
            used = PeriodSums(used_wh=used_wh, clean_wh=used_clean_wh)
        case Carrier.HEAT:
            used = PeriodSums(heat_wh=used_wh, clean_heat_wh=used_clean_wh)
        case _:
            used = PeriodSums()
    if flow.carrier not in EMITTING:
        return used
    return used.plus(PeriodSums(fed_in_wh=flow.exported_wh, emitted_mg=flow.emitted_mg))


def _responses(region: Region, interval: Interval, flows: Flows, known: Known) -> Iterable[Response]:
    """How everybody responded who was called, has a baseline, and is believed."""
    if not known.events:
        return
    metered_wh, doubtful = net_electricity_wh(region, known.energies), not_measured(region, flows, known.energies)
    loadings = {branch.branch: branch.loading_ppm for branch in flows.branches}
    event_flows = {flow.event: flow for flow in flows.events}
    rule = region.rules_at(interval.start_ms).congestion
    for event in known.events:
        flow = event_flows.get(event.event)
        loading_ppm, called_ppm = loadings.get(event.branch, 0), flow.loading_ppm if flow else 0
        shares = dict(flow.relieving_ppm) if flow else {}
        is_congested = bool(event.branch) and max(loading_ppm, called_ppm) > PPM
        for participant, baseline_wh in _believed(event, doubtful):
            departure_wh = baseline_wh - metered_wh.get(participant, 0)
            share_ppm = shares.get(participant, 0)
            watts = relief_w(departure_wh, share_ppm, interval.length_ms)
            yield Response(
                participant=participant,
                start_ms=interval.start_ms,
                event=event.event,
                branch=event.branch,
                baseline_wh=baseline_wh,
                metered_wh=baseline_wh - departure_wh,
                loading_ppm=loading_ppm,
                called_loading_ppm=called_ppm,
                relieving_ppm=share_ppm,
                relief_w=watts,
                factor_ppm=rule.factor_ppm(watts) if rule and is_congested else 0,
            )


def _believed(event: CalledEvent, doubtful: frozenset[str]) -> Iterable[tuple[str, int]]:
    return ((name, event.baseline_wh[name]) for name in sorted(event.baseline_wh) if name not in doubtful)


def _paid(responses: Iterable[Response]) -> Iterable[tuple[str, int, int]]:
    """Participant, departure from the baseline, and factor: each once, however many events they were called by.

    A departure below 0 counts, too: who takes less in one interval and more in the next has not responded.
    """
    best: dict[str, tuple[int, int]] = {}
    for one in responses:
        _, factor_ppm = best.get(one.participant, (0, 0))
        departure_wh = one.baseline_wh - one.metered_wh  # the same in all events of an interval
        best[one.participant] = (departure_wh, max(factor_ppm, one.factor_ppm))
    return ((participant, *paid) for participant, paid in best.items())
