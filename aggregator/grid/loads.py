"""Who loads a power line that is nearly full, which way, and how much it is relieved when they take or feed in less.

Only participants whose devices can be limited are asked about, and only what loads the line is told: where it carries
too much sun, what is fed in, and never what is taken behind the same connection. Power falls at all their meters of
electricity alike that it goes through, those of their converters and storages among them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aggregator.chains.congestion.congestions import NEARLY_FULL_PPM, Congestion, LineLoad
from aggregator.chains.intervals.flows import CARRIERS
from aggregator.chains.region import Region
from aggregator.grid.metering import Metered, MeterPlan
from aggregator.grid.network import Floats, Network
from aggregator.grid.power_flow import PowerFlow
from aggregator.grid.relief import Relief
from config.carriers import Carrier
from protocol.limits import Direction
from protocol.units import PPM


class Loads:
    """The electricity network of a region, asked who loads a line."""

    def __init__(self, region: Region, network: Network, plan: MeterPlan, relief: Relief) -> None:
        """`plan` knows the meters of `region` that stand in `network`, and `relief` what its lines feel of them."""
        self._network = network
        self._plan = plan
        self._relief = relief
        limitable = region.limitable_w if region.rules.curtailment is not None else {}
        counts = ~plan.is_check & ~plan.is_slack & (plan.carrier == CARRIERS.index(Carrier.ELECTRICITY))
        meters: dict[str, list[int]] = {}
        for meter in np.flatnonzero(counts).tolist():
            meters.setdefault(plan.rows[plan.row[meter]][0], []).append(meter)
        asked = ((name, way, meters[name]) for name, way in sorted(limitable) if name in meters)
        self._asked = [(name, way, numbers, self._parts(way, numbers)) for name, way, numbers in asked]
        """Who can be limited, which way, through which meters, and how much of it through each."""

    def congestions(self, metered: Metered, flow: PowerFlow | None) -> tuple[Congestion, ...]:
        """Every line that is nearly full, with all who load it."""
        if flow is None or not self._asked:
            return ()
        loading = np.rint(flow.loading * PPM)
        return tuple(
            Congestion(self._network.branch_names[branch], tuple(self._loads(branch, metered, flow)))
            for branch in np.flatnonzero(loading > NEARLY_FULL_PPM).tolist()
        )

    def _loads(self, branch: int, metered: Metered, flow: PowerFlow) -> Iterator[LineLoad]:
        more = self._relief.felt(branch, flow)
        for name, way, meters, parts in self._asked:
            is_taking = way is Direction.TAKE
            power_w = round(float((metered.import_w if is_taking else metered.export_w)[meters].sum()))
            felt = float(more[self._plan.node[meters]] @ parts) * (1 if is_taking else -1)
            if (relief_ppm := round(min(1.0, felt) * PPM)) > 0:
                yield LineLoad(name, way, max(0, power_w), relief_ppm)

    def _parts(self, way: Direction, meters: list[int]) -> Floats:
        """(meters) what each can carry of all that goes one way: of those that are there for that, if any are.

        Not what they carry just now: that changes from moment to moment, and is 0 with whoever waits for a good one.
        """
        power, feeds_in = self._plan.power_max_w[meters], self._plan.feeds_in[meters]
        meant: Floats = np.where(feeds_in if way is Direction.FEED_IN else ~feeds_in, power, 0.0)
        whole = meant if meant.any() else power
        parts: Floats = whole / whole.sum()
        return parts
