"""What a network is rated for, and where an interval's flow went beyond: loading is told by every branch's row."""

from __future__ import annotations

from typing import Final

import numpy as np

from aggregator.chains.intervals.findings import Finding, FindingKind
from aggregator.grid.network import Network
from aggregator.grid.power_flow import PowerFlow

VOLTAGE_SHARE: Final = 0.1
"""How far a voltage may be from its rating (EN 50160, 4.2.2)."""
FINDINGS_MAX: Final = 1000
"""Findings about voltages in one interval: the furthest off."""


def voltage_findings(network: Network, flow: PowerFlow | None) -> list[Finding]:
    """A finding for every node with power whose voltage is too high or too low, in the order of the grid file."""
    if flow is None:
        return []
    volts, rated = flow.voltage_v, network.node_rated_v
    off_mv = np.rint(np.abs(volts - rated) * 1000)
    beyond = np.flatnonzero((volts > 0) & (off_mv > np.rint(VOLTAGE_SHARE * rated * 1000)))
    worst = np.sort(beyond[np.argsort(-off_mv[beyond], kind="stable")][:FINDINGS_MAX])
    names = tuple(network.node_number)
    return [Finding(FindingKind.VOLTAGE, names[node], (round(volts[node] * 1000),)) for node in worst.tolist()]
