"""Between meters and power flow: what was measured in the electricity network, and what is to be believed of it.

State estimation stands here: it is handed the measurements of an interval and gives back what every node feeds in.

Shapes: n nodes, m meters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from aggregator.chains.findings import Finding
from aggregator.grid.network import Bools, Floats, Ints, Network, summed


@dataclass(frozen=True, slots=True)
class Measurements:
    """What the meters of the electricity network measured in an interval."""

    names: tuple[str, ...]
    node: Ints
    """(m) node numbers."""
    branch: Ints
    """(m) of a check meter, the number of the branch that it stands in: what it imports comes out of the branch at its
    node; else −1."""
    import_w: Floats
    """(m) mean power taken."""
    export_w: Floats
    """(m) mean power fed in."""
    accuracy: Floats
    """(m) how far it may be off, as a share of what it shows."""
    is_reference: Bools
    """(m) whether it stands at the connection to the network outside."""
    is_read: Bools
    """(m) whether it sent anything."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is believed of the electricity network in an interval."""

    fed_in_w: Floats
    """(n) net power fed in at each node; below 0 taken. Without what comes in from outside at the reference node."""
    findings: tuple[Finding, ...] = ()
    disbelieved: frozenset[str] = frozenset()
    """Meters whose readings cannot be true: their use is of unknown origin."""


Estimator = Callable[[Network, Measurements], Estimate]


def as_measured(network: Network, measurements: Measurements) -> Estimate:
    """Believe every meter; where none is, nothing is fed in or taken."""
    counts = (measurements.branch < 0) & ~measurements.is_reference
    net_w = np.where(counts, measurements.export_w - measurements.import_w, 0.0)
    return Estimate(summed(measurements.node, net_w, network.nodes))
