"""Physics that can be followed by hand, for tests of what the chains make of it: no voltages and no losses.

Everything in one network mixes. What a converter gives has the mix of what it took, what a storage gives that of what
it held, and what arrives through the one pipe that of what was sent an interval before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from aggregator.chains.congestion.congestions import NEARLY_FULL_PPM, Congestion, LineLoad
from aggregator.chains.intervals.findings import Finding
from aggregator.chains.intervals.flows import (
    Balance,
    BranchFlow,
    ConverterFlow,
    EventFlow,
    Flows,
    Mix,
    Parcel,
    PipeParcel,
    StorageContent,
)
from aggregator.chains.intervals.known import Known
from aggregator.chains.intervals.origin import participant_energy
from aggregator.chains.metering.interval_energy import Energies, IntervalEnergy
from aggregator.chains.region import Region
from config.carriers import Carrier
from config.grid_model import Source
from protocol.energy_register import MS_PER_HOUR
from protocol.limits import Direction
from protocol.units import PPM, Interval

NONE = IntervalEnergy()
SOURCES = tuple(Source)


@dataclass
class PlainPhysics:
    """One line to the region and one pipe to the houses; a watt less behind the line relieves it by a watt."""

    rating_w: int = 10**9
    findings: tuple[Finding, ...] = ()
    seen: list[Known] = field(default_factory=list)
    """What it was given, interval by interval."""

    def __call__(self, region: Region, interval: Interval, known: Known) -> Flows:
        """Work out one interval."""
        self.seen.append(known)
        electricity = self._electricity(region, known.energies)
        held = {one.id: known.carried.storages.get(one.id, Parcel(())) for one in region.grid.storages}
        heat = self._heat(region, known, electricity, held)
        rows = [
            replace(flow, origin_wh=of(flow.imported_wh, electricity if carrier is Carrier.ELECTRICITY else arrived))
            for arrived in [self._arrived(region, known)]
            for (_, carrier), flow in participant_energy(region, known.energies).items()
        ]
        line_wh = known.energies.get("m-grid", NONE)
        flow_w = (line_wh.exported_wh - line_wh.imported_wh) * MS_PER_HOUR // interval.length_ms
        return Flows(
            participants=tuple(rows),
            branches=tuple(BranchFlow(b.id, flow_w, self._loading(flow_w)) for b in region.grid.branches),
            balances=balances(region, known.energies),
            converters=tuple(
                ConverterFlow(
                    one.id,
                    sum(known.energies.get(meter, NONE).imported_wh for meter in one.inputs),
                    sum(known.energies.get(output.meter, NONE).exported_wh for output in one.outputs),
                    0,
                )
                for one in region.grid.converters
            ),
            storages=tuple(self._storage(region, name, known, heat, held[name]) for name in held),
            sent=tuple(self._sent(region, known, heat)),
            events=tuple(self._events(known, flow_w, interval)),
            findings=self.findings,
            congestions=tuple(self._congestions(region, known, flow_w, interval)),
        )

    def _congestions(self, region: Region, known: Known, flow_w: int, interval: Interval) -> Iterator[Congestion]:
        """A watt less fed in relieves the line where it carries power out, a watt less taken where it brings some."""
        way = Direction.FEED_IN if flow_w < 0 else Direction.TAKE
        power = {name: 0 for name, direction in sorted(region.limitable_w) if direction is way}
        for meter, energy in known.energies.items():
            owner = region.meters[meter].meter.participant
            if owner in power:
                counted_wh = energy.exported_wh if way is Direction.FEED_IN else energy.imported_wh
                power[owner] += counted_wh * MS_PER_HOUR // interval.length_ms
        if region.rules.curtailment and self._loading(flow_w) > NEARLY_FULL_PPM:
            loads = tuple(LineLoad(name, way, power_w, PPM) for name, power_w in power.items())
            yield from (Congestion(line.id, loads) for line in region.grid.branches)

    def _electricity(self, region: Region, energies: Energies) -> dict[Source, int]:
        mix: dict[Source, int] = {}
        for meter, energy in energies.items():
            generator = region.meters[meter].generator
            if generator is not None and energy.exported_wh:
                mix[generator.source] = mix.get(generator.source, 0) + energy.exported_wh
        return mix

    def _heat(
        self, region: Region, known: Known, electricity: Mapping[Source, int], held: Mapping[str, Parcel]
    ) -> dict[Source, int]:
        """What converters and storages give to the heat network."""
        mix: dict[Source, int] = {}
        for one in region.grid.converters:
            for output in one.outputs:
                add(mix, of(known.energies.get(output.meter, NONE).exported_wh, electricity))
        for storage in region.grid.storages:
            given_wh = known.energies.get(storage.discharge_meter, NONE).exported_wh
            add(mix, of(given_wh, dict(held[storage.id].mix_wh)))
        return mix

    def _storage(
        self, region: Region, name: str, known: Known, heat: Mapping[Source, int], before: Parcel
    ) -> StorageContent:
        storage = next(one for one in region.grid.storages if one.id == name)
        charged_wh = known.energies.get(storage.charge_meter, NONE).imported_wh
        given_wh = known.energies.get(storage.discharge_meter, NONE).exported_wh
        content = dict(before.mix_wh)
        add(content, tuple((source, -energy) for source, energy in of(given_wh, content)))
        add(content, of(charged_wh, heat))
        return StorageContent(name, charged_wh, given_wh, Parcel(in_order(content)))

    def _sent(self, region: Region, known: Known, heat: Mapping[Source, int]) -> list[PipeParcel]:
        taken_wh = sum(known.energies.get(storage.charge_meter, NONE).imported_wh for storage in region.grid.storages)
        sent_wh = sum(heat.values()) - taken_wh
        return [PipeParcel(pipe.id, True, Parcel(of(sent_wh, heat))) for pipe in region.grid.pipes if sent_wh > 0]

    def _arrived(self, region: Region, known: Known) -> Mapping[Source, int]:
        parcels = [sent for pipe in region.grid.pipes for _, sent in known.carried.pipes.get(pipe.id, ())]
        return dict(parcels[0].parcel.mix_wh) if parcels else {Source.OTHER: 1}

    def _loading(self, flow_w: int) -> int:
        return abs(flow_w) * PPM // self.rating_w

    def _events(self, known: Known, flow_w: int, interval: Interval) -> list[EventFlow]:
        flows = []
        for event in known.events:
            rows = known.energies
            more_wh = sum(
                baseline_wh - rows.get(f"m-{name}", NONE).imported_wh + rows.get(f"m-{name}", NONE).exported_wh
                for name, baseline_wh in event.baseline_wh.items()
            )
            called_w = flow_w + more_wh * MS_PER_HOUR // interval.length_ms
            shares = tuple((name, PPM) for name in sorted(event.baseline_wh))
            flows.append(EventFlow(event.event, self._loading(called_w), shares))
        return flows


def of(energy_wh: int, mix: Mapping[Source, int]) -> Mix:
    """So much of a mix; of unknown origin where it holds nothing."""
    parts = {source: mix[source] for source in SOURCES if mix.get(source, 0) > 0} or {Source.OTHER: 1}
    whole = sum(parts.values())
    shares = {source: energy_wh * part // whole for source, part in parts.items()}
    remainders = sorted(parts, key=lambda source: -(energy_wh * parts[source] % whole))
    for source in remainders[: energy_wh - sum(shares.values())]:
        shares[source] += 1
    return in_order(shares)


def add(mix: dict[Source, int], more: Mix) -> None:
    """Add to a mix."""
    for source, energy_wh in more:
        mix[source] = mix.get(source, 0) + energy_wh


def in_order(mix: Mapping[Source, int]) -> Mix:
    """A mix as rows hold it."""
    return tuple((source, mix[source]) for source in SOURCES if mix.get(source, 0) > 0)


def balances(region: Region, energies: Energies) -> tuple[Balance, ...]:
    """What was fed into every network and taken from it; the difference is nobody's."""
    totals: dict[Carrier, list[int]] = {}
    for meter, energy in energies.items():
        line = totals.setdefault(region.carriers[region.meters[meter].meter.node], [0, 0])
        line[0] += energy.exported_wh
        line[1] += energy.imported_wh
    return tuple(
        Balance(carrier, *totals[carrier], 0, totals[carrier][0] - totals[carrier][1])
        for carrier in Carrier
        if carrier in totals
    )
