"""A low-voltage region with a truth behind its meters: honest by default, so that a test tells one lie.

Feeders of homes in a row leave one transformer. The truth is an AC power flow; what meters show is the truth with
errors within their class, uniformly spread, from a seed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from aggregator.chains.admission.genesis import open_genesis
from aggregator.chains.metering.interval_energy import IntervalEnergy
from aggregator.chains.region import Region
from aggregator.grid.measurements import Electrics, Measured
from aggregator.grid.network import Floats, Network, network_of
from aggregator.grid.power_flow import PowerFlow, PowerFlowSolver
from config.grid_model import Grid
from protocol.units import Interval, UnixMs
from tests.village import PROFILE, START_MS, a_genesis, a_grid, some_keys

QUARTER_MS = 900_000
READINGS = 900
INTERVAL = Interval(start_ms=UnixMs(START_MS), end_ms=UnixMs(START_MS + QUARTER_MS))
HOME_MAX_W = 17_000


def a_feeder_document(feeders: int = 2, homes: int = 5, **changes: Any) -> dict[str, Any]:
    """The grid file: `n0` outside, `n1-1` … along feeder 1, a meter `m1-1` in each home, its head checked by `c1`."""
    meter = {"gateway": "gw", "profile": PROFILE.id, "power_max_w": HOME_MAX_W, "participant": "home"}
    places = [(f, h) for f in range(1, feeders + 1) for h in range(1, homes + 1)]
    line = {"resistance_uohm": 16_000, "reactance_uohm": 6_000, "rating_ma": 200_000}
    document: dict[str, Any] = {
        "reference_node": "n0",
        "participants": [{"id": "home"}, {"id": "grid"}],
        "nodes": [
            {"id": "n0", "voltage_mv": 400_000},
            *({"id": f"n{f}-{h}", "voltage_mv": 400_000} for f, h in places),
        ],
        "branches": [
            {"id": f"b{f}-{h}", "from_node": f"n{f}-{h - 1}" if h > 1 else "n0", "to_node": f"n{f}-{h}", **line}
            for f, h in places
        ],
        "meters": [
            {"id": "m0", "node": "n0", **meter, "power_max_w": 250_000, "participant": "grid", "accuracy_ppm": 5_000},
            *({"id": f"m{f}-{h}", "node": f"n{f}-{h}", **meter} for f, h in places),
            *(
                {
                    "id": f"c{f}",
                    "node": "n0",
                    "branch": f"b{f}-1",
                    **meter,
                    "power_max_w": 100_000,
                    "accuracy_ppm": 5_000,
                }
                for f in range(1, feeders + 1)
            ),
        ],
        "generators": [
            {"id": "outside", "meter": "m0", "source": "grid", "rated_w": 250_000, "emission_g_per_kwh": 400},
        ],
        "devices": [],
        "permits": [],
    }
    return document | changes


def a_region(grid: Grid) -> Region:
    """The asset chain's view of a grid file."""
    return Region(open_genesis(a_genesis(grid, some_keys("gw"))).message)


@dataclass
class Feeders:
    """A region, its truth, and what its meters say of it."""

    grid: Grid = field(default_factory=lambda: a_grid(**a_feeder_document()))
    seed: int = 1
    has_voltages: bool = True
    interval = INTERVAL

    def __post_init__(self) -> None:
        self.region = a_region(self.grid)
        self.network: Network = network_of(self.grid)
        self.meters = Electrics(self.region, self.network)
        self.chance = np.random.default_rng(self.seed)
        self.solver = PowerFlowSolver(self.network)

    def some_power(self) -> dict[str, float]:
        """What each home feeds in less what it takes: most take, some have the sun on their roof."""
        homes = [m.id for m in self.grid.meters if not m.branch and m.node != self.grid.reference_node]
        return {meter: float(w) for meter, w in zip(homes, self.chance.uniform(-6_000, 2_000, len(homes)), strict=True)}

    def truth(self, power_w: dict[str, float]) -> PowerFlow:
        """The flows that these powers make."""
        net = np.zeros(self.network.nodes)
        place = {meter.id: self.network.node_number[meter.node] for meter in self.grid.meters}
        for meter, watts in power_w.items():
            net[place[meter]] += watts
        return self.solver.solve(-net)

    def shown(self, power_w: dict[str, float]) -> dict[str, tuple[float, float]]:
        """Power (fed in less taken) and voltage between lines that each meter would show if it made no error."""
        flow = self.truth(power_w)
        volts = flow.voltage_v
        number = {name: i for i, name in enumerate(self.network.branch_names)}
        shown = {}
        for meter in self.grid.meters:
            node = self.network.node_number[meter.node]
            if meter.branch:
                branch = number[meter.branch]
                is_from = self.network.branch_from[branch] == node
                watts = float((flow.from_w if is_from else flow.to_w)[branch])
            else:
                watts = power_w.get(meter.id, 0.0)
                watts += flow.reference_w if node == self.network.reference else 0.0
            shown[meter.id] = (watts, float(volts[node]))
        return shown

    def energies(
        self, power_w: dict[str, float], lies: dict[str, float] | None = None, silent: tuple[str, ...] = ()
    ) -> dict[str, IntervalEnergy]:
        """The rows of one interval: the truth with honest errors, but for those whose power is said in `lies`."""
        rows = {}
        accuracy = {meter.id: meter.accuracy_ppm / 1e6 for meter in self.grid.meters}
        for meter, (true_w, true_v) in sorted(self.shown(power_w).items()):
            watts = (lies or {}).get(meter, true_w) * (1 + self.chance.uniform(-1, 1) * accuracy[meter])
            volts = true_v * (1 + self.chance.uniform(-0.005, 0.005))
            if meter not in silent:
                rows[meter] = a_row(watts, volts if self.has_voltages else 0.0)
        return rows

    def measured(self, *arguments: Any, **named: Any) -> Measured:
        """The same, as measurements."""
        return self.meters.measure(self.energies(*arguments, **named), INTERVAL)


def a_row(net_w: float, volts: float = 0.0) -> IntervalEnergy:
    """The row of a meter that shows constant power and voltage for a quarter of an hour."""
    imported, exported = max(0.0, -net_w), max(0.0, net_w)
    return IntervalEnergy(
        imported_wh=int(imported / 4),
        exported_wh=int(exported / 4),
        readings=READINGS,
        import_sum_w=round(imported) * READINGS,
        export_sum_w=round(exported) * READINGS,
        voltage_sum_mv=round(volts * 1000 / 3**0.5) * READINGS if volts else 0,
        voltage_readings=READINGS if volts else 0,
    )


def injected(feeders: Feeders, power_w: dict[str, float]) -> Floats:
    """What is fed in less what is taken at each node, in truth."""
    net = np.zeros(feeders.network.nodes)
    place = {meter.id: feeders.network.node_number[meter.node] for meter in feeders.grid.meters}
    for meter, watts in power_w.items():
        net[place[meter]] += watts
    return net
