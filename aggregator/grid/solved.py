"""An interval's physics in floats: what its record is quantized from, and what pictures and explanations draw on.

Shapes: n nodes, b branches, p pipes, k sources.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aggregator.chains.intervals.findings import Finding
from aggregator.grid.believing import Estimate
from aggregator.grid.metering import Metered, MeterPlan
from aggregator.grid.network import Floats, Networks
from aggregator.grid.pipe_flow import PipeFlow
from aggregator.grid.power_flow import PowerFlow
from aggregator.grid.quantize import NUMBERS, OTHER
from aggregator.grid.storing import Stored
from aggregator.grid.tracing import Arcs, users


@dataclass(frozen=True, slots=True)
class Solved:
    """All that is known of an interval, before anything is rounded."""

    networks: Networks
    plan: MeterPlan
    metered: Metered
    believed: Estimate
    pipes: PipeFlow
    arcs: Arcs
    """What carried energy from node to node, lines before converters and storages."""
    mix: Floats
    """(n, k + 1) share by source at every node, and mg of carbon per Wh."""
    unseen: Floats
    """(n) share of what is taken at every node that has not come from anywhere."""
    stored: Stored
    findings: tuple[Finding, ...]

    @property
    def power(self) -> PowerFlow | None:
        """What flows in the electricity network; None where that has no solution."""
        return self.believed.flow

    @property
    def mix_taken(self) -> Floats:
        """(n, k + 1) the mix of what is taken at every node: what has not come from anywhere is of unknown origin."""
        taken: Floats = self.mix * (1 - self.unseen)[:, None]
        taken[:, OTHER] += self.unseen
        taken[:, NUMBERS] += self.unseen * self.plan.unknown_mg
        return taken

    def line_shares(self, participants: Sequence[str]) -> Floats:
        """Each participant's share of what flowed through every branch and pipe, in the end.

        What is sent into a storage or a delaying pipe is nobody's yet, and what leaves the region is the outside's:
        with those, the shares of a line sum to 1.

        Returns:
            (b + p, participants) shares; 0 where nothing flowed.
        """
        taken = np.zeros((self.networks.nodes, len(participants) + 1))
        column = {name: number for number, name in enumerate(participants)}
        for meter in np.flatnonzero(self.plan.is_plain & (self.metered.import_w > 0)).tolist():
            name = self.plan.rows[self.plan.row[meter]][0]
            taken[self.plan.node[meter], column.get(name, -1)] += self.metered.import_w[meter]
        taken[:, -1] += self.stored.kept_w
        if self.power is not None and self.power.reference_w < 0:
            taken[self.networks.electricity.reference, -1] -= self.power.reference_w
        shares = users(taken, self.arcs)[:, :-1]
        from_w, to_w = line_powers(self.networks, self.power, self.pipes)
        forward, carries = from_w >= to_w, np.maximum(from_w, to_w) > 0
        arrives_at = np.where(forward, self.networks.line_to, self.networks.line_from)
        found: Floats = np.where(carries[:, None], shares[arrives_at], 0.0)
        return found


def line_powers(networks: Networks, power: PowerFlow | None, pipes: PipeFlow) -> tuple[Floats, Floats]:
    """(b + p) power that enters every branch and pipe at its from node, and at its to node."""
    nothing = np.zeros(networks.electricity.branches)
    from_w, to_w = (power.from_w, power.to_w) if power is not None else (nothing, nothing)
    return np.concatenate([from_w, pipes.from_w]), np.concatenate([to_w, pipes.to_w])
