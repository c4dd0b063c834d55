"""What is believed of the electricity network in an interval: between what meters said and what flowed.

State estimation stands here. Without it, every meter is taken at its word.

Shapes: n nodes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from aggregator.chains.intervals.findings import Finding, FindingKind
from aggregator.chains.metering.interval_energy import Energies
from aggregator.chains.region import Region
from aggregator.grid.metering import Metered, MeterPlan
from aggregator.grid.network import Floats, Network, Networks, summed
from aggregator.grid.power_flow import PowerFlow, PowerFlowError, PowerFlowSolver
from protocol.units import Interval


class Estimate(Protocol):
    """What is believed about an interval."""

    @property
    def flow(self) -> PowerFlow | None:
        """None where the network has no solution."""

    @property
    def injection_w(self) -> Floats:
        """(n) fed in less taken at every node, without what comes in from outside at the reference node."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What could not be known, or cannot be true."""

    @property
    def flagged(self) -> frozenset[str]:
        """Meters whose readings cannot be true: what they say was taken or fed in is of unknown origin."""


Believe = Callable[[Energies, Interval, Metered], Estimate]
"""The estimation of one region's electricity network, prepared once and asked for every interval: with the rows of its
meters, and with their mean power."""


@dataclass(frozen=True, slots=True)
class AsMetered:
    """Every meter at its word; where there is none, nothing is fed in or taken."""

    flow: PowerFlow | None
    injection_w: Floats
    findings: tuple[Finding, ...]
    flagged: frozenset[str] = frozenset()


def as_metered(region: Region, networks: Networks, plan: MeterPlan) -> Believe:
    """The power flow of what meters say."""
    network = networks.electricity
    solver, names = PowerFlowSolver(network), tuple(network.node_number)
    counts = ~plan.is_check & ~plan.is_slack

    def believe(energies: Energies, interval: Interval, metered: Metered) -> AsMetered:
        net_w = np.where(counts, metered.export_w - metered.import_w, 0.0)
        injection = summed(plan.node, net_w, networks.nodes)[: network.nodes]
        dark = np.flatnonzero(~network.reached & (injection != 0)).tolist()
        findings = [Finding(FindingKind.NO_PATH, names[node]) for node in dark]
        flow = _solved(solver, network, injection)
        if flow is None:
            findings.append(Finding(FindingKind.NO_SOLUTION, region.grid.region))
        return AsMetered(flow, injection, tuple(findings))

    return believe


def _solved(solver: PowerFlowSolver, network: Network, injection_w: Floats) -> PowerFlow | None:
    try:
        return solver.solve(np.where(network.reached, -injection_w, 0.0))
    except PowerFlowError:
        return None
