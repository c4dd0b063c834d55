"""One interval's physics: from what meters counted to everybody's origin, quantized so that sums are exact.

Mean power decides the flows; the energy registers decide how much energy there was to share. Where something cannot be
known (an island without power, no solution, a node without flow), the average mix of its carrier stands in for it, and
where that is more than an idle node a finding says so: the interval always closes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from aggregator.chains.intervals.findings import Finding, FindingKind
from aggregator.chains.intervals.flows import CARRIERS, SOURCES, Carried, Flows
from aggregator.chains.intervals.known import Known
from aggregator.chains.metering.interval_energy import Energies
from aggregator.chains.region import Region
from aggregator.grid import rows
from aggregator.grid.believing import Believe, Estimate
from aggregator.grid.converters import ConverterPlan
from aggregator.grid.estimation import estimated
from aggregator.grid.loads import Loads
from aggregator.grid.metering import Metered, MeterPlan
from aggregator.grid.network import Bools, Floats, Ints, Networks, is_bridge, networks_of, summed
from aggregator.grid.pipe_flow import PipeFlow, PipeFlowSolver
from aggregator.grid.power_flow import PowerFlow
from aggregator.grid.quantize import NUMBERS, OTHER
from aggregator.grid.relief import Relief
from aggregator.grid.solved import Solved
from aggregator.grid.storing import Stored, StorePlan
from aggregator.grid.tracing import NO_ARCS, Arcs, arcs_along, mixes
from config.carriers import Carrier
from config.grid_model import Source
from protocol.units import Interval

ROUNDING: Final = 1e-9
"""Corrections below this share of what was metered are the solver's own."""
GRID: Final = SOURCES.index(Source.GRID)
ELECTRICITY: Final = CARRIERS.index(Carrier.ELECTRICITY)
SILENT_MAX: Final = 1000
"""Findings about meters that sent nothing, in one interval."""
NOTHING_CARRIED: Final = Carried()


