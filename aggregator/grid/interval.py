"""One interval's physics: from meters' energy to everybody's origin, quantized so that sums are exact.

Mean power decides the flows; the energy registers decide how much energy there was to share. Where something cannot be
known (an island without power, no solution, a node without flow), the region's average mix stands in for it, and a
finding says so: the interval always closes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from aggregator.chains.asset import Region
from aggregator.chains.findings import Finding, FindingKind
from aggregator.chains.flows import SOURCES, Balance, BranchFlow, Flows, ParticipantFlow
from aggregator.chains.interval_energy import Energies, IntervalEnergy
from aggregator.chains.origin import participant_energy
from aggregator.grid.network import Floats, network_of
from aggregator.grid.power_flow import PowerFlow, PowerFlowError, PowerFlowSolver
from aggregator.grid.tracing import mixes
from config.carriers import Carrier
from config.grid_model import Source
from protocol.energy_register import MS_PER_HOUR
from protocol.units import PPM, Interval

GRID: Final = SOURCES.index(Source.GRID)
OTHER: Final = SOURCES.index(Source.OTHER)


class IntervalPhysics:
    """The physics of one region, prepared once and asked for every interval."""

    def __init__(self) -> None:
        """The region becomes known with the first interval."""
        self._region: Region | None = None

    def __call__(self, region: Region, interval: Interval, energies: Energies) -> Flows:
        """Work out one interval."""
        if region is not self._region:
            self._region = region
            self._network = network_of(region.grid)
            self._solver = PowerFlowSolver(self._network)
        findings: list[Finding] = []
        fed_in_w, taken_w = self._injections(region, interval, energies)
        flow = self._solve(region, fed_in_w, taken_w, findings)
        node_mix = self._node_mixes(flow, fed_in_w, taken_w, findings)
        return Flows(
            participants=tuple(self._origins(region, energies, node_mix)),
            branches=tuple(self._branches(flow)),
            balances=self._balances(energies, interval, flow),
            findings=tuple(findings),
        )

    def _injections(self, region: Region, interval: Interval, energies: Energies) -> tuple[Floats, Floats]:
        """Mean power fed in, (n, k), and taken, (n). The meter at the connection is left to the power flow."""
        fed_in = np.zeros((self._network.nodes, len(SOURCES)))
        taken = np.zeros(self._network.nodes)
        for name, energy in energies.items():
            asset = region.meters[name]
            source = SOURCES.index(asset.generator.source) if asset.generator else OTHER
            if source == GRID:
                continue
            node = self._network.node_number[asset.meter.node]
            import_w, export_w = mean_power(energy, interval)
            taken[node] += import_w
            fed_in[node, source] += export_w
        return fed_in, taken

    def _solve(self, region: Region, fed_in_w: Floats, taken_w: Floats, findings: list[Finding]) -> PowerFlow | None:
        dark = ~self._network.reached & (fed_in_w.any(axis=1) | (taken_w > 0))
        if dark.any():
            names = [name for name, number in self._network.node_number.items() if dark[number]]
            findings += [Finding(FindingKind.NO_PATH, name) for name in names]
        consumption = np.where(self._network.reached, taken_w - fed_in_w.sum(axis=1), 0.0)
        try:
            return self._solver.solve(consumption)
        except PowerFlowError:
            findings.append(Finding(FindingKind.NO_SOLUTION, region.grid.region))
            return None

    def _node_mixes(self, flow: PowerFlow | None, fed_in_w: Floats, taken_w: Floats, findings: list[Finding]) -> Floats:
        """(n, k) mix at every node; the region's average where a node has none."""
        fed_in = fed_in_w.copy()
        shortfall = flow.reference_w if flow else float(taken_w.sum() - fed_in_w.sum())
        fed_in[self._network.reference, GRID] += max(0.0, shortfall)
        total = fed_in.sum(axis=0)
        average = total / total.sum() if total.sum() > 0 else np.eye(len(SOURCES))[GRID]
        if flow is None:
            return np.tile(average, (self._network.nodes, 1))
        fed_in[~self._network.reached] = 0.0
        found = mixes(self._network, flow, fed_in)
        without = found.sum(axis=1) == 0
        return np.where(without[:, None], average, found)

    def _origins(self, region: Region, energies: Energies, node_mix: Floats) -> list[ParticipantFlow]:
        """Everybody's energy, split by source without losing a watt-hour."""
        wanted = {key: np.zeros(len(SOURCES)) for key in participant_energy(region, energies)}
        for name, energy in energies.items():
            if energy.imported_wh and name not in region.meters_apart:
                meter = region.meters[name].meter
                mix = node_mix[self._network.node_number[meter.node]]
                wanted[meter.participant, region.carriers[meter.node]] += energy.imported_wh * mix
        return [
            replace(flow, origin_wh=split(flow.imported_wh, wanted[key].tolist()))
            for key, flow in participant_energy(region, energies).items()
        ]

    def _balances(self, energies: Energies, interval: Interval, flow: PowerFlow | None) -> tuple[Balance, ...]:
        losses_wh = max(0, round(flow.losses_w * interval.length_ms / MS_PER_HOUR)) if flow else 0
        fed_in_wh = sum(energy.exported_wh for energy in energies.values())
        taken_wh = sum(energy.imported_wh for energy in energies.values())
        rest_wh = fed_in_wh - taken_wh - losses_wh
        return (Balance(Carrier.ELECTRICITY, fed_in_wh, taken_wh, losses_wh, rest_wh),)

    def _branches(self, flow: PowerFlow | None) -> list[BranchFlow]:
        if flow is None:
            return []
        return [
            BranchFlow(name, round(from_w), round(loading * PPM))
            for name, from_w, loading in zip(
                self._network.branch_names, flow.from_w.tolist(), flow.loading.tolist(), strict=True
            )
        ]


def mean_power(energy: IntervalEnergy, interval: Interval) -> tuple[float, float]:
    """Mean power taken and fed in by one meter, in watts: from its readings, or else from its energy.

    The readings of a meter that the regulator has corrected are not believed.
    """
    if energy.readings and not energy.corrections:
        return energy.import_sum_w / energy.readings, energy.export_sum_w / energy.readings
    hours = interval.length_ms / MS_PER_HOUR
    return energy.imported_wh / hours, energy.exported_wh / hours


def split(whole_wh: int, parts: Sequence[float]) -> tuple[tuple[Source, int], ...]:
    """Split watt-hours in the proportion of `parts`, by largest remainder: the sum is exact.

    Among equal remainders the source that stands first gets the watt-hour.
    """
    if whole_wh == 0:
        return ()
    total = sum(parts)
    exact = [whole_wh * part / total for part in parts]
    rounded = [int(value) for value in exact]
    by_remainder = sorted(range(len(parts)), key=lambda k: (rounded[k] - exact[k], k))
    for k in by_remainder[: whole_wh - sum(rounded)]:
        rounded[k] += 1
    return tuple((SOURCES[k], energy_wh) for k, energy_wh in enumerate(rounded) if energy_wh)
