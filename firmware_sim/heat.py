"""What a heat meter measures: water that comes in hot and goes back cooler, and what that carried.

Physics on its own, so that a mistake here or in `agent.library.doctor` shows: the heat coefficient of water is taken at
the temperature of the return pipe, where such meters have their flow sensor (EN 1434-1), and not as one number.
Counters are integers of microjoules, and of millilitres per hour times milliseconds: what a meter has counted is the
sum of what it has shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from firmware_sim.curves import HOUR_S, HeatCurve
from firmware_sim.device import MILLI
from firmware_sim.meter import Measured, Shown

RATED_DIFFERENCE_K: Final = 33
"""Between supply and return: what the rated flow is worked out for."""

HEAT_AT_20_C: Final = 1.1596
"""Watt-hours that a litre of water carries for a kelvin, by its density and heat capacity at 20 °C."""
HEAT_LESS_PER_K: Final = 0.00044
"""How much less for each kelvin above that."""

MS_PER_HOUR: Final = HOUR_S * MILLI


@dataclass(frozen=True, slots=True)
class Water:
    """What flows through a house's heat exchanger at one moment."""

    flow_mlph: int
    supply_mdegc: int
    return_mdegc: int

    @property
    def power_mw(self) -> int:
        """What the water leaves there."""
        difference_k = (self.supply_mdegc - self.return_mdegc) / MILLI
        coefficient = HEAT_AT_20_C - HEAT_LESS_PER_K * (self.return_mdegc / MILLI - 20)
        return round(self.flow_mlph * difference_k * coefficient)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatCounters:
    """The registers of a heat meter since it was made. None ever falls."""

    heat_uj: int
    cooling_uj: int = 0
    """Of a summer in which the house was cooled; nothing is added here."""
    passed: int = 0
    """Millilitres per hour, times milliseconds."""

    def after(self, water: Water, span_ms: int) -> HeatCounters:
        """The counters when `water` has flowed for a span of time."""
        return HeatCounters(
            heat_uj=self.heat_uj + water.power_mw * span_ms,
            cooling_uj=self.cooling_uj,
            passed=self.passed + water.flow_mlph * span_ms,
        )


@dataclass(frozen=True, slots=True)
class HeatStation:
    """A house on the heat network."""

    curve: HeatCurve
    counters: HeatCounters
    """What its meter had counted before the simulation began."""

    def water(self, t_s: float) -> Water:
        """What flows at a simulated time."""
        rated_mlph = MILLI * self.curve.rated_w / (HEAT_AT_20_C * RATED_DIFFERENCE_K)
        return Water(
            flow_mlph=round(rated_mlph * self.curve.share(t_s)),
            supply_mdegc=round(MILLI * self.curve.supply_c(t_s)),
            return_mdegc=round(MILLI * self.curve.return_c(t_s)),
        )


def measure_heat(water: Water, counters: HeatCounters) -> Measured:
    """Everything that a heat meter shows at one moment."""
    return {
        Shown.HEAT_UJ: counters.heat_uj,
        Shown.COOLING_UJ: counters.cooling_uj,
        Shown.HEAT_POWER_MW: water.power_mw,
        Shown.HEAT_VOLUME_ML: counters.passed // MS_PER_HOUR,
        Shown.HEAT_FLOW_MLPH: water.flow_mlph,
        Shown.SUPPLY_TEMPERATURE_MDEGC: water.supply_mdegc,
        Shown.RETURN_TEMPERATURE_MDEGC: water.return_mdegc,
        Shown.TEMPERATURE_DIFFERENCE_MK: water.supply_mdegc - water.return_mdegc,
    }
