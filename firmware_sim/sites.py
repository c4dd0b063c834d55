"""Who lives in the region, in order: the connection to the network outside, a turbine, an engine, sun, and households.

Whoever asks for them gets SunSpec devices and heat meters as well, behind all these (`firmware_sim.more_sites`).

Everything about a site (its size, its habits, its meter, what the meter had counted before) is drawn from the seed and
the site's name alone, so that a household is the same in a small region and in a large one.

Meters are given to sites that they fit: one count of an EM24 is 100 Wh, fit for the region's connection; one of an ABB
is 10 Wh, fit for plants; households have those that count single watt-hours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import ceil
from typing import Final

from config.grid_model import DeviceDirection
from firmware_sim.chance import between
from firmware_sim.curves import GasEngineCurve, HouseholdCurve, PvCurve, WindCurve
from firmware_sim.device import Device, Household, Plant
from firmware_sim.heat import HeatStation
from firmware_sim.heat_works import WorksMeter, WorksPort
from firmware_sim.meter import SINGLE_PHASE, UJ_PER_KWH, UJ_PER_WH, Counters, Shares
from firmware_sim.sunspec import Plate
from protocol.units import PPM

METERS_MIN: Final = 4
"""Grid, wind, gas and one household."""
METERS_PER_PV_PLANT: Final = 16
HOUSEHOLDS_PER_ROOF: Final = 4
"""Every fourth household has sun on its roof."""

HOUSEHOLD_MODELS: Final = ("eastron_sdm630", "eastron_sdm120", "schneider_iem3000")
ROOF_MODELS: Final = ("eastron_sdm630", "schneider_iem3000")
"""A roof feeds in on three phases."""

ONE_PHASE_W: Final = (1_500, 2_500, 2_000, 4_000)
THREE_PHASE_W: Final = (2_500, 4_000, 4_000, 6_000)
"""The range of a household's mean base load, and of its heat pump."""

BALANCED: Final[Shares] = (333_333, 333_333, 333_334)

FUSE_W: Final = {"eastron_sdm120": 10_300, "eastron_sdm630": 43_000, "schneider_iem3000": 43_000, "abb_b23": 44_800}
"""What a connection carries by its fuses: 45 A on one phase; 63 A, or 65 A for the ABB, on three."""


class Kind(StrEnum):
    """What a site is to the region."""

    GRID = "grid"
    WIND = "wind"
    GAS = "gas"
    PV = "pv"
    HOUSEHOLD = "household"
    PROSUMER = "prosumer"
    BATTERY = "battery"
    HEAT = "heat"
    WORKS = "works"
    """A port of the heat works: the pump's connection, or one of their heat meters."""
    CHECK = "check"
    """The operator's meter in a cable: nobody's use."""
    WEIR = "weir"
    ENGINE = "engine"
    """The workshop's, in town."""
    LANE = "lane"
    """A house behind the lane's thin cable: `firmware_sim.lane`."""


_OWNERS: Final = {
    Kind.GRID: "grid-operator",
    Kind.CHECK: "grid-operator",
    Kind.WORKS: "heat-works",
    Kind.ENGINE: "workshop",
}
"""Who has meters of several kinds, or several of one; everybody else has one, and its name."""


@dataclass(frozen=True, slots=True)
class Limiter:
    """What can hold a site back: see `firmware_sim.device` for what it does."""

    name: str
    rated_w: int
    """The most that there can be to hold back: what an engine feeds in, or what a household buys."""
    direction: DeviceDirection
    """Which of both."""
    can_be_set: bool = False
    """Whether it is a controller, which also tells the site what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One metered connection and what is behind it."""

    name: str
    kind: Kind
    model: str
    """Of its meter, by the name that the meter's profile has; of a SunSpec device, what its model 1 says."""
    device: Device | None
    """None at the region's connection: its power is what the others leave over. And where there is only heat."""
    sunspec: Plate | None = None
    """Of the SunSpec device that is its meter, if it is one."""
    heat: HeatStation | None = None
    """What a heat meter measures. Whoever has it has no electricity here."""
    works: WorksMeter | None = None
    """Of the heat works, which of their meters it is."""
    branch: str | None = None
    """Of a check meter, the cable that it stands in."""
    limiter: Limiter | None = None
    power_max_w: int
    """What the connection can carry, by its fuses."""
    shares: Shares
    counters: Counters
    """What the meter had counted before the simulation began."""
    made_uj: int = 0
    """What the inverter behind the meter had made before."""

    @property
    def is_electric(self) -> bool:
        """Whether it takes power from the network or feeds it in; a check meter does neither."""
        is_heat = self.heat is not None or (self.works is not None and self.works.port is not WorksPort.PUMP)
        return not is_heat and self.kind is not Kind.CHECK

    @property
    def meter(self) -> str:
        """Name of the meter."""
        return f"m-{self.name}"

    @property
    def participant(self) -> str:
        """Who the meter belongs to."""
        return _OWNERS.get(self.kind, self.name)

    @property
    def import_max_w(self) -> int:
        """The most that it can take: the network outside takes whatever its connection carries."""
        return self.device.import_max_w if self.device else self.power_max_w

    @property
    def export_max_w(self) -> int:
        """The most that it can feed in: the network outside gives whatever its connection carries."""
        return self.device.export_max_w if self.device else self.power_max_w


def sites(meters: int, seed: int, more: Sequence[Site] = ()) -> tuple[Site, ...]:
    """The sites of a region with so many meters, the region's connection first; and `more` on the same network.

    Raises:
        ValueError: fewer meters than the least that a region has.
    """
    if meters < METERS_MIN:
        raise ValueError(f"a region has at least {METERS_MIN} meters, not {meters}")
    plants = (meters - METERS_MIN - 1) // METERS_PER_PV_PLANT + 1
    households = meters - 3 - plants
    others = [_wind(seed), _gas(seed)]
    others += [_pv(seed, number) for number in range(1, plants + 1)]
    others += [_household(seed, number) for number in range(1, households + 1)]
    return (_grid(seed, [*others, *more]), *others, *more)


