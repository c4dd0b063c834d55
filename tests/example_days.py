"""A day in each example region, quarter hour by quarter hour: what every meter counts, from simple curves.

Deterministic, and balanced in every network: what is made, and what is let out of storage, is what is used, put into
storage, and lost in pipes (lines' losses come on top). Good for pictures and stories; not a forecast of anything.
"""

from __future__ import annotations

from collections.abc import Callable
from math import cos, exp, pi, sin
from typing import Final

import numpy as np

from aggregator.chains.admission.genesis import Genesis
from aggregator.chains.metering.interval_energy import Energies, IntervalEnergy
from aggregator.chains.region import Region
from aggregator.grid.network import network_of
from aggregator.grid.power_flow import PowerFlowSolver
from config.grid_model import Grid
from config.load import GRIDS_FOLDER, load, load_profiles
from protocol.link import NO_RECORD, Link

INTERVAL_MS: Final = 900_000
DAY_START_MS: Final = 1_790_028_000_000
"""2026-09-22, 00:00 in Berlin."""
INTERVALS: Final = 96


def example_region(name: str) -> Region:
    """An example region as the asset chain would have it."""
    grid = load(GRIDS_FOLDER / f"{name}.yaml", Grid)
    profiles = load_profiles()
    wanted = sorted({meter.profile for meter in grid.meters})
    link = Link(grid.region, "regulator", 1, NO_RECORD)
    return Region(Genesis(link, DAY_START_MS, (), grid, tuple(profiles[one] for one in wanted)))


def feeder_day(region: Region, days: int = 1) -> list[Energies]:
    """Sun at noon, cars in the evening; what the cable loses comes from outside, and check meters see what flows by."""
    suns = {g.meter: g.rated_w for g in region.grid.generators if g.meter != "m-grid"}
    node = {meter.id: meter.node for meter in region.grid.meters}
    network = network_of(region.grid)
    solver = PowerFlowSolver(network)
    stated = []
    for n in range(days * INTERVALS):
        hour = n % INTERVALS / 4
        power: dict[str, float] = {}
        for place, meter in enumerate(sorted(m.id for m in region.grid.meters)):
            if meter in suns:
                power[meter] = -0.85 * suns[meter] * _sun(hour)
            elif meter.startswith("m-house"):
                power[meter] = 350 + 150 * (place % 3) + 1_400 * _bump(hour, 19, 1.6) + 700 * _bump(hour, 7.3, 0.8)
            elif meter.startswith("m-car"):
                begins = 17.25 + (place % 5) * 0.5
                power[meter] = 11_000 if begins <= hour < begins + 2.5 + place % 3 else 0
            elif meter == "m-charging":
                power[meter] = 22_000 if 9 <= hour < 10.5 or 18 <= hour < 19.5 else 0
        for meter in ("m-grid", "m-head", "m-middle"):
            power[meter] = 0.0
        load = np.zeros(network.nodes)
        for name, watts in power.items():
            load[network.node_number[node[name]]] += watts
        flow = solver.solve(load)
        thin = network.branch_names.index("b-7")
        power |= {"m-grid": -flow.reference_w, "m-head": -flow.reference_w, "m-middle": -float(flow.from_w[thin])}
        stated.append(_energies(power))
    return stated


def system_day(region: Region, days: int = 1) -> list[Energies]:
    """A windy night and a sunny noon fill what there is to fill; evening lives on it, and burns gas for the rest."""
    capacity = {storage.id: storage.capacity_wh for storage in region.grid.storages}
    held = {"battery": 500_000.0, "heat-tank": 2_000_000.0, "hydrogen-vessel": 1_000_000.0}
    stated = []
    for n in range(days * INTERVALS):
        hour = n % INTERVALS / 4
        power = _system_demand(hour)
        wind = 3e6 * (0.26 + 0.66 * _bump(hour, 3, 4.5) + 0.08 * _bump(hour, 23, 2))
        sun = 1.4e6 * _sun(hour)
        power |= {"m-wind": -wind, "m-sun": -sun}
        used = sum(watts for meter, watts in power.items() if meter.endswith("-el") and watts > 0)
        left = wind + sun - used
        left -= _heat(power, held, capacity, left)
        left -= _hydrogen(power, held, capacity, left)
        room = max(0.0, 0.98 * capacity["battery"] - held["battery"]) * 4 / 0.9
        battery = min(left, 500_000, room) if left > 0 else max(left, -500_000, -0.9 * held["battery"] * 4)
        power["m-battery"] = battery
        held["battery"] += battery / 4 * (0.9 if battery > 0 else 1)
        power["m-grid"] = left - battery
        power["m-gas"] = power["m-engine-gas"] + power["m-boiler-gas"]
        stated.append(_energies(power, one_way=_one_way(region)))
    return stated


