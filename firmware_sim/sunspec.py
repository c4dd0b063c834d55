"""What a SunSpec device serves: a chain of models, filled with what its inverter and its meter measure.

Three kinds take turns in a region: a hybrid inverter that spells integers (models 1, 120, 103 and the meter 203), one
that spells floats (1, 113, 213), and a battery (1, 701, 802). As in real ones, a point that a device does not have
shows that it is not implemented; and the hybrid inverter changes the powers of ten of its own current and power as
these rise and fall, while those of its meter and of all energy stay. Given what is measured; answers nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from firmware_sim.meter import UJ_PER_WH, Measured, Shown
from firmware_sim.sunspec_models import Values, model_words
from protocol.units import PPM

MARK: Final = (0x5375, 0x6E53)
""""SunS"."""
END: Final = (0xFFFF, 0)

MANUFACTURER: Final = "este"
VERSION: Final = "1.0"

INT16_MAX: Final = 32_767
FACTOR_MIN: Final = -2
"""Power is never told finer than by hundredths."""

PRODUCING: Final = 4
SLEEPING: Final = 2
"""Operating states of models 101 to 113."""
DER_ON: Final = 1
THREE_PHASE: Final = 3
PV: Final = 4
"""Type of device in model 120."""
LITHIUM: Final = 4
"""Type of battery in model 802."""
DISCHARGING: Final = 3
CHARGING: Final = 4
HOLDING: Final = 6
"""Charge states of model 802."""

PHASES: Final = "ABC"
VOLTAGES: Final = (Shown.VOLTAGE_L1_MV, Shown.VOLTAGE_L2_MV, Shown.VOLTAGE_L3_MV)
CURRENTS: Final = (Shown.CURRENT_L1_MA, Shown.CURRENT_L2_MA, Shown.CURRENT_L3_MA)
POWERS: Final = (Shown.ACTIVE_POWER_L1_MW, Shown.ACTIVE_POWER_L2_MW, Shown.ACTIVE_POWER_L3_MW)


class Chain(StrEnum):
    """The kinds of device, by the name that stands in their model 1."""

    HYBRID = "SimSun I"
    FLOATING = "SimSun F"
    BATTERY = "SimStore"


BASES: Final[Mapping[Chain, int]] = {Chain.HYBRID: 40_000, Chain.FLOATING: 40_000, Chain.BATTERY: 50_000}
"""Where "SunS" stands."""

METER_MODEL: Final[Mapping[Chain, int]] = {Chain.HYBRID: 203, Chain.FLOATING: 213, Chain.BATTERY: 701}
"""The model that measures the connection: the one to admit and to settle by."""


@dataclass(frozen=True, slots=True)
class Plate:
    """What does not change in a device."""

    chain: Chain
    rated_w: int
    capacity_wh: int = 0

    def profile(self, serial: int) -> str:
        """The name that este-agent sunspec gives to the profile of its meter."""
        return f"sunspec_{self.chain.lower().replace(' ', '_')}_{serial}_{METER_MODEL[self.chain]}"


def chain_words(plate: Plate, measured: Measured | None, serial: int) -> list[int]:
    """All words of a device, from "SunS" to the end model.

    Args:
        plate: which device.
        measured: what it measures; None where it has no number for anything.
        serial: tells it from others.
    """
    common = {"Mn": MANUFACTURER, "Md": plate.chain.value, "Vr": VERSION, "SN": str(serial), "DA": 1}
    models: list[tuple[int, Values]] = [(1, common)]
    match plate.chain:
        case Chain.HYBRID:
            models += [(120, {"DERTyp": PV, "WRtg": plate.rated_w, "WRtg_SF": 0})]
            models += [(103, _inverter(measured)), (203, _meter(measured))]
        case Chain.FLOATING:
            models += [(113, _floating_inverter(measured)), (213, _floating_meter(measured))]
        case Chain.BATTERY:
            models += [(701, _alternating(measured)), (802, _storage(plate, measured))]
    return [*MARK, *(word for number, values in models for word in model_words(number, values)), *END]


def factor_for(milli: int) -> int:
    """The power of ten that an inverter tells a value by: the finest by which an int16 still holds it."""
    factor = FACTOR_MIN
    while _scaled(milli, factor) > INT16_MAX:
        factor += 1
    return factor


def _scaled(milli: int, factor: int) -> int:
    """A value in thousandths as counts of 10 ** `factor`, to the nearest."""
    per_count: int = 10 ** (3 + factor)
    return (2 * milli + per_count) // (2 * per_count)


def _inverter(measured: Measured | None) -> Values:
    """Model 103. What is made counts positive here."""
    fixed = {"V_SF": -1, "Hz_SF": -2, "PF_SF": -2, "WH_SF": 0}
    if measured is None:
        return {**fixed, "A_SF": FACTOR_MIN, "W_SF": FACTOR_MIN, "VA_SF": FACTOR_MIN, "VAr_SF": FACTOR_MIN}
    made_mw, amperes = measured[Shown.MADE_POWER_MW], _made_ma(measured)
    power, current = factor_for(made_mw), factor_for(amperes[0])
    return {
        **fixed,
        **{"A": sum(_scaled(ma, current) for ma in amperes), "A_SF": current},
        **{f"Aph{p}": _scaled(ma, current) for p, ma in zip(PHASES, amperes, strict=True)},
        **{f"PhVph{p}": _scaled(measured[mv], -1) for p, mv in zip(PHASES, VOLTAGES, strict=True)},
        **{"W": _scaled(made_mw, power), "W_SF": power, "VA": _scaled(made_mw, power), "VA_SF": power},
        **{"VAr": 0, "VAr_SF": power, "PF": 100 * 100, "Hz": _scaled(measured[Shown.FREQUENCY_MHZ], -2)},
        **{"WH": measured[Shown.MADE_UJ] // UJ_PER_WH, "St": PRODUCING if made_mw else SLEEPING},
    }


def _floating_inverter(measured: Measured | None) -> Values:
    """Model 113."""
    if measured is None:
        return {}
    made_mw, amperes = measured[Shown.MADE_POWER_MW], _made_ma(measured)
    return {
        "A": sum(amperes) / 1_000,
        **{f"Aph{p}": ma / 1_000 for p, ma in zip(PHASES, amperes, strict=True)},
        **{f"PhVph{p}": measured[mv] / 1_000 for p, mv in zip(PHASES, VOLTAGES, strict=True)},
        **{"W": made_mw / 1_000, "VA": made_mw / 1_000, "VAr": 0.0, "PF": 100.0},
        **{"Hz": measured[Shown.FREQUENCY_MHZ] / 1_000, "WH": measured[Shown.MADE_UJ] / UJ_PER_WH},
        "St": PRODUCING if made_mw else SLEEPING,
    }


def _meter(measured: Measured | None) -> Values:
    """Model 203, at the connection: what is imported counts positive. It has no phase-to-phase voltages."""
    factors = {"A_SF": -2, "V_SF": -1, "Hz_SF": -2, "W_SF": 0, "VA_SF": 0, "VAR_SF": 0, "PF_SF": -2, "TotWh_SF": 0}
    if measured is None:
        return factors
    return {
        **factors,
        **{"A": sum(_scaled(measured[ma], -2) for ma in CURRENTS)},
        **{f"Aph{p}": _scaled(measured[ma], -2) for p, ma in zip(PHASES, CURRENTS, strict=True)},
        **{f"PhVph{p}": _scaled(measured[mv], -1) for p, mv in zip(PHASES, VOLTAGES, strict=True)},
        **{f"Wph{p}": _scaled(measured[mw], 0) for p, mw in zip(PHASES, POWERS, strict=True)},
        **{"W": _scaled(measured[Shown.ACTIVE_POWER_MW], 0), "VA": _scaled(measured[Shown.APPARENT_POWER_MVA], 0)},
        **{"VAR": _scaled(measured[Shown.REACTIVE_POWER_MVAR], 0), "Hz": _scaled(measured[Shown.FREQUENCY_MHZ], -2)},
        "PF": 100 * 100 * measured[Shown.POWER_FACTOR_PPM] // PPM,
        "TotWhExp": measured[Shown.EXPORTED_UJ] // UJ_PER_WH,
        "TotWhImp": measured[Shown.IMPORTED_UJ] // UJ_PER_WH,
        "Evt": 0,
    }


def _floating_meter(measured: Measured | None) -> Values:
    """Model 213."""
    if measured is None:
        return {}
    return {
        "A": sum(measured[ma] for ma in CURRENTS) / 1_000,
        **{f"Aph{p}": measured[ma] / 1_000 for p, ma in zip(PHASES, CURRENTS, strict=True)},
        **{f"PhVph{p}": measured[mv] / 1_000 for p, mv in zip(PHASES, VOLTAGES, strict=True)},
        **{f"Wph{p}": measured[mw] / 1_000 for p, mw in zip(PHASES, POWERS, strict=True)},
        **{"W": measured[Shown.ACTIVE_POWER_MW] / 1_000, "VA": measured[Shown.APPARENT_POWER_MVA] / 1_000},
        **{"VAR": measured[Shown.REACTIVE_POWER_MVAR] / 1_000, "Hz": measured[Shown.FREQUENCY_MHZ] / 1_000},
        "TotWhExp": measured[Shown.EXPORTED_UJ] / UJ_PER_WH,
        "TotWhImp": measured[Shown.IMPORTED_UJ] / UJ_PER_WH,
        "Evt": 0,
    }


def _alternating(measured: Measured | None) -> Values:
    """Model 701. What is fed in counts positive; energy is told for the whole, and not by phase."""
    factors = {"A_SF": -2, "V_SF": -1, "Hz_SF": -3, "W_SF": 0, "VA_SF": 0, "Var_SF": 0, "TotWh_SF": 0}
    if measured is None:
        return factors
    return {
        **factors,
        **{"ACType": THREE_PHASE, "St": DER_ON, "Hz": measured[Shown.FREQUENCY_MHZ]},
        **{"W": -_scaled(measured[Shown.ACTIVE_POWER_MW], 0), "VA": _scaled(measured[Shown.APPARENT_POWER_MVA], 0)},
        "Var": -_scaled(measured[Shown.REACTIVE_POWER_MVAR], 0),
        **{f"W{n}": -_scaled(measured[mw], 0) for n, mw in enumerate(POWERS, 1)},
        **{f"A{n}": _scaled(measured[ma], -2) for n, ma in enumerate(CURRENTS, 1)},
        **{f"V{n}": _scaled(measured[mv], -1) for n, mv in enumerate(VOLTAGES, 1)},
        "TotWhInj": measured[Shown.EXPORTED_UJ] // UJ_PER_WH,
        "TotWhAbs": measured[Shown.IMPORTED_UJ] // UJ_PER_WH,
    }


def _storage(plate: Plate, measured: Measured | None) -> Values:
    """Model 802: a battery in good health."""
    fixed = {
        **{"WHRtg": plate.capacity_wh // 10, "WHRtg_SF": 1, "WChaRteMax": plate.rated_w},
        **{"WDisChaRteMax": plate.rated_w, "WChaDisChaMax_SF": 0},
        **{"SoCMax": 1_000, "SoCMin": 0, "SoC_SF": -1, "SoH": 980, "SoH_SF": -1, "Typ": LITHIUM},
    }
    if measured is None:
        return fixed
    power_mw = measured[Shown.ACTIVE_POWER_MW]
    state = HOLDING if not power_mw else CHARGING if power_mw > 0 else DISCHARGING
    return {**fixed, "SoC": 1_000 * measured[Shown.STATE_OF_CHARGE_PPM] // PPM, "ChaSt": state, "NCyc": 42}


def _made_ma(measured: Measured) -> list[int]:
    """The inverter's current on each phase: it feeds in alike on all three, and no reactive power."""
    return [round(1_000 * measured[Shown.MADE_POWER_MW] / 3 / measured[mv]) for mv in VOLTAGES]
