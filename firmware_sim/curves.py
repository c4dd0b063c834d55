"""How much power somebody would use or make at a moment: smooth, plausible, and the same for the same seed and time.

Every curve is a pure function of its fields and of simulated time: seconds since the midnight before the region began
to live, which may run past one day. A seed is the region's, with the site's name behind it. Power is a float in watts
here; it becomes an integer in `device`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from firmware_sim.chance import noise

DAY_S: Final = 86_400
HOUR_S: Final = 3_600

SUNRISE_S: Final = 5 * HOUR_S + 1_800
SUNSET_S: Final = 20 * HOUR_S + 1_800
"""A day in summer: 05:30 to 20:30."""

HOUSEHOLD_PEAK: Final = 2
"""A household's base load never exceeds its mean times this."""

GAS_ENGINE_MEAN: Final = 0.96
"""Mean power of a gas engine as a share of its rating."""


@dataclass(frozen=True, slots=True)
class HouseholdCurve:
    """What people do: a base load with a peak before work and one after it, and a heat pump."""

    seed: str
    base_w: int
    """About the mean of the base load."""
    heat_pump_w: int
    """Rated power of the heat pump."""

    def base_load_w(self, t_s: float) -> float:
        """What runs whatever anybody asks: light, kitchen, machines."""
        habit = 0.75 + 0.45 * _peak(t_s, at_h=7.5, width_h=1.2) + 0.85 * _peak(t_s, at_h=19.0, width_h=2.2)
        mood = 0.15 * noise(self.seed, "hour", t_s, 600) + 0.05 * noise(self.seed, "kettle", t_s, 40)
        return self.base_w * (habit + mood)

    def heat_pump_load_w(self, t_s: float) -> float:
        """What can be shed: between a third and all of the heat pump's rated power."""
        return self.heat_pump_w * (0.66 + 0.33 * noise(self.seed, "heat", t_s, 900))


@dataclass(frozen=True, slots=True)
class PvCurve:
    """Sun on a roof or a field: a bell over the day, cut by clouds that the whole region shares."""

    region_seed: str
    rated_w: int
    shift_s: int
    """How much later than the region's mean this roof has its noon: positive looks west."""

    def power_w(self, t_s: float) -> float:
        """What the inverter feeds in."""
        clear = sun(t_s - self.shift_s)
        clouds = (
            0.7 + 0.25 * noise(self.region_seed, "cloud", t_s, 700) + 0.05 * noise(self.region_seed, "wisp", t_s, 60)
        )
        return self.rated_w * clear * clouds


@dataclass(frozen=True, slots=True)
class WindCurve:
    """A turbine: weather over half an hour, gusts over minutes."""

    seed: str
    rated_w: int

    def power_w(self, t_s: float) -> float:
        """What the turbine feeds in."""
        weather = 0.4 + 0.3 * noise(self.seed, "weather", t_s, 1_800)
        gust = 0.12 * noise(self.seed, "gust", t_s, 120) + 0.03 * noise(self.seed, "flaw", t_s, 15)
        return self.rated_w * min(1.0, max(0.0, weather + gust))


@dataclass(frozen=True, slots=True)
class GasEngineCurve:
    """An engine that is paid by the hour: nearly constant, a little below its rating."""

    seed: str
    rated_w: int

    def power_w(self, t_s: float) -> float:
        """What the generator feeds in."""
        return self.rated_w * (GAS_ENGINE_MEAN + 0.015 * noise(self.seed, "throttle", t_s, 60))


@dataclass(frozen=True, slots=True)
class WeirCurve:
    """A water turbine at a weir: as much as the river brings, which changes little in a day."""

    seed: str
    rated_w: int

    def power_w(self, t_s: float) -> float:
        """What the turbine feeds in."""
        return self.rated_w * (0.9 + 0.02 * noise(self.seed, "river", t_s, 1_800))


@dataclass(frozen=True, slots=True)
class BatteryCurve:
    """A battery that is filled at noon and at night, and empties in the morning and in the evening: twice a day."""

    rated_w: int

    @property
    def capacity_wh(self) -> int:
        """Fit for five hours at the rated power."""
        return 5 * self.rated_w

    def power_w(self, t_s: float) -> float:
        """What it takes; below 0 it feeds in. Most at 13:00 and at 01:00."""
        return self.rated_w * math.sin(_battery_angle(t_s))

    def state_of_charge(self, t_s: float) -> float:
        """How full it is: half, and what it took since it last was. The integral of its power, without losses."""
        swing = _BATTERY_CYCLE_S / (2 * math.pi * HOUR_S) * self.rated_w / self.capacity_wh
        return 0.5 - swing * math.cos(_battery_angle(t_s))


_BATTERY_CYCLE_S: Final = DAY_S // 2


def _battery_angle(t_s: float) -> float:
    return 2 * math.pi * (t_s - 10 * HOUR_S) / _BATTERY_CYCLE_S


@dataclass(frozen=True, slots=True)
class HeatCurve:
    """A house on the heat network: hot water in the morning and in the evening, and the heating between."""

    seed: str
    rated_w: int

    def share(self, t_s: float) -> float:
        """How much of the rated flow it takes: a quarter to all."""
        habit = 0.4 + 0.25 * _peak(t_s, at_h=6.5, width_h=1.5) + 0.2 * _peak(t_s, at_h=19.5, width_h=2.5)
        mood = 0.1 * noise(self.seed, "tap", t_s, 600) + 0.05 * noise(self.seed, "valve", t_s, 45)
        return min(1.0, max(0.25, habit + mood))

    def supply_c(self, t_s: float) -> float:
        """What comes in: 68 to 76 °C, over hours."""
        return 72.0 + 4.0 * noise(self.seed, "supply", t_s, 3 * HOUR_S)

    def return_c(self, t_s: float) -> float:
        """What goes back: 35 to 43 °C."""
        return 39.0 + 4.0 * noise(self.seed, "return", t_s, 1_800)


def sun(t_s: float) -> float:
    """Clear sky, as a share of the best: 0 at night, 1 at solar noon."""
    height = math.sin(math.pi * ((t_s % DAY_S) - SUNRISE_S) / (SUNSET_S - SUNRISE_S))
    is_day = SUNRISE_S < t_s % DAY_S < SUNSET_S
    return height**1.3 if is_day else 0.0


def frequency_mhz(seed: str, t_s: float) -> int:
    """The frequency of the whole network, around 50 Hz."""
    return 50_000 + round(20 * noise(seed, "frequency", t_s, 30))


def _peak(t_s: float, *, at_h: float, width_h: float) -> float:
    """A bell of height 1 around one hour of the day."""
    distance_h = ((t_s / HOUR_S - at_h + 12.0) % 24.0) - 12.0
    return math.exp(-((distance_h / width_h) ** 2))
