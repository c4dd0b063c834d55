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
}

ENERGY_REGISTERS = (Quantity.IMPORTED_WH, Quantity.EXPORTED_WH)
"""The quantities that become money: their raw words travel with every reading."""


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