class IntervalPhysics:
    """The physics of one region, prepared once and asked for every interval."""

    def __init__(self, believe: Callable[[Region, Networks, MeterPlan], Believe] = estimated) -> None:
        """The region becomes known with the first interval; `believe` then prepares its estimation."""
        self._region: Region | None = None
        self._estimation = believe

    @rows.no_collecting()
    def __call__(
        self,
        region: Region,
        interval: Interval,
        known: Known,
    ) -> Flows:
        """Work out one interval."""
        energies, carried, events = known.energies, known.carried, known.events
        solved = self.solve(region, interval, energies, carried)
        balances, unbalanced = rows.balances(solved, interval)
        storages, impossible = self._stores.storages(solved.metered, solved.mix_taken, carried, interval)
        return Flows(
            participants=rows.participants(solved),
            branches=rows.branches(solved),
            balances=balances,
            converters=self._converters.rows(solved.metered, solved.mix_taken),
            storages=storages,
            sent=self._stores.sent(solved.stored, solved.pipes, solved.mix, interval),
            events=self._relief.events(solved.metered, solved.believed, events, interval),
            findings=rows.in_order([*solved.findings, *rows.checks(solved, self._checks), *unbalanced, *impossible]),
            congestions=self._loads.congestions(solved.metered, solved.believed.flow),
        )

    def solve(
        self, region: Region, interval: Interval, energies: Energies, carried: Carried = NOTHING_CARRIED
    ) -> Solved:
        """Work out one interval, before anything is rounded."""
        self._prepare(region)
        networks, plan = self._networks, self._plan
        metered = plan.metered(energies, interval)
        believed = self._believe(energies, interval, metered)
        pipes = self._pipe_flow(metered)
        converted = self._converters.converted(metered, networks.nodes)
        stored = self._stores.stored(metered, pipes, carried, interval)
        known = plan.fed_in(metered, networks.nodes, believed.flagged) + stored.discharged
        known += _of_unknown_origin(converted.unknown_w, plan)
        given, unseen = self._correct(known, converted.arcs + stored.arcs, metered, believed, pipes)
        known += stored.arrived
        findings = (*believed.findings, *self._silent(metered), *converted.findings, *stored.findings)
        arcs = self._along_lines(believed.flow, pipes, stored) + given
        mix = self._mixes(known, arcs, metered, believed.flow)
        return Solved(networks, plan, metered, believed, pipes, arcs, mix, unseen, stored, findings)

    def _prepare(self, region: Region) -> None:
        if region is self._region:
            return
        self._networks = networks_of(region.grid)
        self._pipe_solver = PipeFlowSolver(self._networks.pipes)
        self._plan = MeterPlan(region, self._networks)
        self._believe = self._estimation(region, self._networks, self._plan)
        lines = self._plan.line - self._networks.electricity.branches
        checked = np.flatnonzero(lines >= 0)
        self._checks = checked[is_bridge(self._networks.pipes, lines[checked])]
        self._converters = ConverterPlan(region.grid.converters, self._plan)
        self._stores = StorePlan(region.grid, self._networks, self._plan)
        self._relief = Relief(self._networks.electricity, self._plan)
        self._loads = Loads(region, self._networks.electricity, self._plan, self._relief)
        self._region = region

    def _pipe_flow(self, metered: Metered) -> PipeFlow:
        """What flows in pipes. What a network lacks is looked for first at meters that sent nothing."""
        plan, nodes, first = self._plan, self._networks.nodes, self._networks.electricity.nodes
        net_w = summed(plan.node, np.where(plan.is_check, 0.0, metered.export_w - metered.import_w), nodes)
        island, pipes = self._networks.pipes.island, self._networks.pipes
        lacks = np.zeros(nodes, dtype=np.bool_)
        lacks[first:] = (summed(island, net_w[first:], pipes.islands) < 0)[island]
        variance = plan.variance(metered, nodes) + plan.silent_variance(metered, lacks)
        return self._pipe_solver.solve(net_w[first:], variance[first:])

    def _silent(self, metered: Metered) -> list[Finding]:
        """A finding for every meter of heat, gas or hydrogen that sent nothing."""
        plan = self._plan
        silent = np.flatnonzero(~metered.is_read & (plan.carrier != ELECTRICITY))[:SILENT_MAX].tolist()
        return [Finding(FindingKind.UNMETERED, plan.names[i], () if plan.is_check[i] else (0,)) for i in silent]

    def _correct(
        self, known: Floats, arcs: Arcs, metered: Metered, believed: Estimate, pipes: PipeFlow
    ) -> tuple[Arcs, Floats]:
        """Let what is fed in and taken follow the estimate: where it differs from what meters say, they were off.

        As far as the meters' accuracy explains it, more of the same was fed in, or less of it was taken; beyond that
        the origin is unknown.

        Args:
            known: (n, k + 1) what is fed in at each node, changed in place.
            arcs: what converters and storages pass on to each node.

        Returns:
            The arcs, corrected, and (n) the share of what is taken that has not come from anywhere.
        """
        nodes, first, plan = self._networks.nodes, self._networks.electricity.nodes, self._plan
        taken, fed_in, off = plan.totals(metered, nodes)
        correction = np.concatenate([believed.injection_w - (fed_in - taken)[:first], pipes.correction_w]).clip(min=0.0)
        correction[correction < ROUNDING * (fed_in + taken)] = 0.0
        less = np.minimum(correction, taken)
        missing = correction - less
        explained = np.minimum(missing, off)
        factor = 1 + np.divide(explained, fed_in, out=np.zeros(nodes), where=fed_in > 0)
        known *= factor[:, None]
        known += _of_unknown_origin(missing - explained, plan)
        unseen = np.divide((less - off).clip(min=0.0), taken, out=np.zeros(nodes), where=taken > 0)
        whole = factor[arcs.receiver]
        lost = whole * unseen[arcs.sender]
        known += _of_unknown_origin(summed(arcs.receiver, arcs.arriving_w * lost, nodes), plan)
        np.add.at(known[:, NUMBERS], arcs.receiver, arcs.carbon_w * lost * plan.unknown_mg[arcs.sender])
        part = whole * (1 - unseen[arcs.sender])
        return Arcs(arcs.sender, arcs.receiver, arcs.sent_w, arcs.arriving_w * part, arcs.carbon_w * part), unseen

    def _along_lines(self, power: PowerFlow | None, pipes: PipeFlow, stored: Stored) -> Arcs:
        """What branches and pipes carry; of what arrives through a delaying pipe, only what was sent just now."""
        networks, arcs = self._networks, NO_ARCS
        if power is not None:
            electric = networks.electricity
            arcs = arcs_along(electric.branch_from, electric.branch_to, power.from_w, power.to_w)
        first = networks.electricity.branches
        ends = (networks.line_from[first:], networks.line_to[first:])
        return arcs + arcs_along(*ends, pipes.from_w * stored.prompt, pipes.to_w * stored.prompt)

    def _mixes(self, known: Floats, arcs: Arcs, metered: Metered, power: PowerFlow | None) -> Floats:
        """(n, k + 1) mix and carbon at every node; the carrier's average where a node has none."""
        networks, plan = self._networks, self._plan
        electric = networks.electricity
        if power is not None:
            shortfall = power.reference_w
        else:
            counts = (plan.carrier == ELECTRICITY) & ~plan.is_check & ~plan.is_slack
            shortfall = float((metered.import_w - metered.export_w)[counts].sum())
        if shortfall > 0:
            known[electric.reference, GRID] += shortfall
            known[electric.reference, NUMBERS] += shortfall * plan.reference_emission_mg
        dark = np.zeros(networks.nodes, dtype=np.bool_)
        dark[: electric.nodes] = ~electric.reached
        place = np.arange(networks.nodes)
        if power is None:  # nobody knows what flowed where: the whole network is one pot
            place[: electric.nodes] = electric.reference
            dark[:] = False
        pooled = np.zeros_like(known)
        np.add.at(pooled, place, known)
        arcs = _without(arcs, dark, place)
        found = mixes(np.where(dark[:, None], 0.0, pooled), arcs)[place]
        return self._filled(found, pooled, arcs)

    def _filled(self, found: Floats, known: Floats, arcs: Arcs) -> Floats:
        """Where a node has no mix, the average of all that enters its carrier's networks."""
        without = found[:, :NUMBERS].sum(axis=1) == 0
        for carrier in np.unique(self._networks.node_carrier[without]).tolist():
            here = self._networks.node_carrier == carrier
            enters = known[here].sum(axis=0)
            coupled = here[arcs.receiver] & ~here[arcs.sender]
            enters[:NUMBERS] += arcs.arriving_w[coupled] @ found[arcs.sender[coupled], :NUMBERS]
            enters[NUMBERS] += arcs.carbon_w[coupled] @ found[arcs.sender[coupled], NUMBERS]
            whole = enters[:NUMBERS].sum()
            fallback = np.zeros(NUMBERS + 1)
            fallback[GRID if carrier == ELECTRICITY else OTHER] = 1.0
            mg = self._plan.reference_emission_mg if carrier == ELECTRICITY else self._plan.unknown_mg[here].max()
            fallback[NUMBERS] = mg
            found[here & without] = enters / whole if whole > 0 else fallback
        return found


def _without(arcs: Arcs, dark: Bools, place: Ints) -> Arcs:
    """Arcs that neither begin nor end in the dark, between the places that nodes stand for."""
    lit = ~dark[arcs.sender] & ~dark[arcs.receiver]
    columns = (arcs.sent_w[lit], arcs.arriving_w[lit], arcs.carbon_w[lit])
    return Arcs(place[arcs.sender[lit]], place[arcs.receiver[lit]], *columns)


def _of_unknown_origin(power_w: Floats, plan: MeterPlan) -> Floats:
    """(n, k + 1) power that nobody knows the origin of, with the carbon that is supposed of it."""
    known = np.zeros((len(power_w), NUMBERS + 1))
    known[:, OTHER], known[:, NUMBERS] = power_w, power_w * plan.unknown_mg
    return known
