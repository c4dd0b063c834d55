"""Quantities are integers with their unit last; money and energy never float.

`Quantity` numbers are part of the wire format (docs/spec/este.cddl): they are never reused.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NewType

WattHours = NewType("WattHours", int)
Watts = NewType("Watts", int)
UnixMs = NewType("UnixMs", int)
"""Milliseconds since 1970-01-01T00:00:00Z, leap seconds not counted."""
BootMs = NewType("BootMs", int)
"""Milliseconds on the monotonic clock of one boot of one gateway."""
Tokens = NewType("Tokens", int)
Grams = NewType("Grams", int)
"""Grams of CO2 equivalent."""
Ppm = NewType("Ppm", int)
"""Parts per million, for shares, loadings and limits."""

PPM = 1_000_000


class Quantity(IntEnum):
    """What a meter can tell. The base unit is the end of the name; import counts positive."""

    ACTIVE_POWER_W = 1
    REACTIVE_POWER_VAR = 2
    APPARENT_POWER_VA = 3
    IMPORTED_WH = 4
    EXPORTED_WH = 5
    FREQUENCY_MHZ = 6
    VOLTAGE_L1_MV = 7
    VOLTAGE_L2_MV = 8
    VOLTAGE_L3_MV = 9
    CURRENT_L1_MA = 10
    CURRENT_L2_MA = 11
    CURRENT_L3_MA = 12
    ACTIVE_POWER_L1_W = 13
    ACTIVE_POWER_L2_W = 14
    ACTIVE_POWER_L3_W = 15
    POWER_FACTOR_PPM = 16
    APPARENT_POWER_L1_VA = 17
    APPARENT_POWER_L2_VA = 18
    APPARENT_POWER_L3_VA = 19
    REACTIVE_POWER_L1_VAR = 20
    REACTIVE_POWER_L2_VAR = 21
    REACTIVE_POWER_L3_VAR = 22
    POWER_FACTOR_L1_PPM = 23
    POWER_FACTOR_L2_PPM = 24
    POWER_FACTOR_L3_PPM = 25
    PHASE_ANGLE_MDEG = 26
    IMPORTED_L1_WH = 27
    IMPORTED_L2_WH = 28
    IMPORTED_L3_WH = 29
    EXPORTED_L1_WH = 30
    EXPORTED_L2_WH = 31
    EXPORTED_L3_WH = 32
    BOTH_WAYS_WH = 33
    BOTH_WAYS_L1_WH = 34
    BOTH_WAYS_L2_WH = 35
    BOTH_WAYS_L3_WH = 36
    REACTIVE_IMPORTED_VARH = 37
    REACTIVE_EXPORTED_VARH = 38
    REACTIVE_BOTH_WAYS_VARH = 39
    REACTIVE_IMPORTED_L1_VARH = 40
    REACTIVE_IMPORTED_L2_VARH = 41
    REACTIVE_IMPORTED_L3_VARH = 42
    REACTIVE_EXPORTED_L1_VARH = 43
    REACTIVE_EXPORTED_L2_VARH = 44
    REACTIVE_EXPORTED_L3_VARH = 45
    REACTIVE_BOTH_WAYS_L1_VARH = 46
    REACTIVE_BOTH_WAYS_L2_VARH = 47
    REACTIVE_BOTH_WAYS_L3_VARH = 48
    VOLTAGE_THD_PPM = 49
    VOLTAGE_THD_L1_PPM = 50
    VOLTAGE_THD_L2_PPM = 51
    VOLTAGE_THD_L3_PPM = 52
    HEAT_WH = 53
    COOLING_WH = 54
    HEAT_POWER_W = 55
    HEAT_VOLUME_L = 56
    HEAT_FLOW_LPH = 57
    SUPPLY_TEMPERATURE_CENTIC = 58
    RETURN_TEMPERATURE_CENTIC = 59
    TEMPERATURE_DIFFERENCE_CENTIK = 60
    STATE_OF_CHARGE_PPM = 61

    @property
    def base_unit(self) -> str:
        """The unit that one count of this quantity stands for."""
        return BASE_UNITS[self.name.rsplit("_", 1)[1]]


BASE_UNITS = {
    "W": "W",
    "VAR": "var",
    "VA": "VA",
    "WH": "Wh",
    "MHZ": "mHz",
    "MV": "mV",
    "MA": "mA",
    "PPM": "ppm",
    "MDEG": "mdeg",
    "VARH": "varh",
    "L": "l",
    "LPH": "l/h",
    "CENTIC": "0.01 °C",
    "CENTIK": "0.01 K",
}

ELECTRICITY_REGISTERS = (Quantity.IMPORTED_WH, Quantity.EXPORTED_WH)
"""What an electricity meter counts; a gas meter, too, tells the energy of its gas as imported."""

ENERGY_REGISTERS = (*ELECTRICITY_REGISTERS, Quantity.HEAT_WH)
"""The quantities that become money: their raw words travel with every reading."""

HEAT_REGISTERS = (Quantity.HEAT_WH, Quantity.COOLING_WH)
"""What a heat meter counts. Cooling travels as an ordinary column: nothing settles it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Half-open span of time, UTC: its start belongs to it, its end to the next."""

    start_ms: UnixMs
    end_ms: UnixMs

    def __post_init__(self) -> None:
        assert self.start_ms < self.end_ms, f"interval ends at {self.end_ms}, not after {self.start_ms}"

    @property
    def length_ms(self) -> int:
        """How long the span is."""
        return self.end_ms - self.start_ms

    def __contains__(self, instant_ms: int) -> bool:
        return self.start_ms <= instant_ms < self.end_ms
