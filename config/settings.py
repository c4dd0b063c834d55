"""Settings of the three programs, as an operator writes them.

Files only: no environment variable changes what a program does, so that what is in force can be read in one place.
Secrets are never settings, only the paths of the files that hold them.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from config.model import Listed, Model, Name, Natural, Positive, mistake
from protocol.messages import RightKind
from protocol.topics import AGGREGATOR
from protocol.units import Quantity


def _to_path(value: object) -> object:
    if not isinstance(value, (str, Path)) or not str(value):
        raise mistake("the path of a file or folder")
    return Path(value)


FilePath = Annotated[Path, BeforeValidator(_to_path)]
"""Relative paths are meant from the folder of the settings file; `config.load` makes them absolute."""


def _to_host(value: str) -> str:
    if not value or any(c.isspace() or c == "/" for c in value):
        raise mistake("a host name or address")
    return value


Host = Annotated[str, AfterValidator(_to_host)]
Port = Annotated[int, Field(ge=1, le=65535)]
Unit = Annotated[int, Field(ge=0, le=255)]
"""Modbus unit identifier."""


class Tls(Model):
    """How to know the broker, and how to be known by it."""

    ca_file: FilePath
    certificate_file: FilePath | None = None
    key_file: FilePath | None = None

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.certificate_file is None) != (self.key_file is None):
            raise mistake("certificate_file and key_file together")
        return self


class Broker(Model):
    """Where the MQTT broker listens."""

    host: Host
    port: Port = 1883
    tls: Tls | None = None
    username: str | None = None
    password_file: FilePath | None = None
    keepalive_s: Annotated[int, Field(ge=5, le=3600)] = 30


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


RTU_UNIT_MAX: Final = 247


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
            raise mistake("either host, for a TCP connection, or serial, for a port of this machine")
        if has_serial and (given.get("framing") or Framing.RTU) != Framing.RTU:
            raise mistake("framing rtu, or none told: a serial port speaks nothing else")
        return {**given, "framing": Framing.RTU} if has_serial else given

    @model_validator(mode="after")
    def _units(self) -> Self:
        if self.framing is Framing.RTU:
            for unit in (*(meter.unit for meter in self.meters), *(device.unit for device in self.devices)):
                if not 1 <= unit <= RTU_UNIT_MAX:
                    raise mistake(f"units from 1 to {RTU_UNIT_MAX}, as on every serial line, not {unit}")
        return self

    @property
    def place(self) -> str:
        """Where it is, as people say it."""
        return str(self.serial.device) if self.serial else f"{self.host}:{self.port}"


class StandingOrder(Model):
    """Buy a right whenever the balance allows; the gateway signs for its participant."""

    participant: Name
    right: str
    price_max: Positive
    balance_min: Natural
    """Buy only while at least this is left afterwards."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.right not in (kind.name.lower() for kind in RightKind):
            raise mistake(f"a right out of {', '.join(kind.name.lower() for kind in RightKind)}")
        return self

    @property
    def kind(self) -> RightKind:
        """The right's number on the wire."""
        return RightKind[self.right.upper()]


class Batching(Model):
    """When a batch is closed: whichever comes first."""

    readings_max: Annotated[int, Field(ge=1, le=4096)] = 60
    """Readings of one meter."""
    age_max_ms: Annotated[int, Field(ge=100, le=3_600_000)] = 60_000


class ChipKey(Model):
    """A private key that never leaves its chip, behind PKCS#11."""

    module: FilePath
    """The library that its maker brings, such as /usr/lib/softhsm/libsofthsm2.so."""
    token_label: str
    key_label: str
    pin_file: FilePath | None = None
    """Readable by its owner alone; the PIN is its first line. For a token that asks for none, left out."""


class AtBound(StrEnum):
    """What happens as the outbox fills: nothing unsent is ever dropped."""

    PAUSE = "pause"
    """Every reading is kept, until there is no room; then nothing more is read."""
    THIN = "thin"
    """From three quarters of the bound on, one reading of each meter is kept in a quarter of an hour."""


class HomeAssistant(Model):
    """Tell Home Assistant, or whoever else understands its MQTT discovery, what the meters show."""

    prefix: Name = "homeassistant"
    """The discovery prefix that Home Assistant listens to."""
    broker: Broker | None = None
    """The house's own broker; without it, the gateway's."""
    every_ms: Annotated[int, Field(ge=1000, le=3_600_000)] = 10_000


class Metrics(Model):
    """Figures for Prometheus, on this machine alone."""

    port: Port
    host: Literal["127.0.0.1", "::1"] = "127.0.0.1"


