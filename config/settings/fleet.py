"""Settings of the simulated meters."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from config.modbus import RTU_UNIT_MAX
from config.model import Model, Natural, mistake
from config.settings.places import FilePath, Host, Port


class Transport(StrEnum):
    """How a simulated bus is reached."""

    TCP = "tcp"
    """Modbus TCP."""
    RTU = "rtu"
    """RTU frames over TCP, as a serial server passes them on."""
    SERIAL = "serial"
    """RTU on a pseudo-terminal of this machine."""


class FleetSettings(Model):
    """Simulated meters."""

    meters: Annotated[int, Field(ge=4, le=100_000)] = 12
    sunspec: Annotated[int, Field(ge=0, le=1000)] = 0
    """SunSpec devices beside the meters: hybrid inverters that spell integers or floats, and batteries, in turn."""
    heat: Annotated[int, Field(ge=0, le=1000)] = 0
    """Heat meters beside them."""
    heat_works: bool = False
    """Whether their houses hang on a heat network of the region's own, with a heat pump and a tank."""
    thin_feeder: bool = False
    """Whether a cable of the last feeder is too thin for its evening. The operator's check meters then stand in it."""
    market: bool = False
    """Whether the region trades: rules of a market, and a lane whose cable is too thin for the heat pumps in it."""
    seed: Natural = 1
    host: Host = "127.0.0.1"
    first_port: Port = 15020
    units_per_port: Annotated[int, Field(ge=1, le=RTU_UNIT_MAX)] = 200
    speed: Annotated[int, Field(ge=1, le=100_000)] = 1
    """How much faster the day goes by for sun, wind and habits. Energy always follows power in real time."""
    begin_h: Annotated[int, Field(ge=0, le=23)] = 13
    """Hour of the day at which the fleet begins to live."""
    transport: Annotated[Transport, Field(strict=False)] = Transport.TCP
    run_folder: FilePath | None = None
    """Where este-fleet inject finds a running fleet, and where serial buses are linked: bus-15020, …"""

    @model_validator(mode="after")
    def _has_houses(self) -> Self:
        if self.heat_works and not self.heat:
            raise mistake("heat of at least 1 beside heat_works: somebody to make heat for", "0")
        return self

    @model_validator(mode="after")
    def _linked(self) -> Self:
        if self.transport is Transport.SERIAL and self.run_folder is None:
            raise mistake("a run_folder, in which serial buses are linked", "none")
        return self
