"""State estimation: what most likely flowed in an interval, given what meters said and how far each may be off.

Weighted least squares. Every meter's mean power and voltage is a measurement; nodes without meters take and feed in
nothing; a meter that was not heard is supposed to have said 0, give or take all that its connection can carry; check
meters, the meter at the connection to the network outside, and voltages say once more what follows from the others.
What contradicts is judged in `aggregator.grid.bad_data`. Where nothing is said twice, the estimate is the power flow.

An estimate is always found, but perhaps not a flow: the finding NO_SOLUTION then says so.

Shapes: n nodes, m meters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from aggregator.chains.intervals.findings import Finding, FindingKind
from aggregator.chains.metering.interval_energy import Energies
from aggregator.chains.region import Region
from aggregator.grid.bad_data import Examiner, Suspect, Verdict
from aggregator.grid.believing import Believe
from aggregator.grid.limits import voltage_findings
from aggregator.grid.measurements import Electrics, Measured
from aggregator.grid.metering import MeterPlan
from aggregator.grid.network import Floats, Network, Networks, summed
from aggregator.grid.observability import live_part, unobservable
from aggregator.grid.power_flow import PowerFlow, PowerFlowError, PowerFlowSolver, StateSolver, injections
from protocol.units import Interval

NAMED_MAX: Final = 1000
"""Findings of one kind about nodes, in one interval."""
UNKNOWN_W: Final = 0.5
"""Less power than this is none."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is believed about an interval."""

    flow: PowerFlow | None
    """None where the network has no solution."""
    injection_w: Floats
    """(n) fed in less taken, without what comes from outside: as estimated, or as said where nothing was estimated."""
    findings: tuple[Finding, ...]
    flagged: frozenset[str] = frozenset()
    """Meters whose readings cannot be true: they earn nothing until the regulator has corrected them."""
    squares: float = 0.0
    """Weighted sum of squared residuals of the first estimate, with every meter believed."""
    limit: float = 0.0
    """What it stays below if all errors are honest; 0 where nothing was said twice."""


def estimating(region: Region, network: Network) -> Callable[[Energies, Interval], Estimate]:
    """The estimation of a region's electricity network, prepared once and asked for every interval."""
    meters = Electrics(region, network)
    estimator = Estimator(network, meters)
    return lambda energies, interval: estimator.estimate(meters.measure(energies, interval))


def estimated(region: Region, networks: Networks, plan: MeterPlan) -> Believe:
    """The same, as an interval's physics asks for it."""
    believe = estimating(region, networks.electricity)
    return lambda energies, interval, metered: believe(energies, interval)