class AgentSettings(Model):
    """A gateway."""

    region: Name
    gateway: Name
    data: FilePath
    """Folder of the outbox and of what was last heard; must survive a restart."""
    key_file: FilePath | None = None
    """The gateway's private key in a file, or"""
    pkcs11: ChipKey | None = None
    """in a chip: one of the two. Never both, so that one never silently stands in for the other."""
    aggregator_key_file: FilePath
    """Public key of whoever keeps the chains: nothing else is believed."""
    broker: Broker
    poll_every_ms: Annotated[int, Field(ge=100, le=3_600_000)] = 1000
    quantities: Annotated[tuple[str, ...], Listed] = ("active_power_w", "reactive_power_var", "voltage_l1_mv")
    """What leaves the house beside the energy registers, as far as a meter has it: no more than the rules need."""
    batch: Batching = Batching()
    resend_after_ms: Annotated[int, Field(ge=500, le=3_600_000)] = 10_000
    """How long to wait for a receipt before a record is sent again."""
    in_flight_max: Annotated[int, Field(ge=1, le=1000)] = 32
    outbox_bytes_max: Annotated[int, Field(ge=1 << 20, le=1 << 40)] = 1 << 30
    """Bound of the outbox. At the bound no more is read, and the status says so: nothing unsent is dropped."""
    at_bound: Annotated[AtBound, Field(strict=False)] = AtBound.PAUSE
    clock_wait_max_ms: Annotated[int, Field(ge=0, le=7 * 86_400_000)] = 7_200_000
    """How long readings wait, unsigned, for a clock that may still be found after a boot."""
    statement_age_max_ms: Annotated[int, Field(ge=1000, le=7 * 86_400_000)] = 3_600_000
    """A limit whose statement is older than this is lifted: a silent aggregator must not leave a house cold."""
    profile_folders: Annotated[tuple[FilePath, ...], Listed] = ()
    """Further meter profiles, beside those that este brings."""
    buses: Annotated[tuple[Bus, ...], Listed]
    standing_orders: Annotated[tuple[StandingOrder, ...], Listed] = ()
    home_assistant: HomeAssistant | None = None
    metrics: Metrics | None = None

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if (self.key_file is None) == (self.pkcs11 is None):
            raise mistake("either key_file, for a key in a file, or pkcs11, for one in a chip")
        return self

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        if self.gateway == AGGREGATOR:
            raise mistake(f"a gateway name other than the reserved {AGGREGATOR!r}")
        names = [meter.id for bus in self.buses for meter in bus.meters]
        names += [device.id for bus in self.buses for device in bus.devices]
        if len(names) != len(set(names)):
            raise mistake("each meter and device once")
        for quantity in self.quantities:
            if quantity not in (q.name.lower() for q in Quantity):
                raise mistake(f"quantities out of {', '.join(q.name.lower() for q in Quantity)}")
        places = [bus.place for bus in self.buses]
        if len(places) != len(set(places)):
            raise mistake("each bus once, with all its meters")
        return self


class Blocks(Model):
    """When a block is closed: whichever comes first."""

    entries_max: Annotated[int, Field(ge=1, le=100_000)] = 1000
    age_max_ms: Annotated[int, Field(ge=10, le=600_000)] = 1000


class AggregatorSettings(Model):
    """A node that keeps the chains."""

    region: Name
    name: Name
    """Its name on the asset chain."""
    data: FilePath
    """Folder of the ledger."""
    key_file: FilePath
    broker: Broker
    blocks: Blocks = Blocks()
    verify_threads: Annotated[int, Field(ge=1, le=64)] = 2
    pending_max: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """Messages that may wait for a block; what comes beyond is left to be sent again."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """From which level on events are logged, to standard error."""


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
    seed: Natural = 1
    host: Host = "127.0.0.1"
    first_port: Port = 15020
    units_per_port: Annotated[int, Field(ge=1, le=247)] = 200
    speed: Annotated[int, Field(ge=1, le=100_000)] = 1
    """How much faster the day goes by for sun, wind and habits. Energy always follows power in real time."""
    transport: Annotated[Transport, Field(strict=False)] = Transport.TCP
    run_folder: FilePath | None = None
    """Where este-fleet inject finds a running fleet, and where serial buses are linked: bus-15020, …"""

    @model_validator(mode="after")
    def _linked(self) -> Self:
        if self.transport is Transport.SERIAL and self.run_folder is None:
            raise mistake("a run_folder, in which serial buses are linked")
        return self
