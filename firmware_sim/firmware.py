"""The register maps once more, numbered as the makers number them: what a simulated meter serves.

Written apart from `config/meters/` and `protocol.registers` on purpose: a simulator and an agent that shared a map
would agree on its mistakes. Numbers stand here as in the makers' lists, whatever those count from; `numbered_from` is
what has to be taken off to get the address on the wire. How far each map may be trusted is told in `config/meters/`.

A meter answers for all addresses of its readable blocks, with 0 where nothing is listed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import nan
from typing import Final

from firmware_sim.meter import ENERGIES, UJ_PER_KWH, UJ_PER_WH, Shown


class Area(StrEnum):
    """The two word tables of Modbus."""

    HOLDING = "holding"
    INPUT = "input"


class Format(StrEnum):
    """How a number is spelled in words, by the names that vendors use."""

    FLOAT32 = "FLOAT32"
    INT16 = "INT16"
    UINT16 = "UINT16"
    INT32 = "INT32"
    UINT32 = "UINT32"
    INT64 = "INT64"
    UINT64 = "UINT64"

    @property
    def words(self) -> int:
        """How many words it takes."""
        return int(self.value[-2:]) // 16

    @property
    def modulus(self) -> int:
        """Where a counter that is spelled so begins again at 0."""
        return 1 << (16 * self.words - self.value.startswith("INT"))


PER_UNIT: Final = {
    "V": 1_000,
    "A": 1_000,
    "Hz": 1_000,
    "W": 1_000,
    "var": 1_000,
    "VA": 1_000,
    "kW": 1_000_000,
    "kvar": 1_000_000,
    "kVA": 1_000_000,
    "Wh": UJ_PER_WH,
    "kWh": UJ_PER_KWH,
    "": 1_000_000,
    "MWh": 1_000 * UJ_PER_KWH,
    "l": 1_000,
    "m³": 1_000_000,
    "l/h": 1_000,
    "m³/h": 1_000_000,
    "°C": 1_000,
    "K": 1_000,
}
"""What a printed unit is in the units of `Shown`: millivolts, milliwatts, microjoules, parts per million, …"""


@dataclass(frozen=True, slots=True)
class Printed:
    """One line of a maker's register list."""

    number: int
    """Of the first word, as printed."""
    shown: Shown
    format: Format
    unit: str
    counts_per_unit: int = 1
    """Resolution: 10 where the list says "V × 10", or "0.1 V"."""

    def count(self, value: int) -> int | float:
        """The number that the meter puts into its words, for a value in the unit that `shown` ends with.

        A counter of energy shows what has flowed completely, and begins again at 0 where its words are full; every
        other integer is the nearest.
        """
        per_count = PER_UNIT[self.unit] // self.counts_per_unit
        if self.format is Format.FLOAT32:
            return value / per_count
        if self.shown in ENERGIES:
            return value // per_count % self.format.modulus
        return (2 * value + per_count) // (2 * per_count)


@dataclass(frozen=True, slots=True)
class Span:
    """Words that stand side by side in one table, by their addresses on the wire."""

    area: Area
    first: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Firmware:
    """What one model of meter serves."""

    model: str
    area: Area
    numbered_from: int
    """The printed number of address 0."""
    low_word_first: bool = False
    words_max: int
    """Most words in one answer; a longer request is answered with exception 3."""
    blocks: tuple[tuple[int, int], ...]
    """Readable ranges, as printed, both ends included."""
    serial: Span | None = None
    """Where the serial number is held: one unsigned number of 32 bits."""
    registers: tuple[Printed, ...]
    no_float: float = nan
    """What its floats show where it has no number."""
    refresh_ms: int = 0
    """How often it renews what it shows; 0 is whenever it is asked."""

    def address(self, number: int) -> int:
        """Where a printed number is on the wire."""
        return number - self.numbered_from

    def spell(self, number: int) -> str:
        """A number as its maker prints it: who counts from 0 prints hexadecimal."""
        return str(number) if self.numbered_from else f"{number:#06x}"

    def spans(self) -> tuple[Span, ...]:
        """Everything that can be read, in requests that the meter answers."""
        found = []
        for first, last in self.blocks:
            for start in range(first, last + 1, self.words_max):
                found.append(Span(self.area, self.address(start), min(self.words_max, last + 1 - start)))
        return (*found, self.serial) if self.serial else tuple(found)


_F32: Final = Format.FLOAT32

