"""A Modbus bus: how it is reached, and what is on it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from config.grid_model import DeviceDirection
from config.modbus import RTU_UNIT_MAX, UNIT_MAX
from config.model import Listed, Model, Name, Natural, Positive, mistake
from config.settings.places import FilePath, Host, Port

Unit = Annotated[int, Field(ge=0, le=UNIT_MAX)]
"""Modbus unit identifier."""


class MeterAddress(Model):
    """One meter on a bus."""

    id: Name
    unit: Unit
    profile: Name
    serial: str | None = None
    """If given, a meter that tells another serial number is not read."""


class DeviceAddress(Model):
    """One device that rights act on, and what it may locally be asked to do."""

    id: Name
    unit: Unit
    profile: Name
    power_min_w: Natural
    """No statement may hold the device below this: heating that must not stop, for example."""
    power_max_w: Positive
    contracts_of: Name | None = None
    """Whose contracts set it, where its profile has a set_point; none: nobody's."""
    direction: Annotated[DeviceDirection, Field(strict=False)] = DeviceDirection.BOTH
    """What contracts may set it to do."""


class Parity(StrEnum):
    """The check bit of a character on a serial line."""

    NONE = "none"
    EVEN = "even"
    ODD = "odd"


class SerialPort(Model):
    """A serial port of this machine, with an RS-485 adapter behind it. All meters on a bus are set alike."""

    device: FilePath
    """Such as /dev/serial/by-id/…, which stays the same whatever is plugged in first."""
    baud: Literal[1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200]
    parity: Annotated[Parity, Field(strict=False)] = Parity.NONE
    stop_bits: Annotated[int, Field(ge=1, le=2)] = 1


class Framing(StrEnum):
    """How Modbus is framed on a TCP connection."""

    TCP = "tcp"
    """Modbus TCP: answers have numbers."""
    RTU = "rtu"
    """Serial frames, as a serial server passes them on."""


class Bus(Model):
    """One Modbus bus: a Modbus TCP server, a serial server, or a serial port of this machine. And what is on it."""

    host: Host | None = None
    port: Port = 502
    framing: Annotated[Framing, Field(strict=False)] = Framing.TCP
    """A serial port always speaks RTU."""
    serial: SerialPort | None = None
    turnaround_ms: Annotated[int, Field(ge=0, le=1000)] = 0
    """Least silence before each request, for meters that are slow to listen again; never less than 3.5 characters."""
    timeout_ms: Annotated[int, Field(ge=10, le=60_000)] = 1000
    """How long a unit may think before it answers, at most."""
    slow_every_ms: Annotated[int, Field(ge=100, le=86_400_000)] | None = None
    """How often to read what a meter's profile does not call fast; if not told, in every cycle."""
    meters: Annotated[tuple[MeterAddress, ...], Listed] = ()
    devices: Annotated[tuple[DeviceAddress, ...], Listed] = ()

    @model_validator(mode="before")
    @classmethod
    def _one_way(cls, given: object) -> object:
        if not isinstance(given, dict):
            return given
        has_host, has_serial = (given.get(key) is not None for key in ("host", "serial"))
        if has_host == has_serial:
            got = "both" if has_host else "neither"
            raise mistake("either host, for a TCP connection, or serial, for a port of this machine", got)
        if has_serial and (given.get("framing") or Framing.RTU) != Framing.RTU:
            got = f"framing {given['framing']}"
            raise mistake("framing rtu, or none told: a serial port speaks nothing else", got)
        return {**given, "framing": Framing.RTU} if has_serial else given

    @model_validator(mode="after")
    def _units(self) -> Self:
        if self.framing is Framing.RTU:
            for unit in (*(meter.unit for meter in self.meters), *(device.unit for device in self.devices)):
                if not 1 <= unit <= RTU_UNIT_MAX:
                    raise mistake(f"units from 1 to {RTU_UNIT_MAX}, as on every serial line", f"unit {unit}")
        return self

    @property
    def place(self) -> str:
        """Where it is, as people say it."""
        return str(self.serial.device) if self.serial else f"{self.host}:{self.port}"