def _grid(seed: int, others: Sequence[Site]) -> Site:
    """The connection to the network outside, wide enough for whatever the others do at once."""
    imported_w = sum(site.import_max_w for site in others)
    exported_w = sum(site.export_max_w for site in others)
    return Site(
        name="grid",
        kind=Kind.GRID,
        model="carlo_gavazzi_em24",
        device=None,
        power_max_w=with_reserve(max(imported_w, exported_w)),
        shares=BALANCED,
        counters=Counters(
            imported_uj=counted(100_000, 900_000, seed, "grid", "imported"),
            exported_uj=counted(100_000, 900_000, seed, "grid", "exported"),
        ),
    )


def _wind(seed: int) -> Site:
    rated_w = 1_000 * between(34, 42, seed, "wind", "rated")
    return Site(
        name="wind",
        kind=Kind.WIND,
        model="abb_b23",
        device=Plant(curve=WindCurve(f"{seed}/wind", rated_w), reactive_share=0.0),
        power_max_w=FUSE_W["abb_b23"],
        shares=BALANCED,
        counters=Counters(0, counted(100_000, 900_000, seed, "wind", "exported")),
    )


def _gas(seed: int) -> Site:
    rated_w = 1_000 * between(30, 36, seed, "gas", "rated")
    return Site(
        name="gas",
        kind=Kind.GAS,
        model="abb_b23",
        device=Plant(curve=GasEngineCurve(f"{seed}/gas", rated_w), reactive_share=0.1),
        limiter=Limiter("l-gas", rated_w, DeviceDirection.FEEDS_IN, can_be_set=True),
        power_max_w=FUSE_W["abb_b23"],
        shares=BALANCED,
        counters=Counters(0, counted(50_000, 500_000, seed, "gas", "exported")),
    )


def _pv(seed: int, number: int) -> Site:
    name = f"pv-{number}"
    rated_w = 1_000 * between(20, 30, seed, name, "rated")
    return Site(
        name=name,
        kind=Kind.PV,
        model="abb_b23",
        device=Plant(curve=PvCurve(str(seed), rated_w, shift_s(seed, name)), reactive_share=0.0),
        power_max_w=FUSE_W["abb_b23"],
        shares=BALANCED,
        counters=Counters(0, counted(20_000, 200_000, seed, name, "exported")),
    )


def _household(seed: int, number: int) -> Site:
    """A household of two to eight kilowatts in the mean: a house with several flats and a heat pump."""
    name = f"home-{number}"
    has_roof = number % HOUSEHOLDS_PER_ROOF == 0
    model = _household_model(number)
    on_one_phase = model == "eastron_sdm120"
    base_low_w, base_high_w, heat_low_w, heat_high_w = ONE_PHASE_W if on_one_phase else THREE_PHASE_W
    habits = HouseholdCurve(
        seed=f"{seed}/{name}",
        base_w=between(base_low_w, base_high_w, seed, name, "base"),
        heat_pump_w=between(heat_low_w, heat_high_w, seed, name, "heat pump"),
    )
    rated_w = between(12_000, 16_000, seed, name, "roof")
    roof = PvCurve(str(seed), rated_w, shift_s(seed, name)) if has_roof else None
    household = Household(habits=habits, roof=roof, reactive_share=between(15, 30, seed, name, "reactive") / 100)
    return Site(
        name=name,
        kind=Kind.PROSUMER if has_roof else Kind.HOUSEHOLD,
        model=model,
        device=household,
        limiter=Limiter(f"l-{name}", household.import_max_w, DeviceDirection.TAKES),
        power_max_w=FUSE_W[model],
        shares=SINGLE_PHASE if on_one_phase else uneven(seed, name),
        counters=Counters(
            imported_uj=counted(3_000, 12_000, seed, name, "imported"),
            exported_uj=counted(500, 6_000, seed, name, "exported") if has_roof else 0,
        ),
    )


def _household_model(number: int) -> str:
    """Meters take turns, so that every kind is met in a small region."""
    roofs, is_without_roof = divmod(number, HOUSEHOLDS_PER_ROOF)
    if is_without_roof:
        return HOUSEHOLD_MODELS[(number - 1) % len(HOUSEHOLD_MODELS)]
    return ROOF_MODELS[(roofs - 1) % len(ROOF_MODELS)]


def with_reserve(power_w: int) -> int:
    """A quarter more, in whole kilowatts."""
    return 1_000 * ceil(power_w / 800)


def counted(low_kwh: int, high_kwh: int, *path: int | str) -> int:
    """A plausible count of energy in microjoules, in whole watt-hours.

    A household's stays well below 16,384 kWh: up to there, one step of a float32 in kWh is less than 1 Wh.
    """
    return UJ_PER_KWH * between(low_kwh, high_kwh - 1, *path) + UJ_PER_WH * between(0, 999, *path, "Wh")


def shift_s(seed: int, name: str) -> int:
    """How far from south a roof looks, as the shift of its noon: up to an hour and a half either way."""
    return between(-5_400, 5_400, seed, name, "roof looks to")


def uneven(seed: int, name: str) -> Shares:
    """Three phases that were not loaded with equal care."""
    l1_ppm, l2_ppm = (between(250_000, 420_000, seed, name, phase) for phase in ("L1", "L2"))
    return (l1_ppm, l2_ppm, PPM - l1_ppm - l2_ppm)