EASTRON_SDM630: Final = Firmware(
    model="eastron_sdm630",
    area=Area.INPUT,
    numbered_from=30_001,
    words_max=80,
    blocks=((30_001, 30_108), (30_201, 30_210), (30_225, 30_270), (30_335, 30_400)),
    serial=Span(Area.HOLDING, 464_513 - 400_001, 2),
    registers=(
        Printed(30_001, Shown.VOLTAGE_L1_MV, _F32, "V"),
        Printed(30_003, Shown.VOLTAGE_L2_MV, _F32, "V"),
        Printed(30_005, Shown.VOLTAGE_L3_MV, _F32, "V"),
        Printed(30_007, Shown.CURRENT_L1_MA, _F32, "A"),
        Printed(30_009, Shown.CURRENT_L2_MA, _F32, "A"),
        Printed(30_011, Shown.CURRENT_L3_MA, _F32, "A"),
        Printed(30_013, Shown.ACTIVE_POWER_L1_MW, _F32, "W"),
        Printed(30_015, Shown.ACTIVE_POWER_L2_MW, _F32, "W"),
        Printed(30_017, Shown.ACTIVE_POWER_L3_MW, _F32, "W"),
        Printed(30_053, Shown.ACTIVE_POWER_MW, _F32, "W"),
        Printed(30_057, Shown.APPARENT_POWER_MVA, _F32, "VA"),
        Printed(30_061, Shown.REACTIVE_POWER_MVAR, _F32, "var"),
        Printed(30_063, Shown.POWER_FACTOR_PPM, _F32, ""),
        Printed(30_071, Shown.FREQUENCY_MHZ, _F32, "Hz"),
        Printed(30_073, Shown.IMPORTED_UJ, _F32, "kWh"),
        Printed(30_075, Shown.EXPORTED_UJ, _F32, "kWh"),
        Printed(30_343, Shown.TOTAL_UJ, _F32, "kWh"),
    ),
)
"""Eastron SDM630-Modbus V2: input registers from 30001, the serial number at holding register 464513."""

EASTRON_SDM120: Final = Firmware(
    model="eastron_sdm120",
    area=Area.INPUT,
    numbered_from=30_001,
    words_max=80,
    blocks=((30_001, 30_096), (30_259, 30_266), (30_343, 30_346)),
    serial=Span(Area.HOLDING, 464_513 - 400_001, 2),
    registers=(
        Printed(30_001, Shown.VOLTAGE_L1_MV, _F32, "V"),
        Printed(30_007, Shown.CURRENT_L1_MA, _F32, "A"),
        Printed(30_013, Shown.ACTIVE_POWER_MW, _F32, "W"),
        Printed(30_019, Shown.APPARENT_POWER_MVA, _F32, "VA"),
        Printed(30_025, Shown.REACTIVE_POWER_MVAR, _F32, "var"),
        Printed(30_031, Shown.POWER_FACTOR_PPM, _F32, ""),
        Printed(30_071, Shown.FREQUENCY_MHZ, _F32, "Hz"),
        Printed(30_073, Shown.IMPORTED_UJ, _F32, "kWh"),
        Printed(30_075, Shown.EXPORTED_UJ, _F32, "kWh"),
        Printed(30_343, Shown.TOTAL_UJ, _F32, "kWh"),
    ),
)
"""Eastron SDM120-Modbus: the single-phase part of the same list."""

SCHNEIDER_IEM3000: Final = Firmware(
    model="schneider_iem3000",
    area=Area.HOLDING,
    numbered_from=1,
    words_max=125,
    blocks=((3_000, 3_111), (3_204, 3_227)),
    serial=Span(Area.HOLDING, 130 - 1, 2),
    registers=(
        Printed(3_000, Shown.CURRENT_L1_MA, _F32, "A"),
        Printed(3_002, Shown.CURRENT_L2_MA, _F32, "A"),
        Printed(3_004, Shown.CURRENT_L3_MA, _F32, "A"),
        Printed(3_028, Shown.VOLTAGE_L1_MV, _F32, "V"),
        Printed(3_030, Shown.VOLTAGE_L2_MV, _F32, "V"),
        Printed(3_032, Shown.VOLTAGE_L3_MV, _F32, "V"),
        Printed(3_054, Shown.ACTIVE_POWER_L1_MW, _F32, "kW"),
        Printed(3_056, Shown.ACTIVE_POWER_L2_MW, _F32, "kW"),
        Printed(3_058, Shown.ACTIVE_POWER_L3_MW, _F32, "kW"),
        Printed(3_060, Shown.ACTIVE_POWER_MW, _F32, "kW"),
        Printed(3_068, Shown.REACTIVE_POWER_MVAR, _F32, "kvar"),
        Printed(3_076, Shown.APPARENT_POWER_MVA, _F32, "kVA"),
        Printed(3_110, Shown.FREQUENCY_MHZ, _F32, "Hz"),
        Printed(3_204, Shown.IMPORTED_UJ, Format.INT64, "Wh"),
        Printed(3_208, Shown.EXPORTED_UJ, Format.INT64, "Wh"),
    ),
)
"""Schneider iEM3155: holding registers counted from 1. Its power factor has a code of its own, and is left out."""

