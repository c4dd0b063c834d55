"""Regions of several carriers for tests of physics: built from a few short lists, and asked without a ledger.

`An interval` here is an hour unless a test says otherwise, so that watts and watt-hours are the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aggregator.chains.admission.genesis import Genesis
from aggregator.chains.intervals.findings import FindingKind
from aggregator.chains.intervals.flows import CalledEvent, Carried, Flows, PipeParcel
from aggregator.chains.intervals.known import Known
from aggregator.chains.metering.interval_energy import IntervalEnergy
from aggregator.chains.region import Region
from aggregator.grid.believing import as_metered
from aggregator.grid.interval import IntervalPhysics
from aggregator.grid.solved import Solved
from config.carriers import Carrier
from config.grid_model import Source
from protocol.link import NO_RECORD, Link
from protocol.units import Interval, UnixMs
from tests.village import PROFILE, START_MS, a_grid

HOUR_MS = 3_600_000
FIRST_MS = START_MS - START_MS % HOUR_MS


def a_node(name: str, carrier: Carrier = Carrier.ELECTRICITY) -> dict[str, Any]:
    """A node; of electricity at 20 kV, so that lines lose little."""
    voltage = {"voltage_mv": 20_000_000} if carrier is Carrier.ELECTRICITY else {}
    return {"id": name, "carrier": carrier.value, **voltage}


def a_branch(name: str, from_node: str, to_node: str, **changes: Any) -> dict[str, Any]:
    """A line that loses next to nothing."""
    default = {"resistance_uohm": 10, "reactance_uohm": 10, "rating_ma": 200_000}
    return {"id": name, "from_node": from_node, "to_node": to_node, **default, **changes}


def a_pipe(name: str, from_node: str, to_node: str, **changes: Any) -> dict[str, Any]:
    """A pipe without losses or delay."""
    return {"id": name, "from_node": from_node, "to_node": to_node, "rating_w": 100_000, **changes}


def a_meter(name: str, node: str, **changes: Any) -> dict[str, Any]:
    """A meter of the participant of the same name, without its first letter and dash: m-home is of home."""
    default = {"participant": name.split("-")[1], "gateway": "gw", "profile": PROFILE.id, "power_max_w": 10_000}
    return {"id": name, "node": node, **default, **changes}


def a_generator(meter: str, source: Source, emission: int = 0, **changes: Any) -> dict[str, Any]:
    """What feeds in through a meter."""
    name = "g" + meter.removeprefix("m")
    default = {"rated_w": 10**6, "emission_g_per_kwh": emission}
    return {"id": name, "meter": meter, "source": source.value, **default, **changes}


def three_generators() -> list[dict[str, Any]]:
    """The grid outside, wind, and gas."""
    return [
        a_generator("m-grid", Source.GRID, 400),
        a_generator("m-wind", Source.WIND),
        a_generator("m-gas", Source.GAS, 200),
    ]


def a_plant_and_a_heat_pump() -> list[dict[str, Any]]:
    """Gas into electricity and heat, and electricity into heat."""
    outputs = [
        {"meter": "m-chp-el", "efficiency_ppm": 400_000},
        {"meter": "m-chp-heat", "efficiency_ppm": 500_000},
    ]
    return [
        {"id": "chp", "kind": "chp", "inputs": ["m-chp-gas"], "outputs": outputs},
        {
            "id": "hp",
            "kind": "heat_pump",
            "inputs": ["m-hp-el"],
            "outputs": [{"meter": "m-hp-heat", "efficiency_ppm": 3_000_000}],
        },
    ]


def a_region(meters: Sequence[Mapping[str, Any]], nodes: Sequence[Mapping[str, Any]], **parts: Any) -> Region:
    """A region of these meters and nodes; everybody who has a meter takes part. The first node is the reference."""
    participants = [{"id": name} for name in sorted({meter["participant"] for meter in meters})]
    empty = {"branches": [], "generators": [], "devices": [], "permits": []}
    changes = {"nodes": list(nodes), "meters": list(meters), "participants": participants, **empty, **parts}
    changes.setdefault("reference_node", nodes[0]["id"])
    grid = a_grid(**changes)
    return Region(Genesis(Link(grid.region, "regulator", 1, NO_RECORD), FIRST_MS, (), grid, (PROFILE,)))


@dataclass
class Days:
    """Intervals of one region, one after another, as the analysis chain would close them."""

    region: Region
    length_ms: int = HOUR_MS
    carried: Carried = field(default_factory=Carried)
    next_ms: int = FIRST_MS
    physics: IntervalPhysics = field(default_factory=lambda: IntervalPhysics(as_metered))
    """Without state estimation, which has tests of its own."""

    @property
    def interval(self) -> Interval:
        """The one that comes next."""
        return Interval(start_ms=UnixMs(self.next_ms), end_ms=UnixMs(self.next_ms + self.length_ms))

    def energies(self, **energy_wh: int) -> dict[str, IntervalEnergy]:
        """Meters' energy, by their names with underscores; below 0 fed in."""
        return {
            name.replace("_", "-"): IntervalEnergy(imported_wh=max(0, wh), exported_wh=max(0, -wh))
            for name, wh in sorted(energy_wh.items())
        }

    def solve(self, **energy_wh: int) -> Solved:
        """The next interval in floats, without closing it."""
        return self.physics.solve(self.region, self.interval, self.energies(**energy_wh), self.carried)

    def close(self, events: Sequence[CalledEvent] = (), **energy_wh: int) -> Flows:
        """Work out the next interval, and let the one after it inherit."""
        return self.close_with(self.energies(**energy_wh), events)

    def close_with(self, energies: Mapping[str, IntervalEnergy], events: Sequence[CalledEvent] = ()) -> Flows:
        """The same, by meters' rows."""
        flows = self.physics(self.region, self.interval, Known(energies, self.carried, tuple(events)))
        pipes: dict[str, Sequence[tuple[int, PipeParcel]]] = dict(self.carried.pipes)
        for sent in flows.sent:
            pipes[sent.pipe] = [*pipes.get(sent.pipe, ()), (self.next_ms, sent)]
        self.carried = Carried({row.storage: row.content for row in flows.storages}, pipes)
        self.next_ms += self.length_ms
        return flows


def origin(flows: Flows, participant: str, carrier: Carrier = Carrier.ELECTRICITY) -> dict[Source, int]:
    """Where somebody's energy was from."""
    (flow,) = [flow for flow in flows.participants if (flow.participant, flow.carrier) == (participant, carrier)]
    return dict(flow.origin_wh)


def carbon_mg(flows: Flows, participant: str, carrier: Carrier = Carrier.ELECTRICITY) -> int:
    """The carbon of somebody's energy."""
    (flow,) = [flow for flow in flows.participants if (flow.participant, flow.carrier) == (participant, carrier)]
    return flow.carbon_mg


def kinds(flows: Flows) -> set[FindingKind]:
    """What was found."""
    return {finding.kind for finding in flows.findings}
