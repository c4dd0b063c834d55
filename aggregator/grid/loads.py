"""Who loads a congested power line, and how much it is relieved when they take or feed in less.

Only participants whose devices can be limited are asked about. What they take and feed in falls at all their meters of
electricity alike, those of their converters and storages among them.
"""

from __future__ import annotations

import numpy as np

from aggregator.chains.congestion.congestions import Congestion, LineLoad
from aggregator.chains.intervals.flows import CARRIERS
from aggregator.chains.region import Region
from aggregator.grid.metering import Metered, MeterPlan
from aggregator.grid.network import Network
from aggregator.grid.power_flow import PowerFlow
from aggregator.grid.relief import Relief
from config.carriers import Carrier
from protocol.units import PPM


class Loads:
    """The electricity network of a region, asked who loads a line."""

    def __init__(self, region: Region, network: Network, plan: MeterPlan, relief: Relief) -> None:
        """`plan` knows the meters of `region` that stand in `network`, and `relief` what its lines feel of them."""
        self._network = network
        self._plan = plan
        self._relief = relief
        is_limited = region.rules.curtailment is not None
        limitable = {device.participant for device in region.grid.devices} if is_limited else set()
        counts = ~plan.is_check & ~plan.is_slack & (plan.carrier == CARRIERS.index(Carrier.ELECTRICITY))
        self._meters: dict[str, list[int]] = {}
        for meter in np.flatnonzero(counts).tolist():
            name = plan.rows[plan.row[meter]][0]
            if name in limitable:
                self._meters.setdefault(name, []).append(meter)

    def congestions(self, metered: Metered, flow: PowerFlow | None) -> tuple[Congestion, ...]:
        """Every line that carries more than it is rated for, with all who load or relieve it."""
        if flow is None or not self._meters:
            return ()
        loading = np.rint(flow.loading * PPM)
        return tuple(self._congestion(branch, metered, flow) for branch in np.flatnonzero(loading > PPM).tolist())

    def _congestion(self, branch: int, metered: Metered, flow: PowerFlow) -> Congestion:
        more = self._relief.felt(branch, flow)
        loads = []
        for name, meters in sorted(self._meters.items()):
            net_w = metered.import_w[meters] - metered.export_w[meters]
            taken_w = float(net_w.sum())
            if round(taken_w):
                relief = float(more[self._plan.node[meters]] @ net_w) / abs(taken_w)
                loads.append(LineLoad(name, round(taken_w), round(min(1.0, max(-1.0, relief)) * PPM)))
        return Congestion(self._network.branch_names[branch], tuple(loads))