ABB_B23: Final = Firmware(
    model="abb_b23",
    area=Area.HOLDING,
    numbered_from=0,
    words_max=125,
    blocks=((0x5000, 0x502F), (0x5B00, 0x5B43)),
    serial=Span(Area.HOLDING, 0x8900, 2),
    registers=(
        Printed(0x5000, Shown.IMPORTED_UJ, Format.UINT64, "kWh", 100),
        Printed(0x5004, Shown.EXPORTED_UJ, Format.UINT64, "kWh", 100),
        Printed(0x5B00, Shown.VOLTAGE_L1_MV, Format.UINT32, "V", 10),
        Printed(0x5B02, Shown.VOLTAGE_L2_MV, Format.UINT32, "V", 10),
        Printed(0x5B04, Shown.VOLTAGE_L3_MV, Format.UINT32, "V", 10),
        Printed(0x5B0C, Shown.CURRENT_L1_MA, Format.UINT32, "A", 100),
        Printed(0x5B0E, Shown.CURRENT_L2_MA, Format.UINT32, "A", 100),
        Printed(0x5B10, Shown.CURRENT_L3_MA, Format.UINT32, "A", 100),
        Printed(0x5B14, Shown.ACTIVE_POWER_MW, Format.INT32, "W", 100),
        Printed(0x5B16, Shown.ACTIVE_POWER_L1_MW, Format.INT32, "W", 100),
        Printed(0x5B18, Shown.ACTIVE_POWER_L2_MW, Format.INT32, "W", 100),
        Printed(0x5B1A, Shown.ACTIVE_POWER_L3_MW, Format.INT32, "W", 100),
        Printed(0x5B1C, Shown.REACTIVE_POWER_MVAR, Format.INT32, "var", 100),
        Printed(0x5B24, Shown.APPARENT_POWER_MVA, Format.INT32, "VA", 100),
        Printed(0x5B2C, Shown.FREQUENCY_MHZ, Format.UINT16, "Hz", 100),
        Printed(0x5B3A, Shown.POWER_FACTOR_PPM, Format.INT16, "", 1_000),
    ),
)
"""ABB B23 and B24: holding registers in hexadecimal, as on the wire; power is signed."""

CARLO_GAVAZZI_EM24: Final = Firmware(
    model="carlo_gavazzi_em24",
    area=Area.INPUT,
    numbered_from=300_001,
    low_word_first=True,
    words_max=80,
    blocks=((300_001, 300_096),),
    registers=(
        Printed(300_001, Shown.VOLTAGE_L1_MV, Format.INT32, "V", 10),
        Printed(300_003, Shown.VOLTAGE_L2_MV, Format.INT32, "V", 10),
        Printed(300_005, Shown.VOLTAGE_L3_MV, Format.INT32, "V", 10),
        Printed(300_013, Shown.CURRENT_L1_MA, Format.INT32, "A", 1_000),
        Printed(300_015, Shown.CURRENT_L2_MA, Format.INT32, "A", 1_000),
        Printed(300_017, Shown.CURRENT_L3_MA, Format.INT32, "A", 1_000),
        Printed(300_019, Shown.ACTIVE_POWER_L1_MW, Format.INT32, "W", 10),
        Printed(300_021, Shown.ACTIVE_POWER_L2_MW, Format.INT32, "W", 10),
        Printed(300_023, Shown.ACTIVE_POWER_L3_MW, Format.INT32, "W", 10),
        Printed(300_041, Shown.ACTIVE_POWER_MW, Format.INT32, "W", 10),
        Printed(300_043, Shown.APPARENT_POWER_MVA, Format.INT32, "VA", 10),
        Printed(300_045, Shown.REACTIVE_POWER_MVAR, Format.INT32, "var", 10),
        Printed(300_054, Shown.POWER_FACTOR_PPM, Format.INT16, "", 1_000),
        Printed(300_056, Shown.FREQUENCY_MHZ, Format.INT16, "Hz", 10),
        Printed(300_063, Shown.IMPORTED_UJ, Format.INT32, "kWh", 10),
        Printed(300_093, Shown.EXPORTED_UJ, Format.INT32, "kWh", 10),
    ),
)
"""Carlo Gavazzi EM24-DIN: input registers from 300001, the low word first."""

FIRMWARE: Final[Mapping[str, Firmware]] = {
    firmware.model: firmware
    for firmware in (EASTRON_SDM630, EASTRON_SDM120, SCHNEIDER_IEM3000, ABB_B23, CARLO_GAVAZZI_EM24)
}
"""Every electricity meter that the simulator knows, by the name that its profile has."""