def _system_demand(hour: float) -> dict[str, float]:
    busy, home = _bump(hour, 12, 4), _bump(hour, 19, 2.5) + 0.5 * _bump(hour, 7, 1.5)
    warm = 0.6 + 0.5 * _bump(hour, 6.5, 2) + 0.35 * _bump(hour, 20, 3)
    return {
        "m-works-el": 350_000 + 300_000 * busy, "m-works-heat": 250_000 + 150_000 * busy, "m-works-h2": 60_000.0,
        "m-depot-el": 20_000.0, "m-depot-h2": 150_000 * _bump(hour, 22, 1.5),
        "m-hospital-el": 220_000 + 120_000 * busy, "m-hospital-heat": 300_000 * warm,
        "m-school-el": 15_000 + 70_000 * busy, "m-school-heat": 30_000 + 120_000 * _bump(hour, 8, 2),
        "m-north-el": 150_000 + 450_000 * home, "m-north-heat": 700_000 * warm,
        "m-south-el": 130_000 + 380_000 * home, "m-south-heat": 600_000 * warm,
    }  # fmt: skip


def _heat(power: dict[str, float], held: dict[str, float], capacity: dict[str, int], left: float) -> float:
    """The heat side: heat pump with what is left of wind and sun, tank, fuel cell, engine, boiler.

    Returns:
        Electricity taken, less electricity made.
    """
    town = sum(watts for meter, watts in power.items() if meter.endswith("-heat") and not meter.startswith("m-works"))
    need = town / 0.94 + power["m-works-heat"] / 0.98
    electrolyser = max(160_000.0, min(1_000_000.0, 0.35 * left))
    pump = max(100_000.0, min(900_000.0, left - electrolyser))
    cell = 150_000.0 if left < -500_000 and held["hydrogen-vessel"] > 800_000 else 0.0
    power |= {"m-electrolyser-in": electrolyser, "m-electrolyser-h2": -0.64 * electrolyser,
              "m-electrolyser-heat": -0.12 * electrolyser, "m-cell-h2": 2 * cell, "m-cell-el": -cell,
              "m-cell-heat": -0.7 * cell, "m-pump-in": pump, "m-pump-out": -3.2 * pump}  # fmt: skip
    rest = need - 3.2 * pump - 0.12 * electrolyser - 0.7 * cell
    held["heat-tank"] *= 1 - 0.002 / INTERVALS
    given = min(max(0.0, rest), 2_500_000.0, 0.9 * held["heat-tank"] * 4)
    taken = min(max(0.0, -rest), 2_500_000.0, (capacity["heat-tank"] - held["heat-tank"]) * 4)
    held["heat-tank"] += 0.98 * taken / 4 - given / 4
    missing = rest - given
    engine = 675_000.0 if missing > 500_000 else 0.0
    boiler = max(0.0, missing - engine)
    power |= {"m-tank-in": taken, "m-tank-out": -given, "m-engine-gas": engine / 0.45, "m-engine-heat": -engine,
              "m-engine-el": -0.4 / 0.45 * engine, "m-boiler-heat": -boiler, "m-boiler-gas": boiler / 0.9}  # fmt: skip
    return pump + electrolyser - cell - 0.4 / 0.45 * engine


def _hydrogen(power: dict[str, float], held: dict[str, float], capacity: dict[str, int], left: float) -> float:
    used = (power["m-works-h2"] + power["m-depot-h2"]) / 0.999 + power["m-cell-h2"]
    surplus = -power["m-electrolyser-h2"] - used
    power["m-vessel-in"], power["m-vessel-out"] = max(0.0, surplus), min(0.0, surplus)
    held["hydrogen-vessel"] = min(float(capacity["hydrogen-vessel"]), max(0.0, held["hydrogen-vessel"] + surplus / 4))
    return 0.0


def _one_way(region: Region) -> Callable[[str], bool]:
    feeding = {meter.id for meter in region.grid.meters if meter.feeds_in}
    return feeding.__contains__


def _energies(power: dict[str, float], one_way: Callable[[str], bool] = lambda _: False) -> Energies:
    """Rows of an interval from mean powers; below 0 feeds in."""
    rows = {}
    for meter in sorted(power):
        watts = -abs(power[meter]) if one_way(meter) else power[meter]
        import_w, export_w = max(0, round(watts)), max(0, round(-watts))
        rows[meter] = IntervalEnergy(
            imported_wh=round(import_w / 4), exported_wh=round(export_w / 4), readings=15,
            import_sum_w=15 * import_w, export_sum_w=15 * export_w,
        )  # fmt: skip
    return rows


def _sun(hour: float) -> float:
    return max(0.0, sin(pi * (hour - 6.5) / 12)) ** 1.3 * (0.92 + 0.08 * cos(7 * hour)) if 6.5 < hour < 18.5 else 0.0


def _bump(hour: float, at: float, width: float) -> float:
    return exp(-(((hour - at) / width) ** 2))
