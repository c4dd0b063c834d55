"""The village with heat: a heat pump fills a tank while the wind blows; the home is warmed from it, through a pipe."""

from __future__ import annotations

from typing import Any

from aggregator.chains.analysis import Recompute
from config.grid_model import Grid
from config.load import check
from tests.plain_physics import PlainPhysics
from tests.village import GRACE_MS, INTERVAL_MS, PROFILE, Village, a_grid_document

CALM = {"m-gas": -36_000, "m-home": 0, "m-wind": 0, "m-grid": 0}
"""Nobody uses electricity, which the gas engine would make."""
STILL = {"m-gas": 0, "m-home": 0, "m-wind": 0, "m-grid": 0}
"""Nothing runs. What a meter counts in the second before a batch belongs to the interval before it, so an interval of
this between wind and calm keeps both apart."""
WINDY = {"m-gas": 0, "m-home": 0, "m-wind": -18_000, "m-grid": 0}
PUMP = {"m-pump": 12_000, "m-pump-heat": -36_000, "m-tank-in": 36_000}
"""All that the pump makes goes into the tank, 10 Wh in a second."""
WARM = {"m-tank-out": -18_000, "m-home-heat": 18_000}
"""Heat from the tank, 5 Wh in a second, and as much at home."""


def a_heat_document(**changes: Any) -> dict[str, Any]:
    """The grid file of the village with heat."""
    document = a_grid_document()
    document["rules"]["time"]["grace_ms"] = INTERVAL_MS + GRACE_MS
    meter = {"gateway": "gw", "profile": PROFILE.id, "power_max_w": 50_000}
    document["participants"].append({"id": "works"})
    document["nodes"] += [{"id": "h0", "carrier": "heat"}, {"id": "h1", "carrier": "heat"}]
    document["meters"] += [
        {"id": "m-pump", "participant": "works", "node": "n1", **meter},
        {"id": "m-pump-heat", "participant": "works", "node": "h0", **meter},
        {"id": "m-tank-in", "participant": "works", "node": "h0", **meter},
        {"id": "m-tank-out", "participant": "works", "node": "h0", **meter},
        {"id": "m-home-heat", "participant": "home", "node": "h1", **meter},
    ]
    pipe = {"id": "pipe", "from_node": "h0", "to_node": "h1", "rating_w": 80_000, "delay_ms": INTERVAL_MS}
    output = {"meter": "m-pump-heat", "efficiency_ppm": 3_000_000}
    pump = {"id": "pump", "kind": "heat_pump", "inputs": ["m-pump"], "outputs": [output]}
    tank = {"id": "tank", "charge_meter": "m-tank-in", "discharge_meter": "m-tank-out", "capacity_wh": 1000}
    return document | {"pipes": [pipe], "converters": [pump], "storages": [tank]} | changes


def a_heat_village(physics: Recompute | None = None, **changes: Any) -> Village:
    """The village with heat; without other ones, with physics that can be followed by hand."""
    return Village(grid=check(a_heat_document(**changes), Grid, "grid.yaml"), physics=physics or PlainPhysics())


def live(village: Village, intervals: int, *power_w: dict[str, int]) -> None:
    """Let time pass; what is not named stands still."""
    idle = dict.fromkeys((*PUMP, *WARM), 0)
    for powers in power_w:
        idle |= powers
    for _ in range(intervals):
        village.live(INTERVAL_MS // 1000, idle)
