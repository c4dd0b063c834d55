"""The heat works: a heat pump that runs at night, a tank that is filled then, and pipes to the houses.

At night the pump makes all the heat that it can, and what the houses leave goes into the tank; by day the tank serves
them. The books balance at every moment: made + discharged = charged + what the houses take + what the pipes lose.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from firmware_sim.curves import DAY_S, HOUR_S
from firmware_sim.device import Flow
from firmware_sim.heat import HEAT_AT_20_C, HEAT_LESS_PER_K, HeatCounters, Water
from firmware_sim.meter import UJ_PER_WH
from protocol.units import PPM

NIGHT_S: Final = (22 * HOUR_S, 10 * HOUR_S)
"""When the pump fills the tank, from and until; wind blows then too, and nobody cooks."""

PIPE_LOSS_PPM: Final = 20_000
"""Of what enters a pipe."""

HOUSE_MEAN: Final = 0.55
"""Of a house's rated heat, over the day."""
PUMP_RESERVE: Final = 2.4
"""Of the houses' mean, what the pump can make: the night has to do for the day."""
TANK_RESERVE: Final = 1.2
DAY_HOURS: Final = 12
"""While the pump stands still."""
PERFORMANCE_PPM: Final = 3_200_000

TANK_FULL_PPM: Final = 980_000
TANK_LOW_PPM: Final = 50_000

SUPPLY_MDEGC: Final = 75_000
RETURN_MDEGC: Final = 45_000


class WorksPort(StrEnum):
    """What a meter of the works counts. The first is an electricity meter, the others are heat meters."""

    PUMP = "pump"
    PUMP_HEAT = "pump-heat"
    TANK_IN = "tank-in"
    TANK_OUT = "tank-out"


@dataclass(frozen=True, slots=True)
class WorksMeter:
    """One meter of the works."""

    port: WorksPort
    counters: HeatCounters
    """What it had counted before the simulation began; nothing, if it is the pump's electricity meter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatPlan:
    """How large the works are."""

    pump_w: int
    """Electric power of the pump."""
    performance_ppm: int
    """Heat that it makes of that: its coefficient of performance."""
    tank_wh: int
    begin_wh: int
    """What the tank holds when the region begins to live."""

    @classmethod
    def for_houses(cls, rated_w: int, speed: int) -> HeatPlan:
        """Works for houses of so much rated heat together, where the day goes by so much faster than energy."""
        mean_w = HOUSE_MEAN * rated_w
        tank_wh = max(1, round(TANK_RESERVE * mean_w * DAY_HOURS / speed))
        return cls(
            pump_w=round(mean_w * PUMP_RESERVE * PPM / PERFORMANCE_PPM),
            performance_ppm=PERFORMANCE_PPM,
            tank_wh=tank_wh,
            begin_wh=tank_wh * 2 // 3,
        )

    @property
    def pump_heat_mw(self) -> int:
        """The most heat that it can make."""
        return self.pump_w * 1_000 * self.performance_ppm // PPM


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatWorks:
    """The works at one moment. Powers are of heat, in milliwatts."""

    plan: HeatPlan
    content_uj: int
    made_mw: int = 0
    charged_mw: int = 0
    discharged_mw: int = 0

    @property
    def pump_flow(self) -> Flow:
        """What the pump takes from the electricity network."""
        return Flow(self.made_mw * PPM // self.plan.performance_ppm, 0)

    def heat_mw(self, port: WorksPort) -> int:
        """What flows past one of their heat meters."""
        powers = {
            WorksPort.PUMP_HEAT: self.made_mw,
            WorksPort.TANK_IN: self.charged_mw,
            WorksPort.TANK_OUT: self.discharged_mw,
        }
        return powers[port]

    def after(self, span_ms: int) -> HeatWorks:
        """The tank when these powers have flowed for a span of time."""
        content_uj = self.content_uj + (self.charged_mw - self.discharged_mw) * span_ms
        return replace(self, content_uj=max(0, content_uj))

    def at(self, t_s: float, taken_mw: int) -> HeatWorks:
        """Pump and tank at a simulated time, when the houses take so much heat."""
        needed_mw = -(-taken_mw * PPM // (PPM - PIPE_LOSS_PPM))
        filled_ppm = self.content_uj * PPM // (self.plan.tank_wh * UJ_PER_WH)
        if _is_night(t_s):
            wanted_mw = self.plan.pump_heat_mw if filled_ppm < TANK_FULL_PPM else needed_mw
        else:
            wanted_mw = 0 if filled_ppm > TANK_LOW_PPM else needed_mw
        made_mw = min(wanted_mw, self.plan.pump_heat_mw)
        return replace(
            self,
            made_mw=made_mw,
            charged_mw=max(0, made_mw - needed_mw),
            discharged_mw=max(0, needed_mw - made_mw),
        )


def water_of(power_mw: int) -> Water:
    """Water that carries a power at the works' temperatures."""
    coefficient = HEAT_AT_20_C - HEAT_LESS_PER_K * (RETURN_MDEGC / 1_000 - 20)
    difference_k = (SUPPLY_MDEGC - RETURN_MDEGC) / 1_000
    return Water(round(power_mw / (difference_k * coefficient)), SUPPLY_MDEGC, RETURN_MDEGC)


def _is_night(t_s: float) -> bool:
    begin_s, end_s = NIGHT_S
    return not end_s <= t_s % DAY_S < begin_s
