"""How called events' branches would have been loaded, and who relieves them by how much.

Shapes: n nodes, b branches, m meters, r rows of participants and carriers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
from scipy.sparse import csc_array
from scipy.sparse.linalg import splu

from aggregator.chains.intervals.flows import CARRIERS, CalledEvent, EventFlow
from aggregator.grid.believing import Estimate
from aggregator.grid.metering import Metered, MeterPlan
from aggregator.grid.network import Bools, Floats, Ints, Network, summed
from aggregator.grid.observability import live_part
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
        self._part = live_part(network)
        self._solver = PowerFlowSolver(network)
        self._branch_number = {name: number for number, name in enumerate(network.branch_names)}
        electricity = CARRIERS.index(Carrier.ELECTRICITY)
        self._meters: Ints = np.flatnonzero(~plan.is_check & ~plan.is_slack & (plan.carrier == electricity))
        """(m) whose energy may respond."""
        self._meter_row, self._meter_node = plan.row[self._meters], plan.node[self._meters]
        self._row = {plan.rows[row][0]: row for row in np.unique(self._meter_row).tolist()}

    def events(
        self,
        metered: Metered,
        believed: Estimate,
        events: Sequence[CalledEvent],
        interval: Interval,
    ) -> tuple[EventFlow, ...]:
        """What every event's branch would have carried, had nobody responded: to this event or to another one.

        An event of no branch, or of a pipe, has no loading: what is called is electricity. Nor has one in an interval
        without a power flow.
        """
        without = self._without_response(metered, believed, events, interval) if events else None
        return tuple(self._row_of(event, without) for event in sorted(events, key=lambda event: event.event))

    def _row_of(self, event: CalledEvent, without: PowerFlow | None) -> EventFlow:
        branch = self._branch_number.get(event.branch)
        if branch is None or without is None:
            return EventFlow(event.event, 0)
        shares = self._shares(branch, 1 if without.from_w[branch] >= without.to_w[branch] else -1)
        known = ((name, self._row[name]) for name in sorted(event.baseline_wh) if name in self._row)
        named = [(name, round(float(shares[row]) * PPM)) for name, row in known]
        loading_ppm = round(float(without.loading[branch]) * PPM)
        return EventFlow(event.event, loading_ppm, tuple((name, share) for name, share in named if share))

    def _without_response(
        self, metered: Metered, believed: Estimate, events: Sequence[CalledEvent], interval: Interval
    ) -> PowerFlow | None:
        """The power flow with everybody who was called at their baseline; as it was, where that has no solution."""
        if believed.flow is None:
            return None
        taken_more = self._at_baseline(metered, believed, events, interval)
        consumption = np.where(self._part.position >= 0, taken_more - believed.injection_w, 0.0)
        try:
            return self._solver.solve(consumption)
        except PowerFlowError:
            return believed.flow

    def _at_baseline(
        self, metered: Metered, believed: Estimate, events: Sequence[CalledEvent], interval: Interval
    ) -> Floats:
        """(n) how much more everybody who was called would have taken, where their connections are.

        Those are left out of whom a meter was not heard or is not believed: nobody knows what they took, and the
        estimate already holds what flowed. Not where they take power just now decides, but what their meters can
        carry: else whoever takes nothing at one place would seem to have saved at another.
        """
        plan, rows = self._plan, len(self._plan.rows)
        net_w = np.bincount(self._meter_row, (metered.import_w - metered.export_w)[self._meters], rows)
        more_w = np.zeros(rows)
        for event in events:
            for name, baseline_wh in event.baseline_wh.items():
                if (row := self._row.get(name)) is not None:
                    more_w[row] = baseline_wh * MS_PER_HOUR / interval.length_ms - net_w[row]
        doubtful = {plan.rows[plan.row[plan.number[name]]][0] for name in believed.flagged}
        more_w[[row for name, row in self._row.items() if name in doubtful]] = 0.0
        more_w[plan.row[~metered.is_read & ~plan.is_check]] = 0.0
        return summed(self._meter_node, self._part_of_connection * more_w[self._meter_row], self._network.nodes)

    @cached_property
    def _part_of_connection(self) -> Floats:
        """(m) what each meter can carry of all that its participant's meters can; only of those that use, if any do."""
        plan, row = self._plan, self._meter_row
        uses = np.where(plan.feeds_in[self._meters], 0.0, plan.power_max_w[self._meters])
        power = np.where(np.bincount(row, uses)[row] > 0, uses, plan.power_max_w[self._meters])
        return power / np.bincount(row, power)[row]

    def _shares(self, branch: int, sign: int) -> Floats:
        """(r) by how many watts a branch carries less when a participant takes a watt less, at least.

        It is known how much less somebody took, but not at which of their meters. So of several places the one counts
        where the branch feels least of it; none, where one relieves it and another does not.
        """
        felt = sign * self._sensitivity(branch)[self._meter_node]
        rows = len(self._plan.rows)
        least, most = np.full(rows, np.inf), np.full(rows, -np.inf)
        np.minimum.at(least, self._meter_row, felt)
        np.maximum.at(most, self._meter_row, felt)
        shares: Floats = np.where(least > 0, least, np.where(most < 0, most, 0.0))
        shares[np.isinf(shares)] = 0.0  # whoever has no such meter
        return shares

    def felt(self, branch: int, flow: PowerFlow) -> Floats:
        """(n) by how many watts a branch carries more, in the direction in which it does, with a watt taken at each."""
        return self._sensitivity(branch) * (1 if flow.from_w[branch] >= flow.to_w[branch] else -1)

    def _sensitivity(self, branch: int) -> Floats:
        """(n) by how many watts a branch's flow, from its from node, rises with a watt taken at each node.

        Power transfer distribution factors: in a network without loops 1 behind the branch and 0 elsewhere; in loops,
        ways share in proportion to their admittance.
        """
        admittance, solve, fixed = self._factored
        ends = np.zeros(self._network.nodes)
        ends[self._network.branch_from[branch]] += 1.0
        ends[self._network.branch_to[branch]] -= 1.0
        return np.where(fixed, 0.0, -admittance[branch] * solve(np.where(fixed, 0.0, ends)))

    @cached_property
    def _factored(self) -> tuple[Floats, Callable[[Floats], Floats], Bools]:
        """(b) admittances, 0 of branches that carry nothing; their Laplacian's factors; (n) whose potential is 0."""
        network, live = self._network, self._part.branches
        admittance = np.zeros(network.branches)
        admittance[live] = 1 / np.hypot(network.resistance_ohm[live], network.reactance_ohm[live])
        near, far = network.branch_from, network.branch_to
        fixed = self._part.position < 0
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
        return admittance, splu(laplacian).solve, fixed
