"""What has to hold inside one meter if its register map is right.

A wrong address, word order or sign seldom gives nonsense that looks like it: it gives a plausible number. But the
quantities of a meter know each other. `LAW_NEEDS` says which of them a law is about; `agent.library.doctor` holds a
live meter to it. Judges nothing itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from config.model import Model, Natural
from protocol.units import ELECTRICITY_REGISTERS, HEAT_REGISTERS, Quantity

Address = Annotated[int, Field(ge=0, le=0xFFFF)]
"""As on the wire, counted from 0."""


class FixedWord(Model):
    """A word that holds the same for as long as the profile fits its meter: a model number, or a scale factor.

    It is read along with the registers, and a meter that holds anything else there is not read.
    """

    address: Address
    value: Annotated[int, Field(ge=0, le=0xFFFF)]
    meaning: str


class Law(StrEnum):
    """What has to hold between quantities of one meter."""

    MAINS = "mains"
    """Voltage and frequency are those of a public grid."""
    PHASES = "phases"
    """The active powers of the phases add up to the total."""
    APPARENT = "apparent"
    """Voltage times current, summed over the phases, is apparent power, or no less than active power."""
    SLOPE = "slope"
    """Energy rises as power says, and on the side that its sign says."""
    HEAT = "heat"
    """Flow times temperature difference is heat power."""


def _needs(*quantities: Quantity) -> frozenset[Quantity]:
    return frozenset(quantities)


LAW_NEEDS: Final[Mapping[Law, tuple[frozenset[Quantity], ...]]] = {
    Law.MAINS: (_needs(Quantity.VOLTAGE_L1_MV), _needs(Quantity.FREQUENCY_MHZ)),
    Law.PHASES: (
        _needs(
            Quantity.ACTIVE_POWER_W, Quantity.ACTIVE_POWER_L1_W, Quantity.ACTIVE_POWER_L2_W, Quantity.ACTIVE_POWER_L3_W
        ),
    ),
    Law.APPARENT: tuple(
        _needs(Quantity.VOLTAGE_L1_MV, Quantity.CURRENT_L1_MA, power)
        for power in (Quantity.APPARENT_POWER_VA, Quantity.ACTIVE_POWER_W)
    ),
    Law.SLOPE: (
        *(_needs(Quantity.ACTIVE_POWER_W, energy) for energy in ELECTRICITY_REGISTERS),
        *(_needs(Quantity.HEAT_POWER_W, heat) for heat in HEAT_REGISTERS),
    ),
    Law.HEAT: (
        _needs(Quantity.HEAT_POWER_W, Quantity.HEAT_FLOW_LPH, Quantity.TEMPERATURE_DIFFERENCE_CENTIK),
        _needs(
            *(Quantity.HEAT_POWER_W, Quantity.HEAT_FLOW_LPH),
            *(Quantity.SUPPLY_TEMPERATURE_CENTIC, Quantity.RETURN_TEMPERATURE_CENTIC),
        ),
    ),
}
"""Law → sets of quantities, any of which is enough to check it."""


class SelfCheck(Model):
    """One law that `este-agent doctor` holds a live meter to."""

    law: Annotated[Law, Field(strict=False)]
    tolerance_ppm: Annotated[int, Field(ge=0, le=1_000_000)] = 50_000
    """Of the larger side."""
    tolerance: Natural = 50
    """On top, in the base unit that is compared (W, VA, Wh): lets noise pass where little flows."""
