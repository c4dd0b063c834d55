"""SunSpec devices and heat meters, for whoever asks for them: as many of each as the settings say.

They take turns as the households' meters do, so that every kind is met in a small region, and each is drawn from the
seed and its own name alone. A SunSpec device is the only meter of its connection. A heat meter belongs to a house on
the heat network, of which este knows nothing yet: it stands at the busbar, where nothing of it is felt.
"""

from __future__ import annotations

from typing import Final

from firmware_sim.chance import between
from firmware_sim.curves import BatteryCurve, HeatCurve, HouseholdCurve, PvCurve
from firmware_sim.device import Household, Storage
from firmware_sim.heat import HeatCounters, HeatStation
from firmware_sim.heat_firmware import HEAT_FIRMWARE
from firmware_sim.meter import Counters
from firmware_sim.sites import BALANCED, FUSE_W, THREE_PHASE_W, Kind, Site, counted, shift_s, uneven, with_reserve
from firmware_sim.sunspec import Chain, Plate

CHAINS: Final = tuple(Chain)
HEAT_MODELS: Final = tuple(HEAT_FIRMWARE)

LARGE_HEAT_MODELS: Final = ("onicon_system10", "2flow_mag11")
"""Those of a whole block of houses, by their pipes; the others are a house's."""

HOUSE_HEAT_W: Final = (10_000, 20_000)
BLOCK_HEAT_W: Final = (150_000, 400_000)


def sunspec_sites(count: int, seed: int) -> list[Site]:
    """So many SunSpec devices, of each kind in turn."""
    return [_sunspec(seed, number, CHAINS[(number - 1) % len(CHAINS)]) for number in range(1, count + 1)]


def heat_sites(count: int, seed: int) -> list[Site]:
    """So many heat meters, of each model in turn."""
    return [_heat(seed, number, HEAT_MODELS[(number - 1) % len(HEAT_MODELS)]) for number in range(1, count + 1)]


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
