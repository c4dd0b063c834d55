"""The register maps of heat meters, as `firmware_sim.firmware` has those of electricity meters.

Written apart from the profiles as well, by the makers' own numbers and units. What a heat meter shows is older than
what an electricity meter shows: it wakes for a moment, works out a new value, and sleeps. `refresh_ms` is how long.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from firmware_sim.firmware import FIRMWARE, Area, Firmware, Format, Printed, Span
from firmware_sim.meter import Shown

_F32: Final = Format.FLOAT32

DIEHL_SHARKY_775: Final = Firmware(
    model="diehl_sharky_775",
    area=Area.HOLDING,
    numbered_from=0,
    words_max=64,
    blocks=((0, 67),),
    serial=Span(Area.HOLDING, 165, 2),
    registers=(
        Printed(0, Shown.HEAT_UJ, Format.UINT32, "kWh"),
        Printed(8, Shown.HEAT_UJ, _F32, "kWh"),
        Printed(10, Shown.HEAT_VOLUME_ML, Format.UINT32, "m³"),
        Printed(18, Shown.HEAT_VOLUME_ML, _F32, "m³"),
        Printed(28, Shown.HEAT_POWER_MW, _F32, "kW"),
        Printed(38, Shown.HEAT_FLOW_MLPH, _F32, "m³/h"),
        Printed(40, Shown.SUPPLY_TEMPERATURE_MDEGC, Format.INT16, "°C", 10),
        Printed(46, Shown.SUPPLY_TEMPERATURE_MDEGC, _F32, "°C"),
        Printed(48, Shown.RETURN_TEMPERATURE_MDEGC, Format.INT16, "°C", 10),
        Printed(54, Shown.RETURN_TEMPERATURE_MDEGC, _F32, "°C"),
        Printed(56, Shown.TEMPERATURE_DIFFERENCE_MK, Format.INT16, "K", 100),
        Printed(62, Shown.TEMPERATURE_DIFFERENCE_MK, _F32, "K"),
    ),
    refresh_ms=2_000,
)
"""Diehl SHARKY 775 with Modbus RTU module: each value as an integer, and as a float behind it."""

ITRON_CF_ECHO2: Final = Firmware(
    model="itron_cf_echo2",
    area=Area.HOLDING,
    numbered_from=0,
    words_max=22,
    blocks=((0, 21),),
    registers=(
        Printed(2, Shown.HEAT_UJ, _F32, "kWh"),
        Printed(4, Shown.HEAT_VOLUME_ML, _F32, "l"),
        Printed(6, Shown.HEAT_POWER_MW, _F32, "kW", 10),
        Printed(8, Shown.HEAT_FLOW_MLPH, _F32, "l/h"),
        Printed(10, Shown.SUPPLY_TEMPERATURE_MDEGC, _F32, "°C", 10),
        Printed(12, Shown.RETURN_TEMPERATURE_MDEGC, _F32, "°C", 10),
        Printed(14, Shown.TEMPERATURE_DIFFERENCE_MK, _F32, "K", 100),
        Printed(16, Shown.COOLING_UJ, _F32, "kWh"),
    ),
    no_float=999_999.0,
    refresh_ms=60_000,
)
"""Itron CF Echo II with Modbus card: once a minute, and 999999 where something is wrong."""

KAMSTRUP_MULTICAL_403: Final = Firmware(
    model="kamstrup_multical_403",
    area=Area.HOLDING,
    numbered_from=0,
    words_max=125,
    blocks=((0, 13),),
    registers=(
        Printed(0, Shown.HEAT_FLOW_MLPH, _F32, "l/h"),
        Printed(4, Shown.HEAT_POWER_MW, _F32, "kW"),
        Printed(6, Shown.SUPPLY_TEMPERATURE_MDEGC, _F32, "°C"),
        Printed(8, Shown.RETURN_TEMPERATURE_MDEGC, _F32, "°C"),
    ),
    refresh_ms=4_000,
)
"""Kamstrup MULTICAL 403 with module HC-003-67: the instantaneous part of datagram xx-yy-300."""

ONICON_SYSTEM10: Final = Firmware(
    model="onicon_system10",
    area=Area.HOLDING,
    numbered_from=1,
    words_max=125,
    blocks=((1_001, 1_064),),
    registers=(
        Printed(1_005, Shown.HEAT_POWER_MW, _F32, "kW"),
        Printed(1_019, Shown.HEAT_FLOW_MLPH, _F32, "l/h"),
        Printed(1_031, Shown.SUPPLY_TEMPERATURE_MDEGC, _F32, "°C"),
        Printed(1_033, Shown.RETURN_TEMPERATURE_MDEGC, _F32, "°C"),
        Printed(1_043, Shown.HEAT_UJ, _F32, "kWh"),
        Printed(1_045, Shown.COOLING_UJ, _F32, "kWh"),
        Printed(1_051, Shown.HEAT_VOLUME_ML, _F32, "l"),
    ),
    refresh_ms=1_000,
)
"""ONICON System-10 with MOD card: the metric ones among its values."""

TWO_FLOW_MAG11: Final = Firmware(
    model="2flow_mag11",
    area=Area.HOLDING,
    numbered_from=1,
    words_max=125,
    blocks=((513, 540), (1_025, 1_034)),
    registers=(
        Printed(515, Shown.HEAT_VOLUME_ML, Format.UINT32, "l"),
        Printed(519, Shown.HEAT_UJ, Format.UINT32, "kWh", 1_000),
        Printed(533, Shown.COOLING_UJ, Format.UINT32, "kWh", 1_000),
        Printed(1_025, Shown.HEAT_FLOW_MLPH, _F32, "m³/h"),
        Printed(1_027, Shown.SUPPLY_TEMPERATURE_MDEGC, _F32, "°C"),
        Printed(1_029, Shown.RETURN_TEMPERATURE_MDEGC, _F32, "°C"),
        Printed(1_031, Shown.TEMPERATURE_DIFFERENCE_MK, _F32, "K"),
        Printed(1_033, Shown.HEAT_POWER_MW, _F32, "kW"),
    ),
    refresh_ms=1_000,
)
"""2Flow MAG-11: counters in two halves, of which the low one begins again at 0; the high one shows 0 here."""

HEAT_FIRMWARE: Final[Mapping[str, Firmware]] = {
    firmware.model: firmware
    for firmware in (DIEHL_SHARKY_775, ITRON_CF_ECHO2, ONICON_SYSTEM10, TWO_FLOW_MAG11, KAMSTRUP_MULTICAL_403)
}
"""Every heat meter that the simulator knows, by the name that its profile has."""

MODELS: Final[Mapping[str, Firmware]] = {**FIRMWARE, **HEAT_FIRMWARE}
"""Every meter with a register map of its own: all but SunSpec's, which are chains."""
