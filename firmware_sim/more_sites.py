"""SunSpec devices and heat meters, for whoever asks for them: as many of each as the settings say.

They take turns as the households' meters do, so that every kind is met in a small region, and each is drawn from the
seed and its own name alone. A SunSpec device is the only meter of its connection. A heat meter belongs to a house on
the heat network, of which este knows nothing yet: it stands at the busbar, where nothing of it is felt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from config.grid_model import Branch, DeviceDirection
from firmware_sim.chance import between
from firmware_sim.curves import BatteryCurve, HeatCurve, HouseholdCurve, PvCurve
from firmware_sim.device import Household, Storage
from firmware_sim.feeders import MA_PER_W
from firmware_sim.heat import HeatCounters, HeatStation
from firmware_sim.heat_firmware import HEAT_FIRMWARE
from firmware_sim.heat_works import HeatPlan, WorksMeter, WorksPort
from firmware_sim.meter import Counters
from firmware_sim.sites import (
    BALANCED,
    FUSE_W,
    THREE_PHASE_W,
    Kind,
    Limiter,
    Site,
    counted,
    shift_s,
    uneven,
    with_reserve,
)
from firmware_sim.sunspec import Chain, Plate

CHAINS: Final = tuple(Chain)
HEAT_MODELS: Final = tuple(HEAT_FIRMWARE)

WORKS_MODEL: Final = "2flow_mag11"
"""Counts single watt-hours."""
WORKS_HOUSE_MODELS: Final = ("diehl_sharky_775",)
"""Of houses that the works serve: it shows a new value every two seconds."""

LARGE_HEAT_MODELS: Final = ("onicon_system10", "2flow_mag11")
"""Those of a whole block of houses, by their pipes; the others are a house's."""

HOUSE_HEAT_W: Final = (10_000, 20_000)
BLOCK_HEAT_W: Final = (150_000, 400_000)


def sunspec_sites(count: int, seed: int) -> list[Site]:
    """So many SunSpec devices, of each kind in turn."""
    return [_sunspec(seed, number, CHAINS[(number - 1) % len(CHAINS)]) for number in range(1, count + 1)]


def heat_sites(count: int, seed: int, models: Sequence[str] = HEAT_MODELS) -> list[Site]:
    """So many heat meters, of each model in turn."""
    return [_heat(seed, number, models[(number - 1) % len(models)]) for number in range(1, count + 1)]


def plan_for(houses: Sequence[Site], speed: int) -> HeatPlan:
    """The works that such houses need."""
    return HeatPlan.for_houses(sum(site.heat.curve.rated_w for site in houses if site.heat), speed)


def pump_site(plan: HeatPlan, seed: int) -> Site:
    """The electricity meter of the works' heat pump."""
    return _works(WorksPort.PUMP, "eastron_sdm630", plan.pump_w, seed)


def works_sites(plan: HeatPlan, seed: int) -> list[Site]:
    """The heat meters of the works."""
    heat_w = plan.pump_heat_mw // 1_000
    return [_works(port, WORKS_MODEL, heat_w, seed) for port in WorksPort if port is not WorksPort.PUMP]


def check_sites(branches: Sequence[Branch], seed: int) -> list[Site]:
    """A check meter in each of these cables, as large as the largest of them is rated."""
    rating_ma = max((branch.rating_ma for branch in branches), default=0)
    power_max_w = round(rating_ma / MA_PER_W)
    return [
        Site(
            name=f"check-{branch.id}",
            kind=Kind.CHECK,
            model="eastron_sdm630",
            device=None,
            branch=branch.id,
            power_max_w=power_max_w,
            shares=BALANCED,
            counters=Counters(
                imported_uj=counted(1_000, 9_000, seed, branch.id, "imported"),
                exported_uj=counted(1_000, 9_000, seed, branch.id, "exported"),
            ),
        )
        for branch in branches
    ]


def _works(port: WorksPort, model: str, power_w: int, seed: int) -> Site:
    name = f"works-{port.value}"
    counters = HeatCounters(
        heat_uj=0 if port is WorksPort.PUMP else counted(50_000, 90_000, seed, name, "heat"),
        passed=between(2_000_000, 7_000_000, seed, name, "litres") * 1_000 * 3_600_000,
    )
    return Site(
        name=name,
        kind=Kind.WORKS,
        model=model,
        device=None,
        works=WorksMeter(port, counters),
        power_max_w=with_reserve(2 * power_w),
        shares=BALANCED,
        counters=Counters(imported_uj=counted(3_000, 12_000, seed, name, "imported"), exported_uj=0),
    )


def _sunspec(seed: int, number: int, chain: Chain) -> Site:
    name = f"sunspec-{number}"
    return _battery(seed, name, chain) if chain is Chain.BATTERY else _hybrid(seed, name, chain)


def _hybrid(seed: int, name: str, chain: Chain) -> Site:
    """A household whose inverter also measures the connection."""
    base_low_w, base_high_w, heat_low_w, heat_high_w = THREE_PHASE_W
    rated_w = between(12_000, 16_000, seed, name, "roof")
    household = Household(
        habits=HouseholdCurve(
            seed=f"{seed}/{name}",
            base_w=between(base_low_w, base_high_w, seed, name, "base"),
            heat_pump_w=between(heat_low_w, heat_high_w, seed, name, "heat pump"),
        ),
        roof=PvCurve(str(seed), rated_w, shift_s(seed, name)),
        reactive_share=between(15, 30, seed, name, "reactive") / 100,
    )
    return Site(
        name=name,
        kind=Kind.PROSUMER,
        model=chain.value,
        device=household,
        sunspec=Plate(chain, rated_w),
        power_max_w=FUSE_W["eastron_sdm630"],
        shares=uneven(seed, name),
        counters=Counters(
            imported_uj=counted(3_000, 12_000, seed, name, "imported"),
            exported_uj=counted(500, 6_000, seed, name, "exported"),
        ),
        made_uj=counted(6_000, 12_000, seed, name, "made"),
    )


def _battery(seed: int, name: str, chain: Chain) -> Site:
    curve = BatteryCurve(between(5_000, 10_000, seed, name, "rated"))
    return Site(
        name=name,
        kind=Kind.BATTERY,
        model=chain.value,
        device=Storage(curve=curve),
        sunspec=Plate(chain, curve.rated_w, curve.capacity_wh),
        limiter=Limiter(f"l-{name}", curve.rated_w, DeviceDirection.BOTH, can_be_set=True),
        power_max_w=with_reserve(curve.rated_w),
        shares=BALANCED,
        counters=Counters(
            imported_uj=counted(1_000, 3_000, seed, name, "imported"),
            exported_uj=counted(900, 2_700, seed, name, "exported"),
        ),
    )


def _heat(seed: int, number: int, model: str) -> Site:
    name = f"heat-{number}"
    rated_w = between(*(BLOCK_HEAT_W if model in LARGE_HEAT_MODELS else HOUSE_HEAT_W), seed, name, "rated")
    counters = HeatCounters(
        heat_uj=counted(5_000, 16_000, seed, name, "heat"),
        cooling_uj=counted(10, 500, seed, name, "cooling"),
        passed=between(200_000, 700_000, seed, name, "litres") * 1_000 * 3_600_000,
    )
    return Site(
        name=name,
        kind=Kind.HEAT,
        model=model,
        device=None,
        heat=HeatStation(HeatCurve(f"{seed}/{name}", rated_w), counters),
        power_max_w=with_reserve(rated_w),
        shares=BALANCED,
        counters=Counters(0, 0),
    )