class Estimator:
    """The estimation of one region's electricity network, prepared once."""

    def __init__(self, network: Network, meters: Electrics) -> None:
        """`meters` stand in `network`."""
        self._network = network
        self._meters = meters
        self._part = live_part(network)
        self._flows = PowerFlowSolver(network)
        self._states = StateSolver(network)
        self._examiner = Examiner(network, self._part, meters)
        self._names = tuple(network.node_number)
        self._ratings = tuple(
            Finding(FindingKind.RATINGS_DIFFER, network.branch_names[branch], _rated_mv(network, branch))
            for branch in self._part.contradictory.tolist()[:NAMED_MAX]
        )

    def estimate(self, measured: Measured) -> Estimate:
        """What most likely flowed."""
        findings = [*self._ratings, *self._meters.silent(measured), *self._dark(measured)]
        findings += self._unobservable(measured)
        verdict = self._verdict(measured)
        if verdict is None or not verdict.is_consistent:
            said = measured.sensors.injection_w
            named = verdict.suspects if verdict is not None else ()
            said = self._instead(said, named)
            flow = self._flow_as_said(said)
            if flow is None:
                findings.append(Finding(FindingKind.NO_SOLUTION, self._meters.region))
            if verdict is None:
                return Estimate(flow, said, (*findings, *voltage_findings(self._network, flow)))
            findings += [*self._contradictions(verdict), *voltage_findings(self._network, flow)]
            findings += self._impossible(named)
            return Estimate(flow, said, tuple(findings), self._flagged(named), verdict.squares, verdict.limit)
        findings += self._impossible(verdict.suspects)
        if verdict.moved is not None:
            name = self._meters.names[verdict.moved.meter]
            findings.append(Finding(FindingKind.MISPLACED, name, (verdict.moved.node,)))
        findings += voltage_findings(self._network, verdict.flow)
        injection = injections(self._network, verdict.flow)
        injection[self._network.reference] -= verdict.flow.reference_w
        dark = self._part.position < 0
        injection[dark] = measured.sensors.injection_w[dark]
        flagged = self._flagged(verdict.suspects)
        return Estimate(verdict.flow, injection, tuple(findings), flagged, verdict.squares, verdict.limit)

    def _impossible(self, named: Iterable[Suspect]) -> list[Finding]:
        return [self._finding_about(suspect, FindingKind.IMPOSSIBLE_READING) for suspect in named]

    def _flagged(self, named: Iterable[Suspect]) -> frozenset[str]:
        return frozenset(self._meters.names[suspect.meter] for suspect in named if not suspect.is_voltage)

    def _instead(self, said_w: Floats, named: Iterable[Suspect]) -> Floats:
        """(n) what was said at every node, but of those who are named what the others say instead."""
        instead = said_w.copy()
        for suspect in named:
            if self._meters.is_injection[suspect.meter] and not suspect.is_voltage:
                instead[self._meters.node[suspect.meter]] += suspect.estimated - suspect.said
        return instead

    def _verdict(self, measured: Measured) -> Verdict | None:
        """None where nothing is said twice, or no state can be found: then meters are taken at their word."""
        sensors = measured.sensors
        if sensors.connection_w is None and not len(sensors.check_w) and len(sensors.voltage_v) < 3:
            return None
        try:
            flow: PowerFlow | None = self._states.solve(sensors)
        except PowerFlowError:  # the library finds none: begin with what meters said
            flow = self._flow_as_said(sensors.injection_w)
        return None if flow is None else self._examiner.examine(measured, flow)

    def _flow_as_said(self, injection_w: Floats) -> PowerFlow | None:
        try:
            return self._flows.solve(np.where(self._part.position >= 0, -injection_w, 0.0))
        except PowerFlowError:
            return None

    def _dark(self, measured: Measured) -> list[Finding]:
        """Nodes with energy, but without a way to the reference node."""
        told = summed(measured.node, np.abs(measured.net_w), self._network.nodes) >= UNKNOWN_W
        dark = np.flatnonzero(told & (self._part.position < 0))[:NAMED_MAX]
        return [Finding(FindingKind.NO_PATH, self._names[node]) for node in dark.tolist()]

    def _unobservable(self, measured: Measured) -> list[Finding]:
        network, meters = self._network, self._meters
        unknown = np.zeros(network.nodes, dtype=np.bool_)
        unknown[measured.node[meters.is_injection & ~measured.is_heard]] = True
        if not unknown.any():
            return []
        unknown[network.reference] |= measured.sensors.connection_w is None
        checked = np.zeros(network.branches, dtype=np.bool_)
        checked[measured.sensors.check_branch] = True
        found = unobservable(network, self._part, unknown, checked)[:NAMED_MAX]
        return [
            Finding(FindingKind.UNOBSERVABLE, self._names[node], (unknown_powers, yielded))
            for node, unknown_powers, yielded in found
        ]

    def _contradictions(self, verdict: Verdict) -> list[Finding]:
        sums = (round(verdict.squares * 1000), round(verdict.limit * 1000))
        whole = Finding(FindingKind.INCONSISTENT, self._meters.region, sums)
        equals = verdict.equals[:NAMED_MAX]
        return [whole, *(self._finding_about(suspect, FindingKind.AMBIGUOUS_READING) for suspect in equals)]

    def _finding_about(self, suspect: Suspect, kind: FindingKind) -> Finding:
        name = self._meters.names[suspect.meter]
        if suspect.is_voltage:
            amounts = (round(suspect.said * 1000), round(suspect.estimated * 1000))
            return Finding(FindingKind.IMPOSSIBLE_VOLTAGE, name, amounts)
        return Finding(kind, name, (round(suspect.said), round(suspect.estimated)))


def _rated_mv(network: Network, branch: int) -> tuple[int, int]:
    rated = network.node_rated_v
    return round(rated[network.branch_from[branch]] * 1000), round(rated[network.branch_to[branch]] * 1000)
