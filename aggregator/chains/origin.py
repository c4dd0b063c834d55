"""What a result may claim about an interval: exact sums of energy, and physics within one quantum."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from aggregator.chains.asset import Region
from aggregator.chains.flows import CARRIERS, Flows, Mix, ParticipantFlow
from aggregator.chains.interval_energy import Energies
from config.carriers import Carrier
from config.grid_model import Source
from protocol.units import PPM

QUANTUM_WH: Final = 1
QUANTUM_W: Final = 1
QUANTUM_PPM: Final = 10
"""How far two honest nodes' physics may lie apart, in the units of the record."""


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


def first_difference(theirs: Flows, ours: Flows) -> str | None:
    """Where two nodes' physics lie further apart than one quantum, in words; None where they agree."""
    for flow, own in zip(theirs.participants, ours.participants, strict=False):
        got, want = dict(flow.origin_wh), dict(own.origin_wh)
        for source in Source:
            if abs(got.get(source, 0) - want.get(source, 0)) > QUANTUM_WH:
                return f"{flow.participant}: {got.get(source, 0)} Wh of {source}, here {want.get(source, 0)} Wh"
    if [branch.branch for branch in theirs.branches] != [branch.branch for branch in ours.branches]:
        return "other branches than the grid has"
    for branch, own_branch in zip(theirs.branches, ours.branches, strict=True):
        apart_ppm = abs(branch.loading_ppm - own_branch.loading_ppm)
        if abs(branch.flow_w - own_branch.flow_w) > QUANTUM_W or apart_ppm > QUANTUM_PPM:
            return f"{branch.branch}: {branch.flow_w} W, here {own_branch.flow_w} W"
    if theirs.findings != ours.findings:
        return "other findings"
    return None
