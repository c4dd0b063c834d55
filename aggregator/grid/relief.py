"""How a called event's branch would have been loaded, and who relieves it by how much.

Shapes: n nodes, b branches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.sparse import csc_array
from scipy.sparse.linalg import splu

from aggregator.chains.flows import CARRIERS, CalledEvent, EventFlow
from aggregator.grid.believing import Estimate
from aggregator.grid.metering import Metered, MeterPlan
from aggregator.grid.network import Floats, Network, summed
from aggregator.grid.power_flow import PowerFlow, PowerFlowError, PowerFlowSolver
from config.carriers import Carrier
from protocol.energy_register import MS_PER_HOUR
from protocol.units import PPM, Interval


class Relief:
    """The electricity network of a region, asked what would have been."""

    def __init__(self, network: Network, plan: MeterPlan) -> None:
        """`plan` knows the meters that stand in `network`."""
        self._network = network
        self._plan = plan
        self._solver = PowerFlowSolver(network)
        self._branch_number = {name: number for number, name in enumerate(network.branch_names)}
        electricity = CARRIERS.index(Carrier.ELECTRICITY)
        self._meters: dict[str, list[int]] = {}
        counts = ~plan.is_check & ~plan.is_slack & (plan.carrier == electricity)
        for meter in np.flatnonzero(counts).tolist():
            self._meters.setdefault(plan.rows[plan.row[meter]][0], []).append(meter)

    def events(
        self,
        metered: Metered,
        believed: Estimate,
        events: Sequence[CalledEvent],
        interval: Interval,
    ) -> tuple[EventFlow, ...]:
        """What every event's branch would have carried, had nobody responded.

        An event of no branch, or of a pipe, has no loading: what is called is electricity. Nor has one in an interval
        without a power flow.
        """
        rows = []
        for event in sorted(events, key=lambda event: event.event):
            branch = self._branch_number.get(event.branch)
            if branch is None or believed.flow is None:
                rows.append(EventFlow(event.event, 0))
                continue
            taken_more = self._at_baseline(metered, event.baseline_wh, interval)
            consumption = np.where(self._network.reached, taken_more - believed.injection_w, 0.0)
            try:
                without = self._solver.solve(consumption)
            except PowerFlowError:
                without = believed.flow
            relieving = sensitivity(self._network, branch, without)
            shares = [
                (name, round(float(self._weights(metered, name) @ relieving) * PPM))
                for name in sorted(event.baseline_wh)
                if name in self._meters
            ]
            loading_ppm = round(float(without.loading[branch]) * PPM)
            rows.append(EventFlow(event.event, loading_ppm, tuple(share for share in shares if share[1])))
        return tuple(rows)

    def _at_baseline(self, metered: Metered, baseline_wh: Mapping[str, int], interval: Interval) -> Floats:
        """(n) how much more everybody who was called would have taken."""
        more = np.zeros(self._network.nodes)
        for name in sorted(baseline_wh):
            meters = self._meters.get(name)
            if meters:
                metered_w = float((metered.import_w[meters] - metered.export_w[meters]).sum())
                baseline_w = baseline_wh[name] * MS_PER_HOUR / interval.length_ms
                more += self._weights(metered, name) * (baseline_w - metered_w)
        return more

    def _weights(self, metered: Metered, name: str) -> Floats:
        """(n) where somebody takes less when they do: where they take anything, in proportion; else at all meters."""
        meters = self._meters[name]
        taken = metered.import_w[meters]
        share = taken / taken.sum() if taken.sum() > 0 else np.full(len(meters), 1 / len(meters))
        return summed(self._plan.node[meters], share, self._network.nodes)


def sensitivity(network: Network, branch: int, flow: PowerFlow) -> Floats:
    """(n) by how many watts a branch carries more, in the direction in which it does, with a watt taken at each node.

    Power transfer distribution factors: in a network without loops 1 behind the branch and 0 elsewhere; in loops,
    ways share in proportion to their admittance.
    """
    admittance = 1 / np.hypot(network.resistance_ohm, network.reactance_ohm)
    near, far = network.branch_from, network.branch_to
    fixed = ~network.reached
    fixed[network.reference] = True
    rows, columns = np.concatenate([near, far, near, far]), np.concatenate([near, far, far, near])
    entries = np.concatenate([admittance, admittance, -admittance, -admittance])
    kept = ~fixed[rows] & ~fixed[columns]
    places = np.flatnonzero(fixed)
    laplacian = csc_array(
        (
            np.concatenate([entries[kept], np.ones(len(places))]),
            (np.concatenate([rows[kept], places]), np.concatenate([columns[kept], places])),
        ),
        shape=(network.nodes, network.nodes),
    )
    ends = np.zeros(network.nodes)
    ends[near[branch]] += 1.0
    ends[far[branch]] -= 1.0
    potential: Floats = splu(laplacian).solve(np.where(fixed, 0.0, ends))
    forwards = 1 if flow.from_w[branch] >= flow.to_w[branch] else -1
    return np.where(fixed, 0.0, -admittance[branch] * potential * forwards)
