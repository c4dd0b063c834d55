"""What a result may claim about an interval's energy: exactly what meters counted, each watt-hour with an origin."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from aggregator.chains.intervals.flows import CARRIERS, Flows, Mix, ParticipantFlow
from aggregator.chains.metering.interval_energy import Energies, IntervalEnergy
from aggregator.chains.region import Region
from config.carriers import Carrier
from protocol.units import PPM

NO_ENERGY: Final = IntervalEnergy()


def participant_energy(region: Region, energies: Energies) -> dict[tuple[str, Carrier], ParticipantFlow]:
    """What everybody took and gave in an interval, by name and network, before anything is said about origin."""
    flows: dict[tuple[str, Carrier], ParticipantFlow] = {}
    for meter, energy in energies.items():
        if not energy.imported_wh and not energy.exported_wh:
            continue
        if meter in region.meters_apart:
            continue
        asset = region.meters[meter]
        emission = asset.generator.emission_g_per_kwh if asset.generator else 0
        key = (asset.meter.participant, region.carriers[asset.meter.node])
        so_far = flows.get(key) or ParticipantFlow(*key, 0, 0, 0)
        flows[key] = replace(
            so_far,
            imported_wh=so_far.imported_wh + energy.imported_wh,
            exported_wh=so_far.exported_wh + energy.exported_wh,
            emitted_mg=so_far.emitted_mg + energy.exported_wh * emission,
        )
    return {key: flows[key] for key in sorted(flows, key=lambda key: (key[0], CARRIERS.index(key[1])))}


def clean_wh(mix: Mix, region: Region) -> int:
    """How much of a mix is clean, rounded down."""
    return sum(energy * region.clean_ppm.get(source, 0) for source, energy in mix) // PPM


def net_electricity_wh(region: Region, energies: Energies) -> dict[str, int]:
    """Electricity that everybody imported − exported, their converters and storages included; who has none is left out.

    This is what demand response is measured by: it does not matter which device behind a connection responded.
    """
    net_wh: dict[str, int] = {}
    for name, energy in energies.items():
        meter = region.meters[name].meter
        if not meter.branch and region.carriers[meter.node] is Carrier.ELECTRICITY:
            net_wh[meter.participant] = net_wh.get(meter.participant, 0) + energy.imported_wh - energy.exported_wh
    return net_wh


def unheard(region: Region, energies: Energies) -> frozenset[str]:
    """Participants who respond and have a meter of electricity that nothing is known of: silence is no response."""
    return frozenset(
        name for name in region.responding if any(meter.id not in energies for meter in region.electric_meters[name])
    )


def false_energy(region: Region, flows: Flows, energies: Energies) -> str | None:
    """Where a result says of energy something else than the data chain, or gives some no origin; None: nowhere."""
    return next(_false_energies(region, flows, energies), None)


def _false_energies(region: Region, flows: Flows, energies: Energies) -> Iterator[str]:
    given = {(flow.participant, flow.carrier): replace(flow, origin_wh=(), carbon_mg=0) for flow in flows.participants}
    if len(given) != len(flows.participants) or given != participant_energy(region, energies):
        yield "energy other than the data chain's"
    for flow in flows.participants:
        if sum(energy for _, energy in flow.origin_wh) != flow.imported_wh:
            yield f"{flow.participant}: the origins do not sum to the import"
    converters = [(one.converter, one.input_wh, one.output_wh) for one in flows.converters]
    if converters != list(_converter_energy(region, energies)):
        yield "energy of converters other than the data chain's"
    storages = [(one.storage, one.charged_wh, one.discharged_wh) for one in flows.storages]
    if storages != list(_storage_energy(region, energies)):
        yield "energy of storages other than the data chain's"
    delaying = {pipe.id for pipe in region.grid.pipes if pipe.delay_ms or pipe.content_wh}
    if others := sorted({sent.pipe for sent in flows.sent} - delaying):
        yield f"something on its way in {others[0]}, which is no pipe that delays"
    busy = [one for one in flows.balances if one.fed_in_wh or one.taken_wh]
    balances = {one.carrier: (one.fed_in_wh, one.taken_wh) for one in busy}
    if len(balances) != len(busy) or balances != _network_energy(region, energies):
        yield "energy of networks other than the data chain's"
    for one in flows.balances:
        if one.fed_in_wh - one.taken_wh - one.losses_wh - one.rest_wh:
            yield f"the balance of {one.carrier} does not add up"


def _converter_energy(region: Region, energies: Energies) -> Iterator[tuple[str, int, int]]:
    """Every converter with what its meters counted in and out, in the order of the grid file."""
    for one in region.grid.converters:
        taken_wh = sum(_row(energies, meter).imported_wh for meter in one.inputs)
        yield one.id, taken_wh, sum(_row(energies, output.meter).exported_wh for output in one.outputs)


def _storage_energy(region: Region, energies: Energies) -> Iterator[tuple[str, int, int]]:
    """Every storage with what its meters counted in and out, in the order of the grid file."""
    for one in region.grid.storages:
        charged, discharged = _row(energies, one.charge_meter), _row(energies, one.discharge_meter)
        yield one.id, charged.imported_wh, discharged.exported_wh


def _network_energy(region: Region, energies: Energies) -> dict[Carrier, tuple[int, int]]:
    """What was fed into each network and taken from it, by all meters but check meters; idle ones are left out."""
    totals: dict[Carrier, tuple[int, int]] = {}
    for name, energy in energies.items():
        meter = region.meters[name].meter
        if not meter.branch and (energy.imported_wh or energy.exported_wh):
            fed_in, taken = totals.get(carrier := region.carriers[meter.node], (0, 0))
            totals[carrier] = fed_in + energy.exported_wh, taken + energy.imported_wh
    return totals


def _row(energies: Energies, meter: str) -> IntervalEnergy:
    return energies.get(meter) or NO_ENERGY
