"""What an electricity meter measures: power on each phase, voltage, current, frequency, and two counters of energy.

Counters are integers of microjoules: a power in milliwatts that is shown for milliseconds is exactly that many of them.
So what a meter has counted *is* the sum of what it has shown, to the last digit, however long the region lives.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from firmware_sim.device import Flow
from protocol.units import PPM

UJ_PER_WH: Final = 3_600_000_000
UJ_PER_KWH: Final = 1_000 * UJ_PER_WH


class Shown(StrEnum):
    """What a meter can show, of electricity or of heat. Import counts positive; the name ends with its unit."""

    ACTIVE_POWER_MW = "active_power_mw"
    ACTIVE_POWER_L1_MW = "active_power_l1_mw"
    ACTIVE_POWER_L2_MW = "active_power_l2_mw"
    ACTIVE_POWER_L3_MW = "active_power_l3_mw"
    REACTIVE_POWER_MVAR = "reactive_power_mvar"
    APPARENT_POWER_MVA = "apparent_power_mva"
    POWER_FACTOR_PPM = "power_factor_ppm"
    VOLTAGE_L1_MV = "voltage_l1_mv"
    VOLTAGE_L2_MV = "voltage_l2_mv"
    VOLTAGE_L3_MV = "voltage_l3_mv"
    CURRENT_L1_MA = "current_l1_ma"
    CURRENT_L2_MA = "current_l2_ma"
    CURRENT_L3_MA = "current_l3_ma"
    FREQUENCY_MHZ = "frequency_mhz"
    IMPORTED_UJ = "imported_uj"
    EXPORTED_UJ = "exported_uj"
    TOTAL_UJ = "total_uj"
    """Imported and exported together, as Eastron counts its total."""
    MADE_POWER_MW = "made_power_mw"
    """What an inverter feeds in, whatever its house takes of that. Made counts positive."""
    MADE_UJ = "made_uj"
    STATE_OF_CHARGE_PPM = "state_of_charge_ppm"
    HEAT_UJ = "heat_uj"
    COOLING_UJ = "cooling_uj"
    HEAT_POWER_MW = "heat_power_mw"
    HEAT_VOLUME_ML = "heat_volume_ml"
    HEAT_FLOW_MLPH = "heat_flow_mlph"
    SUPPLY_TEMPERATURE_MDEGC = "supply_temperature_mdegc"
    RETURN_TEMPERATURE_MDEGC = "return_temperature_mdegc"
    TEMPERATURE_DIFFERENCE_MK = "temperature_difference_mk"


ENERGIES: Final = frozenset(
    (Shown.IMPORTED_UJ, Shown.EXPORTED_UJ, Shown.TOTAL_UJ, Shown.MADE_UJ, Shown.HEAT_UJ, Shown.COOLING_UJ)
)

FLOWS: Final = frozenset(
    (
        *(Shown.ACTIVE_POWER_MW, Shown.ACTIVE_POWER_L1_MW, Shown.ACTIVE_POWER_L2_MW, Shown.ACTIVE_POWER_L3_MW),
        *(Shown.REACTIVE_POWER_MVAR, Shown.APPARENT_POWER_MVA),
        *(Shown.CURRENT_L1_MA, Shown.CURRENT_L2_MA, Shown.CURRENT_L3_MA),
        *(Shown.HEAT_POWER_MW, Shown.HEAT_FLOW_MLPH),
    )
)
"""What passes through a meter, at the moment."""

Measured = Mapping[Shown, int]

Shares = tuple[int, int, int]
"""How the power is spread over L1, L2 and L3, in parts per million; together they are one million."""

SINGLE_PHASE: Final[Shares] = (PPM, 0, 0)


@dataclass(frozen=True, slots=True)
class Counters:
    """The two energy registers of a meter since it was made. Neither ever falls."""

    imported_uj: int
    exported_uj: int

    def after(self, active_mw: int, span_ms: int) -> Counters:
        """The counters when a power has been shown for a span of time."""
        if active_mw >= 0:
            return Counters(self.imported_uj + active_mw * span_ms, self.exported_uj)
        return Counters(self.imported_uj, self.exported_uj - active_mw * span_ms)


def measure(flow: Flow, counters: Counters, *, voltage_mv: int, frequency_mhz: int, shares: Shares) -> Measured:
    """Everything that a meter shows at one moment.

    Voltages are from line to neutral, and the same on each phase: the network is simulated as a balanced one. The
    phases' powers sum to the total exactly.
    """
    l1_mw = flow.active_mw * shares[0] // PPM
    l2_mw = flow.active_mw * shares[1] // PPM
    apparent_mva = round(math.hypot(flow.active_mw, flow.reactive_mvar))
    currents_ma = [round(1000 * apparent_mva * share / PPM / voltage_mv) for share in shares]
    return {
        Shown.ACTIVE_POWER_MW: flow.active_mw,
        Shown.ACTIVE_POWER_L1_MW: l1_mw,
        Shown.ACTIVE_POWER_L2_MW: l2_mw,
        Shown.ACTIVE_POWER_L3_MW: flow.active_mw - l1_mw - l2_mw,
        Shown.REACTIVE_POWER_MVAR: flow.reactive_mvar,
        Shown.APPARENT_POWER_MVA: apparent_mva,
        Shown.POWER_FACTOR_PPM: round(PPM * flow.active_mw / apparent_mva) if apparent_mva else PPM,
        Shown.VOLTAGE_L1_MV: voltage_mv,
        Shown.VOLTAGE_L2_MV: voltage_mv,
        Shown.VOLTAGE_L3_MV: voltage_mv,
        Shown.CURRENT_L1_MA: currents_ma[0],
        Shown.CURRENT_L2_MA: currents_ma[1],
        Shown.CURRENT_L3_MA: currents_ma[2],
        Shown.FREQUENCY_MHZ: frequency_mhz,
        Shown.IMPORTED_UJ: counters.imported_uj,
        Shown.EXPORTED_UJ: counters.exported_uj,
        Shown.TOTAL_UJ: counters.imported_uj + counters.exported_uj,
    }
