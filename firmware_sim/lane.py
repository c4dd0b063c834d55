"""Who has a part in the market's story: a weir, and behind a thin cable of their own a villa and a workshop.

The workshop has an old gas engine in town, which emits more than it is permitted: so whoever runs it owes tokens. Both
houses in the lane have heat pumps, and the cable carries all that they use but one of those. They stand behind all
other sites and move none of them, and are drawn from the seed and their own names alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from config.grid_model import DeviceDirection
from firmware_sim.chance import between
from firmware_sim.curves import GasEngineCurve, HouseholdCurve, WeirCurve
from firmware_sim.device import Household, Plant
from firmware_sim.meter import Counters
from firmware_sim.sites import BALANCED, FUSE_W, Kind, Limiter, Site, counted, uneven

WEIR: Final = "weir"
ENGINE: Final = "engine"
VILLA: Final = "villa"
WORKSHOP: Final = "workshop"

LANE_MODEL: Final = "eastron_sdm630"
"""Counts single watt-hours."""

BASE_MAX: Final = 1.8
"""Of a mean base load: the evening's peak, and the worst of moods."""
RESERVE: Final = 1.06
"""For reactive power and losses."""


def town_sites(seed: int) -> list[Site]:
    """Those that stand on the feeders, beside all others: the weir, and the workshop's engine."""
    weir_w, engine_w = (1_000 * between(*span, seed, name, "rated") for name, span in _RATED_KW.items())
    weir = Plant(curve=WeirCurve(f"{seed}/{WEIR}", weir_w), reactive_share=0.0)
    engine = Plant(curve=GasEngineCurve(f"{seed}/{ENGINE}", engine_w), reactive_share=0.1)
    return [_plant(WEIR, Kind.WEIR, weir, seed), _plant(ENGINE, Kind.ENGINE, engine, seed)]


_RATED_KW: Final = {WEIR: (8, 12), ENGINE: (11, 14)}


def lane_sites(seed: int) -> list[Site]:
    """Those behind the thin cable, the nearest first."""
    return [
        _house(VILLA, seed, base_w=(2_200, 2_800), heat_pump_w=(3_500, 4_500)),
        _house(WORKSHOP, seed, base_w=(1_800, 2_200), heat_pump_w=(10_000, 12_000)),
    ]


def rating_w(lane: Sequence[Site]) -> int:
    """What the lane's cable carries: everything at its worst, but for the heat pump of the last house."""
    homes = [site.device for site in lane if isinstance(site.device, Household)]
    base_w = sum(home.habits.base_w for home in homes)
    return round(RESERVE * (BASE_MAX * base_w + sum(home.habits.heat_pump_w for home in homes[:-1])))


def _plant(name: str, kind: Kind, plant: Plant, seed: int) -> Site:
    return Site(
        name=name,
        kind=kind,
        model="abb_b23",
        device=plant,
        power_max_w=FUSE_W["abb_b23"],
        shares=BALANCED,
        counters=Counters(0, counted(50_000, 500_000, seed, name, "exported")),
    )


def _house(name: str, seed: int, *, base_w: tuple[int, int], heat_pump_w: tuple[int, int]) -> Site:
    habits = HouseholdCurve(
        seed=f"{seed}/{name}",
        base_w=between(*base_w, seed, name, "base"),
        heat_pump_w=between(*heat_pump_w, seed, name, "heat pump"),
    )
    house = Household(habits=habits, roof=None, reactive_share=between(15, 25, seed, name, "reactive") / 100)
    return Site(
        name=name,
        kind=Kind.LANE,
        model=LANE_MODEL,
        device=house,
        limiter=Limiter(f"l-{name}", house.import_max_w, DeviceDirection.TAKES),
        power_max_w=FUSE_W[LANE_MODEL],
        shares=uneven(seed, name),
        counters=Counters(imported_uj=counted(3_000, 12_000, seed, name, "imported"), exported_uj=0),
    )
