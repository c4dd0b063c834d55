"""What joins and fills networks beside power lines: pipes, converters between carriers, and storage.

Energy is what flows in every network, whatever carries it: watts and watt-hours, gas and hydrogen by their lower
heating value.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from config.model import Listed, Model, Name, Natural, Positive, mistake
from protocol.units import PPM

DELAY_MAX_MS: Final = 86_400_000
"""Nothing is on its way for more than a day."""


class Carrier(StrEnum):
    """What carries energy in a network. Numbered on the wire in this order; new ones are added at the end."""

    ELECTRICITY = "electricity"
    HEAT = "heat"
    GAS = "gas"
    HYDROGEN = "hydrogen"


class Pipe(Model):
    """A connection between two nodes of one heat, gas or hydrogen network."""

    id: Name
    from_node: Name
    to_node: Name
    rating_w: Positive
    """Power that it carries for good; above it is congested."""
    loss_ppm: Annotated[int, Field(ge=0, lt=PPM)] = 0
    """Share of what enters it that does not arrive."""
    delay_ms: Annotated[int, Field(ge=0, le=DELAY_MAX_MS)] = 0
    """How long energy is on its way, whatever flows: what arrives was made that much earlier."""
    content_wh: Natural = 0
    """Energy on its way when it is filled, from its volume: the delay then is the content over the flow."""

    @model_validator(mode="after")
    def _delays_in_one_way(self) -> Self:
        if self.delay_ms and self.content_wh:
            raise mistake("delay_ms or content_wh, not both")
        return self


class ConverterKind(StrEnum):
    """What turns one carrier into others."""

    CHP = "chp"
    """Combined heat and power: gas or hydrogen into electricity and heat."""
    HEAT_PUMP = "heat_pump"
    """Electricity into heat; what it takes from its surroundings is counted by its efficiency above 1."""
    BOILER = "boiler"
    """Gas, hydrogen or electricity into heat."""
    ELECTROLYSER = "electrolyser"
    """Electricity into hydrogen, and heat that can be used."""
    FUEL_CELL = "fuel_cell"
    """Hydrogen into electricity and heat."""
    POWER_PLANT = "power_plant"
    """Gas or hydrogen into electricity."""


class ConverterOutput(Model):
    """What a converter gives to one network, counted by one meter."""

    meter: Name
    efficiency_ppm: Annotated[int, Field(gt=0, le=10 * PPM)]
    """The most that it gives of what it takes in, all inputs together."""


class Converter(Model):
    """Takes energy from networks and gives it to others; what it gives has the mix of what it took."""

    id: Name
    kind: Annotated[ConverterKind, Field(strict=False)]
    inputs: Annotated[tuple[Name, ...], Listed]
    """Meters of what it takes."""
    outputs: Annotated[tuple[ConverterOutput, ...], Listed]

    @property
    def meters(self) -> tuple[str, ...]:
        """Every meter that belongs to it, inputs first."""
        return (*self.inputs, *(output.meter for output in self.outputs))

    @model_validator(mode="after")
    def _has_two_sides(self) -> Self:
        if not self.inputs or not self.outputs:
            raise mistake("a converter with inputs and outputs")
        return self


class Storage(Model):
    """Keeps energy of one network for later; what it gives has the mix of what it holds."""

    id: Name
    charge_meter: Name
    """Its imports fill the storage."""
    discharge_meter: Name
    """Its exports empty it; a battery has one meter for both."""
    capacity_wh: Positive
    efficiency_ppm: Annotated[int, Field(gt=0, le=PPM)] = PPM
    """Share of what is put in that can come out again."""
    loss_ppm_per_day: Annotated[int, Field(ge=0, le=PPM)] = 0
    """Share of what it holds that is gone after a day."""
    initial_wh: Natural = 0
    """What it holds when the region begins: of unknown origin, so not clean."""

    @property
    def meters(self) -> tuple[str, ...]:
        """Its meter, or its two."""
        if self.charge_meter == self.discharge_meter:
            return (self.charge_meter,)
        return (self.charge_meter, self.discharge_meter)

    @model_validator(mode="after")
    def _holds_what_it_holds(self) -> Self:
        if self.initial_wh > self.capacity_wh:
            raise mistake("initial_wh of at most capacity_wh", f"{self.initial_wh} of {self.capacity_wh}")
        return self
